//! A model file in tract: read, and prepared for each shape of its inputs that is met.

use super::super::model::{in_model, read_model, without_functions};
use super::super::signature::{PortDim, Signature, graph_of, nth, one_paragraph};
use super::strides::keep_strides;
use super::values::datum_type;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::onnx::{self, pb};
use crate::pass::{Inline, MergeEqual, Pass, RestoreOperators};
use bytes::Bytes;
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tract_linalg::multithread::Executor;
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, IntoTValue as _, RunOptions, TValue, TractResult,
};
use tract_onnx::tract_core::prelude::TypedSimplePlan;

/// Plans kept for models with a symbolic batch, one for each batch size: a full one and a last, smaller one, for
/// training and evaluation alike.
const KEPT_PLANS: usize = 4;

/// Initializers from this size on reach tract one by one instead of inside the protobuf.
const DETACHED_BYTES: usize = 1 << 10;

/// What tract gets of a graph of spgraph's.
const PASSES: &[&dyn Pass] = &[
    // Alternatives are chosen for ONNX Runtime's kernels; tract's own are better for the operators.
    &RestoreOperators,
    // It knows no functions.
    &Inline,
    // It merges equal nodes itself, but its pass (`PushSplitDown` in 0.23) loses both of two equal nodes with two inputs when the
    // inputs list the nodes in different orders: running the model then ends in "eval() called on a Dummy op". Where there are no
    // equal nodes to begin with it has nothing to lose.
    &MergeEqual,
];

/// A parsed model, and its plans for the shapes that it has met.
pub(super) struct Model {
    pub(super) signature: Signature,
    /// The model before its input shapes are fixed; `None` when they are all fixed by the file and the plan is made.
    template: Option<InferenceModel>,
    /// By input shapes, the latest last.
    plans: Vec<(Vec<Vec<usize>>, Arc<TypedSimplePlan>)>,
    executor: Executor,
}

impl Model {
    pub(super) fn load(path: &Path, executor: &Executor) -> Result<Model> {
        let file = read_model(path)?;
        let external = file.external.clone();
        let mut proto = without_functions(file, PASSES)?;
        // It opens no file itself, so that it sees what was checked and nothing else.
        onnx::inline_inner(&mut proto, &external).map_err(in_model(path))?;
        onnx::inline_external(&mut proto, &external).map_err(in_model(path))?;
        let graph = graph_of(&proto, path)?;
        check_outputs_exist(graph, path)?;
        let signature = Signature::from_graph(graph, path)?;
        let provider = Arc::new(Detached::take(&mut proto, path)?);
        proto.graph.iter_mut().for_each(forget_symbols);
        let encoded = proto.encode_to_vec();
        drop(proto);
        let directory = match path.parent() {
            None => "",
            Some(parent) => parent.to_str().ok_or_else(|| {
                Error::engine(format!("tract needs a path in UTF-8 to find external data, which {} is not; move the model", path.display()))
            })?,
        };
        let template = guard("read", path, || {
            let mut framework = tract_onnx::model::Onnx { provider, ..tract_onnx::onnx() };
            super::operators::register(&mut framework.op_register);
            let proto = framework.proto_model_for_read(&mut encoded.as_slice())?;
            drop(encoded);
            let parsed = framework.parse(&proto, Some(directory))?;
            if let Some(name) = parsed.unresolved_inputs.first() {
                tract_onnx::tract_hir::internal::bail!("the value `{name}` is read but nothing computes it");
            }
            Ok(parsed.model)
        })?;
        let mut model = Model { signature, template: Some(template), plans: vec![], executor: executor.clone() };
        if let Some(shapes) = model.fixed_shapes() {
            // Errors of a model without a symbolic batch show at once; and nothing else will ever need the template.
            model.plan(&shapes)?;
            model.template = None;
        }
        Ok(model)
    }

    fn fixed_shapes(&self) -> Option<Vec<Vec<usize>>> {
        let fixed = |dims: &Vec<PortDim>| {
            dims.iter().map(|d| if let PortDim::Known(n) = d { Some(*n) } else { None }).collect::<Option<Vec<usize>>>()
        };
        self.signature.inputs.iter().map(|p| p.dims.as_ref().and_then(fixed)).collect()
    }

    /// The plan for inputs of these shapes.
    fn plan(&mut self, shapes: &[Vec<usize>]) -> Result<Arc<TypedSimplePlan>> {
        if let Some(at) = self.plans.iter().position(|(known, _)| known == shapes) {
            let found = self.plans.remove(at);
            let plan = found.1.clone();
            self.plans.push(found);
            return Ok(plan);
        }
        let Some(template) = &self.template else {
            // The feeds were checked against the shapes of the one plan there is.
            return Err(Error::engine(format!("{} takes other input shapes than {shapes:?}", self.signature.model)));
        };
        let mut model = template.clone();
        let types = self.signature.inputs.iter().map(|p| datum_type(p.dtype)).collect::<Result<Vec<_>>>()?;
        let executor = self.executor.clone();
        // tract's simplifications turn the mean of squares into an operator that computes in float32 whatever the type,
        // so float64 does without them: slower, but it is there for precision.
        let double = self.signature.inputs.iter().chain(&self.signature.outputs).any(|p| p.dtype == DType::F64);
        let plan = guard("prepare", Path::new(&self.signature.model), move || {
            for (at, (dtype, shape)) in types.into_iter().zip(shapes).enumerate() {
                model.set_input_fact(at, InferenceFact::dt_shape(dtype, shape))?;
            }
            let options = RunOptions { executor: Some(executor), ..RunOptions::default() };
            // Some of its rewrites fail on graphs that it runs well without them.
            let mut model = model.into_typed()?;
            keep_strides(&mut model);
            let model = if double { model } else { model.clone().into_optimized().unwrap_or(model) };
            TypedSimplePlan::new_with_options(model, &options)
        })?;
        if self.plans.len() >= KEPT_PLANS {
            self.plans.remove(0);
        }
        self.plans.push((shapes.to_vec(), plan.clone()));
        Ok(plan)
    }

