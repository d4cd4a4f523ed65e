//! The tensors of one call. Each port is a value that is used up when its buffer is taken, so that no kernel can have a buffer twice.

use super::super::compute::{Element, Threads};
use ort::operator::ComputeContext;
use ort::value::{DynTensorValueType, TensorElementType};
use ort::{Error, Result};
use std::slice;

impl Threads for ComputeContext {
    fn lend(&self, count: usize, work: &(dyn Fn() + Sync)) {
        // A refusal leaves all of the work to the calling thread.
        let _ = self.par_for(count, count, |_| work());
    }
}

/// The ports of a call: all of its inputs and outputs, once.
pub(super) fn of(cx: &ComputeContext) -> (Inputs<'_>, Outputs<'_>) {
    (Inputs { cx }, Outputs { cx })
}

/// A node's inputs.
pub struct Inputs<'a> {
    cx: &'a ComputeContext,
}

impl<'a> Inputs<'a> {
    /// The first `N` inputs.
    pub fn all<const N: usize>(self) -> [Input<'a>; N] {
        std::array::from_fn(|at| Input { cx: self.cx, at })
    }
}

/// A node's outputs.
pub struct Outputs<'a> {
    cx: &'a ComputeContext,
}

impl<'a> Outputs<'a> {
    /// The first `N` outputs.
    pub fn all<const N: usize>(self) -> [Output<'a>; N] {
        std::array::from_fn(|at| Output { cx: self.cx, at })
    }
}

/// One input, whose buffer has not been taken.
pub struct Input<'a> {
    cx: &'a ComputeContext,
    at: usize,
}

/// A tensor that came in.
pub struct Tensor<'a, E = f32> {
    pub shape: Vec<usize>,
    pub data: &'a [E],
}

/// What ONNX Runtime calls the elements.
fn element_type<E: Element>() -> TensorElementType {
    if E::ROUNDS { TensorElementType::Bfloat16 } else { TensorElementType::Float32 }
}

impl<E> Tensor<'_, E> {
    /// The size along an axis.
    pub fn size(&self, axis: usize) -> Result<usize> {
        self.shape.get(axis).copied().ok_or_else(|| Error::new(format!("a tensor of {:?} has no axis {axis}", self.shape)))
    }

    /// The sizes of an image `[N, H, W, C]`.
    pub fn image(&self) -> Result<[usize; 4]> {
        self.shape.as_slice().try_into().map_err(|_| Error::new(format!("an image [N, H, W, C] was expected, not {:?}", self.shape)))
    }
}

impl Tensor<'_> {
    /// The single element.
    pub fn scalar(&self) -> Result<f32> {
        match self.data {
            [one] => Ok(*one),
            _ => Err(Error::new(format!("one number was expected, not {:?}", self.shape))),
        }
    }
}

impl<'a> Input<'a> {
    fn missing(at: usize) -> Error {
        Error::new(format!("input {at} is missing"))
    }

    /// The tensor, which must be there.
    pub fn get(self) -> Result<Tensor<'a>> {
        self.images()
    }

    /// The tensor, where there is one.
    pub fn optional(self) -> Result<Option<Tensor<'a>>> {
        self.optional_images()
    }

    /// The images, which must be there.
    pub fn images<E: Element>(self) -> Result<Tensor<'a, E>> {
        let at = self.at;
        self.optional_images()?.ok_or_else(|| Input::missing(at))
    }

    /// The images, where there are some.
    pub fn optional_images<E: Element>(self) -> Result<Option<Tensor<'a, E>>> {
        if self.at >= self.cx.num_inputs()? {
            return Ok(None);
        }
        let Some(value) = self.cx.input(self.at)? else { return Ok(None) };
        let value = value.downcast::<DynTensorValueType>()?;
        let (found, expected) = (*value.data_type(), element_type::<E>());
        if found != expected {
            return Err(Error::new(format!("input {} is {found}, not {expected}", self.at)));
        }
        let shape: Vec<usize> = value.shape().iter().map(|&d| d as usize).collect();
        let len = shape.iter().product();
        // SAFETY: the tensor has so many elements of that type. ONNX Runtime keeps a kernel's inputs where they are while it runs, longer than
        // the value that refers to them. It gives no output an input's buffer by itself: the engine does, for what an operator replaces, whose
        // input is used up by [`Output::replacing`] instead.
        let data = if len == 0 { &[] } else { unsafe { slice::from_raw_parts(value.data_ptr().cast::<E>(), len) } };
        Ok(Some(Tensor { shape, data }))
    }
}

/// One output, whose buffer has not been made.
pub struct Output<'a> {
    cx: &'a ComputeContext,
    at: usize,
}

impl<'a> Output<'a> {
    /// The output, which the node must have, made with that shape.
    pub fn make(self, shape: &[usize]) -> Result<&'a mut [f32]> {
        self.make_images(shape)
    }

    /// The output, where the node has it.
    pub fn optional(self, shape: &[usize]) -> Result<Option<&'a mut [f32]>> {
        self.optional_images(shape)
    }

    /// The images, which the node must have, made with that shape.
    pub fn make_images<E: Element>(self, shape: &[usize]) -> Result<&'a mut [E]> {
        let at = self.at;
        self.optional_images(shape)?.ok_or_else(|| Error::new(format!("output {at} is missing")))
    }

    pub fn optional_images<E: Element>(self, shape: &[usize]) -> Result<Option<&'a mut [E]>> {
        if self.at >= self.cx.num_outputs()? {
            return Ok(None);
        }
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let Some(value) = self.cx.output(self.at, dims)? else { return Ok(None) };
        let value = value.downcast::<DynTensorValueType>()?;
        let (found, expected) = (*value.data_type(), element_type::<E>());
        if found != expected {
            return Err(Error::new(format!("output {} is {found}, not {expected}", self.at)));
        }
        let len = shape.iter().product();
        // SAFETY: the tensor has so many elements of that type. The buffer is ONNX Runtime's and stays while the kernel runs; nobody else has
        // it, since the port is used up, and an input that may lie in it is used up with it.
        Ok(Some(if len == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(value.data_ptr().cast_mut().cast::<E>(), len) } }))
    }

    /// The input as far as its buffer is not that of this output, and the output, which has the input's shape.
    pub fn replacing(self, input: Input<'a>) -> Result<(Option<&'a [f32]>, &'a mut [f32])> {
        let value = input.cx.input(input.at)?.ok_or_else(|| Input::missing(input.at))?;
        let value = value.downcast::<DynTensorValueType>()?;
        let shape: Vec<usize> = value.shape().iter().map(|&d| d as usize).collect();
        // Only the address: there must be no slice of a buffer that is written.
        let before = value.data_ptr().cast::<f32>();
        let after = self.make(&shape)?;
        // SAFETY: another buffer than the output's, with as many elements; ONNX Runtime keeps it while the kernel runs.
        let kept = (before != after.as_ptr()).then(|| unsafe { slice::from_raw_parts(before, after.len()) });
        Ok((kept, after))
    }
}
