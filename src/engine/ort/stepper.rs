//! A training step whose state stays in ONNX Runtime's buffers from step to step.

use super::super::options::Device;
use super::super::session::Stepper;
use super::super::signature::{Signature, StateMap};
use super::explain::explain;
use super::values::{empty, fill, from_ort, output, same_shape, to_ort};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use ::ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::{IoBinding, Session as OrtSession};
use ::ort::value::DynTensor;

/// A training step with its state in two sets of buffers that take turns: a step reads one and writes the other, so
/// state is never copied, and never written while an operator may still read it. State whose update waits for all that read
/// it has one buffer, in the first set.
pub(super) struct OrtStepper {
    sets: [StateSet; 2],
    /// The set that holds the current state.
    current: usize,
    /// One buffer for each fed input, kept while its type and shape stay.
    feeds: Vec<Option<DynTensor>>,
    /// State whose next value is an input of the graph, without a node between: (state port, where the value comes
    /// from). ONNX Runtime computes nothing for these and leaves a buffer bound to such an output untouched.
    carried: Vec<(usize, Source)>,
    pub(super) signature: Signature,
    map: StateMap,
    /// Which state ports have one buffer.
    in_place: Vec<bool>,
    /// A step has failed that may have written to such a buffer.
    lost: bool,
    device: Device,
    host: MemoryInfo<'static>,
    /// Last, because the buffers above may belong to an allocator of its.
    pub(super) session: OrtSession,
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
    pub(super) fn new(
        session: OrtSession,
        signature: Signature,
        map: StateMap,
        in_place: Vec<bool>,
        start: Vec<Tensor>,
        (device, index): (Device, usize),
    ) -> ::ort::Result<Self> {
        let allocator = match device {
            Device::Cpu => Allocator::default(),
            Device::Cuda => Allocator::new(
                &session,
                MemoryInfo::new(
                    AllocationDevice::CUDA,
                    i32::try_from(index).unwrap_or(i32::MAX),
                    AllocatorType::Device,
                    MemoryType::Default,
                )?,
            )?,
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
