//! ONNX Runtime, loaded when the program runs: on the CPU, or on CUDA with the state kept on the device.

use super::discover::{Candidate, Origin};
use super::ports::{Signature, StateMap, one_paragraph};
use super::{Device, Engine, EngineChoice, EngineOptions, Kernels, Session, StatePort, Stepper, native};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::onnx;
use ::ort::environment::Environment;
use ::ort::ep;
use ::ort::logging::LogLevel;
use ::ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{IoBinding, Session as OrtSession};
use ::ort::value::{DynTensor, DynTensorValueType, DynValue, TensorElementType};
use prost::Message;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Set to let ONNX Runtime's own log through to stderr: warnings and errors, or everything with the value `verbose`.
const LOG_VARIABLE: &str = "SPGRAPH_ORT_LOG";

/// The one library that this process uses, and its one environment. ONNX Runtime allows no second of either.
struct Loaded {
    path: PathBuf,
    environment: Result<Environment, String>,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

fn loaded() -> MutexGuard<'static, Option<Loaded>> {
    // A panic elsewhere leaves the value whole: it is written in one go.
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process has loaded an ONNX Runtime already.
pub(super) fn is_loaded() -> bool {
    loaded().is_some()
}

fn environment(path: &Path) -> Result<Environment> {
    let mut loaded = loaded();
    if loaded.is_none() {
        let builder = ::ort::init_from(path).map_err(|e| {
            Error::engine(format!(
                "the ONNX Runtime library {} cannot be loaded: {}. Get another with `spgraph runtime install`",
                path.display(),
                one_paragraph(&e.to_string())
            ))
        })?;
        let wish = std::env::var(LOG_VARIABLE).ok();
        let logger = move |level: LogLevel, _category: &str, _id: &str, place: &str, message: &str| {
            eprintln!("[onnxruntime {level:?}] {message} ({place})");
        };
        // Errors come back as values, and warnings on a graph of spgraph's own making are no news to its user.
        let (level, builder) = match wish.as_deref() {
            None | Some("" | "0") => (LogLevel::Fatal, builder.with_logger(Arc::new(|_, _, _, _, _| {}))),
            Some("verbose") => (LogLevel::Verbose, builder.with_logger(Arc::new(logger))),
            Some(_) => (LogLevel::Warning, builder.with_logger(Arc::new(logger))),
        };
        let environment = builder.with_name("spgraph").with_telemetry(false).build().map_err(|e| e.to_string());
        if let Ok(environment) = &environment {
            environment.set_log_level(level);
        }
        *loaded = Some(Loaded { path: path.to_path_buf(), environment });
    }
    match loaded.as_ref() {
        Some(l) if l.path != path => Err(Error::engine(format!(
            "this process has loaded the ONNX Runtime library {} already and cannot change to {}: there can be one only. Start another \
             process for the other library",
            l.path.display(),
            path.display()
        ))),
        Some(Loaded { environment: Ok(environment), .. }) => Ok(environment.clone()),
        Some(Loaded { environment: Err(why), .. }) => {
            Err(Error::engine(format!("ONNX Runtime ({}) could not be started: {}", path.display(), one_paragraph(why))))
        }
        None => Err(Error::engine("ONNX Runtime was not loaded")),
    }
}

/// ONNX Runtime as an engine.
#[derive(Debug)]
pub struct OrtEngine {
    environment: Environment,
    path: PathBuf,
    version: String,
    why: String,
    device: Device,
    threads: Option<usize>,
    tf32: bool,
    native: bool,
}

impl OrtEngine {
    /// Loads the candidate's library. Fails when the process uses another one already, and with [`Device::Cuda`] when
    /// the CUDA execution provider cannot be started: there is no silent fall-back to the CPU.
    pub fn new(candidate: &Candidate, options: &EngineOptions) -> Result<Self> {
        let engine = OrtEngine {
            environment: environment(&candidate.path)?,
            path: candidate.path.clone(),
            version: candidate.version.clone().unwrap_or_else(|| "of unknown version".into()),
            why: match candidate.origin {
                Origin::Option | Origin::Environment => format!("named by {}", candidate.origin),
                place => format!("the first that can be used (found by: {place})"),
            },
            device: options.device,
            threads: options.threads,
            tf32: options.tf32,
            native: options.device == Device::Cpu
                && match options.kernels {
                    Kernels::Auto => native::suits_processor(),
                    Kernels::Native => true,
                    Kernels::Standard => false,
                },
        };
        if engine.device == Device::Cuda {
            preload_cuda_libraries(&engine.path);
            // Registers the provider once for nothing, so that a refusal comes now and not after minutes of preparation.
            engine.builder().map_err(|e| {
                Error::engine(format!(
                    "the CUDA device was asked for, but ONNX Runtime {} ({}) cannot use it: {}. Check that an NVIDIA driver is installed \
                     (`nvidia-smi`), that this is a CUDA build of ONNX Runtime (the Python package onnxruntime-gpu holds one), and that the \
                     CUDA and cuDNN libraries of the versions it wants are installed; or train on the CPU with `--device cpu`",
                    engine.version,
                    engine.path.display(),
                    one_paragraph(e.message())
                ))
            })?;
        }
        Ok(engine)
    }

