//! From an ONNX model to the graph: every node in canonical form, shapes known, shape arithmetic folded, parameters found.

mod parameters;

pub use parameters::{Parameter, ParameterKind};

use crate::error::{Error, Refusal, Result};
use crate::ir::{DType, Dim, Elem, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::{Attributes, SourceModel, pb};
use crate::operator::{BatchNormUpdate, Import, Known, Operator, Status, View};
use crate::ops::table;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The batch size that a graph is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    Fixed(usize),
    /// The symbol `N`.
    Dynamic,
}

impl From<BatchSize> for Dim {
    fn from(b: BatchSize) -> Dim {
        match b {
            BatchSize::Fixed(n) => Dim::Known(n),
            BatchSize::Dynamic => Dim::Batch(1),
        }
    }
}

#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub batch: BatchSize,
    /// Sizes after the batch dimension, instead of the model's own.
    pub input_shape: Option<Vec<usize>>,
    /// Use batch statistics in BatchNormalization, except where the scale is one of `frozen`.
    pub batch_norm_train: bool,
    pub frozen: HashSet<String>,
    /// Keep one parameter where the exporter wrote one initializer for several of equal value.
    pub keep_ties: bool,
}

/// A parameter that the exporter had stored together with another of the same value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The parameter's own name from now on.
    pub name: String,
    pub initializer: String,
    /// Node and input that read the initializer itself; `None` where an Identity of that name does.
    pub site: Option<(String, usize)>,
}

/// A source model as a graph.
#[derive(Debug)]
pub struct Imported {
    pub graph: Graph,
    /// The image input.
    pub input: ValueId,
    /// What could be trained, in the order of use.
    pub parameters: Vec<Parameter>,
    pub updates: Vec<BatchNormUpdate>,
    /// Parameters that stood behind one initializer.
    pub split: Vec<Split>,
    pub opset: i64,
}

/// Oldest and newest opset of ONNX's own domain that the import rules know.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=23;

/// Builds the graph of `source`. Fails with every node that is not supported at once.
pub fn import(source: &SourceModel, options: &ImportOptions) -> Result<Imported> {
    let proto = source.graph()?;
    let opset = opset(source)?;
    if !proto.sparse_initializer.is_empty() {
        return Err(Error::model("sparse initializers are not supported: export the network with dense weights"));
    }
    let mut graph = Graph::new(proto.name().to_string());
    let mut values: HashMap<String, ValueId> = HashMap::new();
    for initializer in &proto.initializer {
        let tensor = source.tensor(initializer)?;
        if matches!(tensor.dtype(), DType::F16 | DType::BF16) {
            return Err(Error::model(format!(
                "the weight `{}` has element type {}: convert the model to float32 first, half precision cannot be fine-tuned as it is",
                initializer.name(),
                tensor.dtype()
            )));
        }
        let id = graph.constant(initializer.name(), tensor);
        values.insert(initializer.name().to_string(), id);
    }
    let input = declare_input(&mut graph, &mut values, proto, options)?;
    let mut importer = Importer {
        graph,
        values,
        opset,
        options,
        updates: vec![],
        split: vec![],
        refusals: vec![],
        readers: HashMap::new(),
        skipped: HashSet::new(),
    };
    for (index, node) in proto.node.iter().enumerate() {
        importer.node(index, node);
    }
    if !importer.refusals.is_empty() {
        return Err(Error::Unsupported(importer.refusals));
    }
    let Importer { mut graph, values, updates, split, .. } = importer;
    for output in &proto.output {
        let id = values.get(output.name()).ok_or_else(|| Error::model(format!("no node computes the output `{}`", output.name())))?;
        graph.outputs.push(*id);
    }
    let parameters = parameters::find(&graph);
    graph.verify().map_err(|e| Error::model(format!("{}: {e}", source.path.display())))?;
    Ok(Imported { graph, input, parameters, updates, split, opset })
}

