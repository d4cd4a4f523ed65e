//! Initializers that stand for several parameters: exporters write equal tensors once.

use super::fixed::is_of_formula;
use super::names::{is_generated, layer};
use crate::ir::{Graph, Node, Tensor, ValueId};
use crate::onnx::pb;
use crate::operator::{Operator, ParameterKind, View};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A parameter that the exporter had stored together with another of the same value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The parameter's own name from now on.
    pub name: String,
    /// The name of what they shared.
    pub initializer: String,
    /// Node and input that read the initializer itself; `None` where an Identity of that name does.
    pub site: Option<(String, usize)>,
}

/// Which initializers have been taken apart so far.
pub(super) struct Ties {
    /// Keep one parameter where the exporter wrote one initializer for several of equal value.
    keep: bool,
    /// Constants that some layer reads as a parameter, with what the first one reads them for.
    readers: HashMap<ValueId, ParameterKind>,
    pub split: Vec<Split>,
}

/// Whether a factor or addend may be several parameters that were equal at their start: a gain for each channel that nobody has trained
/// yet. Numbers of formulas are read by many nodes, and what is trained and equal is shared on purpose.
fn is_fresh(tensor: &Tensor, name: &str) -> bool {
    tensor.count() > 1 && is_uniform(tensor) && !is_generated(name)
}

/// One number everywhere, as layers start.
fn is_uniform(tensor: &Tensor) -> bool {
    let width = tensor.dtype().size();
    tensor.bytes().chunks_exact(width.max(1)).all(|v| tensor.bytes().starts_with(v))
}

impl Ties {
    pub fn new(keep: bool) -> Ties {
        Ties { keep, readers: HashMap::new(), split: vec![] }
    }

    /// An exporter writes `Identity` of an initializer where a second parameter had the same value: give it its own constant,
    /// or with ties kept another name for the same one.
    ///
    /// Gives the constant, where the node is one of that kind.
    pub fn untie(&mut self, graph: &mut Graph, node: &pb::NodeProto, inputs: &[Option<ValueId>]) -> Option<ValueId> {
        let ([Some(input)], [output], "Identity") = (inputs, &node.output[..], node.op_type()) else { return None };
        let tensor = graph.value(*input).constant.clone()?;
        if self.keep {
            return Some(*input);
        }
        if tensor.dtype().is_float() {
            self.split.push(Split { name: output.clone(), initializer: graph.name_of(*input).to_string(), site: None });
        }
        Some(graph.constant(output, tensor))
    }

    /// Gives the node constants of its own where it reads a parameter that another layer reads too.
    ///
    /// Exporters write equal tensors once: what is equal at the start may still be two parameters. A kernel that two layers
    /// read is shared on purpose, for two random kernels are never equal (those of one number everywhere are), and so are other numbers that differ; the rest of a layer of
    /// which anything is shared is shared with it. Statistics are written by their layer, so they are never shared, whatever `keep` says.
    pub fn own_parameters(
        &mut self,
        graph: &mut Graph,
        operator: &dyn Operator,
        name: &str,
        inputs: Vec<Option<ValueId>>,
    ) -> Vec<Option<ValueId>> {
        let node = Node::new(name, operator.op_type(), inputs, Default::default());
        let kinds = operator.parameters(&View { graph, node: &node });
        // What weights are made of is no layer: exporters give them all the same ones and zeros.
        if !node.used().any(|v| graph.value(v).varies) {
            return node.inputs;
        }
        let mut inputs = node.inputs;
        let layer_again = kinds.iter().zip(&inputs).any(|(kind, input)| {
            let Some((kind, input)) = kind.zip(*input) else { return false };
            let varied = || graph.value(input).constant.as_ref().is_some_and(|t| t.dtype().is_float() && t.count() > 1 && !is_uniform(t));
            kind.is_of_layer() && !kind.is_buffer() && self.readers.contains_key(&input) && varied()
        });
        for (i, kind) in kinds.into_iter().enumerate() {
            let (Some(kind), Some(input)) = (kind, inputs.get(i).copied().flatten()) else { continue };
            let Some(tensor) = graph.value(input).constant.clone().filter(|t| t.dtype().is_float()) else { continue };
            if !kind.is_of_layer() && !is_fresh(&tensor, graph.name_of(input)) {
                continue;
            }
            // The ones and zeros that several normalizations without parameters share would get names of layers, and be trained.
            if is_of_formula(&tensor, graph.name_of(input), kind, operator.facts().normalization) {
                continue;
            }
            let earlier = self.readers.get(&input).copied();
            self.readers.entry(input).or_insert(kind);
            // Layers that add nothing yet, as low-rank adapters start, are as equal as biases are.
            let kernel = |k: ParameterKind| matches!(k, ParameterKind::Kernel { .. }) && !is_uniform(&tensor);
            let apart = |e: ParameterKind| kind.is_buffer() || e.is_buffer() || !(self.keep || layer_again);
            let shared = earlier.is_some_and(|e| !kernel(kind) && !kernel(e) && apart(e));
            if shared {
                let copy = graph.constant(&layer(name, kind), tensor);
                let own = graph.name_of(copy).to_string();
                self.split.push(Split { name: own, initializer: graph.name_of(input).to_string(), site: Some((name.into(), i)) });
                inputs.iter_mut().skip(i).take(1).for_each(|input| *input = Some(copy));
            }
        }
        inputs
    }
}
