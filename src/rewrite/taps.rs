//! The layers whose output a regularizer compares.

use super::patterns::{few, matching};
use super::structure::blocks;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Imported;
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
    let indices = if patterns.is_empty() { last_of_stages(imported)? } else { matched(imported, patterns)? };
    let tap = |i: usize| {
        let parameter = &imported.parameters[i];
        let node = &imported.graph.nodes[parameter.node];
        let value = node.outputs[0];
        let view = View { graph: &imported.graph, node };
        let channels = view.operator().and_then(|o| o.output_channels(&view));
        let axis = channels.map(|c| c.axis).ok_or_else(|| Error::model(format!("`{}` has no output channels", node.name)))?;
        Ok(Tap { weight: parameter.name.clone(), alias: parameter.alias.clone(), value, axis })
    };
    indices.into_iter().map(tap).collect()
}

fn matched(imported: &Imported, patterns: &[String]) -> Result<Vec<usize>> {
    let mut found: Vec<usize> = vec![];
    for pattern in patterns {
        let all = matching(Field::LAYERS, pattern, imported.parameters.iter())?;
        let weights: Vec<usize> =
            all.iter().copied().filter(|&i| matches!(imported.parameters[i].kind, ParameterKind::Kernel { .. })).collect();
        if weights.is_empty() {
            let names = few(all.iter().map(|&i| imported.parameters[i].alias.as_str()));
            return Err(Error::option(
                Field::LAYERS,
                format!(" '{pattern}' matches no weight of a layer ({names}); name layers by their weights"),
            ));
        }
        found.extend(weights);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Of each residual stage the last convolution of its last unit, the one that depends on the most others.
fn last_of_stages(imported: &Imported) -> Result<Vec<usize>> {
    let units = blocks(imported)
        .map_err(|e| Error::option(Field::REGULARIZERS, format!(" delta: {e}, and layers with {} PATTERN", Field::LAYERS)))?;
    let graph = &imported.graph;
    let depth = depths(graph);
    let mut found = vec![];
    for (i, unit) in units.iter().enumerate() {
        if unit.stage == 0 || units.get(i + 1).is_some_and(|next| next.stage == unit.stage) {
            continue;
        }
        let node = |p: usize| &graph.nodes[imported.parameters[p].node];
        let convolution =
            |p: &usize| matches!(imported.parameters[*p].kind, ParameterKind::Kernel { .. }) && is_convolution(graph, node(*p));
        // Attention branches within a unit work on maps of one pixel.
        let is_map = |p: &usize| graph.ty(node(*p).outputs[0]).shape.iter().skip(2).any(|d| *d != Dim::Known(1));
        let all: Vec<usize> = unit.parameters.iter().copied().filter(convolution).collect();
        let maps: Vec<usize> = all.iter().copied().filter(is_map).collect();
        let of = if maps.is_empty() { all } else { maps };
        found.extend(of.into_iter().max_by_key(|&p| depth[imported.parameters[p].node]));
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
        depth.push(before + is_convolution(graph, node) as usize);
    }
    depth
}
