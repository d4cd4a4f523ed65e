//! Where the buffers of a training step lie: on its device, and where the processor writes what goes there.

use super::super::options::Device;
use super::values::{empty, fill, from_ort};
use crate::ir::{DType, Tensor};
use ::ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::Session;
use ::ort::value::DynTensor;

/// The memory of a session's device, and of the processor.
pub(super) struct Memory {
    pub device: Device,
    own: Allocator,
    /// Pages that stay where they are, which a device reads by itself.
    staging: Allocator,
}

impl Memory {
    pub fn new(session: &Session, device: Device, index: usize) -> ::ort::Result<Memory> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let of = |place, kind| Allocator::new(session, MemoryInfo::new(place, index, AllocatorType::Device, kind)?);
        Ok(match device {
            Device::Cpu => Memory { device, own: Allocator::default(), staging: Allocator::default() },
            Device::Cuda => Memory {
                device,
                own: of(AllocationDevice::CUDA, MemoryType::Default)?,
                // Any memory of the processor will do, only slower.
                staging: of(AllocationDevice::CUDA_PINNED, MemoryType::CPUInput).unwrap_or_default(),
            },
        })
    }

    /// A buffer on the device.
    pub fn empty(&self, dtype: DType, shape: &[usize]) -> ::ort::Result<DynTensor> {
        empty(&self.own, dtype, shape)
    }

    /// A buffer that the processor writes.
    pub fn staging(&self, dtype: DType, shape: &[usize]) -> ::ort::Result<DynTensor> {
        empty(&self.staging, dtype, shape)
    }

    /// The tensor in a buffer on the device.
    pub fn write(&self, buffer: &mut DynTensor, tensor: &Tensor) -> ::ort::Result<()> {
        match self.device {
            Device::Cpu => fill(buffer, tensor),
            Device::Cuda => {
                let mut staged = self.staging(tensor.dtype(), tensor.shape())?;
                fill(&mut staged, tensor)?;
                staged.copy_into(buffer)
            }
        }
    }

    /// A copy of a buffer on the device, whose steps have ended.
    pub fn read(&self, buffer: &DynTensor) -> ::ort::Result<Tensor> {
        match self.device {
            Device::Cpu => from_ort(buffer),
            Device::Cuda => from_ort(&buffer.to(AllocationDevice::CPU, 0)?),
        }
    }
}
