//! What is in a model, whether or not it can be trained.

use super::verdict::{self, Verdict};
use crate::bundle::manifest::{Port, Preprocessing};
use crate::bundle::{ImageMetadata, Images, class_names, read_metadata};
use crate::error::{Error, Refusal, Result};
use crate::import::{self, BatchSize, ImportOptions, Imported, Network};
use crate::ir::DType;
use crate::onnx::{self, SourceModel, noise, pb};
use crate::operator::Normalization;
use crate::operator::Status;
use crate::ops::table;
use crate::rewrite::{Block, blocks, choose, dropouts, find_head, own_preparation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that `spgraph inspect` shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// File name, without folders.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// The program that wrote it, as the file says.
    pub producer: String,
    /// The version of ONNX's own operators that it was written for, where it says one.
    pub opset: Option<i64>,
    /// What must be fed; weights do not count.
    pub inputs: Vec<InputInfo>,
    /// The shape of the input that images enter by, -1 where it is open; `None` where the model could not be read as a graph.
    #[serde(skip)]
    pub input_shape: Option<Vec<i64>>,
    /// What it computes.
    pub outputs: Vec<InputInfo>,
    /// The weights and statistics, in the order of use.
    pub parameters: Vec<ParameterInfo>,
    /// Constants that a gradient could reach and that are taken for no parameters, in the order of use.
    pub constants: Vec<ConstantInfo>,
    /// Elements of all parameters.
    pub elements: usize,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// The operators by name, with how often they occur.
    pub operators: Vec<OperatorInfo>,
    /// `live (N)`, or why there is none to see.
    pub batch_norm: String,
    /// What the file's Dropouts drop in training, in the network's order; a share that is computed while the model runs is `None`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropout: Vec<Option<f32>>,
    /// The classifier that `--classes` would replace.
    pub head: Option<HeadInfo>,
    /// Residual units with what lies before them, as `--freeze-stages` and `--freeze-units` count them; empty where there are none.
    pub units: Vec<UnitInfo>,
    /// Class names by label, where the model knows them.
    pub classes: Vec<String>,
    /// What is done to images: as the model says, or the default for its input size.
    pub preprocessing: Option<Preprocessing>,
    /// Nodes that stand in the way of training.
    pub refused: Vec<Refusal>,
    /// Any other reason why the model cannot be trained as it is.
    pub problem: Option<String>,
    /// Whether it can be fine-tuned.
    pub verdict: Verdict,
    /// Sizes that were chosen because the model leaves its own open; everything that depends on them holds for these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed_shape: Option<Vec<usize>>,
}

/// An input or output as the model declares it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputInfo {
    /// As in the file.
    pub name: String,
    /// The element type, such as `float32`.
    pub dtype: String,
    /// `[N, 3, 224, 224]`
    pub shape: String,
}

/// A weight, bias or statistic of the network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterInfo {
    /// As in the file.
    pub name: String,
    /// What a person would call it; the name where nothing better is known.
    pub alias: String,
    /// weight, bias, scale, shift, mean, variance; or constant where the model could not be read as a graph.
    pub kind: String,
    /// The element type, such as `float32`.
    pub dtype: String,
    /// Its dimensions, the outermost first.
    pub shape: Vec<usize>,
    /// The product of the dimensions.
    pub elements: usize,
}

/// A constant that is no parameter, unless somebody asks for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConstantInfo {
    /// As in the file.
    pub name: String,
    /// What a person would call it; the name where nothing better is known.
    pub alias: String,
    /// Its dimensions, the outermost first.
    pub shape: Vec<usize>,
    /// Why it is taken for no parameter.
    pub why: String,
}

/// All nodes of one operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorInfo {
    /// The operator, with its domain unless it is ONNX's own.
    pub name: String,
    /// How many there are.
    pub nodes: usize,
    /// `yes`, `zero`, or `refused`.
    pub gradient: String,
}

/// The layer that computes the scores of the classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadInfo {
    /// The name of its node.
    pub node: String,
    /// `Gemm`, `MatMul` or `Conv`.
    pub operator: String,
    /// The name of its weight.
    pub weight: String,
    /// How many numbers it computes the scores from.
    pub features: usize,
    /// How many scores it computes.
    pub classes: usize,
}

/// A part of a residual network that can be frozen as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitInfo {
    /// `--freeze-units` with this number freezes it and what lies before it.
    pub unit: usize,
    /// The same for `--freeze-stages`.
    pub stage: usize,
    pub name: String,
    /// Number of parameters, statistics included.
    pub parameters: usize,
    pub elements: usize,
}