    fn builder(&self) -> ::ort::Result<SessionBuilder> {
        let mut builder = OrtSession::builder(&self.environment)?
            // A third less memory at the peak of a training step, and no slower.
            .with_memory_pattern(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?;
        if let Some(threads) = self.threads {
            builder = builder.with_intra_threads(threads.max(1))?;
        }
        match self.device {
            // Without this the library might pick another device by itself.
            Device::Cpu => builder = builder.with_auto_device(AutoDevicePolicy::PreferCPU)?,
            Device::Cuda => {
                let cuda = ep::CUDA::default().with_device_id(0).with_tf32(self.tf32).build().error_on_failure();
                builder = builder.with_execution_providers([cuda])?;
            }
        }
        Ok(builder)
    }

    /// With `profile`, the session records node times; the path is the beginning of the record's file name.
    /// Gives the pairs of inputs and outputs that may share a buffer as well.
    fn session(&self, model: &Path, profile: Option<&Path>) -> Result<(OrtSession, Signature, SharedBuffers)> {
        let signature = Signature::read(model)?;
        let native = if self.native { native::prepare(model, profile.is_some())? } else { None };
        let commit = || {
            let mut builder = self.builder()?;
            if let Some(path) = profile {
                builder = builder.with_profiling(path)?;
            }
            match &native {
                // ONNX Runtime is given the path, not the bytes, so that it finds external data beside the model.
                None => builder.commit_from_file(model),
                Some(native::Prepared { bytes, .. }) => {
                    let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
                    builder
                        .with_config_entry("session.model_external_initializers_file_folder_path", folder.to_string_lossy())?
                        .with_operators(native::domain(threads)?)?
                        .commit_from_memory(bytes)
                }
            }
        };
        let session = commit().map_err(|e| explain("load", &signature.model, &e))?;
        Ok((session, signature, native.map(|n| n.in_place).unwrap_or_default()))
    }

    fn stepper(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>, profile: Option<&Path>) -> Result<OrtStepper> {
        let (session, signature, pairs) = self.session(model, profile)?;
        let map = signature.state_map(state, &start)?;
        let name = signature.model.clone();
        let in_place = state.iter().map(|s| pairs.iter().any(|(input, output)| s.input == *input && s.output == *output)).collect();
        OrtStepper::new(session, signature, map, in_place, start, self.device).map_err(|e| explain("prepare the state of", &name, &e))
    }
}

/// Pairs of a graph input and an output that may share a buffer.
type SharedBuffers = Vec<(String, String)>;

impl Engine for OrtEngine {
    fn describe(&self) -> String {
        let description = super::description("ONNX Runtime", &self.version, self.device, self.threads);
        match self.native {
            true => format!("{description}, native kernels ({})", native::instructions()),
            false => description,
        }
    }

    fn origin(&self) -> String {
        format!("{}, {}", self.path.display(), self.why)
    }

    fn kind(&self) -> EngineChoice {
        EngineChoice::Ort
    }

