//! A network's residual blocks, found in the graph and not by names.
//!
//! A residual unit ends where two computed values of one shape are added. Everything that only one of the two branches of the first
//! such sum needs belongs to the first unit, what both need lies before it (conv1); each further unit is what its sum needs
//! beyond the sum before. A stage is a run of units whose results have the same shape.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Imported;
use crate::ir::{Dim, Graph, Node};
use crate::operator::{Meaning, View};
use std::collections::HashSet;

/// A part of the network that can be frozen as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What the aliases of its parameters have in common: `layer1.0`; otherwise `unit 1`.
    pub name: String,
    /// 0 for what lies before the first unit, then the stage.
    pub stage: usize,
    /// Indices of its parameters, statistics included.
    pub parameters: Vec<usize>,
}

/// The layers before the first residual unit, then the units, in order. Fails for a network without residual units.
pub fn blocks(imported: &Imported) -> Result<Vec<Block>> {
    let graph = &imported.graph;
    let live = graph.live_nodes();
    let nodes = graph.nodes.iter().enumerate().zip(live);
    let sums: Vec<(usize, &Node)> = nodes.filter(|((_, n), live)| *live && is_residual(graph, n)).map(|(found, _)| found).collect();
    let Some((_, first)) = sums.first() else {
        return Err(Error::usage(format!(
            "the network has no residual units (no sum of two branches), so its stages cannot be counted: freeze by name with {} PATTERN",
            Field::FREEZE
        )));
    };
    let mut needed = common(graph, first);
    let mut found = vec![Block { name: "conv1".into(), stage: 0, parameters: inside(imported, &needed, &HashSet::new()) }];
    let mut stage = 0usize;
    let mut shape: Option<Vec<Dim>> = None;
    for (index, node) in sums {
        let mut now = needed.clone();
        mark(graph, index, &mut now);
        let parameters = inside(imported, &now, &needed);
        needed = now;
        // A sum within a unit, of an attention branch for example, or one without parameters opens no stage.
        if parameters.is_empty() {
            continue;
        }
        let own: Vec<Dim> = node.outputs.first().into_iter().flat_map(|&v| graph.ty(v).shape.iter().skip(1).copied()).collect();
        if shape.as_ref() != Some(&own) {
            stage = stage.saturating_add(1);
            shape = Some(own);
        }
        let number = found.len();
        let aliases: Vec<&str> = parameters.iter().filter_map(|&i| imported.parameters.get(i)).map(|p| p.alias.as_str()).collect();
        found.push(Block { name: shared_path(&aliases).unwrap_or_else(|| format!("unit {number}")), stage, parameters });
    }
    Ok(found)
}

/// Whether the node adds two computed values of one shape.
fn is_residual(graph: &Graph, node: &Node) -> bool {
    let [Some(a), Some(b)] = *node.inputs else { return false };
    let computed = |v| graph.producer(v).is_some();
    View { graph, node }.operator().is_some_and(|o| o.facts().meaning == Meaning::Sum)
        && a != b
        && computed(a)
        && computed(b)
        && graph.ty(a) == graph.ty(b)
        && graph.ty(a).rank() > 2
}

/// Marks the node at `index` and what it needs.
fn mark(graph: &Graph, index: usize, needed: &mut HashSet<usize>) {
    let mut open = vec![index];
    while let Some(i) = open.pop() {
        if needed.insert(i) {
            open.extend(graph.nodes.get(i).into_iter().flat_map(Node::used).filter_map(|v| graph.value(v).producer));
        }
    }
}

/// What both branches of a sum need.
fn common(graph: &Graph, sum: &Node) -> HashSet<usize> {
    let branches = sum.used().map(|v| {
        let mut needed = HashSet::new();
        if let Some(i) = graph.value(v).producer {
            mark(graph, i, &mut needed);
        }
        needed
    });
    branches.reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default()
}

/// Parameters of the nodes in `now` but not in `before`.
fn inside(imported: &Imported, now: &HashSet<usize>, before: &HashSet<usize>) -> Vec<usize> {
    let own = |p: &crate::import::Parameter| now.contains(&p.node) && !before.contains(&p.node);
    imported.parameters.iter().enumerate().filter(|(_, p)| own(p)).map(|(i, _)| i).collect()
}

/// The dotted path that all aliases begin with.
fn shared_path(aliases: &[&str]) -> Option<String> {
    let first: Vec<&str> = aliases.first()?.split('.').collect();
    let same = |other: &&str| first.iter().zip(other.split('.')).take_while(|(a, b)| *a == b).count();
    // The last part is the parameter's own.
    let length = aliases.iter().map(same).min()?.min(first.len().checked_sub(1)?);
    first.get(..length).filter(|path| !path.is_empty()).map(|path| path.join("."))
}
