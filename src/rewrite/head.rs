//! The classifier: finding it, and putting a new one in its place.

use super::needs::needs;
use super::prediction::Prediction;
use super::shapes;
use super::spelling::{numbers_before, scores_before};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{Imported, Network, Parameter, node_name, start_of};
use crate::ir::{DType, Dim, Graph, Node, Tensor, ValueId};
use crate::onnx::attributes::attr_tensor;
use crate::onnx::{self, SourceModel, pb, to_proto};
use crate::operator::ParameterKind;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;

/// The layer that turns features into logits.
#[derive(Debug, Clone)]
pub struct Head {
    /// The name of its node.
    pub node: String,
    /// The name of what its node gives.
    pub scores: String,
    /// The operator of its node.
    pub op_type: String,
    /// The weight.
    pub kernel: Parameter,
    /// The axis of the weight along which the classes lie.
    pub axis: usize,
    /// What is added to each class's score, where there is such a parameter.
    pub bias: Option<Parameter>,
    /// Scores per image.
    pub classes: usize,
    /// Inputs per class.
    pub features: usize,
}

impl Head {
    /// Its weight, and its bias where it has one.
    pub(super) fn parameters(&self) -> Vec<ValueId> {
        std::iter::once(&self.kernel).chain(&self.bias).map(|p| p.value).collect()
    }
}

/// The value of which a node behind the classifier gives each class's score in another form; behind an output that is read as it is, also whatever it makes
/// of each number by itself.
fn before(graph: &Graph, node: &Node, prediction: &Prediction) -> Option<ValueId> {
    let numbers = || prediction.tail.hidden.as_ref().and_then(|_| numbers_before(graph, node));
    scores_before(graph, node).or_else(numbers)
}

/// Finds the last Gemm, MatMul or 1×1 Conv before an output. Fails with the nodes that were looked at.
pub fn head_behind(imported: &Imported, prediction: &Prediction) -> Result<Head> {
    let graph = &imported.graph;
    let mut value = prediction.tail.logits;
    let mut seen = vec![];
    let mut bias = None;
    while let Some(node) = graph.producer(value) {
        seen.push(format!("{} `{}`", node.op_type, node.name));
        let parameter = |v: ValueId| imported.parameters.iter().find(|p| p.enters == v);
        let of_node: Vec<&Parameter> = node.used().filter_map(parameter).collect();
        let kernel = of_node.iter().find_map(|p| match p.kind {
            ParameterKind::Kernel { axis } => Some((*p, axis)),
            _ => None,
        });
        if let Some((kernel, axis)) = kernel {
            // A weight whose sizes are no numbers is no classifier's.
            let (Some(dims), Some(used)) = (graph.ty(kernel.value).dims(), graph.ty(kernel.enters).dims()) else { break };
            if used.iter().skip(2).any(|&d| d != 1) {
                break;
            }
            // A weight whose sizes are numbers, and so few that they can be counted.
            let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let (Some(&classes), Some(count)) = (dims.get(axis), count) else { break };
            let own_bias = of_node.iter().find(|p| p.kind == ParameterKind::Bias).map(|p| (*p).clone());
            return Ok(Head {
                node: node.name.clone(),
                scores: graph.name_of(value).to_string(),
                op_type: node.op_type.clone(),
                kernel: kernel.clone(),
                axis,
                bias: own_bias.or(bias),
                classes,
                features: count.checked_div(classes).unwrap_or(count),
            });
        }
        let Some(next) = before(graph, node, prediction) else { break };
        if let Some(p) = of_node.iter().find(|p| p.kind == ParameterKind::Bias) {
            bias = Some((*p).clone());
        }
        value = next;
    }
    Err(Error::model(format!(
        "no classifier was found: going back from the output, spgraph looked at {} and met no Gemm, MatMul or 1×1 Conv with a constant weight. Keep the head with {}, or put a new one behind the output with {}",
        if seen.is_empty() { "nothing".to_string() } else { seen.join(", ") },
        Field::KEEP_HEAD,
        Field::ADD_HEAD
    )))
}

