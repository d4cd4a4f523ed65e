//! The tensors of one call, on the device: addresses that only kernels read.

use super::library::{Address, Handle};
use super::source::Element;
use ort::operator::ComputeContext;
use ort::value::{DynTensorValueType, TensorElementType};
use ort::{Error, Result};

/// What ONNX Runtime calls the elements.
const TYPES: [(Element, TensorElementType); 4] = [
    (Element::F32, TensorElementType::Float32),
    (Element::F16, TensorElementType::Float16),
    (Element::Bf16, TensorElementType::Bfloat16),
    (Element::Bool, TensorElementType::Bool),
];

impl Element {
    /// What ONNX Runtime calls it.
    pub fn ort(self) -> TensorElementType {
        TYPES.iter().find(|row| row.0 == self).map_or(TensorElementType::Undefined, |row| row.1)
    }
}

/// How images lie, and with them the weights as cuDNN wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lying {
    /// `CUDNN_TENSOR_NCHW`.
    ChannelsFirst = 0,
    /// `CUDNN_TENSOR_NHWC`. Weights stay `[O, C/group, kh, kw]` in the graph and are brought there and back for each call.
    ChannelsLast = 1,
}

/// A tensor that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub element: Element,
    pub shape: Vec<usize>,
    pub address: Address,
}

impl Tensor {
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The sizes `[N, C, H, W]` of images that lie so.
    pub fn image(&self, lying: Lying) -> Result<[usize; 4]> {
        match (&self.shape[..], lying) {
            (&[n, c, h, w], Lying::ChannelsFirst) | (&[n, h, w, c], Lying::ChannelsLast) => Ok([n, c, h, w]),
            _ => Err(Error::new(format!("an image was expected, not {:?}", self.shape))),
        }
    }

    /// The length of an axis.
    pub fn size(&self, axis: usize) -> Result<usize> {
        self.shape.get(axis).copied().ok_or_else(|| Error::new(format!("a tensor of {:?} has no axis {axis}", self.shape)))
    }

    /// That it has this shape, which the memory is read by.
    pub fn check(&self, shape: &[usize]) -> Result<()> {
        match self.shape == shape {
            true => Ok(()),
            false => Err(Error::new(format!("a tensor of {shape:?} was expected, not {:?}", self.shape))),
        }
    }
}

/// The stream that a call works on.
pub fn stream(cx: &ComputeContext) -> Result<Handle> {
    Ok(cx.stream()?.map_or(std::ptr::null_mut(), |s| s.as_ptr().cast()))
}

/// An input.
pub fn input(cx: &ComputeContext, at: usize) -> Result<Tensor> {
    let value = cx.input(at)?.ok_or_else(|| Error::new(format!("input {at} is missing")))?;
    let value = value.downcast::<DynTensorValueType>()?;
    let ty = *value.data_type();
    let element = TYPES.iter().find(|row| row.1 == ty).map(|row| row.0);
    let element = element.ok_or_else(|| Error::new(format!("input {at} is of {ty}, which no kernel for the device reads")))?;
    let shape: Option<Vec<usize>> = value.shape().iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| Error::new(format!("input {at} has the shape {:?}", value.shape())))?;
    Ok(Tensor { element, shape, address: value.data_ptr() as Address })
}

/// An output, made with that shape.
pub fn output(cx: &ComputeContext, at: usize, shape: &[usize]) -> Result<Address> {
    let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
    let value = cx.output(at, dims)?.ok_or_else(|| Error::new(format!("output {at} is missing")))?;
    let value = value.downcast::<DynTensorValueType>()?;
    Ok(value.data_ptr() as Address)
}
