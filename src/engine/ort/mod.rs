//! ONNX Runtime, loaded when the program runs: on the CPU, or on CUDA with the state kept on the device.

#[allow(unsafe_code)]
mod cuda;
mod device_kernels;
mod discover;
#[allow(unsafe_code)]
mod environment;
mod explain;
mod feeds;
mod install;
mod learnt;
mod library;
mod memory;
mod passed;
#[allow(unsafe_code)]
mod placement;
#[allow(unsafe_code)]
mod probe;
mod python;
#[allow(unsafe_code)]
mod recorded;
mod session;
mod stepper;
#[allow(unsafe_code)]
mod values;

pub use self::cuda::{Cuda, CudaDevice, CudaLibrary, Obstacle};
pub use self::discover::{Candidate, Origin, discover};
pub(super) use self::environment::block_launches;
pub use self::install::{cache_dir, install};
pub use self::library::Owner;
pub(super) use self::recorded::check_not_profiled;

use self::environment::{cuda_starts, environment, launches_block};
use self::explain::explain;
use self::session::OrtSession;
use self::stepper::{OrtStepper, Running};
use super::cuda::CudaKernels;
use super::model::{FOR_CUDA, Given, WRITTEN_OUT, emitted, in_model, read_bytes, typed, understood, without_functions};
use super::native::{self, Prepared};
use super::options::{Device, EngineChoice, EngineOptions, Precision, description};
use super::session::{Engine, EngineEntry, Opened, Placement, Session, Stepper, Timed};
use super::signature::{Signature, StatePort, graph_of, one_paragraph};
use crate::emit;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::onnx::{ModelFile, pb};
use crate::operator::OPSET;
use crate::pass;
use crate::storage::temporaries::Scratch;
use ::ort::environment::Environment;
use ::ort::ep;
use ::ort::session::Session as Loaded;
use ::ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// ONNX Runtime's row in the table of engines: it is there where a library of it is found that can be used.
pub(super) const ENTRY: EngineEntry = EngineEntry {
    choice: EngineChoice::Ort,
    name: "ONNX Runtime",
    devices: &[Device::Cpu, Device::Cuda],
    native_kernels: &[Device::Cpu, Device::Cuda],
    open: |options, _| {
        let candidates = discover::search(options);
        Ok(match discover::choose(&candidates)? {
            Some(candidate) => Opened::Ready(Box::new(OrtEngine::new(candidate, options)?)),
            None => discover::absent(&candidates, options),
        })
    },
};

/// ONNX Runtime as an engine.
#[derive(Debug)]
pub struct OrtEngine {
    environment: Environment,
    path: PathBuf,
    version: String,
    why: String,
    device: Device,
    device_index: usize,
    threads: Option<usize>,
    tf32: bool,
    running: Running,
    /// The instructions of the native kernels for the processor, where they are used.
    native: Option<native::Isa>,
    /// The native kernels for the device, where they are used; what stands in their way, where that is so.
    device_kernels: Option<Result<CudaKernels, String>>,
    precision: Precision,
}

impl OrtEngine {
    /// Loads the candidate's library. Fails when the process uses another one already, and with [`Device::Cuda`] when
    /// the CUDA execution provider cannot be started: there is no silent fall-back to the CPU.
    pub fn new(candidate: &Candidate, options: &EngineOptions) -> Result<Self> {
        let mut device_kernels = None;
        if options.device == Device::Cuda {
            let cuda = Cuda::examine(Some(&candidate.path));
            if let Some(Obstacle { what, advice }) = cuda.obstacles(options.device_index).into_iter().next() {
                return Err(Error::engine(format!("the CUDA device was asked for: {what}. To mend it, {advice}")));
            }
            cuda_starts();
            cuda.preload();
            device_kernels = device_kernels::load(&cuda, options.kernels)?;
        }
        let engine = OrtEngine {
            environment: environment(&candidate.path)?,
            path: candidate.path.clone(),
            version: candidate.version.clone().unwrap_or_else(|| "of unknown version".into()),
            why: match candidate.origin {
                Origin::Option | Origin::Environment => format!("named by {}", candidate.origin),
                place => format!("found by: {place}; {}", candidate.reason),
            },
            device: options.device,
            device_index: options.device_index,
            threads: options.threads,
            tf32: options.tf32,
            running: if options.cuda_graph { Running::Fixed { times: 1 } } else { Running::Bound },
            precision: options.precision,
            native: match options.device {
                Device::Cpu => options.computing().instructions()?,
                Device::Cuda => None,
            },
            device_kernels,
        };
        if engine.device == Device::Cuda {
            // Registers the provider once for nothing, so that a refusal comes now and not after minutes of preparation.
            engine.builder(false).map_err(|e| {
                Error::engine(format!(
                    "the CUDA device was asked for, but ONNX Runtime {} ({}) cannot use it: {}. Check that an NVIDIA driver is installed \
                     (`nvidia-smi`), that this is a CUDA build of ONNX Runtime (the Python package onnxruntime-gpu holds one), and that the \
                     CUDA and cuDNN libraries of the versions it wants are installed; or train on the CPU ({} cpu)",
                    engine.version,
                    engine.path.display(),
                    one_paragraph(e.message()),
                    Field::DEVICE
                ))
            })?;
        }
        Ok(engine)
    }