    fn load(&self, model: &Path) -> Result<Box<dyn Session>> {
        let (session, signature, _) = self.session(model, None)?;
        let inputs = signature.inputs.iter().map(|p| p.name.clone()).collect();
        let outputs = signature.outputs.iter().map(|p| p.name.clone()).collect();
        Ok(Box::new(Runner { session, signature, inputs, outputs }))
    }

    fn load_step(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(self.stepper(model, state, start, None)?))
    }

    fn profile(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>, feeds: &[(&str, &Tensor)], steps: usize) -> Result<String> {
        let folder = tempfile::tempdir().map_err(Error::io("cannot write into", std::env::temp_dir()))?;
        // Native operators keep their nodes' names.
        let copy = if self.native { model.to_path_buf() } else { written_out(model, folder.path())? };
        let mut stepper = self.stepper(&copy, state, start, Some(&folder.path().join("profile")))?;
        for _ in 0..steps {
            stepper.step(feeds)?;
        }
        let file = stepper.session.end_profiling().map_err(|e| explain("profile", &stepper.signature.model, &e))?;
        std::fs::read_to_string(&file).map_err(Error::io("cannot read the profile", &file))
    }
}

/// A copy of `model` in `folder` in which no function is called: ONNX Runtime names the nodes of functions' bodies after the
/// function alone.
fn written_out(model: &Path, folder: &Path) -> Result<PathBuf> {
    let source = onnx::read(model)?;
    let mut proto = source.proto;
    super::inline_functions(&mut proto)?;
    let outside = proto.graph.iter().flat_map(|g| &g.initializer).flat_map(|t| &t.external_data);
    let weights: HashSet<String> = outside.filter(|e| e.key() == "location").map(|e| e.value().to_string()).collect();
    for name in weights {
        let (from, to) = (source.dir.join(&name), folder.join(&name));
        // A second name for the same file where the file system allows it.
        std::fs::hard_link(&from, &to).or_else(|_| std::fs::copy(&from, &to).map(drop)).map_err(Error::io("cannot copy", &from))?;
    }
    let path = folder.join("step.onnx");
    std::fs::write(&path, proto.encode_to_vec()).map_err(Error::io("cannot write", &path))?;
    Ok(path)
}

struct Runner {
    session: OrtSession,
    signature: Signature,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Session for Runner {
    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> &[String] {
        &self.outputs
    }

    fn run(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let all: Vec<usize> = (0..self.inputs.len()).collect();
        let order = self.signature.match_feeds(&all, feeds)?;
        let model = &self.signature.model;
        let values = self
            .inputs
            .iter()
            .zip(&order)
            .map(|(name, &at)| Ok((name.as_str(), to_ort(feeds[at].1)?)))
            .collect::<::ort::Result<Vec<_>>>()
            .map_err(|e| explain("take the inputs of", model, &e))?;
        let results = self.session.run(values).map_err(|e| explain("run", model, &e))?;
        self.outputs.iter().map(|name| output(results.get(name), name, model)).collect()
    }
}

/// A training step with its state in two sets of buffers that take turns: a step reads one and writes the other, so
/// state is never copied, and never written while an operator may still read it. State whose update waits for all that read
/// it has one buffer, in the first set.
struct OrtStepper {
    sets: [StateSet; 2],
    /// The set that holds the current state.
    current: usize,
    /// One buffer for each fed input, kept while its type and shape stay.
    feeds: Vec<Option<DynTensor>>,
    /// State whose next value is an input of the graph, without a node between: (state port, where the value comes
    /// from). ONNX Runtime computes nothing for these and leaves a buffer bound to such an output untouched.
    carried: Vec<(usize, Source)>,
    signature: Signature,
    map: StateMap,
    /// Which state ports have one buffer.
    in_place: Vec<bool>,
    /// A step has failed that may have written to such a buffer.
    lost: bool,
    device: Device,
    host: MemoryInfo<'static>,
    /// Last, because the buffers above may belong to an allocator of its.
    session: OrtSession,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// The current state of this port.
    State(usize),
    /// The feed of this number.
    Feed(usize),
}

struct StateSet {
    /// Reads this set's tensors and writes the other's.
    binding: IoBinding,
    tensors: Vec<DynTensor>,
}

impl OrtStepper {
    fn new(
        session: OrtSession,
        signature: Signature,
        map: StateMap,
        in_place: Vec<bool>,
        start: Vec<Tensor>,
        device: Device,
    ) -> ::ort::Result<Self> {
        let allocator = match device {
            Device::Cpu => Allocator::default(),
            Device::Cuda => {
                Allocator::new(&session, MemoryInfo::new(AllocationDevice::CUDA, 0, AllocatorType::Device, MemoryType::Default)?)?
            }
        };
        let source = |output: usize| {
            let input = signature.inputs.iter().position(|p| p.name == signature.outputs[output].name)?;
            let state = map.inputs.iter().position(|&i| i == input).map(Source::State);
            state.or_else(|| map.fed.iter().position(|&i| i == input).map(Source::Feed))
        };
        let carried: Vec<_> = map.outputs.iter().enumerate().filter_map(|(port, &output)| Some((port, source(output)?))).collect();
        let mut first = Vec::with_capacity(start.len());
        let mut second = Vec::with_capacity(start.len());
        for (tensor, &in_place) in start.into_iter().zip(&in_place) {
            let mut buffer = empty(&allocator, tensor.dtype(), tensor.shape())?;
            match device {
                Device::Cpu => fill(&mut buffer, &tensor)?,
                Device::Cuda => to_ort(&tensor)?.copy_into(&mut buffer)?,
            }
            first.push(buffer);
            second.push(empty(&allocator, tensor.dtype(), if in_place { &[1] } else { tensor.shape() })?);
        }
        let mut bindings = [session.create_binding()?, session.create_binding()?];
        for (at, binding) in bindings.iter_mut().enumerate() {
            for (port, (&input, &output)) in map.inputs.iter().zip(&map.outputs).enumerate() {
                let from = if in_place[port] || at == 0 { &first } else { &second };
                binding.bind_input(&signature.inputs[input].name, &from[port])?;
                if !carried.iter().any(|c| c.0 == port) {
                    let to = if in_place[port] || at == 1 { &mut first } else { &mut second };
                    binding.bind_output(&signature.outputs[output].name, &mut to[port])?;
                }
            }
        }
        let feeds = map.fed.iter().map(|_| None).collect();
        let [one, two] = bindings;
        let sets = [StateSet { binding: one, tensors: first }, StateSet { binding: two, tensors: second }];
        let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        Ok(OrtStepper { sets, current: 0, feeds, carried, signature, map, in_place, lost: false, device, host, session })
    }

