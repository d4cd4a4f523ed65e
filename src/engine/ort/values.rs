//! Tensors to ONNX Runtime's and back.

use super::explain::explain;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use ::ort::memory::Allocator;
use ::ort::value::{DynTensor, DynTensorValueType, DynValue, TensorElementType};

const ELEMENT_TYPES: [(DType, TensorElementType); 13] = [
    (DType::F32, TensorElementType::Float32),
    (DType::F64, TensorElementType::Float64),
    (DType::F16, TensorElementType::Float16),
    (DType::BF16, TensorElementType::Bfloat16),
    (DType::I8, TensorElementType::Int8),
    (DType::I16, TensorElementType::Int16),
    (DType::I32, TensorElementType::Int32),
    (DType::I64, TensorElementType::Int64),
    (DType::U8, TensorElementType::Uint8),
    (DType::U16, TensorElementType::Uint16),
    (DType::U32, TensorElementType::Uint32),
    (DType::U64, TensorElementType::Uint64),
    (DType::Bool, TensorElementType::Bool),
];

fn dtype_of(element: TensorElementType) -> Option<DType> {
    ELEMENT_TYPES.iter().find(|row| row.1 == element).map(|row| row.0)
}

pub(super) fn empty(allocator: &Allocator, dtype: DType, shape: &[usize]) -> ::ort::Result<DynTensor> {
    let Some((_, element)) = ELEMENT_TYPES.iter().find(|row| row.0 == dtype) else {
        return Err(::ort::Error::new(format!("the element type {dtype} is unknown")));
    };
    DynTensor::new(allocator, *element, shape)
}

pub(super) fn same_shape(buffer: &DynTensor, tensor: &Tensor) -> bool {
    dtype_of(*buffer.data_type()) == Some(tensor.dtype())
        && buffer.shape().len() == tensor.shape().len()
        && buffer.shape().iter().zip(tensor.shape()).all(|(&a, &b)| usize::try_from(a) == Ok(b))
}

/// Copies the tensor's elements into a buffer on the CPU.
pub(super) fn fill(buffer: &mut DynTensor, tensor: &Tensor) -> ::ort::Result<()> {
    let bytes = tensor.bytes();
    if buffer.size() != Some(bytes.len()) || !buffer.memory_info().is_cpu_accessible() {
        return Err(::ort::Error::new("a buffer does not fit its tensor"));
    }
    if !bytes.is_empty() {
        // SAFETY: the buffer is in the CPU's memory and has exactly this many bytes, as checked above; nobody else
        // reads or writes it, since no run is under way.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.data_ptr_mut().cast::<u8>(), bytes.len()) };
    }
    Ok(())
}

pub(super) fn to_ort(tensor: &Tensor) -> ::ort::Result<DynTensor> {
    let mut buffer = empty(&Allocator::default(), tensor.dtype(), tensor.shape())?;
    fill(&mut buffer, tensor)?;
    Ok(buffer)
}

/// Copies a tensor out of the CPU's memory.
pub(super) fn from_ort(value: &DynTensor) -> ::ort::Result<Tensor> {
    let Some(dtype) = dtype_of(*value.data_type()) else {
        return Err(::ort::Error::new(format!("spgraph does not know the element type {}", value.data_type())));
    };
    let (Some(size), true) = (value.size(), value.memory_info().is_cpu_accessible()) else {
        return Err(::ort::Error::new("the tensor is not in the CPU's memory"));
    };
    let bytes = match size {
        0 => vec![],
        // SAFETY: the tensor is in the CPU's memory, has `size` bytes, and lives until the copy is made.
        _ => unsafe { std::slice::from_raw_parts(value.data_ptr().cast::<u8>(), size) }.to_vec(),
    };
    let shape = value.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| ::ort::Error::new(format!("the tensor has the shape {:?}", value.shape())))?;
    Tensor::new(dtype, shape, bytes).map_err(|e| ::ort::Error::new(e.to_string()))
}

pub(super) fn output(value: Option<&DynValue>, name: &str, model: &str) -> Result<Tensor> {
    let Some(value) = value else {
        return Err(Error::engine(format!("ONNX Runtime gave no output `{name}` of {model}")));
    };
    let tensor = value.view().downcast::<DynTensorValueType>();
    tensor.and_then(|t| from_ort(&t)).map_err(|e| explain(&format!("give the output `{name}` of"), model, &e))
}
