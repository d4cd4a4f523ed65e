//! How much memory a training step takes, and what takes it, told from the graph without running it.

mod lifetime;

use self::lifetime::{Lifetimes, lifetimes};
pub(super) use self::lifetime::{bytes, total};
use super::profile::{Part, origin};
use crate::bundle::Bundle;
use crate::bundle::manifest::Manifest;
use crate::emit;
use crate::engine::{Computing, RuntimeGraph, runtime_graph};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, ModelFile};
use crate::ops::table;
use crate::shell::word;
use crate::storage::machine;
use crate::train::batch_size;
use serde::Serialize;
use std::collections::HashSet;

/// Values that are listed one by one.
const LISTED: usize = 10;

/// The memory of a step at its peak, as [`plan_memory`] predicts it for ONNX Runtime's CPU provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// Images in the batch.
    pub batch: usize,
    /// Whose kernels compute it: `native (AVX-512)`, `standard`.
    pub kernels: String,
    /// Sum of the categories. The runtime's own code, its copy of the graph and gaps between buffers come on top.
    pub peak_bytes: u64,
    /// The node that runs at the peak.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Its layer.
    pub layer: String,
    /// Which of the step's nodes that is, counted from 1.
    pub position: usize,
    /// How many nodes the step has.
    pub nodes: usize,
    /// All of them, the largest first.
    pub categories: Vec<Category>,
    /// The largest values among activations, gradients and working memory at the peak.
    pub largest: Vec<LiveValue>,
}

/// What one kind of memory takes at the peak.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Category {
    /// `activations`, `gradients`, `workspace`, `state`, `constants`, `feeds`.
    pub name: &'static str,
    /// Of all its values together.
    pub bytes: u64,
    /// Of the peak.
    pub share: f64,
}

/// A value that is needed at the peak.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveValue {
    /// Its name in the step.
    pub value: String,
    /// The layer that it comes from.
    pub layer: String,
    /// The [`Category`] that it counts in.
    pub category: &'static str,
    /// Element type.
    pub dtype: String,
    /// Sizes, the batch's in numbers.
    pub shape: Vec<usize>,
    /// Elements times their size.
    pub bytes: u64,
}

/// Walks the bundle's step as ONNX Runtime runs it with these kernels on this machine's processor, and adds up what is needed at each node.
/// `batch` is the number of images where the bundle takes any.
pub fn plan_memory(bundle: &Bundle, batch: Option<usize>, computing: Computing) -> Result<MemoryPlan> {
    plan_emitted(&onnx::open(bundle.step())?, &bundle.manifest, batch, computing)
}

/// The same for a step that is not on disk, with the manifest that belongs to it.
pub(super) fn plan_emitted(step: &ModelFile, manifest: &Manifest, batch: Option<usize>, computing: Computing) -> Result<MemoryPlan> {
    let (batch, graph) = as_it_runs(step, manifest, batch, computing)?;
    let state: HashSet<&str> = manifest.state.iter().map(|s| s.input.as_str()).collect();
    plan(graph, &state, batch).ok_or_else(|| Error::model(format!("{} computes nothing", step.path.display())))
}

/// The batch size, and the bundle's step as ONNX Runtime runs it with these kernels.
pub(super) fn step_as_it_runs(bundle: &Bundle, batch: Option<usize>, computing: Computing) -> Result<(usize, RuntimeGraph)> {
    as_it_runs(&onnx::open(bundle.step())?, &bundle.manifest, batch, computing)
}

fn as_it_runs(step: &ModelFile, manifest: &Manifest, batch: Option<usize>, computing: Computing) -> Result<(usize, RuntimeGraph)> {
    let batch = batch_size(manifest, batch)?;
    Ok((batch, runtime_graph(emit::read(step, Some(batch))?, computing)?))
}