    /// Runs the graph on one value for each input.
    pub(super) fn run(&mut self, values: Vec<TValue>) -> Result<Vec<TValue>> {
        let shapes: Vec<Vec<usize>> = values.iter().map(|v| v.shape().to_vec()).collect();
        let plan = self.plan(&shapes)?;
        let results = guard("run", Path::new(&self.signature.model), || plan.run(values.into_iter().collect()))?;
        let outputs = self.signature.outputs.iter();
        results
            .into_iter()
            .zip(outputs)
            .map(|(value, port)| {
                // Values that come from shapes are symbolic expressions inside tract, even where all is known.
                if value.datum_type() == DatumType::TDim {
                    let wanted = datum_type(port.dtype)?;
                    return guard("read a result of", Path::new(&self.signature.model), || {
                        Ok(value.cast_to_dt(wanted)?.into_owned().into_tvalue())
                    });
                }
                Ok(value)
            })
            .collect()
    }

    /// The value of the output number `at` as a tensor.
    pub(super) fn output(&self, at: usize, value: &TValue) -> Result<Tensor> {
        let port = nth(&self.signature.outputs, at)?;
        if datum_type(port.dtype)? != value.datum_type() {
            return Err(Error::engine(format!(
                "tract computed {:?} for the output `{}` of {}, which is declared as {}",
                value.datum_type(),
                port.name,
                self.signature.model,
                port.dtype
            )));
        }
        Tensor::new(port.dtype, value.shape().to_vec(), value.as_bytes().to_vec())
    }
}

/// Runs tract's code and turns its errors, and its panics on graphs that it does not expect, into one readable error.
fn guard<T>(what: &str, model: &Path, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    // Nothing that `work` touches is used again after a panic, but for plans, which hold no state.
    let why = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => text.to_string(),
            (_, Some(text)) => text.clone(),
            _ => "it stopped for an unknown reason".into(),
        },
    };
    Err(Error::engine(format!(
        "tract could not {what} {}: {}. tract supports fewer operators and types than ONNX Runtime; with that \
         (`spgraph runtime install`, then {} ort) the model may run",
        model.display(),
        one_paragraph(&why),
        Field::ENGINE
    )))
}

/// tract indexes its table of values by the outputs' names without asking whether they exist.
fn check_outputs_exist(graph: &pb::GraphProto, path: &Path) -> Result<()> {
    let mut known: std::collections::HashSet<&str> = graph.input.iter().map(|v| v.name()).collect();
    known.extend(graph.initializer.iter().map(|t| t.name()));
    known.extend(graph.node.iter().flat_map(|n| n.output.iter().map(|o| o.as_str())));
    match graph.output.iter().find(|o| !known.contains(o.name())) {
        None => Ok(()),
        Some(output) => Err(Error::model(format!("the output `{}` of {} is computed by no node", output.name(), path.display()))),
    }
}

/// Named dimensions of inner values would contradict the numbers that a plan puts into the inputs.
fn forget_symbols(graph: &mut pb::GraphProto) {
    for value in &mut graph.value_info {
        let Some(pb::type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) else { continue };
        for dim in tensor.shape.iter_mut().flat_map(|s| &mut s.dim) {
            if matches!(dim.value, Some(pb::tensor_shape_proto::dimension::Value::DimParam(_))) {
                dim.value = None;
            }
        }
    }
}

/// Hands tract the initializers' bytes one at a time. Without it the weights would be in memory four times while a
/// model loads: the file, its copy for tract's own protobuf type, the parsed copy, and tract's tensors.
struct Detached {
    /// The model file's canonical path, under which the detached initializers are asked for.
    model: PathBuf,
    tensors: Vec<Bytes>,
}

impl Detached {
    /// Takes the larger initializers out of the graph and leaves references of the form that external data has: the
    /// model file as location, the index in `tensors` as offset.
    fn take(proto: &mut pb::ModelProto, path: &Path) -> Result<Detached> {
        let model = path.canonicalize().map_err(Error::io("cannot read the model", path))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut tensors = vec![];
        for tensor in proto.graph.iter_mut().flat_map(|g| &mut g.initializer) {
            if tensor.raw_data().len() < DETACHED_BYTES {
                continue;
            }
            let data = tensor.raw_data.take().unwrap_or_default();
            let entry = |key: &str, value: String| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) };
            tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
            tensor.external_data =
                vec![entry("location", name.clone()), entry("offset", tensors.len().to_string()), entry("length", data.len().to_string())];
            tensors.push(data);
        }
        Ok(Detached { model, tensors })
    }
}

impl ModelDataResolver for Detached {
    fn read_bytes_from_path(&self, buffer: &mut Vec<u8>, path: &Path, offset: usize, _length: Option<usize>) -> TractResult<()> {
        match self.tensors.get(offset) {
            Some(data) if path == self.model => {
                buffer.extend_from_slice(data);
                Ok(())
            }
            _ => tract_onnx::tract_hir::internal::bail!("{} is asked for, and no file is opened but the model's own", path.display()),
        }
    }
}
