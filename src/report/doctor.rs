//! What this machine offers, what is in the way, and what to do about it.

use crate::emit::CUDA_VERSION;
use crate::engine::{Candidate, Cuda, Device, EngineOptions, Machine, cache_dir, discover, open};
use crate::field::Field;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The examination of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doctor {
    /// The version of spgraph.
    pub spgraph: &'static str,
    /// Processor, memory, graphics cards.
    pub machine: Machine,
    /// Every library of ONNX Runtime that was found.
    pub libraries: Vec<Candidate>,
    /// The engine that the options lead to; `None` where they lead to none.
    pub engine: Option<String>,
    /// Where libraries are installed.
    pub cache: Option<Folder>,
    /// Where temporary files go.
    pub temporary: Folder,
    /// Driver, devices and libraries of CUDA, where the options ask for it or a driver is there.
    pub cuda: Option<Cuda>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// A folder that is written into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// Its path.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// Whether a file can be made in it.
    pub writable: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether what was asked for cannot be done because of it.
    pub fatal: bool,
    /// What is the case.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Doctor {
    /// Looks at the machine as the options will need it.
    pub fn examine(options: &EngineOptions) -> Doctor {
        let machine = Machine::this();
        let libraries = discover(options);
        let opened = open(options);
        let temporary = Folder::of(&std::env::temp_dir());
        let cache = cache_dir(options.device).as_deref().and_then(Path::parent).map(Folder::of);
        let mut findings = vec![];
        let mut find = |fatal: bool, what: String, advice: String| findings.push(Finding { fatal, what, advice });
        match &opened {
            Err(error) => find(true, error.to_string(), "follow what the message says, then ask again".into()),
            Ok(_) if !libraries.iter().any(|l| l.chosen) => find(
                false,
                "no library of ONNX Runtime can be used, so the embedded tract computes, about ten times slower".into(),
                "`spgraph runtime install`".into(),
            ),
            Ok(_) => {}
        }
        if machine.instructions.last() == Some(&"portable") && machine.architecture == "x86_64" {
            find(
                false,
                "the processor has no AVX2, so ONNX Runtime's own kernels compute".into(),
                "nothing; another machine is faster".into(),
            );
        }
        if let Some(bytes) = machine.memory_available.filter(|bytes| *bytes < 2 << 30) {
            let what = format!("only {} MB of memory are free", bytes >> 20);
            find(
                false,
                what,
                format!("use small batches; `spgraph inspect BUNDLE {}` predicts what a step needs ({})", Field::MEMORY, Field::BATCH),
            );
        }
        let asked = options.device == Device::Cuda;
        let cuda = (asked || machine.nvidia_driver.is_some())
            .then(|| Cuda::examine(libraries.iter().find(|l| l.has_cuda).map(|l| l.path.as_path())));
        for obstacle in cuda.iter().flat_map(|cuda| cuda.obstacles(options.device_index)) {
            find(asked, obstacle.what, obstacle.advice);
        }
        if let Some(obstacle) = cuda.as_ref().filter(|cuda| cuda.obstacles(options.device_index).is_empty()).and_then(Cuda::native_obstacle)
        {
            find(false, format!("{}; ONNX Runtime's own compute, which take about twice as long", obstacle.what), obstacle.advice);
        }
        let release = libraries.iter().find(|l| l.chosen).filter(|l| asked && l.version.as_deref() != Some(CUDA_VERSION));
        if let Some(version) = release.and_then(|l| l.version.as_ref()) {
            find(
                false,
                format!("the ONNX Runtime with the CUDA provider is {version}, and spgraph knows the kernels of {CUDA_VERSION}"),
                format!("`spgraph runtime install {} cuda` gets that one", Field::DEVICE),
            );
        }
        match &cache {
            None => find(
                false,
                "there is no cache folder: HOME, XDG_CACHE_HOME and SPGRAPH_CACHE name none".into(),
                "set SPGRAPH_CACHE to an absolute path, if `spgraph runtime install` is to work".into(),
            ),
            Some(folder) if !folder.writable => find(
                false,
                format!("the cache folder {} cannot be written", folder.path.display()),
                "make it writable, or set SPGRAPH_CACHE to another".into(),
            ),
            Some(_) => {}
        }
        if !temporary.writable {
            let what = format!("the folder for temporary files, {}, cannot be written", temporary.path.display());
            find(true, what, "make it writable, or set TMPDIR to another".into());
        }
        let engine = opened.ok().map(|engine| engine.describe());
        Doctor { spgraph: env!("CARGO_PKG_VERSION"), machine, libraries, engine, cache, temporary, cuda, findings }
    }

    /// Whether nothing stands in the way of what was asked for.
    pub fn is_well(&self) -> bool {
        !self.findings.iter().any(|f| f.fatal)
    }
}

impl Folder {
    /// A file is made in it, or in the nearest folder above it that is there, and removed.
    fn of(path: &Path) -> Folder {
        let there = path.ancestors().find(|p| p.is_dir());
        let writable = there.is_some_and(|dir| tempfile::tempfile_in(dir).is_ok());
        Folder { path: path.to_path_buf(), writable }
    }
}
