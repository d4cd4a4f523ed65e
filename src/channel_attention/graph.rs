//! The network in two parts at a layer: what lies before it, and what lies behind it with a mask on its channels.

use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{Becomes, DType, Graph, Node, Rebuild, TensorType, ValueId};
use crate::loss::DataLoss;
use crate::onnx::pb;
use crate::operator::{Builder, Rule};
use crate::rewrite::{Prediction, Tap};
use std::collections::BTreeSet;

pub(super) struct Cut {
    /// Images → everything that the second parts read.
    pub before: pb::ModelProto,
    /// Its outputs.
    pub names: Vec<String>,
    /// For each layer.
    pub behind: Vec<Behind>,
}

pub(super) struct Behind {
    /// Values of the first part, mask and target → the mean loss.
    pub model: pb::ModelProto,
    /// The names of the inputs: values of the first part, and the two others.
    pub reads: Vec<String>,
    pub mask: String,
    pub target: String,
    pub channels: usize,
    /// The mask's shape: 1 but for the channels.
    pub mask_shape: Vec<usize>,
    pub dtype: DType,
}

pub(super) fn cut(imported: &Imported, taps: &[Tap], prediction: &Prediction, loss: &dyn DataLoss) -> Result<Cut> {
    let mut graph = imported.graph.clone();
    let tail = &prediction.tail;
    let scores = if loss.reads_output() { tail.flat_output(&mut graph) } else { tail.flat_logits(&mut graph) };
    let scores = scores.map_err(Error::internal)?;
    let graph = &graph;
    let mut needed: BTreeSet<ValueId> = BTreeSet::new();
    let mut behind = vec![];
    for tap in taps {
        let (part, reads) =
            second(graph, tap, scores, loss).map_err(|why| Error::model(format!("{} cannot be masked: {why}", tap.alias)))?;
        needed.extend(&reads);
        behind.push(part);
    }
    let mut first = graph.clone();
    first.name = "before".into();
    first.outputs = needed.into_iter().collect();
    let names = first.outputs.iter().map(|&v| graph.name_of(v).to_string()).collect();
    Ok(Cut { before: emit::model(&first, Dialect::Inlined)?, names, behind })
}

/// What depends on the layer's output, and which values of the first part it reads.
fn second(graph: &Graph, tap: &Tap, scores: ValueId, loss: &dyn DataLoss) -> Rule<(Behind, Vec<ValueId>)> {
    let dependent = graph.dependents(tap.value);
    if !dependent.contains(&scores) {
        return Err("the output does not depend on it".into());
    }
    let behind = |node: &Node| node.used().any(|v| dependent.contains(&v));
    let mut reads = vec![tap.value];
    for v in graph.nodes.iter().filter(|n| behind(n)).flat_map(|n| n.used()) {
        if !dependent.contains(&v) && graph.value(v).constant.is_none() && !reads.contains(&v) {
            reads.push(v);
        }
    }
    let ty = graph.ty(tap.value).clone();
    let channels = ty.shape.get(tap.axis).and_then(|d| d.known()).ok_or("its number of channels is not known")?;
    let mask_shape: Vec<usize> = (0..ty.rank()).map(|a| if a == tap.axis { channels } else { 1 }).collect();

    let mut part = Graph::new("behind");
    let mut copy = Rebuild::new(graph, &mut part);
    let mut inputs: Vec<ValueId> = reads.iter().map(|&v| copy.input(v, graph.ty(v).clone())).collect();
    let mask = copy.graph.input("mask", TensorType::new(ty.dtype, mask_shape.iter().copied()));
    let mut b = Builder::new(copy.graph);
    b.scope("mask");
    let masked = b.mul(*inputs.first().ok_or("it reads nothing")?, mask)?;
    copy.put(tap.value, masked);
    copy.run(|_, node| Ok(if behind(node) { Becomes::Itself } else { Becomes::Nothing }))?;
    let scores = copy.get(scores)?;

    let target = part.input("target", TensorType { dtype: DType::I64, shape: part.ty(scores).shape.iter().take(1).cloned().collect() });
    let mut b = Builder::new(&mut part);
    b.scope("loss");
    let loss = loss.add(&mut b, scores, target, 0.0)?;
    inputs.extend([mask, target]);
    part.inputs = inputs;
    part.outputs = vec![loss.value];
    part.verify()?;
    let name = |v: ValueId| part.name_of(v).to_string();
    let behind = Behind {
        model: emit::model(&part, Dialect::Inlined).map_err(|e| e.to_string())?,
        reads: reads.iter().map(|&v| graph.name_of(v).to_string()).collect(),
        mask: name(mask),
        target: name(target),
        channels,
        mask_shape,
        dtype: ty.dtype,
    };
    Ok((behind, reads))
}