    /// For tests: steps run as recorded ones do, from and to buffers that stay where they are, each so many times over.
    #[doc(hidden)]
    pub fn with_fixed_buffers(self, times: usize) -> Self {
        OrtEngine { running: Running::Fixed { times }, ..self }
    }

    /// Whether images between native kernels are bfloat16.
    fn half(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// With `recorded`, the session records what it runs.
    fn builder(&self, recorded: bool) -> ::ort::Result<SessionBuilder> {
        let mut builder = Loaded::builder(&self.environment)?
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
                let cuda = ep::CUDA::default()
                    .with_device_id(i32::try_from(self.device_index).unwrap_or(i32::MAX))
                    .with_tf32(self.tf32)
                    .with_cuda_graph(recorded)
                    .build()
                    .error_on_failure();
                builder = builder.with_execution_providers([cuda])?;
            }
        }
        Ok(builder)
    }

    fn cuda_kernels(&self) -> Option<&CudaKernels> {
        self.device_kernels.as_ref()?.as_ref().ok()
    }

    /// The model in the form that is for the device, where it is spgraph's own: with native kernels, or written out for the provider, which takes what is in another
    /// opset as it is. What is to be recorded is checked in that form.
    fn for_device(&self, file: &ModelFile, model: &str, recorded: bool) -> Result<Option<pb::ModelProto>> {
        let opset = emit::opset_of(&file.proto).unwrap_or(OPSET);
        let takes = opset == OPSET || self.cuda_kernels().is_some();
        // What is of others' making is not checked: the session itself says what stands in the way.
        let Some(mut graph) = typed(file).filter(|_| self.device == Device::Cuda && (takes || recorded)) else { return Ok(None) };
        match self.cuda_kernels() {
            Some(_) => super::cuda::prepare(&mut graph, self.tf32)?,
            None => pass::apply(&mut graph, FOR_CUDA)?,
        }
        if recorded {
            recorded::check_nodes(model, &graph, opset)?;
        }
        if !takes {
            return Ok(None);
        }
        let mut written = emitted(&graph, file)?;
        if opset != OPSET {
            emit::to_opset(&mut written, opset)?;
        }
        Ok(Some(written))
    }

    /// With what else the session is to do.
    fn session(&self, model: &Path, Wanted { named, recorded }: Wanted, more: More) -> Result<Made> {
        let (file, bytes) = read_bytes(model)?;
        let signature = Signature::from_graph(graph_of(&file.proto, model)?, model)?;
        let read = if recorded { recorded::read_by_nodes(&file) } else { HashSet::new() };
        let native = match self.native.and_then(|isa| Some((isa, understood(&file)?))) {
            Some((isa, graph)) => native::prepare(graph, self.half(), named)?.map(|prepared| (isa, prepared)),
            None => None,
        };
        let (given, native) = match native {
            Some((isa, Prepared { graph, in_place })) => {
                (Given::of(emitted(&graph, &file)?, &file.external).map_err(in_model(model))?, Some((isa, in_place)))
            }
            None => match self.for_device(&file, &signature.model, recorded)? {
                Some(proto) => (Given::of(proto, &file.external).map_err(in_model(model))?, None),
                // ONNX Runtime names the nodes of functions' bodies after the function alone.
                None if named => {
                    let written_out = without_functions(file.clone(), WRITTEN_OUT)?;
                    (Given::of(written_out, &file.external).map_err(in_model(model))?, None)
                }
                None => (Given::as_read(&file, bytes).map_err(in_model(model))?, None),
            },
        };
        drop(file);
        let commit = || {
            let mut builder = more(self.builder(recorded)?)?;
            if let Some((isa, _)) = &native {
                let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
                builder = builder.with_operators(native::domain(threads, *isa)?)?;
            }
            if let Some(kernels) = self.cuda_kernels() {
                builder = builder.with_operators(kernels.domain(self.tf32)?)?;
            }
            // It opens no file itself, so that it sees what was checked and nothing else.
            for (name, content) in &given.files {
                builder = builder.with_external_initializer_file_in_memory(name, Arc::from(&content[..]))?;
            }
            builder.commit_from_memory(&given.model)
        };
        let session = {
            // ONNX Runtime keeps the domains of all sessions' operators in one table, without a lock of its own.
            let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
            commit()
        };
        let session = session.map_err(|e| explain("load", &signature.model, &e));
        let session = session.map_err(|e| if recorded { recorded::failed(&e) } else { e })?;
        Ok(Made { session, signature, in_place: native.map(|(_, in_place)| in_place), read })
    }

    fn stepper(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>, profile: Option<&Path>) -> Result<OrtStepper> {
        let recorded = self.device == Device::Cuda && self.running != Running::Bound;
        let wanted = Wanted { named: profile.is_some(), recorded };
        let Made { session, signature, in_place, read } = match profile {
            None => self.session(model, wanted, &Ok)?,
            // The beginning of the name of the record of its nodes' times.
            Some(path) => self.session(model, wanted, &|builder| Ok(builder.with_profiling(path)?))?,
        };
        if self.half() && in_place.is_none() {
            return Err(Error::model(format!(
                "{}: {} bf16 was asked for, and native kernels cover nothing of this network, so that all of it would be float32: leave it out",
                signature.model,
                Field::PRECISION
            )));
        }
        let map = signature.state_map(state, &start)?;
        if self.running != Running::Bound {
            recorded::check_shapes(&signature, &map.plain)?;
        }
        if recorded {
            recorded::check_ports(&session, &signature, &read)?;
        }
        let name = signature.model.clone();
        let may_share = |s: &StatePort| in_place.iter().flatten().any(|(input, output)| s.input == *input && s.output == *output);
        let in_place: Vec<bool> = state.iter().map(may_share).collect();
        if self.running != Running::Bound {
            recorded::check_buffers(&signature, state, &in_place)?;
        }
        OrtStepper::new(session, signature, map, in_place, start, (self.device, self.device_index), self.running)
            .map_err(|e| explain("prepare the state of", &name, &e))
    }
}