    /// Fails after a step that left the state half updated.
    fn check(&self) -> Result<()> {
        match self.lost {
            false => Ok(()),
            true => Err(Error::engine(format!(
                "the last step of {} failed while its state was being replaced, so there is none to go on with; start again from the last \
                 checkpoint",
                self.signature.model
            ))),
        }
    }

    /// Copies what no node computes into the next state.
    fn carry(&mut self) -> ::ort::Result<()> {
        let [one, two] = &mut self.sets;
        let (now, next) = if self.current == 0 { (one, two) } else { (two, one) };
        for &(port, source) in &self.carried {
            let value = match source {
                Source::State(from) => Some(&now.tensors[from]),
                Source::Feed(from) => self.feeds[from].as_ref(),
            };
            if let Some(value) = value {
                value.copy_into(&mut next.tensors[port])?;
            }
        }
        Ok(())
    }

    /// Binds one step's inputs and plain outputs.
    fn bind(&mut self, order: &[usize], feeds: &[(&str, &Tensor)]) -> ::ort::Result<()> {
        let StateSet { binding, tensors } = &mut self.sets[self.current];
        for ((&input, &at), buffer) in self.map.fed.iter().zip(order).zip(&mut self.feeds) {
            let tensor = feeds[at].1;
            let buffer = match buffer {
                Some(kept) if same_shape(kept, tensor) => kept,
                other => other.insert(empty(&Allocator::default(), tensor.dtype(), tensor.shape())?),
            };
            fill(buffer, tensor)?;
            binding.bind_input(&self.signature.inputs[input].name, buffer)?;
        }
        if self.device == Device::Cuda {
            // An input that the graph reads on the CPU is copied there by the binding call itself, and would stay as it
            // was at that call.
            for (&input, tensor) in self.map.inputs.iter().zip(tensors) {
                binding.bind_input(&self.signature.inputs[input].name, tensor)?;
            }
            binding.synchronize_inputs()?;
        }
        for &at in &self.map.plain {
            // Anew each time: the binding would otherwise hold on to the last result's buffer, and to its shape.
            binding.bind_output_to_device(&self.signature.outputs[at].name, &self.host)?;
        }
        Ok(())
    }
}

impl Stepper for OrtStepper {
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let order = self.signature.match_feeds(&self.map.fed, feeds)?;
        self.check()?;
        self.bind(&order, feeds).map_err(|e| explain("take the inputs of", &self.signature.model, &e))?;
        self.lost = self.in_place.contains(&true);
        let model = &self.signature.model;
        let binding = &self.sets[self.current].binding;
        let results = self.session.run_binding(binding).map_err(|e| explain("run", model, &e))?;
        binding.synchronize_outputs().map_err(|e| explain("run", model, &e))?;
        let plain = self
            .map
            .plain
            .iter()
            .map(|&at| {
                let name = &self.signature.outputs[at].name;
                Ok((name.clone(), output(results.get(name), name, model)?))
            })
            .collect::<Result<_>>()?;
        drop(results);
        let carried = self.carry();
        carried.map_err(|e| explain("pass on the state of", &self.signature.model, &e))?;
        // Only now, when nothing can fail any more, does the step count. A failed one wrote to the other set, and to what is in place.
        self.current = 1 - self.current;
        self.lost = false;
        Ok(plain)
    }

