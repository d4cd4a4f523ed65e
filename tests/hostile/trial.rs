//! What a mutant becomes, and what ONNX Runtime says of it.

use crate::cases::Input;
use crate::mutants::Mutant;
use crate::shared::Random;
use prost::Message;
use spgraph::emit::{self, Dialect};
use spgraph::engine::Engine;
use spgraph::grad;
use spgraph::import::{BatchSize, ImportOptions, Imported, import};
use spgraph::ir::{DType, Dim, Graph, Tensor, TensorType, ValueId};
use spgraph::onnx::{ExternalData, SourceModel, pb, to_proto};
use spgraph::pass::{self, Alternatives};

/// The model of a single node, in that precision.
fn model(mutant: &Mutant, dtype: DType) -> pb::ModelProto {
    let case = mutant.case;
    let mut node = pb::NodeProto {
        name: Some("node".into()),
        op_type: Some(case.op.into()),
        attribute: mutant.attributes.clone(),
        output: case.outputs.clone(),
        ..Default::default()
    };
    let mut graph = pb::GraphProto { name: Some("case".into()), ..Default::default() };
    let mut random = Random::new(5);
    for (i, (input, constant)) in case.inputs.iter().zip(&mutant.constants).enumerate() {
        let name = format!("x{i}");
        node.input.push(if matches!(input, Input::Absent) { String::new() } else { name.clone() });
        if let Some(constant) = constant {
            let exact = matches!(input, Input::Exactly(_)) || !constant.dtype().is_float();
            graph.initializer.push(to_proto(name, &if exact { constant.clone() } else { constant.cast(dtype).unwrap() }));
        } else if let Input::Float { shape, lo, hi } = input {
            if graph.input.is_empty() {
                let mut info = emit::value_info(&name, &TensorType::new(dtype, shape.iter().copied()));
                let mut sizes = mutant.shape.iter();
                declared(&mut info).for_each(|d| *d = *sizes.next().unwrap());
                graph.input.push(info);
            } else {
                let values = random.list(shape.iter().product(), *lo, *hi);
                graph.initializer.push(to_proto(name, &Tensor::from_floats(DType::F32, shape, &values).cast(dtype).unwrap()));
            }
        }
    }
    graph.node = vec![node];
    let any = TensorType { dtype, shape: vec![] };
    graph.output = case.outputs.iter().filter(|o| !o.is_empty()).map(|o| emit::value_info(o, &any)).collect();
    // Of what kind and shape they are is the operator's to say.
    graph.output.iter_mut().for_each(|o| o.r#type = None);
    let opset = pb::OperatorSetIdProto { domain: None, version: Some(case.opset) };
    pb::ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() }
}

/// The numbers among the declared dimensions.
fn declared(info: &mut pb::ValueInfoProto) -> impl Iterator<Item = &mut i64> {
    use pb::tensor_shape_proto::dimension::Value;
    let tensor = match info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        Some(pb::type_proto::Value::TensorType(t)) => t,
        _ => unreachable!("made as a tensor"),
    };
    let dims = tensor.shape.as_mut().unwrap().dim.iter_mut();
    dims.filter_map(|d| if let Some(Value::DimValue(v)) = &mut d.value { Some(v) } else { None })
}

/// What was made of a mutant.
pub struct Taken {
    source: pb::ModelProto,
    /// Forward alone.
    emitted: pb::ModelProto,
    input: Option<(String, TensorType)>,
    outputs: Vec<TensorType>,
    /// Of the largest tensor.
    pub elements: usize,
}

fn elements(graph: &Graph) -> usize {
    graph
        .values
        .iter()
        .map(|v| v.ty.dims().map_or(usize::MAX, |d| d.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).unwrap_or(usize::MAX)))
        .max()
        .unwrap_or(0)
}

fn imported(proto: &pb::ModelProto, batch: BatchSize) -> Result<Graph, String> {
    let source = SourceModel {
        proto: proto.clone(),
        path: "case".into(),
        dir: "".into(),
        sha256: String::new(),
        bytes: 0,
        external: ExternalData::new(""),
    };
    let Imported { graph, left_out, .. } =
        import(&source, &ImportOptions { batch, input_shape: None, keep_ties: true }).map_err(|e| e.to_string())?;
    graph.verify()?;
    // What is left of a model has no outputs to compare.
    left_out.first().map_or(Ok(graph), |left| Err(left.refusal.to_string()))
}

/// How many images the mutant says.
fn batch(mutant: &Mutant) -> usize {
    usize::try_from(mutant.shape.first().copied().unwrap_or(1)).unwrap_or(1)
}

/// Imports and differentiates with a batch that is a number and with one that is not, and emits what came of the first.
pub fn rewritten(mutant: &Mutant) -> Result<Taken, String> {
    let proto = model(mutant, DType::F32);
    let made = |batch| {
        let graph = imported(&proto, batch)?;
        let emitted = emit::model(&graph, Dialect::Inlined).map_err(|e| e.to_string())?;
        differentiated(graph.clone())?;
        Ok::<_, String>((graph, emitted))
    };
    let fixed = made(BatchSize::Fixed(batch(mutant)));
    // What is refused for any batch is no fault.
    let _ = made(BatchSize::Dynamic);
    let (graph, emitted) = fixed?;
    let input = graph.inputs.first().map(|&v| (graph.name_of(v).to_string(), graph.ty(v).clone()));
    let outputs = graph.outputs.iter().map(|&v| graph.ty(v).clone()).collect();
    Ok(Taken { source: proto, emitted, input, outputs, elements: elements(&graph) })
}