/// The version of ONNX's own domain that the model uses.
pub fn opset(source: &SourceModel) -> Result<i64> {
    let version = source.proto.opset_import.iter().find(|o| matches!(o.domain(), "" | "ai.onnx")).map(|o| o.version());
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

/// Element type and dimensions (`None`: unknown or symbolic) of a declared input.
fn declared(info: &pb::ValueInfoProto) -> Option<(DType, Vec<Option<usize>>)> {
    use pb::tensor_shape_proto::dimension::Value;
    let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    let dims = t.shape.as_ref()?.dim.iter().map(|d| match d.value {
        Some(Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    });
    Some((DType::from_onnx(t.elem_type())?, dims.collect()))
}

/// The model's one data input.
fn declare_input(
    graph: &mut Graph,
    values: &mut HashMap<String, ValueId>,
    proto: &pb::GraphProto,
    options: &ImportOptions,
) -> Result<ValueId> {
    // Up to IR version 3 every initializer is repeated as an input.
    let inputs: Vec<_> = proto.input.iter().filter(|i| !values.contains_key(i.name())).collect();
    let [info] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|i| i.name()).take(5).collect();
        let more = match inputs.len() {
            0 => "none",
            1..=5 => "",
            _ => ", …",
        };
        return Err(Error::model(format!(
            "spgraph trains networks with one input, for images, and this one has {} ({}{more}). Export the network by itself",
            inputs.len(),
            names.join(", ")
        )));
    };
    let name = info.name();
    let (dtype, dims) = declared(info).ok_or_else(|| Error::model(format!("the input `{name}` has no tensor type or no known rank")))?;
    if !matches!(dtype, DType::F32 | DType::F64) {
        return Err(Error::model(format!(
            "the input `{name}` has element type {dtype}; spgraph trains networks with float32 or float64 input"
        )));
    }
    let inner: Vec<usize> = match &options.input_shape {
        Some(shape) if shape.len() + 1 == dims.len() => {
            for (have, want) in dims[1..].iter().zip(shape) {
                if have.is_some_and(|h| h != *want) {
                    return Err(Error::usage(format!(
                        "--input-shape {} does not fit the input `{name}`, whose fixed sizes are {}",
                        join(shape),
                        dims[1..].iter().map(|d| d.map_or("?".into(), |n| n.to_string())).collect::<Vec<_>>().join("x")
                    )));
                }
            }
            shape.clone()
        }
        Some(shape) => {
            return Err(Error::usage(format!(
                "--input-shape {} has {} sizes, the input `{name}` has {} after the batch",
                join(shape),
                shape.len(),
                dims.len().saturating_sub(1)
            )));
        }
        None => dims.get(1..).unwrap_or_default().iter().copied().collect::<Option<_>>().ok_or_else(|| {
            Error::usage(format!("the model leaves the sizes of its input `{name}` open; give them, for example --input-shape 3x224x224"))
        })?,
    };
    if dims.len() < 2 {
        return Err(Error::model(format!("the input `{name}` has no batch dimension followed by data")));
    }
    let shape = std::iter::once(Dim::from(options.batch)).chain(inner.into_iter().map(Dim::Known));
    let id = graph.input(name, TensorType { dtype, shape: shape.collect() });
    values.insert(name.to_string(), id);
    Ok(id)
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("x")
}

struct Importer<'a> {
    graph: Graph,
    values: HashMap<String, ValueId>,
    opset: i64,
    options: &'a ImportOptions,
    updates: Vec<BatchNormUpdate>,
    split: Vec<Split>,
    refusals: Vec<Refusal>,
    /// Constants that some layer reads as a parameter, with what the first one reads them for.
    readers: HashMap<ValueId, ParameterKind>,
    /// Results of refused nodes: what depends on them is not judged.
    skipped: HashSet<String>,
}

