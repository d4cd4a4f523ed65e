//! Which parts of a training step native kernels compute, and what is left to the runtime's own, told from the graph without running it.

use super::memory::{self, bytes, step_as_it_runs};
use crate::bundle::Bundle;
use crate::engine::Computing;
use crate::error::Result;
use crate::ir::{DType, Dim, Domain, Graph, Layout, Node, ValueId};
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
    /// Casts of images between bfloat16 and float32.
    pub conversions: usize,
    /// Where images are bfloat16: the operators that get and give images of float32, with their number, the most first.
    pub float32_images: Vec<(String, usize)>,
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
    let total = |nodes: &mut dyn Iterator<Item = &Node>| memory::total(nodes.map(|n| moved(graph, n)));
    let mut standard: BTreeMap<&str, (StandardOperator, u64)> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|n| n.domain != Domain::Native && !n.inputs.is_empty()) {
        let bytes = moved(graph, node);
        let new = || StandardOperator { operator: node.op_type.clone(), nodes: 0, channels_last: 0, bytes: 0, largest: String::new() };
        let (found, most) = standard.entry(&node.op_type).or_insert_with(|| (new(), 0));
        let channels_last = node.outputs.iter().any(|&o| graph.value(o).layout == Layout::ChannelsLast);
        found.nodes = found.nodes.saturating_add(1);
        found.channels_last = found.channels_last.saturating_add(usize::from(channels_last));
        found.bytes = found.bytes.saturating_add(bytes);
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
        conversions: graph.nodes.iter().filter(|n| is_conversion(graph, n)).count(),
        float32_images: float32_images(graph),
        layout_changes: native().filter(|n| is_change(n)).count(),
        native_bytes: total(&mut native()),
        layout_bytes: total(&mut native().filter(|n| is_change(n))),
        standard,
    })
}

/// Whether a node changes what an image is made of.
fn is_conversion(graph: &Graph, node: &Node) -> bool {
    let types = || node.used().chain(node.outputs.iter().copied()).map(|v| graph.ty(v).dtype);
    node.is("Cast") && types().any(|ty| ty == DType::BF16)
}

/// In a graph with images of bfloat16, the operators on others that are images all the same, channels last and of more than one place.
fn float32_images(graph: &Graph) -> Vec<(String, usize)> {
    if !graph.ids().any(|v| graph.ty(v).dtype == DType::BF16) {
        return vec![];
    }
    let is_image = |v: ValueId| {
        let (value, ty) = (graph.value(v), graph.ty(v));
        value.layout == Layout::ChannelsLast && ty.dtype == DType::F32 && ty.shape.iter().skip(2).any(|&d| d != Dim::Known(1))
    };
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|n| !is_conversion(graph, n) && n.used().chain(n.outputs.iter().copied()).any(is_image)) {
        let count = found.entry(&node.op_type).or_default();
        *count = count.saturating_add(1);
    }
    let mut found: Vec<(String, usize)> = found.into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found
}

/// Bytes that a node reads and writes.
fn moved(graph: &Graph, node: &Node) -> u64 {
    memory::total(node.used().chain(node.outputs.iter().copied()).map(|v| bytes(graph.ty(v))))
}
