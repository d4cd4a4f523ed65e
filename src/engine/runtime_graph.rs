//! A graph as ONNX Runtime works through it on the CPU, for who wants to know what that takes.

use super::model::WRITTEN_OUT;
use super::native::{self, Prepared};
use super::options::Kernels;
use crate::error::Result;
use crate::ir::Graph;
use crate::pass;

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
pub fn runtime_graph(mut graph: Graph, kernels: Kernels) -> Result<RuntimeGraph> {
    if let Some(isa) = kernels.instructions()?
        && let Some(Prepared { graph, in_place }) = native::prepare(graph.clone(), true)?
    {
        return Ok(RuntimeGraph { graph, in_place, kernels: format!("native ({})", isa.name()) });
    }
    pass::apply(&mut graph, WRITTEN_OUT)?;
    Ok(RuntimeGraph { graph, in_place: vec![], kernels: "standard".into() })
}
