//! The classifier: finding it, and putting a new one in its place.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{BatchSize, ImportOptions, Imported, Network, Parameter, import, start_of};
use crate::ir::{DType, Dim, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::{SourceModel, pb, to_proto};
use crate::operator::{Facts, Meaning, ParameterKind, View};
use rand::{RngExt, SeedableRng};

/// The layer that turns features into logits.
#[derive(Debug, Clone)]
pub struct Head {
    /// The name of its node.
    pub node: String,
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

fn facts(graph: &Graph, node: &Node) -> Facts {
    View { graph, node }.operator().map_or(Facts::NONE, |o| o.facts())
}

/// The value that the loss takes: the first output, before a closing Softmax.
pub fn logits(graph: &Graph) -> Result<ValueId> {
    let mut value = *graph.outputs.first().ok_or_else(|| Error::model("the model has no output"))?;
    while let Some(node) = graph.producer(value).filter(|n| facts(graph, n).meaning == Meaning::Probabilities) {
        value = node.inputs[0].ok_or_else(|| Error::model("a Softmax has no input"))?;
    }
    Ok(value)
}

/// Finds the last Gemm, MatMul or 1×1 Conv before the output. Fails with the nodes that were looked at.
pub fn find_head(imported: &Imported) -> Result<Head> {
    let graph = &imported.graph;
    let mut value = logits(graph)?;
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
            let dims = graph.ty(kernel.value).dims().unwrap_or_default();
            if dims[2.min(dims.len())..].iter().any(|&d| d != 1) {
                break;
            }
            let own_bias = of_node.iter().find(|p| p.kind == ParameterKind::Bias).map(|p| (*p).clone());
            return Ok(Head {
                node: node.name.clone(),
                op_type: node.op_type.clone(),
                kernel: kernel.clone(),
                axis,
                bias: own_bias.or(bias),
                classes: dims[axis],
                features: dims.iter().product::<usize>() / dims[axis].max(1),
            });
        }
        if !facts(graph, node).keeps_classes {
            break;
        }
        if let Some(p) = of_node.iter().find(|p| p.kind == ParameterKind::Bias) {
            bias = Some((*p).clone());
        }
        match node.used().find(|&v| graph.value(v).constant.is_none()) {
            Some(next) => value = next,
            None => break,
        }
    }
    Err(Error::model(format!(
        "no classifier was found: going back from the output, spgraph looked at {} and met no Gemm, MatMul or 1×1 Conv with a constant weight. Keep the head with {}",
        if seen.is_empty() { "nothing".to_string() } else { seen.join(", ") },
        Field::KEEP_HEAD
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
    let bound = 1.0 / (head.features as f64).sqrt();
    let mut tensors = vec![];
    for (parameter, axis) in [(Some(&head.kernel), head.axis), (head.bias.as_ref(), usize::MAX)] {
        let Some(parameter) = parameter else { continue };
        let ty = imported.graph.ty(parameter.value);
        let mut shape = ty.dims().ok_or_else(|| Error::model("the classifier's weight has no fixed shape"))?;
        // A bias has the classes along its one axis that is longer than 1; with one class every axis is 1.
        let axis = if axis == usize::MAX { shape.iter().position(|&d| d == head.classes).unwrap_or(shape.len() - 1) } else { axis };
        let old_classes = std::mem::replace(&mut shape[axis], classes);
        let mut values: Vec<f64> = (0..shape.iter().product::<usize>()).map(|_| rng.random_range(-bound..bound)).collect();
        if !copies.is_empty() {
            let old = start_of(&imported.graph, parameter).ok_or_else(|| Error::model(format!("`{}` is no constant", parameter.name)))?;
            let (old, inner) = (old.to_f64()?, shape[axis + 1..].iter().product::<usize>());
            for outer in 0..shape[..axis].iter().product::<usize>() {
                for &(to, from) in copies {
                    let (to, from) = ((outer * classes + to) * inner, (outer * old_classes + from) * inner);
                    values[to..to + inner].copy_from_slice(&old[from..from + inner]);
                }
            }
        }
        let tensor = Tensor::from_floats(ty.dtype, &shape, &values);
        if !store(source, &parameter.name, &tensor) {
            return Err(Error::model(format!("the classifier's `{}` is shared with another layer and cannot be replaced", parameter.name)));
        }
        tensors.push((parameter.name.clone(), tensor));
    }
    declare_outputs(source, head.classes, classes);
    Ok(tensors)
}

/// The network with another classifier, as it stands in `source`, without a look at the model again. `None` where more than the number of
/// classes would change: a shape behind the classifier may be written down in numbers, and only the model says what they mean.
pub fn spliced(network: &Network, source: &SourceModel, tensors: &[(String, Tensor)], classes: usize) -> Option<Network> {
    let other = network.with_tensors(source.clone(), tensors).ok()?;
    let ty = |network: &Network| logits(&network.base().graph).map(|v| network.base().graph.ty(v).clone()).ok();
    let mut expected = ty(network)?;
    *expected.shape.get_mut(1)? = Dim::Known(classes);
    (ty(&other)? == expected).then_some(other)
}

/// Puts the classifier of `donor` into `target` in place of its own; both take images of `input_shape` (sizes after the
/// batch). Gives the donor's number of classes. Fails where the two classifiers don't read the same features.
pub fn transplant(target: &mut SourceModel, donor: &SourceModel, input_shape: &[usize]) -> Result<usize> {
    let options = ImportOptions { batch: BatchSize::Fixed(1), input_shape: Some(input_shape.to_vec()), keep_ties: false };
    let (here, there) = (import(target, &options)?, import(donor, &options)?);
    let (old, new) = (find_head(&here)?, find_head(&there)?);
    let dims = |imported: &Imported, head: &Head| imported.graph.ty(head.kernel.value).dims().unwrap_or_default();
    let (mut mine, mut theirs) = (dims(&here, &old), dims(&there, &new));
    let shown = (mine.clone(), theirs.clone());
    // Everything but the number of classes must agree.
    for (dims, axis) in [(&mut mine, old.axis), (&mut theirs, new.axis)] {
        if let Some(classes) = dims.get_mut(axis) {
            *classes = 0;
        }
    }
    if mine != theirs || old.bias.is_some() != new.bias.is_some() {
        return Err(Error::model(format!(
            "the classifier of {} does not fit: its weight `{}` has the shape {:?}, and the tuned network's `{}` has {:?}. Give the model that the bundle was made from",
            donor.path.display(),
            new.kernel.name,
            shown.1,
            old.kernel.name,
            shown.0
        )));
    }
    for (place, from) in [(Some(&old.kernel), Some(&new.kernel)), (old.bias.as_ref(), new.bias.as_ref())] {
        let (Some(place), Some(from)) = (place, from) else { continue };
        let tensor = start_of(&there.graph, from).ok_or_else(|| Error::model(format!("`{}` is no constant", from.name)))?;
        if !store(target, &place.name, &tensor) {
            return Err(Error::model(format!("the classifier's `{}` is shared with another layer and cannot be replaced", place.name)));
        }
    }
    declare_outputs(target, old.classes, new.classes);
    Ok(new.classes)
}

/// Overwrites the initializer, or the Constant node's value, of that name.
fn store(source: &mut SourceModel, name: &str, tensor: &Tensor) -> bool {
    let Some(graph) = source.proto.graph.as_mut() else { return false };
    if let Some(slot) = graph.initializer.iter_mut().find(|t| t.name() == name) {
        *slot = to_proto(name, &as_there(slot, tensor));
        // Up to IR version 3 the initializer is also declared as an input, with its old shape.
        for input in graph.input.iter_mut().filter(|i| i.name() == name) {
            *input = crate::emit::value_info(
                name,
                &TensorType { dtype: DType::from_onnx(slot.data_type()).unwrap_or(tensor.dtype()), ..tensor.ty() },
            );
        }
        return true;
    }
    let constant = graph.node.iter_mut().find(|n| n.op_type() == "Constant" && n.output.iter().any(|o| o == name));
    let value = constant.and_then(|n| n.attribute.iter_mut().find(|a| a.name() == "value"));
    value.map(|a| a.t = Some(to_proto("", &a.t.as_ref().map_or_else(|| tensor.clone(), |slot| as_there(slot, tensor))))).is_some()
}

/// The tensor in the half precision of the place where it goes.
fn as_there(slot: &pb::TensorProto, tensor: &Tensor) -> Tensor {
    let dtype = DType::from_onnx(slot.data_type()).filter(|d| d.is_half());
    dtype.and_then(|d| tensor.cast(d).ok()).unwrap_or_else(|| tensor.clone())
}

/// Corrects the declared shapes that hold the number of classes; intermediate declarations are dropped, for they may be stale.
fn declare_outputs(source: &mut SourceModel, old: usize, new: usize) {
    use pb::tensor_shape_proto::dimension::Value;
    let Some(graph) = source.proto.graph.as_mut() else { return };
    graph.value_info.clear();
    for output in &mut graph.output {
        let Some(pb::type_proto::Value::TensorType(t)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) else { continue };
        for dim in t.shape.iter_mut().flat_map(|s| s.dim.iter_mut().skip(1)) {
            if dim.value == Some(Value::DimValue(old as i64)) {
                dim.value = Some(Value::DimValue(new as i64));
            }
        }
    }
}

/// The number of classes: the logits' second dimension.
pub fn classes(graph: &Graph) -> Result<usize> {
    let ty = graph.ty(logits(graph)?);
    let rest = ty.shape.get(1..).unwrap_or_default();
    match rest.first() {
        Some(Dim::Known(n)) if *n > 1 && rest[1..].iter().all(|d| *d == Dim::Known(1)) => Ok(*n),
        _ => Err(Error::model(format!(
            "the model's output is {ty}; a classifier's is [N, classes]. Only classifiers can be fine-tuned so far"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::{Dialect, model};

    /// Whether the classifier of a fixture can be spliced; then the graph is the one that the model itself gives.
    fn splices(path: &std::path::Path) -> bool {
        let options = ImportOptions { batch: BatchSize::Fixed(3), input_shape: None, keep_ties: false };
        let Ok(network) = Network::open(crate::onnx::read(path).unwrap(), options.clone()) else { return false };
        let Ok(head) = find_head(network.base()) else { return false };
        let mut source = network.source().clone();
        let Ok(tensors) = replace(&mut source, network.base(), &head, 7, 0, &[]) else { return false };
        let Some(spliced) = spliced(&network, &source, &tensors, 7) else { return false };
        let again = Network::open(source, options).unwrap();
        let emitted = |network: &Network| model(&network.base().graph, Dialect::Inlined).unwrap();
        assert!(emitted(&spliced) == emitted(&again), "{}", path.display());
        true
    }

    #[test]
    fn a_spliced_classifier_is_the_one_that_the_model_gives() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "onnx"));
        let spliced: Vec<String> = files.filter(|p| splices(p)).map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        for name in ["basic.bn", "conv_head", "resnet50", "vgg", "tokens"] {
            assert!(spliced.iter().any(|s| s == name), "{name} is not among {spliced:?}");
        }
    }
}
