//! From an ONNX model to the graph: every node in canonical form, shapes known, shape arithmetic folded, parameters found.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod branches;
mod computed;
mod conversions;
mod element_types;
mod fixed;
mod importer;
mod input;
mod left_out;
mod lowered;
mod masks;
mod mixing;
mod names;
mod network;
mod options;
mod parameters;
mod place;
mod preview_training;
mod range;
mod readable;
mod reading;
mod readings;
mod refusals;
mod resized;
mod signature;
mod stored;
mod ties;

pub use element_types::value_types;
pub use fixed::FixedReason;
pub use left_out::{LeftOut, decided};
pub use lowered::{AnyInputs, Lowering, has_other_inputs, lowered, with_any_inputs};
pub use mixing::may_mix;
pub use names::node_name;
pub use network::Network;
pub use options::{BatchSize, ImportOptions};
pub use parameters::{FixedConstant, Parameter};
pub(crate) use range::{Range, range};
pub use refusals::{is_excessive, is_judged};
pub use ties::Split;

use crate::error::{Error, Result};
use crate::ir::{Attrs, DType, Graph, Node, Tensor, ValueId};
use crate::onnx::declaration::{declaration, size};
use crate::onnx::{self, SourceModel, half, pb};
use importer::Parts;
use parameters::Found;
use place::Readings;
use reading::Reading;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use stored::{Stored, settings, stored};

/// A source model as a graph, in the form for inference.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network; the images are its only input.
    pub graph: Graph,
    /// The image input.
    pub input: ValueId,
    /// What could be trained, in the order of use.
    pub parameters: Vec<Parameter>,
    /// Constants that are taken for no parameters, in the order of use.
    pub fixed: Vec<FixedConstant>,
    /// Attributes of the source that mean something in training only, by node.
    pub training: HashMap<String, Attrs>,
    /// Parameters that stood behind one initializer.
    pub split: Vec<Split>,
    /// The version of ONNX's own domain that the model uses.
    pub opset: i64,
    /// Nodes into whose shapes the exporter had written the batch size that it was shown: a number there was taken for the batch. Whoever relies on
    /// it runs the network on two images together and on each by itself.
    pub freed_batch: Vec<String>,
    /// The file's outputs that are not among the graph's, which has the others in the file's order, and behind them scores that are read by what is
    /// left out and are no output of the file.
    pub left_out: Vec<LeftOut>,
    /// The types in which the file computes the graph's outputs that are none of the file's, in their order.
    score_types: Vec<DType>,
    /// The constants that the file holds.
    stored: Arc<Stored>,
}

impl Imported {
    /// Whether the file's output of that name is not among the graph's.
    pub fn lacks(&self, output: &str) -> bool {
        self.left_out.iter().any(|l| l.output == output)
    }

    /// The file's outputs that the graph has, in its order, each with its place in the file.
    pub fn outputs_in<'a>(&'a self, proto: &'a pb::GraphProto) -> impl Iterator<Item = (usize, &'a str)> {
        proto.output.iter().map(|o| o.name()).enumerate().filter(|(_, name)| !self.lacks(name))
    }

    /// The model with the graph's outputs alone, and what they need; `None` where it has no others.
    pub fn without_left_out(&self, model: &pb::ModelProto) -> Option<pb::ModelProto> {
        let proto = model.graph.as_ref().filter(|_| !self.left_out.is_empty())?;
        let own: HashSet<&str> = self.outputs_in(proto).map(|(_, name)| name).collect();
        let kept = proto.output.iter().filter(|o| own.contains(o.name())).cloned();
        Some(onnx::part::with_outputs(model, kept.chain(self.inner_scores(proto)).collect()))
    }

    /// The graph's outputs that are none of the file's, as they would be declared there: in the type that the file computes them in.
    fn inner_scores(&self, proto: &pb::GraphProto) -> Vec<pb::ValueInfoProto> {
        let inner = self.graph.outputs.iter().skip(self.outputs_in(proto).count());
        let sizes = |v: ValueId| self.graph.ty(v).shape.iter().map(|d| size(d.known()));
        inner.zip(&self.score_types).map(|(&v, &dtype)| declaration(self.graph.name_of(v), dtype, sizes(v))).collect()
    }

    /// Takes outputs away from the model; scores that only those of them read which are left out become outputs in their place.
    pub fn give_up(&self, model: &mut pb::ModelProto, gone: &[&str]) {
        let Some(graph) = model.graph.as_mut().filter(|_| !gone.is_empty()) else { return };
        let mut scores = self.inner_scores(graph);
        scores.retain(|s| self.left_out.iter().any(|l| gone.contains(&l.output.as_str()) && l.depends_on(s.name())));
        // Nodes without a name are known by their places.
        for (index, node) in graph.node.iter_mut().enumerate().filter(|(_, n)| n.name().is_empty()) {
            node.name = Some(node_name(index, node));
        }
        graph.output.retain(|o| !gone.contains(&o.name()));
        graph.output.extend(scores);
        onnx::part::without_dead(graph);
    }

    /// The same network as another graph, which a pass has made of this one.
    pub fn over(&self, graph: Graph) -> Result<Imported> {
        let input = *graph.inputs.first().ok_or_else(|| Error::internal(format!("the graph `{}` has lost its input", graph.name)))?;
        let stored = self.stored.clone();
        let Found { parameters, fixed } = parameters::find(&graph, &stored);
        let (training, split, freed_batch) = (self.training.clone(), self.split.clone(), self.freed_batch.clone());
        let (left_out, score_types) = (self.left_out.clone(), self.score_types.clone());
        Ok(Imported { graph, input, parameters, fixed, training, split, opset: self.opset, freed_batch, left_out, score_types, stored })
    }
}

