//! The embedded runtime: tract, on the CPU.

mod model;
mod operators;
mod strides;
#[allow(unsafe_code)]
mod values;

use self::model::Model;
use self::values::to_tract;
use super::options::{Device, EngineChoice, EngineOptions, description};
use super::session::{Engine, EngineEntry, Opened, Session, Stepper};
use super::signature::{Signature, StateMap, StatePort, nth};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tract_linalg::multithread::Executor;
use tract_onnx::prelude::TValue;

/// The version that Cargo.toml asks for; tract gives none at run time.
const VERSION: &str = "0.23";

/// tract's row in the table of engines: it is always there.
pub(super) const ENTRY: EngineEntry = EngineEntry {
    choice: EngineChoice::Tract,
    name: "tract",
    devices: &[Device::Cpu],
    native_kernels: &[],
    open: |options, passed| {
        let why = if passed.is_empty() { "as asked for".to_string() } else { passed.join("; ") };
        Ok(Opened::Ready(Box::new(TractEngine::new(options, why)?)))
    },
};

/// tract as an engine.
#[derive(Debug)]
pub struct TractEngine {
    threads: usize,
    executor: Executor,
    why: String,
}

impl TractEngine {
    /// `why` says to people how this engine came to be chosen.
    pub fn new(options: &EngineOptions, why: impl Into<String>) -> Result<Self> {
        let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())).max(1);
        // One thread needs no pool.
        let executor = match threads {
            1 => Executor::SingleThread,
            n => Executor::MultiThread(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| {
                Error::engine(format!("could not start {n} threads for tract: {e}. Ask for fewer with {}", Field::THREADS))
            })?)),
        };
        Ok(TractEngine { threads, executor, why: why.into() })
    }
}

impl Engine for TractEngine {
    fn describe(&self) -> String {
        description("tract", VERSION, Device::Cpu, Some(self.threads))
    }

    fn origin(&self) -> String {
        format!("built in, {}", self.why)
    }

    fn kind(&self) -> EngineChoice {
        EngineChoice::Tract
    }

    fn load(&self, model: &Path) -> Result<Box<dyn Session>> {
        Ok(Box::new(TractSession(Model::load(model, &self.executor)?)))
    }

    fn load_step(&self, model: &Path, state: &[StatePort], start: Vec<Tensor>) -> Result<Box<dyn Stepper>> {
        let model = Model::load(model, &self.executor)?;
        let map = model.signature.state_map(state, &start)?;
        let state = start.iter().map(to_tract).collect::<Result<_>>()?;
        Ok(Box::new(TractStepper { model, map, state }))
    }
}

struct TractSession(Model);

impl Session for TractSession {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn run(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let all: Vec<usize> = (0..self.0.signature.inputs.len()).collect();
        let order = self.0.signature.match_feeds(&all, feeds)?;
        let values = order.iter().map(|(_, tensor)| to_tract(tensor)).collect::<Result<Vec<_>>>()?;
        let results = self.0.run(values)?;
        results.iter().enumerate().map(|(at, value)| self.0.output(at, value)).collect()
    }
}

struct TractStepper {
    model: Model,
    map: StateMap,
    /// The current state, in the order of the `StatePort`s. tract's values are shared, never written in place while
    /// someone else holds them, so passing a clone to a step leaves these as they are.
    state: Vec<TValue>,
}

impl Stepper for TractStepper {
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let signature = &self.model.signature;
        let order = signature.match_feeds(&self.map.fed, feeds)?;
        // By the input's place.
        let mut values: BTreeMap<usize, TValue> = self.map.inputs.iter().copied().zip(self.state.iter().cloned()).collect();
        for (&input, (_, tensor)) in self.map.fed.iter().zip(&order) {
            values.insert(input, to_tract(tensor)?);
        }
        let results = self.model.run(values.into_values().collect())?;
        let signature = &self.model.signature;
        let plain = self
            .map
            .plain
            .iter()
            .map(|&at| Ok((nth(&signature.outputs, at)?.name.clone(), self.model.output(at, nth(&results, at)?)?)))
            .collect::<Result<_>>()?;
        let next = self
            .map
            .outputs
            .iter()
            .zip(&self.state)
            .map(|(&at, before)| {
                let after = nth(&results, at)?;
                if after.shape() != before.shape() || after.datum_type() != before.datum_type() {
                    let name = &nth(&signature.outputs, at)?.name;
                    return Err(Error::engine(format!(
                        "a step of {} turned state of {:?}{:?} into {:?}{:?} at the output `{name}`; state must keep its type and shape",
                        signature.model,
                        before.datum_type(),
                        before.shape(),
                        after.datum_type(),
                        after.shape()
                    )));
                }
                Ok(after.clone())
            })
            .collect::<Result<_>>()?;
        // Only now, when nothing can fail any more, does the step count.
        self.state = next;
        Ok(plain)
    }

    fn state(&mut self) -> Result<Vec<Tensor>> {
        self.state.iter().zip(&self.map.outputs).map(|(value, &at)| self.model.output(at, value)).collect()
    }
}
