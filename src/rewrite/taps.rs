//! The layers whose output a regularizer compares.

use super::patterns::{few, matching, only};
use super::structure::blocks;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{Imported, Parameter};
use crate::ir::{Dim, Graph, Node, ValueId};
use crate::operator::{Meaning, ParameterKind, View};

/// A layer whose output DELTA compares.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The name of its weight in the model.
    pub weight: String,
    /// What a person would call that weight.
    pub alias: String,
    /// The output.
    pub value: ValueId,
    /// The axis of the output's channels.
    pub axis: usize,
}

/// The layers that DELTA compares: those whose weights match, or with no pattern the last convolution of each residual stage.
pub fn taps(imported: &Imported, patterns: &[String]) -> Result<Vec<Tap>> {
    let weights = if patterns.is_empty() { last_of_stages(imported)? } else { matched(imported, patterns)? };
    let tap = |parameter: &Parameter| {
        let of = imported.graph.nodes.get(parameter.node).and_then(|node| Some((node, *node.outputs.first()?)));
        let (node, value) = of.ok_or_else(|| Error::internal(format!("the layer of `{}` is lost", parameter.name)))?;
        let view = View { graph: &imported.graph, node };
        let channels = view.operator().and_then(|o| o.output_channels(&view));
        let axis = channels.map(|c| c.axis).ok_or_else(|| Error::model(format!("`{}` has no output channels", node.name)))?;
        Ok(Tap { weight: parameter.name.clone(), alias: parameter.alias.clone(), value, axis })
    };
    weights.into_iter().map(tap).collect()
}

fn is_kernel(parameter: &Parameter) -> bool {
    matches!(parameter.kind, ParameterKind::Kernel { .. })
}

/// The weights that a pattern matches, in the order of parameters.
fn matched<'a>(imported: &'a Imported, patterns: &[String]) -> Result<Vec<&'a Parameter>> {
    let mut taken = vec![false; imported.parameters.len()];
    for pattern in patterns {
        let all = matching(Field::LAYERS, pattern, imported.parameters.iter())?;
        if !only(&imported.parameters, &all).any(is_kernel) {
            let names = few(only(&imported.parameters, &all).map(|p| p.alias.as_str()));
            return Err(Error::option(
                Field::LAYERS,
                format!(" '{pattern}' matches no weight of a layer ({names}); name layers by their weights"),
            ));
        }
        taken.iter_mut().zip(all).for_each(|(taken, found)| *taken |= found);
    }
    Ok(only(&imported.parameters, &taken).filter(|p| is_kernel(p)).collect())
}

/// Of each residual stage the last convolution of its last unit, the one that depends on the most others.
fn last_of_stages(imported: &Imported) -> Result<Vec<&Parameter>> {
    let units = blocks(imported)
        .map_err(|e| Error::option(Field::REGULARIZERS, format!(" delta: {e}, and layers with {} PATTERN", Field::LAYERS)))?;
    let graph = &imported.graph;
    let depth = depths(graph);
    let mut found = vec![];
    let nexts = units.iter().skip(1).map(Some).chain([None]);
    for (unit, next) in units.iter().zip(nexts) {
        if unit.stage == 0 || next.is_some_and(|next| next.stage == unit.stage) {
            continue;
        }
        let node = |p: &Parameter| graph.nodes.get(p.node);
        // Attention branches within a unit work on maps of one pixel.
        let is_map = |p: &&Parameter| {
            let result = node(p).and_then(|n| n.outputs.first());
            result.is_some_and(|&v| graph.ty(v).shape.iter().skip(2).any(|d| *d != Dim::Known(1)))
        };
        let own = unit.parameters.iter().filter_map(|&i| imported.parameters.get(i));
        let all: Vec<&Parameter> = own.filter(|p| is_kernel(p) && node(p).is_some_and(|n| is_convolution(graph, n))).collect();
        let maps: Vec<&Parameter> = all.iter().copied().filter(is_map).collect();
        let of = if maps.is_empty() { all } else { maps };
        found.extend(of.into_iter().max_by_key(|p| depth.get(p.node)));
    }
    Ok(found)
}

fn is_convolution(graph: &Graph, node: &Node) -> bool {
    View { graph, node }.operator().is_some_and(|o| o.facts().meaning == Meaning::Convolution)
}

/// For each node the largest number of convolutions on a way to it.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depth: Vec<usize> = vec![];
    for node in &graph.nodes {
        let before = node.used().filter_map(|v| graph.value(v).producer).filter_map(|i| depth.get(i).copied()).max().unwrap_or(0);
        depth.push(before.saturating_add(is_convolution(graph, node) as usize));
    }
    depth
}
