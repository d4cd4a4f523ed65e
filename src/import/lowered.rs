//! Models with operators of `ai.onnx.preview.training`: imported as they are, with any number of inputs, and those operators in standard ones.

use super::importer::{Importer, Parts};
use super::names::node_name;
use super::opset;
use super::options::{BatchSize, ImportOptions};
use super::parameters::{self, Found, Parameter};
use super::preview_training::{self, DOMAIN};
use super::readable::Readable;
use super::stored::stored;
use crate::error::{Error, Result};
use crate::ir::{DType, Dim, Graph, TensorType, ValueId};
use crate::onnx::{self, Attributes, SourceModel, declared_type, pb};
use crate::operator::{Builder, OPSET, Rule};
use std::collections::{HashMap, HashSet};

/// A model without preview operators.
pub struct Lowering {
    /// With the inputs and outputs of the model, under their names.
    pub graph: Graph,
    /// How many nodes of each preview operator there were.
    pub replaced: Vec<(String, usize)>,
}

/// Imports `source`, with `Gradient`, `Adam`, `Adagrad` and `Momentum` in standard operators. Fails with every node that is not supported.
pub fn lowered(source: &SourceModel) -> Result<Lowering> {
    let proto = source.graph()?;
    let own = onnx::standard_opsets(&source.proto).next().is_some();
    // Where all nodes are of the preview domain, models need not say which version of ONNX's own they use.
    let opset = if own { opset(source)? } else { OPSET };
    let mut graph = Graph::new(proto.name().to_string());
    let mut values: HashMap<String, ValueId> = HashMap::new();
    for initializer in &proto.initializer {
        let id = graph.constant(initializer.name(), source.tensor(initializer)?);
        values.insert(initializer.name().to_string(), id);
    }
    let mut symbol = None;
    for info in &proto.input {
        let ty = input_type(info, &mut symbol)?;
        match values.get(info.name()).copied() {
            // A default: the input stays one, and its value is not relied on.
            Some(constant) => {
                let declared = graph.ty(constant).clone();
                return Err(Error::model(format!(
                    "the input `{}` ({declared}) has a default, an initializer of its name: make it one of the two",
                    info.name()
                )));
            }
            None => {
                let id = graph.input(info.name(), ty);
                values.insert(info.name().to_string(), id);
            }
        }
    }
    let options = ImportOptions { batch: BatchSize::Dynamic, input_shape: None, keep_ties: true };
    let mut importer = Importer::new((graph, values), Readable::default(), opset, None, &options);
    let mut replaced: Vec<(String, usize)> = vec![];
    for (index, node) in proto.node.iter().enumerate() {
        if node.domain() != DOMAIN {
            importer.node(index, node);
            continue;
        }
        importer.preview(index, node, lower);
        match replaced.iter_mut().find(|(op, _)| op == node.op_type()) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => replaced.push((node.op_type().to_string(), 1)),
        }
    }
    let Parts { mut graph, values, .. } = importer.finish()?;
    let named = |name: &str| values.get(name).copied().ok_or_else(|| Error::model(format!("no node computes the output `{name}`")));
    for output in &proto.output {
        let value = named(output.name())?;
        let own = graph.value(value).producer.is_some() && !graph.outputs.contains(&value);
        let port = match own && graph.name_of(value) == output.name() {
            true => value,
            false => {
                let copy = Builder::new(&mut graph).op("Identity", &[value], Default::default());
                let copy = copy.map_err(|why| Error::internal(format!("an output cannot be copied: {why}")))?;
                // The name may be that of a value that is not an output itself.
                if let Some(other) = graph.find(output.name()) {
                    let free = graph.fresh(output.name());
                    graph.rename_as(other, &free);
                }
                graph.rename_as(copy, output.name());
                copy
            }
        };
        graph.outputs.push(port);
    }
    graph.verify().map_err(|e| Error::model(format!("{}: {e}", source.path.display())))?;
    Ok(Lowering { graph, replaced })
}

/// A model with any inputs, in the form for inference, with its parameters.
pub struct AnyInputs {
    /// With the inputs and outputs of the model, under their names.
    pub graph: Graph,
    /// What its inputs meet.
    pub parameters: Vec<Parameter>,
}

