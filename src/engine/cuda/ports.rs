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

    /// The sizes of images `[N, C, H, W]`, as cuDNN takes them.
    pub fn image(&self) -> Result<[i32; 4]> {
        let sizes: Option<Vec<i32>> = self.shape.iter().map(|&d| i32::try_from(d).ok()).collect();
        let sizes = sizes.and_then(|s| <[i32; 4]>::try_from(s).ok());
        sizes.ok_or_else(|| Error::new(format!("an image [N, C, H, W] was expected, not {:?}", self.shape)))
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