/// The name of the node at `index` in the graph; nodes without one are numbered.
pub fn node_name(index: usize, node: &pb::NodeProto) -> String {
    if node.name().is_empty() { format!("{}_{index}", node.op_type()) } else { node.name().to_string() }
}

/// Why an operator outside the table is refused.
fn unknown(op: &str) -> &'static str {
    match op {
        "If" | "Loop" | "Scan" => "sub-graphs cannot be differentiated; export the network without control flow",
        "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" => {
            "the model is quantized to integers, which have no gradient; start from the float model it was made of"
        }
        op if op.starts_with("QLinear") => {
            "the model is quantized to integers, which have no gradient; start from the float model it was made of"
        }
        _ => "spgraph does not know this operator",
    }
}

impl Importer<'_> {
    fn refuse(&mut self, node: &pb::NodeProto, reason: impl Into<String>) {
        let name = if node.name().is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name().to_string() };
        let op = if matches!(node.domain(), "" | "ai.onnx") {
            node.op_type().to_string()
        } else {
            format!("{}.{}", node.domain(), node.op_type())
        };
        self.refusals.push(Refusal { node: name, op, reason: reason.into() });
        self.skipped.extend(node.output.iter().cloned());
    }

    fn node(&mut self, index: usize, node: &pb::NodeProto) {
        if !matches!(node.domain(), "" | "ai.onnx") {
            return self.refuse(node, "only operators of ONNX's own domain are supported");
        }
        let Some(operator) = table::find(node.op_type()) else { return self.refuse(node, unknown(node.op_type())) };
        if let Status::Refused(reason) = operator.status() {
            return self.refuse(node, reason);
        }
        if node.input.iter().any(|i| self.skipped.contains(i)) {
            self.skipped.extend(node.output.iter().cloned());
            return;
        }
        let mut inputs = vec![];
        for name in &node.input {
            match self.values.get(name) {
                Some(&id) => inputs.push(Some(id)),
                None if name.is_empty() => inputs.push(None),
                None => return self.refuse(node, format!("its input `{name}` is computed nowhere before it")),
            }
        }
        if let Err(reason) = self.place(index, node, operator, inputs) {
            self.refuse(node, reason);
        }
    }

    /// An exporter writes `Identity` of an initializer where a second parameter had the same value: give it its own constant,
    /// or with ties kept another name for the same one.
    fn untie(&mut self, node: &pb::NodeProto, inputs: &[Option<ValueId>]) -> bool {
        let ([Some(input)], [output]) = (inputs, &node.output[..]) else { return false };
        let Some(tensor) = self.graph.value(*input).constant.clone() else { return false };
        if node.op_type() != "Identity" {
            return false;
        }
        let mut id = *input;
        if !self.options.keep_ties {
            if tensor.dtype().is_float() {
                self.split.push(Split { name: output.clone(), initializer: self.graph.name_of(id).to_string(), site: None });
            }
            id = self.graph.constant(output, tensor);
        }
        self.values.insert(output.clone(), id);
        true
    }

    /// Gives the node constants of its own where it reads a parameter that another layer reads too.
    ///
    /// Exporters write equal tensors once: what is equal at the start may still be two parameters. A kernel that two layers
    /// read is shared on purpose, for two random kernels are never equal. Statistics are written by their layer, so they are
    /// never shared, whatever `keep_ties` says.
    fn own_parameters(&mut self, operator: &dyn Operator, name: &str, inputs: Vec<Option<ValueId>>) -> Vec<Option<ValueId>> {
        let node =
            Node { name: name.into(), op_type: operator.op_type().into(), inputs, outputs: vec![], attrs: Default::default(), body: None };
        let slots = operator.slots(&View { graph: &self.graph, node: &node });
        let mut inputs = node.inputs;
        for (i, slot) in slots.into_iter().enumerate() {
            let (Some(kind), Some(input)) = (ParameterKind::of(slot), inputs.get(i).copied().flatten()) else { continue };
            let Some(tensor) = self.graph.value(input).constant.clone().filter(|t| t.dtype().is_float()) else { continue };
            let earlier = self.readers.get(&input).copied();
            self.readers.entry(input).or_insert(kind);
            let kernel = |k: ParameterKind| matches!(k, ParameterKind::Kernel { .. });
            let shared =
                earlier.is_some_and(|e| !kernel(kind) && !kernel(e) && (!self.options.keep_ties || kind.is_buffer() || e.is_buffer()));
            if shared {
                let copy = self.graph.constant(&parameters::layer(name, kind), tensor);
                let own = self.graph.name_of(copy).to_string();
                self.split.push(Split { name: own, initializer: self.graph.name_of(input).to_string(), site: Some((name.into(), i)) });
                inputs[i] = Some(copy);
            }
        }
        inputs
    }

    fn place(
        &mut self,
        index: usize,
        node: &pb::NodeProto,
        operator: &dyn Operator,
        inputs: Vec<Option<ValueId>>,
    ) -> std::result::Result<(), String> {
        if self.untie(node, &inputs) {
            return Ok(());
        }
        let attributes = Attributes::new(node).map_err(|e| e.to_string())?;
        let base = node_name(index, node);
        let inputs = self.own_parameters(operator, &base, inputs);
        let frozen = inputs.get(1).copied().flatten().is_some_and(|v| self.options.frozen.contains(self.graph.name_of(v)));
        let mut cx = Import {
            graph: &mut self.graph,
            name: base,
            opset: self.opset,
            op_type: node.op_type().to_string(),
            inputs,
            outputs: node.output.clone(),
            source: attributes,
            attrs: Default::default(),
            replaced: None,
            batch_norm_train: self.options.batch_norm_train && !frozen,
            batch_norm_updates: &mut self.updates,
        };
        operator.import(&mut cx)?;
        let unread = cx.source.unread();
        if !unread.is_empty() {
            return Err(format!(
                "its attribute{} {} {} not understood",
                if unread.len() > 1 { "s" } else { "" },
                unread.join(", "),
                if unread.len() > 1 { "are" } else { "is" }
            ));
        }
        let Import { name, op_type, inputs, outputs, attrs, replaced, .. } = cx;
        if let Some(list) = replaced {
            self.values.extend(outputs.into_iter().filter(|o| !o.is_empty()).zip(list));
            return Ok(());
        }
        let operator = table::find(&op_type).ok_or_else(|| format!("{op_type} is not in the operator table"))?;
        let canonical = Node { name, op_type, inputs, outputs: vec![], attrs, body: None };
        let view = View { graph: &self.graph, node: &canonical };
        let types = operator.infer(&view)?;
        if let Some(Known::Tensor(tensor)) = operator.evaluate(&view)
            && let Some(output) = outputs.first()
        {
            let id = self.graph.constant(output, tensor);
            self.values.insert(output.clone(), id);
            return Ok(());
        }
        let elems: Option<Vec<Elem>> = match operator.evaluate(&view) {
            Some(Known::Elems(elems)) => Some(elems),
            _ => None,
        };
        if outputs.len() > types.len() && outputs[types.len()..].iter().any(|o| !o.is_empty()) {
            return Err(format!("its output {} is not supported", types.len()));
        }
        let named = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let name = outputs.get(i).filter(|o| !o.is_empty()).cloned();
                (name.unwrap_or_else(|| format!("{}_output_{i}", canonical.name)), ty)
            })
            .collect();
        let ids = self.graph.node(canonical, named);
        if let (Some(elems), Some(&id)) = (elems, ids.first()) {
            self.graph.value_mut(id).elems = Some(elems);
        }
        self.values.extend(outputs.into_iter().zip(ids).filter(|(o, _)| !o.is_empty()));
        Ok(())
    }
}

/// The tensor behind a parameter.
pub fn start_of(graph: &Graph, parameter: &Parameter) -> Option<Tensor> {
    graph.value(parameter.value).constant.clone()
}
