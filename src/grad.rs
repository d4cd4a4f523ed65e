//! Reverse mode: from cotangents of some values to cotangents of others. Knows no operator by name.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

use crate::error::{Error, Refusal, Result};
use crate::ir::{Graph, PerValue, ValueId};
use crate::operator::{Builder, Grad, Status};
use crate::ops::table;
use std::collections::HashMap;

/// Appends nodes that compute the cotangents of `wanted`, given the cotangents `seeds` of other values.
///
/// The result holds an entry for each wanted value on which a seeded one depends; the others' cotangent is zero. A wanted value
/// may lie on the way to another. No node is added that no wanted value needs. Fails with [`Error::Unsupported`] and every node on the way that
/// cannot be differentiated, at once; what only a fault of spgraph's own can cause is an [`Error::Internal`].
pub fn backward(graph: &mut Graph, seeds: &[(ValueId, ValueId)], wanted: &[ValueId]) -> Result<HashMap<ValueId, ValueId>> {
    let needed = dependent(graph, wanted);
    let forward_nodes = graph.nodes.len();
    let mut parts: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    let mut found: HashMap<ValueId, ValueId> = HashMap::new();
    for &(value, cotangent) in seeds {
        parts.entry(value).or_default().push(cotangent);
    }
    let refusals = refused(graph, seeds, &needed);
    if !refusals.is_empty() {
        return Err(Error::Unsupported(refusals));
    }
    for index in (0..forward_nodes).rev() {
        let Some(node) = graph.nodes.get(index).cloned() else { continue };
        let needs: Vec<bool> = node.inputs.iter().map(|i| i.is_some_and(|i| needed[i])).collect();
        if !needs.contains(&true) || !node.outputs.iter().any(|o| parts.contains_key(o)) {
            continue;
        }
        let Some(operator) = table::find(&node.op_type).filter(|o| o.status() == Status::Differentiable) else { continue };
        let refusal = |reason: String| match Refusal::of(&node.name, &node.op_type, reason) {
            Ok(refusal) => Error::Unsupported(vec![refusal]),
            Err(fault) => fault,
        };
        let mut b = Builder::new(graph);
        let mut dy = vec![];
        for &output in &node.outputs {
            dy.push(match parts.remove(&output) {
                Some(list) => Some(total(&mut b, output, &list)?),
                None => None,
            });
        }
        for (&output, &cotangent) in node.outputs.iter().zip(&dy) {
            if let Some(cotangent) = cotangent.filter(|_| wanted.contains(&output)) {
                found.insert(output, cotangent);
            }
        }
        b.scope(format!("{}.grad", node.name));
        let inputs = node.inputs.clone();
        let cotangents = operator.gradient(&mut b, &Grad { node: node.clone(), dy, needs: needs.clone() }).map_err(refusal)?;
        for ((input, cotangent), needed) in inputs.into_iter().zip(cotangents).zip(needs) {
            let (Some(input), Some(cotangent), true) = (input, cotangent, needed) else { continue };
            let (found, expected) = (graph.ty(cotangent), graph.ty(input));
            if found != expected {
                let (op, value) = (&node.op_type, graph.name_of(input));
                return Err(Error::internal(format!("the rule of {op} gave a cotangent {found} for `{value}`, which is {expected}")));
            }
            parts.entry(input).or_default().push(cotangent);
        }
    }
    let mut b = Builder::new(graph);
    for &value in wanted {
        if let Some(list) = parts.remove(&value) {
            found.insert(value, total(&mut b, value, &list)?);
        }
    }
    Ok(found)
}

/// The sum of a value's cotangents, named after it.
fn total(b: &mut Builder, value: ValueId, parts: &[ValueId]) -> Result<ValueId> {
    let name = format!("{}.grad", b.graph.name_of(value));
    b.scope(name.clone());
    let sum = b.total(parts).map_err(|reason| Error::internal(format!("the cotangents of a value do not add up: {reason}")))?;
    if b.graph.inputs.contains(&sum) || b.graph.value(sum).constant.is_some() {
        return Ok(sum);
    }
    // A cotangent that one node hands to two of its inputs keeps the first one's name.
    if !b.graph.name_of(sum).ends_with(".grad") {
        b.graph.rename(sum, &name);
    }
    Ok(sum)
}

/// Which values depend on one of `roots` (and the roots themselves).
fn dependent(graph: &Graph, roots: &[ValueId]) -> PerValue<bool> {
    let mut reached = PerValue::new(graph, false);
    roots.iter().for_each(|&root| reached[root] = true);
    for node in &graph.nodes {
        if node.used().any(|i| reached[i]) && node.output().is_some_and(|o| graph.ty(o).dtype.is_float()) {
            let zero = table::find(&node.op_type).is_some_and(|o| o.status() == Status::ZeroGradient);
            for &o in &node.outputs {
                reached[o] |= !zero;
            }
        }
    }
    reached
}

/// The nodes behind which one of `seeds` depends on `value` without a gradient, such as a rounding; empty where none depends on it.
pub fn stopped_by(graph: &Graph, seeds: &[ValueId], value: ValueId) -> Vec<String> {
    let (mut depends, mut reaches) = (PerValue::new(graph, false), PerValue::new(graph, false));
    depends[value] = true;
    for node in graph.nodes.iter().filter(|node| node.used().count() > 0) {
        let any = node.used().any(|i| depends[i]);
        node.outputs.iter().for_each(|&o| depends[o] |= any);
    }
    seeds.iter().for_each(|&seed| reaches[seed] = true);
    let mut stops = vec![];
    for node in graph.nodes.iter().rev().filter(|node| node.used().any(|i| depends[i])) {
        if !node.outputs.iter().any(|&o| reaches[o]) {
            continue;
        }
        if table::find(&node.op_type).is_some_and(|o| o.status() == Status::Differentiable) {
            node.used().for_each(|i| reaches[i] = true);
        } else {
            stops.push(format!("{} (node `{}`)", node.op_type, node.name));
        }
    }
    stops.reverse();
    stops
}

/// Nodes between the wanted and the seeded values that have no gradient.
fn refused(graph: &Graph, seeds: &[(ValueId, ValueId)], needed: &PerValue<bool>) -> Vec<Refusal> {
    let mut reaches = PerValue::new(graph, false);
    seeds.iter().for_each(|&(value, _)| reaches[value] = true);
    let mut refusals = vec![];
    for node in graph.nodes.iter().rev() {
        if !node.outputs.iter().any(|&o| reaches[o] && needed[o]) {
            continue;
        }
        let reason = match table::find(&node.op_type).map(|o| o.status()) {
            Some(Status::Differentiable) => {
                node.used().for_each(|i| reaches[i] = true);
                continue;
            }
            Some(Status::ZeroGradient) => continue,
            Some(Status::Refused(reason)) => reason.to_string(),
            None => "spgraph knows no gradient for this operator".to_string(),
        };
        refusals.push(Refusal { node: node.name.clone(), op: node.op_type.clone(), reason });
    }
    refusals.reverse();
    refusals
}
