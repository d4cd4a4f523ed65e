//! A graph as ONNX Runtime works through it on the CPU, for who wants to know what that takes.

use super::model::{FOR_CUDA, WRITTEN_OUT, emitted, understood};
use super::native::{self, Prepared};
use super::options::{Computing, Precision};
use crate::error::{Error, Result};
use crate::ir::Graph;
use crate::onnx::{ExternalData, ModelFile, pb};
use crate::pass;
use std::path::Path;

/// What ONNX Runtime runs in a graph's place.
pub struct RuntimeGraph {
    /// Without functions: a runtime writes out those that no kernel computes.
    pub graph: Graph,
    /// Pairs of an input and an output, by name, that have one buffer.
    pub in_place: Vec<(String, String)>,
    /// Whose kernels compute it, for people: `native (AVX-512)`, `standard`.
    pub kernels: String,
}

/// The graph as it is run with these kernels on this machine. Fails where the environment asks for instructions that its processor lacks.
pub fn runtime_graph(mut graph: Graph, computing: Computing) -> Result<RuntimeGraph> {
    let half = computing.precision == Precision::Bf16;
    if let Some(isa) = computing.instructions()?
        && let Some(Prepared { graph, in_place }) = native::prepare(graph.clone(), half, true)?
    {
        return Ok(RuntimeGraph { graph, in_place, kernels: format!("native ({})", native::description(isa, half)) });
    }
    pass::apply(&mut graph, WRITTEN_OUT)?;
    Ok(RuntimeGraph { graph, in_place: vec![], kernels: "standard".into() })
}

/// The graph as the CUDA device is given it.
pub fn device_graph(mut graph: Graph) -> Result<Graph> {
    pass::apply(&mut graph, FOR_CUDA)?;
    Ok(graph)
}

/// The model, whose external data lies in `dir`, with native operators where they cover it, on images of bfloat16 where `half` says so, for sessions that
/// [`register_native_operators`](super::register_native_operators) gave them to. Fails where they cover nothing.
pub fn with_native_operators(model: &pb::ModelProto, half: bool, dir: &Path) -> Result<pb::ModelProto> {
    let file = ModelFile { proto: model.clone(), path: dir.join("step.onnx"), external: ExternalData::new(dir) };
    let none = || Error::model("no native operator covers anything of this network, so it would gain nothing: use the bundle as it is");
    let graph = understood(&file).ok_or_else(none)?;
    let Prepared { graph, .. } = native::prepare(graph, half, false)?.ok_or_else(none)?;
    let mut made = emitted(&graph, &file)?;
    made.metadata_props = model.metadata_props.clone();
    Ok(made)
}