    fn state(&mut self) -> Result<Vec<Tensor>> {
        self.check()?;
        let model = &self.signature.model;
        let kept = |port: usize| if self.in_place[port] { 0 } else { self.current };
        (0..self.in_place.len())
            .map(|port| &self.sets[kept(port)].tensors[port])
            .map(|tensor| match self.device {
                Device::Cpu => from_ort(tensor),
                Device::Cuda => from_ort(&tensor.to(AllocationDevice::CPU, 0)?),
            })
            .collect::<::ort::Result<_>>()
            .map_err(|e| explain("copy the state of", model, &e))
    }
}

const ELEMENT_TYPES: [(DType, TensorElementType); 13] = [
    (DType::F32, TensorElementType::Float32),
    (DType::F64, TensorElementType::Float64),
    (DType::F16, TensorElementType::Float16),
    (DType::BF16, TensorElementType::Bfloat16),
    (DType::I8, TensorElementType::Int8),
    (DType::I16, TensorElementType::Int16),
    (DType::I32, TensorElementType::Int32),
    (DType::I64, TensorElementType::Int64),
    (DType::U8, TensorElementType::Uint8),
    (DType::U16, TensorElementType::Uint16),
    (DType::U32, TensorElementType::Uint32),
    (DType::U64, TensorElementType::Uint64),
    (DType::Bool, TensorElementType::Bool),
];

fn dtype_of(element: TensorElementType) -> Option<DType> {
    ELEMENT_TYPES.iter().find(|row| row.1 == element).map(|row| row.0)
}

fn empty(allocator: &Allocator, dtype: DType, shape: &[usize]) -> ::ort::Result<DynTensor> {
    let Some((_, element)) = ELEMENT_TYPES.iter().find(|row| row.0 == dtype) else {
        return Err(::ort::Error::new(format!("the element type {dtype} is unknown")));
    };
    DynTensor::new(allocator, *element, shape)
}

fn same_shape(buffer: &DynTensor, tensor: &Tensor) -> bool {
    dtype_of(*buffer.data_type()) == Some(tensor.dtype())
        && buffer.shape().len() == tensor.shape().len()
        && buffer.shape().iter().zip(tensor.shape()).all(|(&a, &b)| usize::try_from(a) == Ok(b))
}

/// Copies the tensor's elements into a buffer on the CPU.
fn fill(buffer: &mut DynTensor, tensor: &Tensor) -> ::ort::Result<()> {
    let bytes = tensor.bytes();
    if buffer.size() != Some(bytes.len()) || !buffer.memory_info().is_cpu_accessible() {
        return Err(::ort::Error::new("a buffer does not fit its tensor"));
    }
    if !bytes.is_empty() {
        // SAFETY: the buffer is in the CPU's memory and has exactly this many bytes, as checked above; nobody else
        // reads or writes it, since no run is under way.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.data_ptr_mut().cast::<u8>(), bytes.len()) };
    }
    Ok(())
}

fn to_ort(tensor: &Tensor) -> ::ort::Result<DynTensor> {
    let mut buffer = empty(&Allocator::default(), tensor.dtype(), tensor.shape())?;
    fill(&mut buffer, tensor)?;
    Ok(buffer)
}

/// Copies a tensor out of the CPU's memory.
fn from_ort(value: &DynTensor) -> ::ort::Result<Tensor> {
    let Some(dtype) = dtype_of(*value.data_type()) else {
        return Err(::ort::Error::new(format!("spgraph does not know the element type {}", value.data_type())));
    };
    let (Some(size), true) = (value.size(), value.memory_info().is_cpu_accessible()) else {
        return Err(::ort::Error::new("the tensor is not in the CPU's memory"));
    };
    let bytes = match size {
        0 => vec![],
        // SAFETY: the tensor is in the CPU's memory, has `size` bytes, and lives until the copy is made.
        _ => unsafe { std::slice::from_raw_parts(value.data_ptr().cast::<u8>(), size) }.to_vec(),
    };
    let shape = value.shape().iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    Tensor::new(dtype, shape, bytes).map_err(|e| ::ort::Error::new(e.to_string()))
}

fn output(value: Option<&DynValue>, name: &str, model: &str) -> Result<Tensor> {
    let Some(value) = value else {
        return Err(Error::engine(format!("ONNX Runtime gave no output `{name}` of {model}")));
    };
    let tensor = value.view().downcast::<DynTensorValueType>();
    tensor.and_then(|t| from_ort(&t)).map_err(|e| explain(&format!("give the output `{name}` of"), model, &e))
}

fn explain(doing: &str, model: &str, error: &::ort::Error) -> Error {
    use ::ort::ErrorCode::{InvalidGraph, InvalidProtobuf, NotImplemented};
    let said = one_paragraph(error.message());
    let advice = match error.code() {
        NotImplemented => {
            "This build has no kernel for that operator and its types. A newer ONNX Runtime, float32, or another engine (`--engine tract`) \
             may have one"
        }
        InvalidProtobuf => "The file is damaged or is no ONNX model; make it again",
        InvalidGraph => "The model breaks ONNX's rules, or needs a newer ONNX Runtime; make it again, or update the runtime",
        _ if said.contains("allocate memory") || said.contains("out of memory") => "There is too little memory: use a smaller batch",
        _ if said.contains("External data") || said.contains("external data") => {
            "Keep the file with the weights in the model's folder, under the name it was written with"
        }
        _ => "Set SPGRAPH_ORT_LOG=1 to see ONNX Runtime's own log",
    };
    Error::engine(format!("ONNX Runtime could not {doing} {model}: {said}. {advice}"))
}

/// Loads the CUDA libraries that Python packages bring along, so that the provider finds them without a search path.
/// What is missing here may still be installed in the system; what is missing there too, the provider names itself.
fn preload_cuda_libraries(library: &Path) {
    // …/site-packages/onnxruntime/capi/libonnxruntime.so.… → …/site-packages/nvidia/*/lib
    let Some(packages) = library.ancestors().nth(3).map(|dir| dir.join("nvidia")) else { return };
    let Ok(entries) = std::fs::read_dir(packages) else { return };
    let folders: Vec<PathBuf> = entries.filter_map(|e| e.ok()).map(|e| e.path().join("lib")).collect();
    for name in ep::cuda::CUDA_DYLIBS.iter().chain(ep::cuda::CUDNN_DYLIBS) {
        if let Some(path) = folders.iter().map(|dir| dir.join(name)).find(|p| p.is_file()) {
            // A library that fails to load is reported by the provider, which needs it.
            let _ = ::ort::util::preload_dylib(path);
        }
    }
}