/// Looks at the model in `path`. `input_shape` gives the sizes after the batch where the model leaves them open.
///
/// Fails only where the file is no ONNX model; one that cannot be trained is described, with the reasons.
pub fn inspect(path: &Path, input_shape: Option<Vec<usize>>) -> Result<Inspection> {
    let source = onnx::read(path)?;
    // Some networks can be read for a fixed batch size only.
    let open = |input_shape| {
        let options = ImportOptions { batch: BatchSize::Fixed(1), input_shape, keep_ties: false };
        Network::open(source.clone(), options).map(|n| n.base().clone())
    };
    let mut imported = open(input_shape.clone());
    let mut assumed_shape = None;
    if imported.is_err() && input_shape.is_none() {
        let tried = usual_shapes(source.graph()?).into_iter().find_map(|shape| Some((open(Some(shape.clone())).ok()?, shape)));
        if let Some((found, shape)) = tried {
            (imported, assumed_shape) = (Ok(found), Some(shape));
        }
    }
    let (imported, refused, problem) = match imported {
        Ok(imported) => (Some(imported), vec![], None),
        Err(Error::Unsupported(list)) => (None, list, None),
        Err(error) => (None, vec![], Some(error.to_string())),
    };
    let metadata = read_metadata(&source.proto)?;
    let chosen = imported.as_ref().map(|i| choose(i, None));
    let unclear = chosen.as_ref().and_then(|c| c.as_ref().err()).map(|e| e.to_string());
    let problem = problem.or(unclear);
    let head = imported.as_ref().and_then(|i| find_head(i).ok());
    let output = chosen.as_ref().and_then(|c| c.as_ref().ok()).map(|p| p.name.as_str()).unwrap_or_default();
    let names = class_names(&source.proto, output)?.names;
    let hidden = chosen.as_ref().and_then(|c| c.as_ref().ok()).is_some_and(|p| p.tail.hidden.is_some());
    let classes = head.as_ref().map(|h| h.classes);
    let verdict = verdict::of_model(path, imported.is_some(), classes, hidden, input_shape.or(assumed_shape.clone()));
    let graph = source.graph()?;
    let operators = operators(&source, graph, &refused);
    let parameters = imported.as_ref().map_or_else(|| constants(graph), parameters);
    let live = graph.node.iter().filter(|n| is_batch_norm(n)).count();
    Ok(Inspection {
        file: path.display().to_string(),
        bytes: source.bytes,
        sha256: source.sha256.clone(),
        producer: format!("{} {}", source.proto.producer_name(), source.proto.producer_version()).trim().to_string(),
        opset: import::opset(&source).ok().or_else(|| any_opset(&source)),
        input_shape: imported.as_ref().map(|i| input_port(i).shape),
        inputs: graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name())).map(declared).collect(),
        outputs: graph.output.iter().map(declared).collect(),
        constants: imported.as_ref().map_or(vec![], |i| i.fixed.iter().map(constant).collect()),
        elements: total(parameters.iter().map(|p| p.elements)),
        parameter_bytes: total(parameters.iter().map(|p| p.elements.saturating_mul(DType::from_name(&p.dtype).map_or(4, DType::size)))),
        operators,
        batch_norm: match live {
            0 => "none (folded into the convolutions, or never there)".into(),
            n => format!("live, {n} nodes"),
        },
        dropout: imported.as_ref().map_or(vec![], |i| dropouts(i).into_iter().map(|d| d.ratio).collect()),
        head: head.map(|h| HeadInfo { node: h.node, operator: h.op_type, weight: h.kernel.name, features: h.features, classes: h.classes }),
        units: imported.as_ref().and_then(|i| blocks(i).ok()).map_or(vec![], |list| units(&list, &parameters)),
        parameters,
        classes: names,
        preprocessing: verdict.preprocessing.clone().or_else(|| prepared(imported.as_ref()?, &metadata.images)),
        refused,
        problem,
        verdict,
        assumed_shape,
    })
}

/// What is done to an image, of a network that cannot be rewritten.
fn prepared(imported: &Imported, said: &ImageMetadata) -> Option<Preprocessing> {
    let port = input_port(imported);
    let said = said.choose(&Images::default()).ok()?;
    Some(said.complete(port.dtype, &port.shape, own_preparation(&imported.graph).as_ref()).ok()?.preprocessing)
}

/// The sum, of a damaged model's sizes too.
fn total(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}

/// Sizes that fit what a model leaves open of its images; none where it leaves nothing open.
fn usual_shapes(graph: &pb::GraphProto) -> Vec<Vec<usize>> {
    let mut inputs = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name()));
    let (Some(info), None) = (inputs.next(), inputs.next()) else { return vec![] };
    let declared: Vec<Option<usize>> = onnx::declared_type(info).map_or(vec![None; 4], |(_, dims)| dims);
    let sizes = declared.get(1..).unwrap_or_default();
    if sizes.iter().all(|d| d.is_some()) {
        return vec![];
    }
    // Channels lie first, or last where that is a number of them.
    let last = matches!(sizes.last(), Some(Some(1 | 3 | 4)));
    let filled =
        |size| sizes.iter().enumerate().map(|(i, d)| d.unwrap_or(if i == 0 && !last && sizes.len() > 2 { 3 } else { size })).collect();
    [224, 32, 64, 96, 128, 256, 299].map(filled).to_vec()
}

