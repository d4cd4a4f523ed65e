//! Tensors from and to arrays of the crate `ndarray`.

use super::element::{Element, TensorError};
use super::tensor::Tensor;
use super::types::DType;
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, CowArray, Dimension, IxDyn};
use std::borrow::Cow;

impl<T: Element, D: Dimension> From<Array<T, D>> for Tensor {
    /// Takes the elements over where they are row-major and the array has all of its memory; else they are copied.
    fn from(array: Array<T, D>) -> Tensor {
        let shape = array.shape().to_vec();
        if !array.is_standard_layout() {
            return Tensor::from_vec(&shape, array.iter().copied().collect());
        }
        let count = array.len();
        match array.into_raw_vec_and_offset() {
            (values, None | Some(0)) if values.len() == count => Tensor::from_vec(&shape, values),
            (values, offset) => Tensor::from_vec(&shape, values.into_iter().skip(offset.unwrap_or(0)).take(count).collect()),
        }
    }
}

impl<T: Element, D: Dimension> From<ArrayView<'_, T, D>> for Tensor {
    /// A copy of the elements.
    fn from(view: ArrayView<'_, T, D>) -> Tensor {
        Tensor::from_vec(view.shape(), view.iter().copied().collect())
    }
}

impl Tensor {
    /// The tensor as an array of as many dimensions as `D` has (`IxDyn` for any number): a view wherever [`Tensor::elements`] need not be copied.
    ///
    /// ```
    /// use ndarray::{Axis, Ix2, array};
    /// use spgraph::ir::Tensor;
    ///
    /// let tensor = Tensor::from(array![[1.0f32, 2.0], [3.0, 4.0]]);
    /// assert_eq!(tensor.array::<f32, Ix2>()?.sum_axis(Axis(0)), array![4.0, 6.0]);
    /// assert_eq!(tensor.array::<f64, Ix2>().unwrap_err().to_string(), "expected float64 data, found float32");
    /// # Ok::<(), spgraph::Error>(())
    /// ```
    pub fn array<T: Element, D: Dimension>(&self) -> Result<CowArray<'_, T, D>, TensorError> {
        self.shaped(self.elements()?)
    }

    /// The tensor as an array of float64, from any type ([`Element::to_f64`]): a view where it is of that type.
    pub fn floats<D: Dimension>(&self) -> Result<CowArray<'_, f64, D>, TensorError> {
        if self.dtype() == DType::F64 { self.array() } else { self.shaped(Cow::Owned(self.to_f64()?)) }
    }

    /// The elements in the tensor's shape. They are as many as it holds, so only the number of dimensions can be wrong.
    fn shaped<'a, T: Element, D: Dimension>(&self, elements: Cow<'a, [T]>) -> Result<CowArray<'a, T, D>, TensorError> {
        let array: Result<CowArray<'a, T, IxDyn>, _> = match elements {
            Cow::Borrowed(elements) => ArrayViewD::from_shape(self.shape(), elements).map(Into::into),
            Cow::Owned(elements) => ArrayD::from_shape_vec(self.shape(), elements).map(Into::into),
        };
        let rank = |_| TensorError::Rank { wanted: D::NDIM.unwrap_or(0), shape: self.shape().to_vec() };
        array.and_then(|array| array.into_dimensionality()).map_err(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, Ix0, Ix2, arr0, array, s};

    #[test]
    fn there_and_back_without_a_copy() {
        let array = Array3::from_shape_fn([2, 3, 4], |(i, j, k)| (i * 12 + j * 4 + k) as f32);
        let at = array.as_ptr().cast::<u8>();
        let tensor = Tensor::from(array.clone());
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::F32, &[2, 3, 4][..]));
        let tensor_of_own = Tensor::from(array);
        assert_eq!(tensor_of_own, tensor);
        assert_eq!(tensor_of_own.bytes().as_ptr(), at);
        let view = tensor_of_own.array::<f32, IxDyn>().unwrap();
        assert!(view.is_view());
        assert_eq!(view.as_ptr().cast::<u8>(), at);
        assert_eq!(view[[1, 2, 3]], 23.0);
    }

    #[test]
    fn other_layouts_are_put_in_order() {
        let array = array![[1i64, 2, 3], [4, 5, 6]];
        assert_eq!(Tensor::from(array.t()), Tensor::from_i64(&[3, 2], &[1, 4, 2, 5, 3, 6]));
        assert_eq!(Tensor::from(array.clone().reversed_axes()), Tensor::from_i64(&[3, 2], &[1, 4, 2, 5, 3, 6]));
        // A part of an array still has the whole's memory.
        assert_eq!(Tensor::from(array.clone().slice_move(s![1.., ..])), Tensor::from_i64(&[1, 3], &[4, 5, 6]));
        assert_eq!(Tensor::from(array.slice_move(s![.., ..;-1])), Tensor::from_i64(&[2, 3], &[3, 2, 1, 6, 5, 4]));
        assert_eq!(Tensor::from(arr0(true)), Tensor::from_bool(&[], &[true]));
        assert_eq!(Tensor::from_f64(&[], &[0.5]).array::<f64, Ix0>().unwrap()[()], 0.5);
    }

    #[test]
    fn wrong_dimensions_are_an_error() {
        let error = Tensor::from_f32(&[3], &[0.0; 3]).array::<f32, Ix2>().unwrap_err();
        assert_eq!(error.to_string(), "expected a tensor of 2 dimensions, found the shape [3]");
    }
}
