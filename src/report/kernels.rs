//! Which parts of a training step native kernels compute, and what is left to the runtime's own, told from the graph without running it.

use super::memory::{bytes, step_as_it_runs};
use crate::bundle::Bundle;
use crate::engine::Computing;
use crate::error::Result;
use crate::ir::{Domain, Graph, Layout, Node};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whose kernels compute a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelPlan {
    /// Images in the batch.
    pub batch: usize,
    /// `native (AVX-512)`, or `standard`.
    pub kernels: String,
    /// Nodes of the step that native kernels compute; what they do besides counts with them.
    pub native: usize,
    /// Images that are laid out anew, since what reads them wants their channels elsewhere.
    pub layout_changes: usize,
    /// What the native nodes read and write, their layout changes included.
    pub native_bytes: u64,
    /// Of those the layout changes alone.
    pub layout_bytes: u64,
    /// What the runtime's own operators compute, the most bytes first.
    pub standard: Vec<StandardOperator>,
}

/// All nodes of one operator that the runtime's own kernels compute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StandardOperator {
    /// Its name.
    pub operator: String,
    /// How many nodes.
    pub nodes: usize,
    /// Of them those that work on images with their channels last, as the native kernels lay them.
    pub channels_last: usize,
    /// What they read and write.
    pub bytes: u64,
    /// The one that reads and writes the most.
    pub largest: String,
}

/// Who computes what in the bundle's step, on this machine's processor. `batch` is the number of images where the bundle takes any.
pub fn plan_kernels(bundle: &Bundle, batch: Option<usize>, computing: Computing) -> Result<KernelPlan> {
    let (batch, step) = step_as_it_runs(bundle, batch, computing)?;
    let graph = &step.graph;
    let is_change = |n: &Node| n.op_type.starts_with("ToChannels");
    let native = || graph.nodes.iter().filter(|n| n.domain == Domain::Native);
    let total = |nodes: &mut dyn Iterator<Item = &Node>| nodes.map(|n| moved(graph, n)).sum::<u64>();
    let mut standard: BTreeMap<&str, (StandardOperator, u64)> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|n| n.domain != Domain::Native && !n.inputs.is_empty()) {
        let bytes = moved(graph, node);
        let new = || StandardOperator { operator: node.op_type.clone(), nodes: 0, channels_last: 0, bytes: 0, largest: String::new() };
        let (found, most) = standard.entry(&node.op_type).or_insert_with(|| (new(), 0));
        found.nodes += 1;
        found.channels_last += usize::from(node.outputs.iter().any(|&o| graph.value(o).layout == Layout::ChannelsLast));
        found.bytes += bytes;
        if bytes >= *most {
            (*most, found.largest) = (bytes, node.name.clone());
        }
    }
    let mut standard: Vec<StandardOperator> = standard.into_values().map(|(found, _)| found).collect();
    standard.sort_by_key(|s| std::cmp::Reverse(s.bytes));
    Ok(KernelPlan {
        batch,
        kernels: step.kernels,
        native: native().filter(|n| !is_change(n)).count(),
        layout_changes: native().filter(|n| is_change(n)).count(),
        native_bytes: total(&mut native()),
        layout_bytes: total(&mut native().filter(|n| is_change(n))),
        standard,
    })
}

/// Bytes that a node reads and writes.
fn moved(graph: &Graph, node: &Node) -> u64 {
    node.used().chain(node.outputs.iter().copied()).map(|v| bytes(graph.ty(v))).sum()
}