/// Fails where the step would not fit the memory that this machine has, unless `force`. What cannot be predicted is left to the step itself.
pub fn check_memory(bundle: &Bundle, batch: usize, computing: Computing, force: bool) -> Result<()> {
    let Some(memory) = machine::memory_limit() else { return Ok(()) };
    let Ok(plan) = plan_memory(bundle, Some(batch), computing) else { return Ok(()) };
    if force || plan.peak_bytes <= memory {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(Error::usage(format!(
        "a step with {batch} images would take about {:.1} GiB, and this machine has {:.1} GiB (`spgraph inspect {} {}` shows what takes it). Give a \
         smaller {}, or try all the same with {}",
        gib(plan.peak_bytes),
        gib(memory),
        word(&bundle.dir),
        Field::MEMORY,
        Field::BATCH,
        Field::FORCE_MEMORY
    )))
}

/// Whether the graph holds the value, as an initializer or in a node without inputs.
fn is_constant(graph: &Graph, v: ValueId) -> bool {
    graph.value(v).constant.is_some() && graph.producer(v).is_none_or(|n| n.inputs.is_empty())
}

fn plan(step: RuntimeGraph, state: &HashSet<&str>, batch: usize) -> Option<MemoryPlan> {
    let RuntimeGraph { graph, in_place, kernels } = step;
    let graph = &graph;
    let found = lifetimes(graph);
    let node = graph.nodes.get(*found.order.get(found.peak)?)?;
    let all = |values: &mut dyn Iterator<Item = ValueId>| total(values.map(|v| bytes(graph.ty(v))));
    let is_state = |v: &ValueId| state.contains(graph.name_of(*v));
    // Two sets, which take turns, but for what is updated where it lies.
    let sets = |v: ValueId| if in_place.iter().any(|(now, _)| now == graph.name_of(v)) { 1 } else { 2 };
    let state = total(graph.inputs.iter().copied().filter(is_state).map(|v| bytes(graph.ty(v)).saturating_mul(sets(v))));
    let live = live(graph, &found);
    let of = |name: &str| total(live.iter().filter(|v| v.category == name).map(|v| v.bytes));
    let mut categories = vec![
        ("activations", of("activations")),
        ("gradients", of("gradients")),
        ("workspace", of("workspace").saturating_add(found.workspace)),
        ("state", state),
        ("constants", all(&mut graph.ids().filter(|&v| is_constant(graph, v)))),
        ("feeds", all(&mut graph.inputs.iter().copied().filter(|v| !is_state(v)))),
    ];
    categories.sort_by_key(|c| std::cmp::Reverse(c.1));
    let peak_bytes = total(categories.iter().map(|c| c.1));
    let share = |bytes: u64| if peak_bytes > 0 { bytes as f64 / peak_bytes as f64 } else { 0.0 };
    Some(MemoryPlan {
        batch,
        kernels,
        peak_bytes,
        node: node.name.clone(),
        operator: node.op_type.clone(),
        layer: origin(&node.name).0,
        position: found.peak.saturating_add(1),
        nodes: found.order.len(),
        categories: categories.into_iter().map(|(name, bytes)| Category { name, bytes, share: share(bytes) }).collect(),
        largest: live.into_iter().take(LISTED).collect(),
    })
}

/// What the buffers hold at the peak, the largest first.
fn live(graph: &Graph, found: &Lifetimes) -> Vec<LiveValue> {
    let held = found.buffers.iter().filter(|b| b.alive(found.peak)).filter_map(|b| Some((b.bytes, b.value(found.peak)?)));
    let mut live: Vec<LiveValue> = held
        .map(|(bytes, v)| {
            let name = graph.name_of(v);
            let producer = graph.producer(v).map_or(name, |n| n.name.as_str());
            LiveValue {
                value: name.into(),
                layer: origin(producer).0,
                category: category(name, producer),
                dtype: graph.ty(v).dtype.name().into(),
                shape: graph.ty(v).dims().unwrap_or_default(),
                bytes,
            }
        })
        .collect();
    live.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.value.cmp(&b.value)));
    live
}

/// Activations come from the network itself. What a function computes for itself alone is working memory: its name has the
/// function's in its path.
fn category(value: &str, producer: &str) -> &'static str {
    let inside = |path: &str| path.split('/').rev().skip(1).any(|part| table::find(part).is_some());
    match origin(producer).1 {
        Part::Forward if inside(value) => "workspace",
        Part::Forward => "activations",
        Part::Backward if value.split_once(".grad/").is_some_and(|(_, rest)| rest.contains('/')) => "workspace",
        Part::Backward => "gradients",
        Part::Update => "workspace",
    }
}

#[cfg(test)]
mod tests;
