//! Runtimes that execute the bundle's graphs. The only place that names ONNX Runtime or tract.

mod discover;
mod inline;
mod install;
mod merge;
mod native;
mod ort;
mod ports;
mod tract;
mod tract_ops;

pub use self::discover::{Candidate, Origin, discover};
pub use self::inline::inline_functions;
pub use self::install::install;
pub use self::ort::OrtEngine;
pub use self::tract::TractEngine;

use crate::error::{Error, Result};
use crate::ir::Tensor;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Which runtime to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// ONNX Runtime when a library is found, tract otherwise.
    #[default]
    Auto,
    Tract,
    Ort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    #[default]
    Cpu,
    /// ONNX Runtime's CUDA execution provider. Never replaced silently by the CPU.
    Cuda,
}

/// Which kernels ONNX Runtime computes with on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// Native ones where the processor suits them, otherwise ONNX Runtime's.
    #[default]
    Auto,
    /// spgraph's own for what they cover: images with channels last, fused, registered with ONNX Runtime.
    Native,
    /// ONNX Runtime's own.
    Standard,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineOptions {
    pub choice: EngineChoice,
    pub device: Device,
    /// Threads inside one operator; `None` leaves it to the runtime (all cores).
    pub threads: Option<usize>,
    /// A libonnxruntime to use instead of the one that discovery would choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ort_lib: Option<PathBuf>,
    /// CUDA only: let products of float32 matrices round their factors to 10 bits of mantissa (TF32). Faster, and
    /// training seldom minds, but results differ from the CPU's in the third digit.
    pub tf32: bool,
    #[serde(default)]
    pub kernels: Kernels,
}

/// The runtime that the options ask for. With [`EngineChoice::Auto`] that is ONNX Runtime where a suitable library is
/// found, and tract otherwise; the engine's description says which, and why.
///
/// Fails when a runtime, library or device was asked for by name and cannot be had: nothing is replaced silently.
pub fn open(options: &EngineOptions) -> Result<Box<dyn Engine>> {
    if options.kernels == Kernels::Native && (options.choice == EngineChoice::Tract || options.device == Device::Cuda) {
        return Err(Error::usage("--kernels native is for ONNX Runtime on the CPU; leave it out, or take --engine ort and --device cpu"));
    }
    if options.choice == EngineChoice::Tract {
        return Ok(Box::new(TractEngine::new(options, "as asked for")?));
    }
    let candidates = discover(options);
    match discover::choose(&candidates)? {
        Some(candidate) => Ok(Box::new(OrtEngine::new(candidate, options)?)),
        None if options.choice == EngineChoice::Ort || options.device == Device::Cuda || options.kernels == Kernels::Native => {
            Err(discover::none_found(&candidates, options))
        }
        None => {
            let why = if candidates.is_empty() {
                "no ONNX Runtime library was found (`spgraph runtime install` gets one, which is faster)"
            } else {
                "no ONNX Runtime library that was found can be used (`spgraph runtime` says why)"
            };
            Ok(Box::new(TractEngine::new(options, why)?))
        }
    }
}

/// A loaded runtime that can load models.
pub trait Engine {
    /// For people: `ONNX Runtime 1.32.0, CPU, 2 threads`.
    fn describe(&self) -> String;

    /// Where it comes from and why it is used, for people: `/path/libonnxruntime.so, from the cache`.
    fn origin(&self) -> String;

    /// [`EngineChoice::Tract`] or [`EngineChoice::Ort`].
    fn kind(&self) -> EngineChoice;

    /// Loads a model for plain calls.
    fn load(&self, model: &Path) -> Result<Box<dyn Session>>;

    /// Loads a training step. `state` pairs the step's inputs with the outputs that replace them; `start` holds their
    /// first values in the same order. State stays on the engine's device between steps.
    fn load_step(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>) -> Result<Box<dyn Stepper>>;

    /// Runs `steps` training steps on the same `feeds` and returns the runtime's record of every node's time: a Chrome
    /// trace, JSON text with times in microseconds. Calls of functions are written out
    /// first, so that every node's name begins with its source's.
    ///
    /// Fails in a runtime that keeps no such record.
    fn profile(
        &self,
        _model: &Path,
        _state: &[StatePort],
        _start: Vec<Tensor>,
        _feeds: &[(&str, &Tensor)],
        _steps: usize,
    ) -> Result<String> {
        Err(Error::usage(format!(
            "this engine does not record the time of single nodes: {}. Profile with ONNX Runtime, `--engine ort` (`spgraph runtime` shows \
             which library that is, `spgraph runtime install` gets one)",
            self.describe()
        )))
    }
}

/// `ONNX Runtime 1.32.0, CPU, 2 threads`.
fn description(name: &str, version: &str, device: Device, threads: Option<usize>) -> String {
    let device = match device {
        Device::Cpu => "CPU",
        Device::Cuda => "CUDA",
    };
    let threads = match threads {
        None => "all cores".to_string(),
        Some(1) => "1 thread".to_string(),
        Some(n) => format!("{n} threads"),
    };
    format!("{name} {version}, {device}, {threads}")
}

/// One state tensor of a step graph: the names of its input and of the output with its next value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePort {
    pub input: String,
    pub output: String,
}

pub trait Session {
    /// Names of the graph's inputs, in order.
    fn inputs(&self) -> &[String];
    /// Names of the graph's outputs, in order.
    fn outputs(&self) -> &[String];
    /// Runs the graph once; the results come in the order of `outputs`.
    fn run(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<Tensor>>;
}

pub trait Stepper {
    /// Runs one step on `feeds` (data, target and scalars) and makes its next state the current one.
    /// Returns the outputs that are no state, in graph order, with their names.
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>>;
    /// Copies the current state out, in the order of `StatePort`s.
    fn state(&mut self) -> Result<Vec<Tensor>>;
}