/// Held while a session is made.
static LOADING: Mutex<()> = Mutex::new(());

/// What a session is for.
#[derive(Default, Clone, Copy)]
struct Wanted {
    /// Its nodes keep their names.
    named: bool,
    /// It records what it runs.
    recorded: bool,
}

/// What is said to the builder of a session besides.
type More<'a> = &'a dyn Fn(SessionBuilder) -> ::ort::Result<SessionBuilder>;

/// A session, and what is known of its model.
struct Made {
    session: Loaded,
    signature: Signature,
    /// Pairs of an input and an output that may share a buffer, where native kernels for the processor cover some of the model.
    in_place: Option<Vec<(String, String)>>,
    /// Values that nodes of the model read, where it is to be recorded.
    read: HashSet<String>,
}

impl Engine for OrtEngine {
    fn describe(&self) -> String {
        let mut description = description("ONNX Runtime", &self.version, self.device, self.threads);
        if self.running != Running::Bound {
            description.push_str(", recorded steps");
        }
        match (self.native, &self.device_kernels) {
            (Some(isa), _) => format!("{description}, native kernels ({})", native::description(isa, self.half())),
            (None, Some(Ok(_))) => format!("{description}, native kernels"),
            (None, Some(Err(why))) => format!("{description}, without native kernels ({why})"),
            (None, None) => description,
        }
    }

    fn origin(&self) -> String {
        format!("{}, {}", self.path.display(), self.why)
    }

    fn kind(&self) -> EngineChoice {
        EngineChoice::Ort
    }

    fn load(&self, model: &Path) -> Result<Box<dyn Session>> {
        let Made { session, signature, .. } = self.session(model, Wanted::default(), &Ok)?;
        Ok(Box::new(OrtSession { session, signature }))
    }

    fn load_step(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(self.stepper(model, state, start, None)?))
    }

    fn placements(&self, model: &Path) -> Result<Option<Vec<Placement>>> {
        if self.device == Device::Cpu {
            return Ok(None);
        }
        let folder = Scratch::new()?;
        let written = folder.path().join("placed.onnx");
        let made = self.session(model, Wanted { named: true, ..Wanted::default() }, &|builder| {
            Ok(builder.with_config_entry(placement::RECORDED, "1")?.with_optimized_model_path(&written)?)
        })?;
        let mut found = placement::placements(&made.session)?;
        found.extend(placement::copies(&written)?);
        Ok(Some(found))
    }

    fn timed(&self) -> Timed {
        match self.device {
            Device::Cpu => Timed::Work,
            Device::Cuda if launches_block() => Timed::Kernels,
            Device::Cuda => Timed::Launches,
        }
    }

    fn profile(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>, feeds: &[(&str, &Tensor)], steps: usize) -> Result<String> {
        check_not_profiled(self.running != Running::Bound)?;
        let folder = Scratch::new()?;
        let mut stepper = self.stepper(model, state, start, Some(&folder.path().join("profile")))?;
        for _ in 0..steps {
            stepper.step(feeds)?;
        }
        let file = stepper.session.end_profiling().map_err(|e| explain("profile", &stepper.signature.model, &e))?;
        std::fs::read_to_string(&file).map_err(Error::io("cannot read the profile", &file))
    }
}
