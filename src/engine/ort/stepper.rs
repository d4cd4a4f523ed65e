//! A training step whose state stays in ONNX Runtime's buffers from step to step.

use super::super::options::Device;
use super::super::session::{StepParts, Stepper};
use super::super::signature::{Signature, StateMap, nth};
use super::explain::explain;
use super::feeds::Feeds;
use super::memory::Memory;
use super::passed::{Source, source};
use super::recorded;
use super::values::output;
use crate::error::{Error, Result};
use crate::ir::Tensor;
use ::ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session as OrtSession};
use ::ort::value::DynTensor;

/// How steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// What goes in and comes out is bound anew for each.
    Bound,
    /// Everything has its address for good, as a recorded graph needs it. A step runs so many times over: recording runs it more than once, and tests do
    /// the same on the processor. That changes nothing while a step reads one set of buffers and writes the other.
    Fixed { times: usize },
}

/// A training step with its state in two sets of buffers that take turns: a step reads one and writes the other, so
/// state is never copied, and never written while an operator may still read it. State whose update waits for all that read
/// it has one buffer, in the first set.
pub(super) struct OrtStepper {
    sets: Sets,
    /// The set that holds the current state.
    current: usize,
    phase: Phase,
    running: Running,
    feeds: Feeds,
    /// State whose next value is an input of the graph, without a node between: (state port, where the value comes from).
    carried: Vec<(usize, Source)>,
    pub(super) signature: Signature,
    map: StateMap,
    /// Which state ports have one buffer.
    in_place: Vec<bool>,
    /// A step has failed that may have written to such a buffer.
    lost: bool,
    host: MemoryInfo<'static>,
    memory: Memory,
    /// Last, because the buffers above may belong to an allocator of its.
    pub(super) session: OrtSession,
}

/// The two sets: 0 is the first one, every other number the second.
struct Sets([StateSet; 2]);

impl Sets {
    fn at(&self, number: usize) -> &StateSet {
        let Sets([first, second]) = self;
        if number == 0 { first } else { second }
    }

    fn at_mut(&mut self, number: usize) -> &mut StateSet {
        let Sets([first, second]) = self;
        if number == 0 { first } else { second }
    }
}

/// Number `at` of a list, which those who know the list ask for.
fn there<T>(list: &[T], at: usize) -> ::ort::Result<&T> {
    nth(list, at).map_err(|e| ::ort::Error::new(e.to_string()))
}

struct StateSet {
    /// Reads this set's tensors and writes the other's.
    binding: IoBinding,
    tensors: Vec<DynTensor>,
    /// With fixed addresses: where its step writes each plain output, or what that is.
    results: Vec<Plain>,
    /// With fixed addresses: which graph this set's is. Its first step is waited for, which records it.
    first: RunOptions<NoSelectedOutputs>,
    later: RunOptions<NoSelectedOutputs>,
    has_run: bool,
}

/// How far the step is that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// None is, and nothing was fed.
    Idle,
    Fed,
    Begun,
    /// And the next one is fed already.
    FedAhead,
}

impl StateSet {
    fn new(binding: IoBinding, tensors: Vec<DynTensor>, results: Vec<Plain>, graph: &str) -> ::ort::Result<StateSet> {
        let (mut first, mut later) = (RunOptions::new()?, RunOptions::new()?);
        // ONNX Runtime records a graph for each number.
        first.set("gpu_graph_id", graph)?;
        later.set("gpu_graph_id", graph)?;
        later.disable_device_sync()?;
        Ok(StateSet { binding, tensors, results, first, later, has_run: false })
    }
}

enum Plain {
    Written(DynTensor),
    Passed(Source),
}

/// Each set's plain outputs, bound for good.
fn fixed_results(signature: &Signature, map: &StateMap, memory: &Memory, binding: &mut IoBinding) -> ::ort::Result<Vec<Plain>> {
    let one = |&at: &usize| {
        if let Some(source) = source(signature, map, at) {
            return Ok(Plain::Passed(source));
        }
        let port = there(&signature.outputs, at)?;
        let shape = port.fixed_shape().ok_or_else(|| ::ort::Error::new(format!("the output `{}` has no fixed shape", port.name)))?;
        let mut buffer = memory.empty(port.dtype, &shape)?;
        binding.bind_output(&port.name, &mut buffer)?;
        Ok(Plain::Written(buffer))
    };
    map.plain.iter().map(one).collect()
}

