//! A backward pass with several cotangents for each row of the forward pass.
//!
//! The network runs once on `rows` images. Differentiation happens in a second graph of the same network for `rows·copies`
//! images, and its nodes are then taken over: what they read of the forward pass is repeated, row by row. The second graph's
//! own forward pass is never emitted.

use crate::error::{Error, Result};
use crate::ir::{Dim, Graph, Node, ValueId};
use crate::operator::{Builder, repeat};
use std::collections::HashMap;

/// Fails unless `wide`'s values are `narrow`'s, with `factor` times as many rows along the leading axis or with none at all.
///
/// Anything else means that samples are not the leading axis somewhere, and could not be told apart.
pub fn check(narrow: &Graph, wide: &Graph, factor: usize) -> Result<()> {
    let same = narrow.values.len() == wide.values.len() && narrow.nodes.len() == wide.nodes.len();
    let differs = narrow.values.iter().zip(&wide.values).find(|(n, w)| {
        let rows = |dims: &[Dim]| dims.first().and_then(|d| d.known()).unwrap_or(0);
        let wider = rows(&n.ty.shape) * factor == rows(&w.ty.shape) && n.ty.shape.get(1..) == w.ty.shape.get(1..);
        n.name != w.name || !(n.ty == w.ty || wider)
    });
    match (same, differs) {
        (true, None) => Ok(()),
        (_, value) => Err(Error::model(format!(
            "the images of a batch are not the leading axis of {}, so their gradients cannot be told apart. Export the network with the batch as the \
             first axis throughout",
            value.map_or("every value".to_string(), |(n, w)| format!(
                "`{}` ({}, and {} for {factor} times as many images)",
                n.name, n.ty, w.ty
            ))
        ))),
    }
}

/// Appends the nodes of `wide` from number `nodes` on to `graph`, which equals the forward part of `wide` (`nodes` nodes and
/// `values` values) at `rows` rows. `known` says what stands in `graph` for the inputs that they read. Gives, for each of
/// `wanted`, the value in `graph`.
pub fn graft(
    graph: &mut Graph,
    wide: &Graph,
    (nodes, values): (usize, usize),
    known: (ValueId, ValueId),
    (rows, copies): (usize, usize),
    wanted: &[ValueId],
) -> Result<Vec<ValueId>> {
    let failed = |reason: String| Error::model(format!("the backward pass cannot be widened: {reason}"));
    let mut map: HashMap<ValueId, ValueId> = HashMap::from([known]);
    for node in &wide.nodes[nodes..] {
        let mut inputs = vec![];
        for &input in &node.inputs {
            inputs.push(match input {
                None => None,
                Some(v) => Some(place(graph, wide, values, &mut map, v, rows, copies).map_err(failed)?),
            });
        }
        let outputs = node.outputs.iter().map(|&o| (wide.name_of(o).to_string(), wide.ty(o).clone())).collect();
        let made = graph.node(Node { inputs, outputs: vec![], ..node.clone() }, outputs);
        map.extend(node.outputs.iter().copied().zip(made));
    }
    wanted.iter().map(|v| map.get(v).copied().ok_or_else(|| failed(format!("`{}` was not computed", wide.name_of(*v))))).collect()
}

fn place(
    graph: &mut Graph,
    wide: &Graph,
    values: usize,
    map: &mut HashMap<ValueId, ValueId>,
    v: ValueId,
    rows: usize,
    copies: usize,
) -> Result<ValueId, String> {
    if let Some(&found) = map.get(&v) {
        return Ok(found);
    }
    let found = match &wide.value(v).constant {
        Some(tensor) if v.index() >= values => graph.constant(wide.name_of(v), tensor.clone()),
        _ if v.index() >= values => return Err(format!("`{}` comes from nowhere", wide.name_of(v))),
        _ if graph.ty(v) == wide.ty(v) => v,
        _ => {
            let mut b = Builder::new(graph);
            b.scope(format!("{}.copies", wide.name_of(v)));
            repeat(&mut b, v, rows, copies)?
        }
    };
    map.insert(v, found);
    Ok(found)
}
