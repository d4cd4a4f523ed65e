//! What every runtime can do: load a graph for plain calls, load a training step whose state stays with the runtime, and record the
//! times of nodes.

use super::options::{Device, EngineChoice, EngineOptions, Precision};
use super::signature::{Signature, StatePort};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use std::path::Path;

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

    /// Where each node of the model runs, and the copies between; `None` for an engine that has one place only.
    fn placements(&self, _model: &Path) -> Result<Option<Vec<Placement>>> {
        Ok(None)
    }

    /// What the times of nodes in [`Engine::profile`] are of.
    fn timed(&self) -> Timed {
        Timed::Work
    }

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
            "this engine does not record the time of single nodes: {}. Profile with ONNX Runtime, {} ort (`spgraph runtime` shows which \
             library that is, `spgraph runtime install` gets one)",
            self.describe(),
            Field::ENGINE
        )))
    }
}

/// What the time of a node is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timed {
    /// Its work, which the processor does.
    #[default]
    Work,
    /// Its kernels on a device, which were waited for one by one; with starting each of them.
    Kernels,
    /// Starting its kernels, and nothing of what they take.
    Launches,
}

/// Where a node runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Placement {
    /// The node's name; of a copy, the value that is copied.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Who computes it, as the runtime calls it.
    pub provider: String,
}

/// A graph that is ready to be called.
pub trait Session {
    /// What the graph takes and gives.
    fn signature(&self) -> &Signature;
    /// Runs the graph once; the results come in the order of the signature's outputs.
    fn run(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<Tensor>>;
}

/// A training step that is ready to run, with its state.
pub trait Stepper {
    /// Runs one step on `feeds` (data, target and scalars) and makes its next state the current one.
    /// Returns the outputs that are no state, in graph order, with their names.
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>>;
    /// Copies the current state out, in the order of `StatePort`s.
    fn state(&mut self) -> Result<Vec<Tensor>>;
    /// The step in parts, where the device computes by itself: what the next one is fed can go up meanwhile.
    fn parts(&mut self) -> Option<&mut dyn StepParts> {
        None
    }
}

/// [`Stepper::step`] in parts. One step at a time: it is begun after it was fed, and ended before the next one is begun.
pub trait StepParts {
    /// What the next step is fed: the one after the step that was begun, where one was.
    fn feed(&mut self, feeds: &[(&str, &Tensor)]) -> Result<()>;
    /// Begins the step that was fed, and does not wait for it.
    fn begin(&mut self) -> Result<()>;
    /// Waits for the step that was begun, and makes its next state the current one. Gives what [`Stepper::step`] does.
    fn end(&mut self) -> Result<Vec<(String, Tensor)>>;
}

/// A row of [`ENGINES`](super::ENGINES): what a runtime is called, what it can do, and how it is opened.
pub struct EngineEntry {
    /// The choice that asks for it.
    pub choice: EngineChoice,
    /// For people.
    pub name: &'static str,
    /// Where it can compute.
    pub devices: &'static [Device],
    /// Where spgraph's own kernels can be registered with it.
    pub native_kernels: &'static [Device],
    /// `passed` says why each runtime before it in the table is not used; it is empty where this one was asked for.
    pub(super) open: fn(options: &EngineOptions, passed: &[String]) -> Result<Opened>,
}

/// What opening a runtime led to.
pub enum Opened {
    /// It can be used.
    Ready(Box<dyn Engine>),
    /// It is not on this machine.
    Absent {
        /// In a few words, for the one that is used in its place.
        why: String,
        /// For who insists on it.
        error: Error,
    },
}

impl EngineEntry {
    /// Why it cannot do what the options ask for, where it cannot.
    pub(super) fn refusal(&self, options: &EngineOptions) -> Option<String> {
        let places = |devices: &[Device]| devices.iter().map(|d| d.name()).collect::<Vec<_>>().join(" and ");
        if !self.devices.contains(&options.device) {
            return Some(format!("{} runs on the {} only", self.name, places(self.devices)));
        }
        if options.precision == Precision::Bf16 && options.device == Device::Cuda {
            return Some(
                "native kernels on CUDA take images as the graph has them, and bfloat16 is part of a graph of mixed precision".into(),
            );
        }
        if !options.computing().needs_native() || self.native_kernels.contains(&options.device) {
            return None;
        }
        Some(match self.native_kernels {
            [] => format!("{} takes no native kernels", self.name),
            some => format!("{} takes native kernels on the {} only", self.name, places(some)),
        })
    }
}
