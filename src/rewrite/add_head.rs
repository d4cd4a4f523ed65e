//! A classifier for a network that ends with features: pooling and flattening as needed, and a linear layer.

use super::channels::{channel_axis, others};
use super::head::elements;
use super::prediction::names;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Network;
use crate::ir::{DType, Dim, Graph, Tensor, TensorType};
use crate::onnx::{SourceModel, attributes as a, declared_type, pb, to_proto};
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;

/// A model with a classifier behind one of its outputs, in whose place the logits are given out.
pub(super) struct Extended {
    pub source: SourceModel,
    /// The output's place.
    pub index: usize,
    /// The names of the weight and the bias.
    pub parameters: Vec<String>,
    /// What enters the layer, where that is no output of the file, for people.
    pub pooled: Option<String>,
}

/// Whether the input is images `[N, C, H, W]` by its shape.
fn has_channels_first(graph: &Graph) -> bool {
    let colours = |dim: Option<&Dim>| matches!(dim.and_then(|d| d.known()), Some(1 | 3));
    let shape = graph.inputs.first().map(|&input| &graph.ty(input).shape);
    shape.is_some_and(|shape| shape.len() == 4 && colours(shape.get(1)) && !colours(shape.last()))
}

/// Puts a linear layer for `classes` classes behind the output of that name, or behind the only one, initialised as PyTorch's `Linear`: uniform
/// in ±1/√features.
pub(super) fn extended(network: &Network, output: Option<&str>, classes: usize, seed: u64) -> Result<Extended> {
    let refused = |why: String| Error::option(Field::ADD_HEAD, why);
    let (graph, mut source) = (&network.base().graph, network.source().clone());
    let index = match (output, graph.outputs.len()) {
        (Some(name), _) => graph.outputs.iter().position(|&o| graph.name_of(o) == name),
        (None, 1) => Some(0),
        (None, _) => None,
    };
    let place = index.and_then(|index| {
        let (place, _) = network.base().outputs_in(source.proto.graph.as_ref()?).nth(index)?;
        Some((index, place, *graph.outputs.get(index)?))
    });
    let (index, place, features) = place.ok_or_else(|| {
        // Behind the file's outputs stand scores that something reads which is left out.
        let own = source.proto.graph.as_ref().map_or(0, |g| network.base().outputs_in(g).count());
        let (named, inner) = names(graph).into_iter().enumerate().partition::<Vec<_>, _>(|(at, _)| *at < own);
        let list = |names: Vec<(usize, String)>| names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ");
        refused(match (output.filter(|_| index.is_some()), named.is_empty()) {
            (Some(name), _) => format!(
                " needs an output of the file, and `{name}` is computed inside it and is none: export the model with `{name}` as an output"
            ),
            (None, true) => format!(
                " needs an output of the file, and spgraph can train none; inside the file it can train {}: export the model with that as an output",
                list(inner)
            ),
            (None, false) => format!(" needs the output with the features: name one of {} with {}", list(named), Field::PREDICTION),
        })
    })?;
    let ty = graph.ty(features).clone();
    let unfit = |why: &str| {
        let way = "export the model up to features [N, D]";
        refused(format!(
            " needs features [N, D], or maps or tokens with an axis of channels, and `{}` is {ty}{why}: {way}",
            graph.name_of(features)
        ))
    };
    let sizes: Vec<usize> = ty.shape.iter().skip(1).filter_map(|d| d.known()).collect();
    if sizes.is_empty() || sizes.len().saturating_add(1) != ty.rank() {
        return Err(unfit(""));
    }
    let axis = match channel_axis(graph, features).filter(|&a| a > 0) {
        Some(axis) => axis,
        // Where all but one axis have length 1 there is nothing to find.
        None if sizes.iter().filter(|&&n| n != 1).count() <= 1 => sizes.iter().position(|&n| n != 1).unwrap_or(0).saturating_add(1),
        // Shuffles of channels and groups hide the axis, which is where the input has it.
        None if ty.rank() == 4 && has_channels_first(graph) => 1,
        None => return Err(unfit(", and no layer before it says along which axis its channels lie")),
    };
    let count = sizes.get(axis.saturating_sub(1)).copied().unwrap_or_default();
    let pooled = sizes.iter().enumerate().any(|(i, &n)| n > 1 && i.saturating_add(1) != axis);
    if count == 0 {
        return Err(refused(format!(" needs features, and `{}` has none: it is {ty}", graph.name_of(features))));
    }
    if !matches!(ty.dtype, DType::F32 | DType::F64) {
        return Err(refused(format!(" needs features of floating-point numbers, and `{}` is {ty}", graph.name_of(features))));
    }
    let old_ir = source.proto.ir_version.is_some_and(|v| v < 4);
    let proto = source.proto.graph.as_mut().ok_or_else(|| Error::model("the model has no graph"))?;
    let mut taken: HashSet<String> = proto.node.iter().flat_map(|n| n.output.iter().chain(&n.name).cloned()).collect();
    taken.extend(proto.initializer.iter().map(|t| t.name().to_string()).chain(proto.input.iter().map(|i| i.name().to_string())));
    let mut fresh = |name: &str| {
        let mut name = name.to_string();
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    // Half precision is read as float32, and the file's own numbers stay of its type.
    let stored =
        proto.output.get(place).and_then(declared_type).map_or(ty.dtype, |(dtype, _)| if dtype.is_half() { dtype } else { ty.dtype });
    let mut at = proto.output.get(place).map(|o| o.name().to_string()).unwrap_or_default();
    let mut node = |op: &str, inputs: Vec<String>, output: String, attribute: Vec<pb::AttributeProto>| {
        proto.node.push(pb::NodeProto {
            name: Some(format!("/{output}/{op}")),
            op_type: Some(op.into()),
            input: inputs,
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        output
    };
    if pooled {
        if axis != 1 {
            let axis = axis as i64;
            let perm = [0, axis].into_iter().chain((1..ty.rank() as i64).filter(|&a| a != axis)).collect::<Vec<_>>();
            at = node("Transpose", vec![at], fresh("head.channels"), vec![a::attr_ints("perm", perm)]);
        }
        at = node("GlobalAveragePool", vec![at], fresh("head.pooled"), vec![]);
    }
    if sizes.len() > 1 {
        at = node("Flatten", vec![at], fresh("head.features"), vec![a::attr_int("axis", 1)]);
    }
    let (weight, bias) = (fresh("head.weight"), fresh("head.bias"));
    let logits = node("Gemm", vec![at, weight.clone(), bias.clone()], fresh("logits"), vec![a::attr_int("transB", 1)]);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let bound = 1.0 / (count as f64).sqrt();
    for (name, shape) in [(&weight, vec![classes, count]), (&bias, vec![classes])] {
        let elements =
            elements(&shape).ok_or_else(|| refused(format!(" would need a weight of the sizes {shape:?}, which is too large")))?;
        let values: Vec<f64> = (0..elements).map(|_| rng.random_range(-bound..bound)).collect();
        let tensor = Tensor::from_floats(ty.dtype, &shape, &values).cast(stored)?;
        proto.initializer.push(to_proto(name, &tensor));
        // Up to IR version 3 every initializer is also declared as an input.
        if old_ir {
            proto.input.push(crate::emit::value_info(name, &tensor.ty()));
        }
    }
    let declared = TensorType { dtype: stored, shape: vec![Dim::Known(1), Dim::Known(classes)] };
    if let Some(output) = proto.output.get_mut(place) {
        *output = crate::emit::value_info(&logits, &declared);
    }
    let pooled = pooled.then(|| format!("the mean over {} of `{}`", others(ty.rank(), axis), graph.name_of(features)));
    Ok(Extended { source, index, parameters: vec![weight, bias], pooled })
}