/// Puts a new classifier for `classes` classes into the source model, initialised as PyTorch's `Linear`:
/// uniform in ±1/√features; of `copies`, pairs of a new label and an old one, the new takes the old one's numbers. Gives its parameters
/// by name.
pub fn replace(
    source: &mut SourceModel,
    imported: &Imported,
    head: &Head,
    classes: usize,
    seed: u64,
    copies: &[(usize, usize)],
) -> Result<Vec<(String, Tensor)>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    if head.features == 0 {
        return Err(Error::model(format!("the classifier `{}` has no features", head.node)));
    }
    let bound = 1.0 / (head.features as f64).sqrt();
    let mut tensors = vec![];
    for (parameter, axis) in [(Some(&head.kernel), Some(head.axis)), (head.bias.as_ref(), None)] {
        let Some(parameter) = parameter else { continue };
        let ty = imported.graph.ty(parameter.value);
        let mut shape = ty.dims().ok_or_else(|| Error::model("the classifier's weight has no fixed shape"))?;
        // A bias has the classes along its one axis that is longer than 1; with one class every axis is 1.
        let of_bias = || shape.iter().position(|&d| d == head.classes).or(shape.len().checked_sub(1));
        let place = axis.or_else(of_bias).and_then(|axis| Some((axis, *shape.get(axis)?)));
        let (axis, old_classes) =
            place.ok_or_else(|| Error::model(format!("the classifier's `{}` has no axis of classes", parameter.name)))?;
        shape.iter_mut().skip(axis).take(1).for_each(|d| *d = classes);
        let count = elements(&shape).ok_or_else(|| {
            Error::option(
                Field::CLASSES,
                format!(" {classes}: the new classifier's weight would have the sizes {shape:?}, which is too large"),
            )
        })?;
        let mut values: Vec<f64> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        if !copies.is_empty() {
            let old = start_of(&imported.graph, parameter).ok_or_else(|| Error::model(format!("`{}` is no constant", parameter.name)))?;
            // All of them were counted above.
            let inner = shape.iter().skip(axis).skip(1).try_fold(1usize, |n, &d| n.checked_mul(d));
            let inner = inner.ok_or_else(|| Error::internal(format!("the sizes {shape:?} of `{}` cannot be counted", parameter.name)))?;
            copy(&old.to_f64()?, old_classes, &mut values, classes, (inner, copies));
        }
        let tensor = Tensor::from_floats(ty.dtype, &shape, &values);
        if !store(source, &parameter.name, &tensor)? && !store_apart(source, imported, &parameter.name, &tensor)? {
            return Err(shared_with_another(&parameter.name));
        }
        tensors.push((parameter.name.clone(), tensor));
    }
    shapes::adapt(source, imported, &head.parameters(), head.classes, classes);
    Ok(tensors)
}

/// Copies the numbers of classes, pairs of a new one and an old one, from a tensor of `old_classes` to one of `classes`. Behind the axis of classes both
/// have `inner` numbers for each of them.
fn copy(old: &[f64], old_classes: usize, new: &mut [f64], classes: usize, (inner, pairs): (usize, &[(usize, usize)])) {
    let row = |classes: usize| inner.saturating_mul(classes).max(1);
    for (new, old) in new.chunks_mut(row(classes)).zip(old.chunks(row(old_classes))) {
        for &(to, from) in pairs {
            let places = new.chunks_exact_mut(inner.max(1)).nth(to).zip(old.chunks_exact(inner.max(1)).nth(from));
            if let Some((to, from)) = places {
                to.copy_from_slice(from);
            }
        }
    }
}

/// The most elements that a new weight may have: no file of protobuf holds more.
const LARGEST: usize = 1 << 29;

/// How many elements a new weight of these sizes has, where those can be.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| *n <= LARGEST)
}

/// The network with another classifier, as it stands in `source`, without a look at the model again. `None` where more than the number of
/// classes would change: a shape behind the classifier may be written down in numbers, and only the model says what they mean.
pub fn spliced(
    network: &Network,
    prediction: &Prediction,
    source: &SourceModel,
    tensors: &[(String, Tensor)],
    classes: usize,
) -> Option<Network> {
    let other = network.with_tensors(source.clone(), tensors).ok()?;
    let graph = &network.base().graph;
    let old = Dim::Known(prediction.tail.scores());
    let mut expected = graph.ty(*graph.outputs.get(prediction.index)?).clone();
    *expected.shape.iter_mut().skip(1).find(|d| **d == old)? = Dim::Known(classes);
    let other_graph = &other.base().graph;
    (*other_graph.ty(*other_graph.outputs.get(prediction.index)?) == expected).then_some(other)
}

/// Overwrites the initializer, or the Constant node's value, of that name; says whether there is one. Fails where the place cannot hold such numbers.
pub(super) fn store(source: &mut SourceModel, name: &str, tensor: &Tensor) -> Result<bool> {
    let Some(graph) = source.proto.graph.as_mut() else { return Ok(false) };
    let Some(slot) = onnx::tensor_slot(graph, name) else { return Ok(false) };
    let tensor = as_there(slot, name, tensor)?;
    let place = slot.name().to_string();
    *slot = to_proto(place, &tensor);
    // Up to IR version 3 an initializer is also declared as an input, with its old shape.
    for input in graph.input.iter_mut().filter(|i| i.name() == name) {
        *input = crate::emit::value_info(name, &tensor.ty());
    }
    Ok(true)
}