fn is_batch_norm(node: &pb::NodeProto) -> bool {
    table::find(node.op_type()).is_some_and(|o| o.facts().normalization == Some(Normalization::Batch))
}

fn units(blocks: &[Block], parameters: &[ParameterInfo]) -> Vec<UnitInfo> {
    let info = |(i, b): (usize, &Block)| UnitInfo {
        unit: i.saturating_add(1),
        stage: b.stage.saturating_add(1),
        name: b.name.clone(),
        parameters: b.parameters.len(),
        elements: b.parameters.iter().filter_map(|&p| parameters.get(p)).fold(0, |n, p| p.elements.saturating_add(n)),
    };
    blocks.iter().enumerate().map(info).collect()
}

fn input_port(imported: &Imported) -> Port {
    let ty = imported.graph.ty(imported.input);
    let shape = ty.shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect();
    Port { name: imported.graph.name_of(imported.input).into(), dtype: ty.dtype, shape }
}

fn any_opset(source: &SourceModel) -> Option<i64> {
    onnx::standard_opsets(&source.proto).next()
}

fn declared(info: &pb::ValueInfoProto) -> InputInfo {
    use pb::tensor_shape_proto::dimension::Value;
    let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(t)) => Some(t),
        _ => None,
    };
    let size = |d: &pb::tensor_shape_proto::Dimension| match &d.value {
        Some(Value::DimValue(n)) => n.to_string(),
        Some(Value::DimParam(s)) if !s.is_empty() => s.clone(),
        _ => "?".into(),
    };
    let shape = tensor.and_then(|t| t.shape.as_ref());
    InputInfo {
        name: info.name().into(),
        dtype: tensor.and_then(|t| DType::from_onnx(t.elem_type())).map_or("unknown", DType::name).into(),
        shape: shape.map_or("[…]".into(), |s| format!("[{}]", s.dim.iter().map(size).collect::<Vec<_>>().join(", "))),
    }
}

fn parameters(imported: &Imported) -> Vec<ParameterInfo> {
    let info = |p: &import::Parameter| {
        let ty = imported.graph.ty(p.value);
        let shape = ty.dims().unwrap_or_default();
        ParameterInfo {
            name: p.name.clone(),
            alias: p.alias.clone(),
            kind: p.kind.name().into(),
            dtype: ty.dtype.name().into(),
            elements: shape.iter().product(),
            shape,
        }
    };
    imported.parameters.iter().map(info).collect()
}

fn constant(fixed: &import::FixedConstant) -> ConstantInfo {
    let import::FixedConstant { parameter, shape, why } = fixed;
    ConstantInfo { name: parameter.name.clone(), alias: parameter.alias.clone(), shape: shape.clone(), why: why.text().into() }
}

/// The floating-point initializers of a graph that could not be read.
fn constants(graph: &pb::GraphProto) -> Vec<ParameterInfo> {
    let floats = graph.initializer.iter().filter_map(|t| Some((t, DType::from_onnx(t.data_type()).filter(|d| d.is_float())?)));
    floats
        .map(|(t, dtype)| {
            let shape: Vec<usize> = t.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
            ParameterInfo {
                name: t.name().into(),
                alias: t.name().into(),
                kind: "constant".into(),
                dtype: dtype.name().into(),
                elements: shape.iter().fold(1usize, |a, &b| a.saturating_mul(b)),
                shape,
            }
        })
        .collect()
}

fn operators(source: &SourceModel, graph: &pb::GraphProto, refused: &[Refusal]) -> Vec<OperatorInfo> {
    let quiet = noise::quiet(source);
    let masked = |name: &str| {
        let mut own = graph.node.iter().enumerate().filter(|(_, n)| n.op_type() == name).peekable();
        own.peek().is_some() && own.all(|(i, _)| quiet.instead.contains_key(&i))
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in &graph.node {
        let count = counts.entry(onnx::qualified_op(node)).or_insert(0);
        *count = count.saturating_add(1);
    }
    let gradient = |name: &str| {
        let bad = refused.iter().filter(|r| r.op == name).count();
        match table::find(name).map(|o| o.status()) {
            Some(Status::Refused(_)) if masked(name) => "mask of a dropout".into(),
            None | Some(Status::Refused(_)) => "refused".to_string(),
            Some(_) if bad > 0 => format!("refused in {bad} nodes"),
            Some(Status::Differentiable) => "yes".into(),
            Some(Status::ZeroGradient) => "zero".into(),
        }
    };
    counts.into_iter().map(|(name, nodes)| OperatorInfo { gradient: gradient(&name), name, nodes }).collect()
}
