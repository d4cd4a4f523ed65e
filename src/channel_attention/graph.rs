//! The network in two parts at a layer: what lies before it, and what lies behind it with a mask on its channels.

use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{DType, Dim, Graph, Node, TensorType, ValueId};
use crate::loss;
use crate::onnx::pb;
use crate::operator::{Builder, Rule};
use crate::rewrite::{self, Tap};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(super) struct Cut {
    /// Images → everything that the second parts read.
    pub before: pb::ModelProto,
    /// Its outputs.
    pub names: Vec<String>,
    /// For each layer.
    pub behind: Vec<Behind>,
}

pub(super) struct Behind {
    /// Values of the first part, `mask` and `target` → the mean loss.
    pub model: pb::ModelProto,
    pub reads: Vec<String>,
    pub channels: usize,
    /// The mask's shape: 1 but for the channels.
    pub mask_shape: Vec<usize>,
    pub dtype: DType,
}

pub(super) fn cut(imported: &Imported, taps: &[Tap]) -> Result<Cut> {
    let graph = &imported.graph;
    let logits = rewrite::logits(graph)?;
    let mut needed: BTreeSet<ValueId> = BTreeSet::new();
    let mut behind = vec![];
    for tap in taps {
        let (part, reads) = second(graph, tap, logits).map_err(|why| Error::model(format!("{} cannot be masked: {why}", tap.alias)))?;
        needed.extend(&reads);
        behind.push(Behind { reads: reads.iter().map(|&v| graph.name_of(v).to_string()).collect(), ..part });
    }
    let mut first = graph.clone();
    first.name = "before".into();
    first.outputs = needed.into_iter().collect();
    let names = first.outputs.iter().map(|&v| graph.name_of(v).to_string()).collect();
    Ok(Cut { before: emit::model(&first, Dialect::Inlined), names, behind })
}

/// What depends on the layer's output, and which computed values it reads.
fn second(graph: &Graph, tap: &Tap, logits: ValueId) -> Rule<(Behind, Vec<ValueId>)> {
    let mut dependent = HashSet::from([tap.value]);
    let mut nodes: Vec<&Node> = vec![];
    for node in &graph.nodes {
        if node.used().any(|v| dependent.contains(&v)) {
            dependent.extend(node.outputs.iter().copied());
            nodes.push(node);
        }
    }
    if !dependent.contains(&logits) {
        return Err("the output does not depend on it".into());
    }
    let mut part = Graph::new("behind");
    let mut place: HashMap<ValueId, ValueId> = HashMap::new();
    let mut reads = vec![tap.value];
    for v in nodes.iter().flat_map(|n| n.used()) {
        if dependent.contains(&v) || place.contains_key(&v) {
            continue;
        }
        let here = match &graph.value(v).constant {
            Some(tensor) => part.constant(graph.name_of(v), tensor.clone()),
            None => {
                reads.push(v);
                part.input(graph.name_of(v), graph.ty(v).clone())
            }
        };
        place.insert(v, here);
    }
    let ty = graph.ty(tap.value).clone();
    let channels = ty.shape.get(tap.axis).and_then(|d| d.known()).ok_or("its number of channels is not known")?;
    let mask_shape: Vec<usize> = (0..ty.rank()).map(|a| if a == tap.axis { channels } else { 1 }).collect();
    let map = part.input(graph.name_of(tap.value), ty.clone());
    let mask = part.input("mask", TensorType::new(ty.dtype, mask_shape.iter().copied()));
    let mut b = Builder::new(&mut part);
    b.scope("mask");
    let masked = b.mul(map, mask)?;
    place.insert(tap.value, masked);
    for node in nodes {
        let inputs = node.inputs.iter().map(|i| i.and_then(|v| place.get(&v).copied())).collect();
        let types = node.outputs.iter().map(|&o| (graph.name_of(o).to_string(), graph.ty(o).clone())).collect();
        let outputs = part.node(Node { inputs, outputs: vec![], ..node.clone() }, types);
        place.extend(node.outputs.iter().copied().zip(outputs));
    }
    let logits = place.get(&logits).copied().ok_or("the logits are missing")?;
    let shape: Vec<Dim> = part.ty(logits).shape.iter().copied().take(2).collect();
    let target = part.input("target", TensorType { dtype: DType::I64, shape: shape[..1].to_vec() });
    let mut b = Builder::new(&mut part);
    b.scope("loss");
    let logits = b.reshape(logits, &shape)?;
    let loss = loss::cross_entropy(&mut b, logits, target, 0.0)?;
    part.outputs = vec![loss.value];
    part.verify()?;
    let model = emit::model(&part, Dialect::Inlined);
    Ok((Behind { model, reads: vec![], channels, mask_shape, dtype: ty.dtype }, reads))
}
