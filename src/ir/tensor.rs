//! Constant tensors: element type, shape and bytes.

use super::element::{Element, TensorError, with_element};
use super::types::{DType, TensorType};
use crate::error::{Error, Result};
use bytes::Bytes;
use std::borrow::Cow;
use zerocopy::{IntoBytes, TryFromBytes};

/// A dense tensor of any element type: little-endian, row-major. Cloning shares the bytes.
///
/// It is made from and read as arrays of the crate `ndarray`, by `Tensor::from(array)` and [`Tensor::array`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

/// Elements that a tensor's bytes belong to.
struct Owner<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Tensor {
    /// Fails when `data` is not exactly as long as type and shape demand.
    pub fn new(dtype: DType, shape: Vec<usize>, data: impl Into<Bytes>) -> Result<Self> {
        let data = data.into();
        let wanted = shape.iter().try_fold(dtype.size(), |a, &b| a.checked_mul(b));
        if wanted != Some(data.len()) {
            return Err(Error::model(format!("a {dtype} tensor of shape {shape:?} cannot have {} bytes of data", data.len())));
        }
        Ok(Tensor { dtype, shape, data })
    }

    /// Of the row-major `values`, which stay where they are. There must be as many as the shape holds.
    pub fn from_vec<T: Element>(shape: &[usize], values: Vec<T>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "as many elements as the shape {shape:?} holds");
        let data = if cfg!(target_endian = "little") {
            Bytes::from_owner(Owner(values))
        } else {
            let mut bytes = Vec::with_capacity(size_of_val(&values[..]));
            values.into_iter().for_each(|v| v.write_le(&mut bytes));
            bytes.into()
        };
        Tensor { dtype: T::DTYPE, shape: shape.to_vec(), data }
    }

    /// A copy of the row-major `values`. There must be as many as the shape holds.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        Tensor::from_vec(shape, values.to_vec())
    }

    /// A copy of the row-major `values`. There must be as many as the shape holds.
    pub fn from_f64(shape: &[usize], values: &[f64]) -> Self {
        Tensor::from_vec(shape, values.to_vec())
    }

    /// A copy of the row-major `values`. There must be as many as the shape holds.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Self {
        Tensor::from_vec(shape, values.to_vec())
    }

    /// A copy of the row-major `values`. There must be as many as the shape holds.
    pub fn from_bool(shape: &[usize], values: &[bool]) -> Self {
        Tensor::from_vec(shape, values.to_vec())
    }

    /// The row-major `values` in the type `dtype`, each the nearest that it has ([`Element::from_f64`]). There must be as many as the shape
    /// holds.
    pub fn from_floats(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        with_element!(dtype, T => Tensor::from_vec(shape, values.iter().map(|&v| T::from_f64(v)).collect()))
    }

    /// Zeros, or `false`.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Self {
        let bytes = vec![0; shape.iter().fold(dtype.size(), |bytes, &d| bytes.saturating_mul(d))];
        Tensor { dtype, shape: shape.to_vec(), data: bytes.into() }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, the outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' bytes: row-major, each element with its lowest byte first.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Element type and dimensions, all of them known.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.iter().copied())
    }

    /// The same elements under another shape; fails where that holds another number of them.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        Tensor::new(self.dtype, shape, self.data.clone())
    }

    /// The same values in another element type, each the nearest that it has ([`Element::from_f64`]); shared where the type is the same.
    pub fn cast(&self, dtype: DType) -> Result<Self, TensorError> {
        if self.dtype == dtype {
            return Ok(self.clone());
        }
        Ok(Tensor::from_floats(dtype, &self.shape, &self.to_f64()?))
    }

    /// The elements, row-major. They are borrowed where the bytes lie as this machine wants them, else copied: a file's bytes may lie at any
    /// address. Fails for a tensor of another type.
    pub fn elements<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::Type { wanted: T::DTYPE, found: self.dtype });
        }
        if cfg!(target_endian = "little")
            && let Ok(elements) = <[T]>::try_ref_from_bytes(&self.data)
        {
            return Ok(Cow::Borrowed(elements));
        }
        self.data.chunks_exact(size_of::<T>()).map(T::read_le).collect::<Result<_, _>>().map(Cow::Owned)
    }

    /// The elements of an F32 tensor.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        Ok(self.elements()?.into_owned())
    }

    /// The elements as float64, from any type ([`Element::to_f64`]).
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        Ok(with_element!(self.dtype, T => self.elements::<T>()?.iter().map(|v| Element::to_f64(*v)).collect()))
    }

    /// The elements of an integer or boolean tensor. Fails where a number is too large.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        Ok(match self.dtype {
            DType::I64 => self.elements()?.into_owned(),
            DType::I32 => self.widened::<i32>()?,
            DType::I16 => self.widened::<i16>()?,
            DType::I8 => self.widened::<i8>()?,
            DType::U8 => self.widened::<u8>()?,
            DType::U16 => self.widened::<u16>()?,
            DType::U32 => self.widened::<u32>()?,
            DType::Bool => self.widened::<bool>()?,
            DType::U64 => {
                let fits = |v: &u64| i64::try_from(*v).map_err(|_| TensorError::Range(*v));
                self.elements()?.iter().map(fits).collect::<Result<_, _>>()?
            }
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => return Err(TensorError::Integers(self.dtype)),
        })
    }

    fn widened<T: Element + Into<i64>>(&self) -> Result<Vec<i64>, TensorError> {
        Ok(self.elements::<T>()?.iter().map(|&v| v.into()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn wrong_length_is_refused() {
        assert!(Tensor::new(DType::F32, vec![2, 2], vec![0u8; 15]).is_err());
        assert!(Tensor::new(DType::F32, vec![usize::MAX, 2], vec![0u8; 8]).is_err());
    }

    #[test]
    fn floats_take_the_type_that_is_asked_for() {
        let values = [1.0, -2.5, 0.1, 0.0];
        let of = |dtype| Tensor::from_floats(dtype, &[2, 2], &values);
        assert_eq!(of(DType::F64).to_f64().unwrap(), values);
        assert_eq!(of(DType::F32).to_f32().unwrap(), [1.0, -2.5, 0.1, 0.0]);
        assert_eq!(of(DType::F16).elements::<f16>().unwrap()[2].to_bits(), 0x2e66);
        assert_eq!(of(DType::BF16).elements::<bf16>().unwrap()[2].to_bits(), 0x3dcd);
        assert_eq!(of(DType::I32).to_i64().unwrap(), [1, -2, 0, 0]);
        assert_eq!(of(DType::U8).to_i64().unwrap(), [1, 0, 0, 0]);
        assert_eq!(of(DType::Bool).to_i64().unwrap(), [1, 1, 1, 0]);
        assert_eq!(of(DType::F16).cast(DType::F32).unwrap().to_f32().unwrap(), [1.0, -2.5, 0.099975586, 0.0]);
    }

    #[test]
    fn elements_are_copied_only_where_they_lie_askew() {
        let whole = Bytes::from_owner(Owner(vec![1.0f32, 2.0, 3.0]));
        let straight = Tensor::new(DType::F32, vec![2], whole.slice(4..)).unwrap();
        assert!(matches!(straight.elements::<f32>().unwrap(), Cow::Borrowed([2.0, 3.0])));
        // Of neighbouring addresses at most one in four suits.
        let askew = |shift: usize| {
            let bytes: Vec<u8> = std::iter::repeat_n(9, shift).chain(straight.bytes().iter().copied()).collect();
            Tensor::new(DType::F32, vec![2], Bytes::from(bytes).slice(shift..)).unwrap()
        };
        let copies = [0, 1, 2, 3].map(|shift| {
            let tensor = askew(shift);
            let elements = tensor.elements::<f32>().unwrap();
            assert_eq!(elements[..], [2.0, 3.0]);
            matches!(elements, Cow::Owned(_))
        });
        assert_eq!(copies.iter().filter(|c| **c).count(), 3);
    }

    #[test]
    fn what_the_elements_are_not_is_an_error() {
        let t = Tensor::from_f32(&[1], &[1.5]);
        assert_eq!(t.elements::<f64>(), Err(TensorError::Type { wanted: DType::F64, found: DType::F32 }));
        assert_eq!(t.to_i64().unwrap_err().to_string(), "expected integer data, found float32");
        let t = Tensor::new(DType::Bool, vec![2], vec![1u8, 2]).unwrap();
        assert_eq!(t.elements::<bool>(), Err(TensorError::Bool(2)));
        let t = Tensor::from_vec(&[2], vec![0, u64::MAX]);
        assert!(t.to_i64().unwrap_err().to_string().contains("18446744073709551615"));
    }
}
