//! What a step is fed, on its way to the device.

use super::memory::Memory;
use super::values::{fill, same_shape};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use ::ort::value::DynTensor;

/// One buffer for each fed input, kept while its type and shape stay; or with fixed addresses, one for each set of the state as well, where the
/// step of that set always reads it.
pub(super) struct Feeds {
    staged: Vec<Option<DynTensor>>,
    fixed: bool,
    /// Made for the first step's types and shapes.
    placed: Option<[Vec<Placed>; 2]>,
}

/// What a set's step reads.
struct Placed {
    buffer: DynTensor,
    /// What lies there, where it is so little that comparing is cheaper than a copy: scalars seldom change from step to step.
    holds: Option<Tensor>,
}

/// Bytes that are compared.
const LITTLE: usize = 64;

impl Feeds {
    pub fn new(count: usize, fixed: bool) -> Feeds {
        Feeds { staged: (0..count).map(|_| None).collect(), fixed, placed: None }
    }

    /// The buffers that the step of a set reads.
    pub fn of_set(&self, set: usize) -> impl Iterator<Item = Option<&DynTensor>> {
        let placed = self.placed.as_ref().and_then(|sets| sets.get(set));
        let fixed = self.fixed;
        self.staged
            .iter()
            .enumerate()
            .map(move |(at, staged)| if fixed { placed.and_then(|p| p.get(at)).map(|p| &p.buffer) } else { staged.as_ref() })
    }

    /// The buffer of one input that the step of a set reads.
    pub fn get(&self, set: usize, at: usize) -> Option<&DynTensor> {
        self.of_set(set).nth(at).flatten()
    }

    /// Fails where fixed buffers are for other shapes; nothing is written then.
    pub fn check(&self, names: &[&str], tensors: &[&Tensor], model: &str) -> Result<()> {
        let Some([first, _]) = &self.placed else { return Ok(()) };
        for ((name, tensor), Placed { buffer, .. }) in names.iter().zip(tensors).zip(first) {
            if !same_shape(buffer, tensor) {
                return Err(Error::engine(format!(
                    "the input `{name}` of {model} is {:?} now, and was {:?} when its step was recorded, which {} does for one shape only: give every step as \
                     many images, with {} and a number in the bundle, or with {}; or leave it out",
                    tensor.shape(),
                    &**buffer.shape(),
                    Field::CUDA_GRAPH,
                    Field::BATCH,
                    Field::DROP_LAST
                )));
            }
        }
        Ok(())
    }

    /// Writes a set's feeds. Fixed ones are made with the first; then the answer is true.
    pub fn write(&mut self, set: usize, tensors: &[&Tensor], memory: &Memory) -> ::ort::Result<bool> {
        let mut made = false;
        if self.fixed && self.placed.is_none() {
            let one = |t: &&Tensor| Ok(Placed { buffer: memory.empty(t.dtype(), t.shape())?, holds: None });
            let all = || tensors.iter().map(one).collect::<::ort::Result<Vec<_>>>();
            self.placed = Some([all()?, all()?]);
            made = true;
        }
        let mut placed = self.placed.as_mut().and_then(|sets| sets.get_mut(set));
        for (at, (&tensor, staged)) in tensors.iter().zip(&mut self.staged).enumerate() {
            let placed = placed.as_mut().and_then(|p| p.get_mut(at));
            if placed.as_ref().is_some_and(|p| p.holds.as_ref() == Some(tensor)) {
                continue;
            }
            let staged = match staged {
                Some(kept) if same_shape(kept, tensor) => kept,
                other => other.insert(memory.staging(tensor.dtype(), tensor.shape())?),
            };
            fill(staged, tensor)?;
            if let Some(placed) = placed {
                placed.holds = None;
                staged.copy_into(&mut placed.buffer)?;
                placed.holds = Some(tensor).filter(|t| t.bytes().len() <= LITTLE).cloned();
            }
        }
        Ok(made)
    }
}