fn differentiated(mut graph: Graph) -> Result<(), String> {
    let wanted: Vec<ValueId> = graph.ids().filter(|&v| graph.value(v).initializer().is_some_and(|t| t.dtype().is_float())).collect();
    wanted.iter().for_each(|&v| drop(graph.constant_to_input(v)));
    let wanted: Vec<ValueId> = graph.inputs.iter().copied().filter(|&v| graph.ty(v).dtype.is_float()).collect();
    let outputs: Vec<ValueId> = graph.outputs.iter().copied().filter(|&o| graph.ty(o).dtype.is_float()).collect();
    let pairs: Vec<_> = outputs
        .into_iter()
        .enumerate()
        .map(|(k, y)| {
            let ty = graph.ty(y).clone();
            (y, graph.input(&format!("u{k}"), ty))
        })
        .collect();
    let cotangents = grad::backward(&mut graph, &pairs, &wanted).map_err(|e| e.to_string())?;
    graph.outputs.extend(wanted.iter().filter_map(|v| cotangents.get(v).copied()));
    pass::apply_verified(&mut graph, &[&Alternatives]).map_err(|e| e.to_string())?;
    graph.verify()?;
    emit::model(&graph, Dialect::Functions).map(drop).map_err(|e| e.to_string())
}

/// What ONNX Runtime has no kernel for, by its own words, though ONNX or PyTorch has a meaning for it: nothing to compare with.
const LACKS: [(&str, &str); 8] = [
    // Of PyTorch's normalization, which has any size.
    ("LRN", "size_ % 2 == 1"),
    ("LRN", "lrn.cc:59"),
    // Dilated windows may reach further than their kernel's length; ONNX Runtime compares with that.
    ("AveragePool", "pool_attributes.h"),
    // The shorter list of further axes is repeated, as in NumPy.
    ("Einsum", "Ellipsis for input"),
    ("Resize", "'Linear' mode only supports"),
    ("Resize", "'Cubic' mode only supports"),
    // Rows of positions for another number of images, all alike.
    ("RotaryEmbedding", "'position_ids' dimension 0"),
    // One row of the tables for all images.
    ("RotaryEmbedding", "'cos_cache' and 'sin_cache' are expected"),
];

/// Larger ones are not computed here.
const MOST: usize = 1 << 20;

/// Whether the emitted model computes what the source computes in ONNX Runtime, in the shapes that it was given.
pub fn compare(ort: &dyn Engine, mutant: &Mutant, taken: &Taken) -> Result<(), String> {
    let random = mutant.case.op.starts_with("Random") || ["Bernoulli", "Multinomial"].contains(&mutant.case.op);
    if taken.elements > MOST || random || mutant.case.in_training() {
        return Ok(());
    }
    let run = |model: &pb::ModelProto, dtype: DType| -> Result<Vec<Tensor>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        let mut session = ort.load(&path).map_err(|e| e.to_string())?;
        let mut feeds = vec![];
        if let Some((name, ty)) = &taken.input {
            let shape: Vec<usize> = ty
                .shape
                .iter()
                .map(|d| match d {
                    Dim::Known(n) | Dim::Batch(n) => *n,
                })
                .collect();
            let (lo, hi) = mutant
                .case
                .inputs
                .iter()
                .find_map(|i| if let Input::Float { lo, hi, .. } = i { Some((*lo, *hi)) } else { None })
                .unwrap_or((0.0, 1.0));
            let values = Random::new(9).list(shape.iter().product(), lo, hi);
            let image = Tensor::from_floats(ty.dtype, &shape, &values);
            feeds.push((name.as_str(), if ty.dtype.is_float() { image.cast(dtype).unwrap() } else { image }));
        }
        let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (*n, t)).collect();
        session.run(&feeds).map_err(|e| e.to_string())
    };
    let mut source = taken.source.clone();
    let outputs = source.graph.iter_mut().flat_map(|g| &mut g.output);
    outputs.zip(&taken.outputs).for_each(|(o, ty)| *o = emit::value_info(o.name(), ty));
    let emitted = run(&taken.emitted, DType::F32).map_err(|e| format!("is taken, and ONNX Runtime refuses what was emitted: {e}"))?;
    let source = match run(&source, DType::F32) {
        Err(e) if LACKS.iter().any(|(op, said)| *op == mutant.case.op && e.contains(said)) => return Ok(()),
        other => other.map_err(|e| format!("is taken, and ONNX Runtime refuses it: {e}"))?,
    };
    // Where two computations in float32 differ, float64 decides.
    let exact = || -> Result<Vec<Tensor>, String> {
        let graph = imported(&model(mutant, DType::F64), BatchSize::Fixed(batch(mutant)))?;
        run(&emit::model(&graph, Dialect::Inlined).map_err(|e| e.to_string())?, DType::F64)
    };
    for (k, ((a, b), ty)) in source.iter().zip(&emitted).zip(&taken.outputs).enumerate() {
        if ty.dims().as_deref() != Some(a.shape()) || b.shape() != a.shape() {
            return Err(format!("output {k} is {ty} here, {:?} in ONNX Runtime, and {:?} as emitted", a.shape(), b.shape()));
        }
        let (a, b) = (a.to_f64().map_err(|e| e.to_string())?, b.to_f64().map_err(|e| e.to_string())?);
        let alike = |x: f64, y: f64| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-4 * (1.0 + x.abs());
        let apart: Vec<usize> = (0..a.len()).filter(|&i| !alike(a[i], b[i])).collect();
        let Some(&i) = apart.first() else { continue };
        let decided = exact().and_then(|all| all[k].to_f64().map_err(|e| e.to_string()));
        if !decided.is_ok_and(|c| apart.iter().all(|&i| alike(c[i], b[i]) && !alike(c[i], a[i]))) {
            return Err(format!("element {i} of output {k} is {} in ONNX Runtime, and {} as emitted", a[i], b[i]));
        }
    }
    Ok(())
}