/// Gives a parameter that the exporter had stored together with another of the same value a place of its own, with this tensor.
fn store_apart(source: &mut SourceModel, imported: &Imported, name: &str, tensor: &Tensor) -> Result<bool> {
    let Some(split) = imported.split.iter().find(|s| s.name == name) else { return Ok(false) };
    let old_ir = source.proto.ir_version.is_some_and(|v| v < 4);
    let Some(graph) = source.proto.graph.as_mut() else { return Ok(false) };
    let Some(slot) = onnx::tensor_slot(graph, &split.initializer) else { return Ok(false) };
    let tensor = as_there(slot, name, tensor)?;
    match &split.site {
        Some((node, input)) => {
            let reader = graph.node.iter_mut().enumerate().find(|(i, n)| node_name(*i, n) == *node).map(|(_, n)| n);
            let Some(place) = reader.and_then(|n| n.input.get_mut(*input)) else { return Ok(false) };
            *place = name.to_string();
            if old_ir {
                graph.input.push(crate::emit::value_info(name, &tensor.ty()));
            }
            graph.initializer.push(to_proto(name, &tensor));
        }
        // A node that takes the other's place: nameless nodes are known by their number.
        None => {
            let Some(place) = graph.node.iter_mut().find(|n| n.op_type() == "Identity" && n.output.iter().any(|o| o == name)) else {
                return Ok(false);
            };
            place.op_type = Some("Constant".into());
            place.input.clear();
            place.attribute = vec![attr_tensor("value", to_proto("", &tensor))];
        }
    }
    Ok(true)
}

/// Fails where a classifier is more than its weight and bias: other constants that hold numbers of its classes would stay as they are.
fn is_whole(imported: &Imported, prediction: &Prediction, head: &Head) -> Result<()> {
    let graph = &imported.graph;
    // What the classifier's weight is made of, and what stands between it and the logits.
    let (mut open, mut value) = (vec![head.kernel.enters], prediction.tail.logits);
    while let Some(node) = graph.producer(value) {
        open.extend(node.used().filter(|&v| !graph.value(v).varies));
        match before(graph, node, prediction).filter(|_| node.name != head.node) {
            Some(before) => value = before,
            None => break,
        }
    }
    let (own, mut seen) = (head.parameters(), HashSet::new());
    while let Some(v) = open.pop() {
        let ty = graph.ty(v);
        let of_classes = ty.dims().is_some_and(|dims| head.classes > 1 && dims.contains(&head.classes));
        if !seen.insert(v) || own.contains(&v) {
            continue;
        }
        if let Some(node) = graph.producer(v) {
            open.extend(node.used());
        } else if of_classes && (ty.dtype.is_float() || ty.dtype == DType::Bool) {
            return Err(Error::model(format!(
                "the classifier `{}` is more than its weight `{}`: `{}`, {ty}, is part of it and would stay the old one's. Keep the head with {}, or \
                 put a new one behind the output with {}",
                head.node,
                head.kernel.name,
                graph.name_of(v),
                Field::KEEP_HEAD,
                Field::ADD_HEAD
            )));
        }
    }
    Ok(())
}

/// Fails where another number of classes cannot become another number of scores.
pub fn replaceable(imported: &Imported, prediction: &Prediction, head: &Head) -> Result<()> {
    if head.classes != prediction.tail.scores() {
        return Err(Error::model(format!(
            "the last layer with a weight, `{}` ({}), gives {} numbers for each image, of which the model makes {} scores. Keep the head with {}, or \
             put a new one behind the output with {}",
            head.node,
            head.op_type,
            head.classes,
            prediction.tail.scores(),
            Field::KEEP_HEAD,
            Field::ADD_HEAD
        )));
    }
    is_apart(imported, head)?;
    is_whole(imported, prediction, head)
}

/// Fails where a layer before the classifier has its weights as well: that one would get the new ones, too.
fn is_apart(imported: &Imported, head: &Head) -> Result<()> {
    let graph = &imported.graph;
    let reads = graph.nodes.iter().find(|n| n.name == head.node).into_iter().flat_map(Node::used).filter(|&v| graph.value(v).varies);
    let before: Vec<HashSet<ValueId>> = reads.map(|v| needs(graph, v)).collect();
    match std::iter::once(&head.kernel).chain(&head.bias).find(|p| before.iter().any(|values| values.contains(&p.value))) {
        Some(shared) => Err(shared_with_another(&shared.name)),
        None => Ok(()),
    }
}

fn shared_with_another(name: &str) -> Error {
    Error::model(format!(
        "the classifier's `{name}` is shared with another layer and cannot be replaced. Keep the head with {}, or put a new one behind the \
         output with {}",
        Field::KEEP_HEAD,
        Field::ADD_HEAD
    ))
}

/// The tensor in the floating-point type of the place where it goes, which `name` is called. Fails where that is none.
fn as_there(slot: &pb::TensorProto, name: &str, tensor: &Tensor) -> Result<Tensor> {
    let dtype = DType::from_onnx(slot.data_type()).filter(|d| d.is_float());
    let dtype = dtype.ok_or_else(|| {
        let code = slot.data_type();
        Error::model(format!(
            "the classifier's `{name}` has the element type {code} in the file, which holds no weight; export the network in floating point"
        ))
    })?;
    if dtype == tensor.dtype() { Ok(tensor.clone()) } else { Ok(tensor.cast(dtype)?) }
}
