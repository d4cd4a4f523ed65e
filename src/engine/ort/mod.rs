//! ONNX Runtime, loaded when the program runs: on the CPU, or on CUDA with the state kept on the device.

mod stepper;
mod values;

use self::stepper::OrtStepper;
use self::values::{output, to_ort};
use super::discover::{Candidate, Origin};
use super::ports::{Signature, graph_of, one_paragraph, read_model};
use super::{Device, Engine, EngineChoice, EngineOptions, Kernels, Session, StatePort, Stepper, native};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::onnx;
use ::ort::environment::Environment;
use ::ort::ep;
use ::ort::logging::LogLevel;
use ::ort::session::Session as OrtSession;
use ::ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
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
        let proto = read_model(model)?;
        let signature = Signature::from_graph(graph_of(&proto, model)?, model)?;
        let native = match self.native {
            true => native::prepare(proto, profile.is_some())?,
            false => {
                // ONNX Runtime reads the file for itself.
                drop(proto);
                None
            }
        };
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