/// Versions of the file format that are read.
const FORMATS: std::ops::RangeInclusive<i64> = 3..=14;

/// Oldest and newest opset of ONNX's own domain that the import rules know.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=26;

/// Builds the graph of `source`, of which everything in half precision becomes float32. Fails with every node that is not supported at once.
pub fn import(source: &SourceModel, options: &ImportOptions) -> Result<Imported> {
    let opset = opset(source)?;
    let types = element_types::checked(source.graph()?, opset)?;
    let mut source = Cow::Borrowed(source);
    if half::is_in(&source.proto) {
        let SourceModel { proto, external, .. } = source.to_mut();
        half::widen(proto, external)?;
    }
    conversions::resolve(&mut source)?;
    let source = &*source;
    let proto = source.graph()?;
    if !proto.sparse_initializer.is_empty() {
        return Err(Error::model("sparse initializers are not supported: export the network with dense weights"));
    }
    let reading = Reading::new(source, opset, options)?;
    let read = |part: Option<&left_out::Part>| {
        let nodes = part.map(|p| p.nodes());
        let read_as = |readings: &Readings| reading.run(readings, nodes.as_ref());
        readings::settled(proto, read_as(&Readings::new()), read_as)
    };
    let mut unknown = reading.unknown();
    let (part, importer, input) = loop {
        let mut part = left_out::part(proto, &unknown, &types);
        let (mut importer, mut input) = read(part.as_ref());
        // What is picked among need not be scores. Then the file is read as if nothing picked among it.
        if part.as_mut().is_some_and(|part| part.give_up(|name| importer.may_be_scores(name))) {
            part = part.filter(|part| !part.is_empty());
            (importer, input) = read(part.as_ref());
        }
        // Which branch is taken is seen while the nodes are read, or not.
        let known: HashSet<usize> = unknown.iter().map(|u| u.index).collect();
        let before = unknown.len();
        unknown.extend(std::mem::take(&mut importer.refusals.unknown).into_iter().filter(|u| !known.contains(&u.index)));
        if unknown.len() == before {
            break (part, importer, input);
        }
    };
    let Parts { mut graph, values, training, split, freed_batch, computed } = importer.finish()?;
    let score_types = part.iter().flat_map(|part| part.scores()).filter_map(|name| types.get(name).copied()).collect();
    let (outputs, left_out) = match part {
        Some(part) => (part.outputs().collect(), part.left_out),
        None => (proto.output.iter().map(|o| o.name()).collect::<Vec<_>>(), vec![]),
    };
    for output in outputs {
        let id = values.get(output).ok_or_else(|| match proto.node.iter().find(|n| n.output.iter().any(|o| o == output)) {
            Some(node) => Error::model(format!(
                "the model's output `{output}` is a further result of `{}` ({}), which spgraph has no use for: export the model without that output",
                node.name(),
                node.op_type()
            )),
            None => Error::model(format!("no node computes the output `{output}`")),
        })?;
        let id = under_its_name(&mut graph, *id, output);
        graph.outputs.push(id);
    }
    let mut stored = Stored { computed, ..stored(proto, &split) };
    stored.settings = settings(proto, &graph, &values, &stored);
    let stored = Arc::new(stored);
    let Found { parameters, fixed } = parameters::find(&graph, &stored);
    graph.verify().map_err(|e| Error::model(format!("{}: {e}", source.path.display())))?;
    Ok(Imported { graph, input, parameters, fixed, training, split, opset, freed_batch, left_out, score_types, stored })
}

/// An output of the model: the value, or what hands it on under the output's name where a rule made it under another.
fn under_its_name(graph: &mut Graph, value: ValueId, name: &str) -> ValueId {
    match graph.find(name) {
        Some(found) if found == value || graph.outputs.contains(&found) => return value,
        // What a rule has made, or a node of a branch, in which the name means something else.
        Some(other) => {
            let free = graph.fresh(name);
            graph.rename_as(other, &free);
        }
        None => {}
    }
    let ty = graph.ty(value).clone();
    let node = Node::new(format!("{name}/Identity"), "Identity", vec![Some(value)], Attrs::new());
    graph.single_as(node, (name.to_string(), ty))
}

/// The version of ONNX's own domain that the model uses.
pub fn opset(source: &SourceModel) -> Result<i64> {
    let own = || onnx::standard_opsets(&source.proto);
    let version = own().next();
    if let Some(other) = own().find(|&other| Some(other) != version) {
        return Err(Error::model(format!(
            "the model says twice which opset of ONNX it uses, {} and {other}: export it again",
            version.unwrap_or_default()
        )));
    }
    if !FORMATS.contains(&source.proto.ir_version()) {
        return Err(Error::model(format!(
            "the model says that its file has version {} of ONNX's format (`ir_version`); spgraph reads {} to {}. Export it again, for an older one",
            source.proto.ir_version(),
            FORMATS.start(),
            FORMATS.end()
        )));
    }
    let version = version.ok_or_else(|| Error::model("the model does not say which opset it uses (no opset_import for ai.onnx)"))?;
    if !OPSETS.contains(&version) {
        return Err(Error::model(format!(
            "the model uses opset {version}; spgraph reads opsets {} to {}. Export it again, or convert it with onnx.version_converter",
            OPSETS.start(),
            OPSETS.end()
        )));
    }
    Ok(version)
}

/// The tensor behind a parameter.
pub fn start_of(graph: &Graph, parameter: &Parameter) -> Option<Tensor> {
    graph.value(parameter.value).constant.clone()
}