/// Whether a model takes something else than one batch of images in floating-point numbers or bytes.
pub fn has_other_inputs(source: &SourceModel) -> Result<bool> {
    let proto = source.graph()?;
    let initializers: HashSet<&str> = proto.initializer.iter().map(|t| t.name()).collect();
    let mut inputs = proto.input.iter().filter(|i| !initializers.contains(i.name()));
    let (Some(info), None) = (inputs.next(), inputs.next()) else { return Ok(true) };
    let images = |(dtype, dims): (DType, Vec<Option<usize>>)| matches!(dtype, DType::F32 | DType::F64 | DType::U8) && dims.len() > 1;
    Ok(declared_type(info).is_some_and(|ty| !images(ty)))
}

/// Imports `source`, whatever its inputs are. Fails with every node that is not supported.
pub fn with_any_inputs(source: &SourceModel) -> Result<AnyInputs> {
    let Lowering { graph, .. } = lowered(source)?;
    // Initializers that an exporter had merged stay one.
    let Found { parameters, .. } = parameters::find(&graph, &stored(source.graph()?, &[]));
    Ok(AnyInputs { graph, parameters })
}

/// The type of an input: known sizes, but for a first one that may be the same symbol in all inputs.
fn input_type(info: &pb::ValueInfoProto, symbol: &mut Option<String>) -> Result<TensorType> {
    use pb::tensor_shape_proto::dimension::Value;
    let refused = |why: &str| Error::model(format!("the input `{}` {why}: save the model with sizes as numbers", info.name()));
    let (dtype, dims) = declared_type(info).ok_or_else(|| refused("has no tensor type or no known rank"))?;
    let first = info.r#type.as_ref().and_then(|t| t.value.as_ref()).and_then(|v| match v {
        pb::type_proto::Value::TensorType(t) => t.shape.as_ref()?.dim.first()?.value.clone(),
        _ => None,
    });
    let mut shape = vec![];
    for (axis, size) in dims.into_iter().enumerate() {
        shape.push(match (size, axis, &first) {
            (Some(n), ..) => Dim::Known(n),
            (None, 0, Some(Value::DimParam(name))) if symbol.as_ref().is_none_or(|s| s == name) => {
                *symbol = Some(name.clone());
                Dim::Batch(1)
            }
            (None, 0, _) => return Err(refused("has a first size that is not known, or another symbol than the other inputs")),
            _ => return Err(refused("has a size that is not known")),
        });
    }
    Ok(TensorType { dtype, shape })
}

/// The results of a preview operator.
fn lower(graph: &mut Graph, values: &HashMap<String, ValueId>, index: usize, node: &pb::NodeProto) -> Rule<Vec<ValueId>> {
    let inputs: Vec<Option<ValueId>> = node.input.iter().map(|name| values.get(name).copied()).collect();
    if let Some((name, _)) = node.input.iter().zip(&inputs).find(|(name, v)| v.is_none() && !name.is_empty()) {
        return Err(format!("its input `{name}` is computed nowhere before it"));
    }
    let attributes = Attributes::new(node).map_err(|e| e.to_string())?;
    let results = match node.op_type() {
        "Gradient" => {
            let find =
                |name: &str| values.get(name).copied().ok_or_else(|| format!("it names `{name}`, which is computed nowhere before it"));
            let list = |name: &str| -> Rule<Vec<ValueId>> {
                attributes.strings(name).map_err(|e| e.to_string())?.unwrap_or_default().into_iter().map(&find).collect()
            };
            let (xs, zs) = (list("xs")?, list("zs")?);
            let y = attributes.string("y").map_err(|e| e.to_string())?.ok_or("its attribute `y` is missing")?;
            if xs.is_empty() {
                return Err("its attribute `xs` is missing".into());
            }
            let given: Option<Vec<ValueId>> = inputs.iter().copied().collect();
            preview_training::gradient(graph, &xs, &zs, find(y)?, &given.ok_or("one of its inputs is left out")?)?
        }
        op => preview_training::build(graph, op, &node_name(index, node), &inputs, &attributes)?,
    };
    let unread = attributes.unread();
    if !unread.is_empty() {
        return Err(format!("its attributes {} are not understood", unread.join(", ")));
    }
    if node.output.len() > results.len() {
        return Err(format!("it has {} outputs, and ONNX gives it {}", node.output.len(), results.len()));
    }
    Ok(results)
}