impl OrtStepper {
    pub(super) fn new(
        session: OrtSession,
        signature: Signature,
        map: StateMap,
        in_place: Vec<bool>,
        start: Vec<Tensor>,
        (device, index): (Device, usize),
        running: Running,
    ) -> ::ort::Result<Self> {
        let memory = Memory::new(&session, device, index)?;
        let fixed = running != Running::Bound;
        let carried: Vec<_> =
            map.outputs.iter().enumerate().filter_map(|(port, &output)| Some((port, source(&signature, &map, output)?))).collect();
        let mut first = Vec::with_capacity(start.len());
        let mut second = Vec::with_capacity(start.len());
        for (tensor, &in_place) in start.into_iter().zip(&in_place) {
            let mut buffer = memory.empty(tensor.dtype(), tensor.shape())?;
            memory.write(&mut buffer, &tensor)?;
            first.push(buffer);
            second.push(memory.empty(tensor.dtype(), if in_place { &[1] } else { tensor.shape() })?);
        }
        let mut bindings = [session.create_binding()?, session.create_binding()?];
        for (at, binding) in bindings.iter_mut().enumerate() {
            let ports = map.inputs.iter().zip(&map.outputs).zip(&in_place).zip(first.iter_mut().zip(&mut second));
            for (port, (((&input, &output), &in_place), (first, second))) in ports.enumerate() {
                let (from, to) = match (in_place, at) {
                    (true, _) => (&*first, None),
                    (false, 0) => (&*first, Some(second)),
                    (false, _) => (&*second, None),
                };
                binding.bind_input(&there(&signature.inputs, input)?.name, from)?;
                if !carried.iter().any(|c| c.0 == port) {
                    binding.bind_output(&there(&signature.outputs, output)?.name, to.unwrap_or(first))?;
                }
            }
        }
        let feeds = Feeds::new(map.fed.len(), fixed);
        let [mut one, mut two] = bindings;
        let results = |binding: &mut IoBinding| match fixed {
            true => fixed_results(&signature, &map, &memory, binding),
            false => Ok(vec![]),
        };
        let (of_one, of_two) = (results(&mut one)?, results(&mut two)?);
        let sets = Sets([StateSet::new(one, first, of_one, "1")?, StateSet::new(two, second, of_two, "2")?]);
        let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        let (current, phase, lost) = (0, Phase::Idle, false);
        Ok(OrtStepper { sets, current, phase, running, feeds, carried, signature, map, in_place, lost, host, memory, session })
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

    /// Where a value that is passed on is now.
    fn passed(&self, source: Source) -> Option<&DynTensor> {
        match source {
            Source::State(from) => self.sets.at(self.current).tensors.get(from),
            Source::Feed(from) => self.feeds.get(self.current, from),
        }
    }

    /// Copies what no node computes into the next state.
    fn carry(&mut self) -> ::ort::Result<()> {
        let Sets([one, two]) = &mut self.sets;
        let (now, next) = if self.current == 0 { (one, two) } else { (two, one) };
        for &(port, source) in &self.carried {
            let value = match source {
                Source::State(from) => Some(there(&now.tensors, from)?),
                Source::Feed(from) => self.feeds.get(self.current, from),
            };
            if let Some(value) = value {
                let place = next.tensors.get_mut(port).ok_or_else(|| ::ort::Error::new("a step's state has no place for a value"))?;
                value.copy_into(place)?;
            }
        }
        Ok(())
    }

    /// Writes the feeds of the step that reads a set, and binds what is not bound for good.
    fn bind(&mut self, set: usize, tensors: &[&Tensor]) -> ::ort::Result<()> {
        let made = self.feeds.write(set, tensors, &self.memory)?;
        let name = |input: &usize| there(&self.signature.inputs, *input).map(|port| port.name.as_str());
        if self.running != Running::Bound {
            for (at, set) in self.sets.0.iter_mut().enumerate().filter(|_| made) {
                for (input, buffer) in self.map.fed.iter().zip(self.feeds.of_set(at)) {
                    buffer.map_or(Ok(()), |buffer| set.binding.bind_input(name(input)?, buffer))?;
                }
            }
            return Ok(());
        }
        let StateSet { binding, tensors, .. } = self.sets.at_mut(set);
        for (input, buffer) in self.map.fed.iter().zip(self.feeds.of_set(set)) {
            buffer.map_or(Ok(()), |buffer| binding.bind_input(name(input)?, buffer))?;
        }
        if self.memory.device == Device::Cuda {
            // An input that the graph reads on the CPU is copied there by the binding call itself, and would stay as it
            // was at that call.
            for (input, tensor) in self.map.inputs.iter().zip(tensors) {
                binding.bind_input(name(input)?, tensor)?;
            }
            binding.synchronize_inputs()?;
        }
        for &at in &self.map.plain {
            // Anew each time: the binding would otherwise hold on to the last result's buffer, and to its shape.
            binding.bind_output_to_device(&there(&self.signature.outputs, at)?.name, &self.host)?;
        }
        Ok(())
    }

    /// The plain outputs of the step, which is waited for; one whose results are bound anew runs now.
    fn results(&mut self) -> Result<Vec<(String, Tensor)>> {
        let model = &self.signature.model;
        let names = self.map.plain.iter().map(|&at| Ok(&nth(&self.signature.outputs, at)?.name)).collect::<Result<Vec<_>>>()?.into_iter();
        let StateSet { binding, results, .. } = self.sets.at(self.current);
        let failed = |e: ::ort::Error| explain("run", model, &e);
        if self.running == Running::Bound {
            let given = self.session.run_binding(binding).map_err(failed)?;
            binding.synchronize_outputs().map_err(failed)?;
            return names.map(|name| Ok((name.clone(), output(given.get(name), name, model)?))).collect();
        }
        // Of the whole device, whoever started what is under way.
        binding.synchronize_outputs().map_err(failed)?;
        let read = |result: &Plain| match result {
            Plain::Written(buffer) => self.memory.read(buffer),
            Plain::Passed(source) => {
                let value = self.passed(*source).ok_or_else(|| ::ort::Error::new("an input is missing"))?;
                self.memory.read(value)
            }
        };
        let give = |(name, result): (&String, &Plain)| {
            let value = read(result).map_err(|e| explain(&format!("give the output `{name}` of"), model, &e))?;
            Ok((name.clone(), value))
        };
        names.zip(results).map(give).collect()
    }

    /// Ends the step that was begun.
    fn conclude(&mut self) -> Result<Vec<(String, Tensor)>> {
        let plain = self.results()?;
        let carried = self.carry();
        carried.map_err(|e| explain("pass on the state of", &self.signature.model, &e))?;
        // Only now, when nothing can fail any more, does the step count. A failed one wrote to the other set, and to what is in place.
        self.current = self.following();
        self.lost = false;
        Ok(plain)
    }

    /// The set that the next step reads.
    fn following(&self) -> usize {
        if self.current == 0 { 1 } else { 0 }
    }

    fn out_of_turn(&self, what: &str) -> Error {
        Error::engine(format!(
            "a step of {} was {what} out of turn: it is fed, begun and ended, and the next one begun after that",
            self.signature.model
        ))
    }
}

impl StepParts for OrtStepper {
    fn feed(&mut self, feeds: &[(&str, &Tensor)]) -> Result<()> {
        let (set, fed) = match self.phase {
            Phase::Idle | Phase::Fed => (self.current, Phase::Fed),
            Phase::Begun | Phase::FedAhead if self.running != Running::Bound => (self.following(), Phase::FedAhead),
            Phase::Begun | Phase::FedAhead => return Err(self.out_of_turn("fed")),
        };
        let order = self.signature.match_feeds(&self.map.fed, feeds)?;
        self.check()?;
        let (names, tensors): (Vec<&str>, Vec<&Tensor>) = order.into_iter().unzip();
        self.feeds.check(&names, &tensors, &self.signature.model)?;
        self.bind(set, &tensors).map_err(|e| explain("take the inputs of", &self.signature.model, &e))?;
        self.phase = fed;
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.phase != Phase::Fed {
            return Err(self.out_of_turn("begun"));
        }
        self.phase = Phase::Idle;
        self.lost = self.in_place.contains(&true);
        if let Running::Fixed { times } = self.running {
            let set = self.sets.at_mut(self.current);
            for _ in 0..times {
                let options = if set.has_run { &set.later } else { &set.first };
                let run = self.session.run_binding_with_options(&set.binding, options).map(drop);
                run.map_err(|e| {
                    let error = explain("run", &self.signature.model, &e);
                    if self.memory.device == Device::Cuda && !set.has_run { recorded::failed(&error) } else { error }
                })?;
            }
            set.has_run = true;
        }
        self.phase = Phase::Begun;
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<(String, Tensor)>> {
        let next = match self.phase {
            Phase::Begun => Phase::Idle,
            Phase::FedAhead => Phase::Fed,
            Phase::Idle | Phase::Fed => return Err(self.out_of_turn("ended")),
        };
        self.phase = Phase::Idle;
        let plain = self.conclude()?;
        self.phase = next;
        Ok(plain)
    }
}

impl Stepper for OrtStepper {
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        self.feed(feeds)?;
        self.begin()?;
        self.end()
    }

    fn parts(&mut self) -> Option<&mut dyn StepParts> {
        if self.running == Running::Bound { None } else { Some(self) }
    }

    fn state(&mut self) -> Result<Vec<Tensor>> {
        self.check()?;
        if matches!(self.phase, Phase::Begun | Phase::FedAhead) {
            return Err(self.out_of_turn("asked for its state"));
        }
        let model = &self.signature.model;
        let kept = |in_place: bool| if in_place { 0 } else { self.current };
        let states = self.in_place.iter().enumerate();
        states
            .map(|(port, &in_place)| self.memory.read(there(&self.sets.at(kept(in_place)).tensors, port)?))
            .collect::<::ort::Result<_>>()
            .map_err(|e| explain("copy the state of", model, &e))
    }
}
