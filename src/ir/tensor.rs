//! Element types, shapes and constant tensors.

use crate::error::{Error, Result};
use bytes::Bytes;
use std::fmt;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// (type, its number in ONNX's TensorProto.DataType, name in the manifest, bytes per element)
const DTYPES: [(DType, i32, &str, usize); 13] = [
    (DType::F32, 1, "float32", 4),
    (DType::F64, 11, "float64", 8),
    (DType::F16, 10, "float16", 2),
    (DType::BF16, 16, "bfloat16", 2),
    (DType::I8, 3, "int8", 1),
    (DType::I16, 5, "int16", 2),
    (DType::I32, 6, "int32", 4),
    (DType::I64, 7, "int64", 8),
    (DType::U8, 2, "uint8", 1),
    (DType::U16, 4, "uint16", 2),
    (DType::U32, 12, "uint32", 4),
    (DType::U64, 13, "uint64", 8),
    (DType::Bool, 9, "bool", 1),
];

impl DType {
    fn row(self) -> &'static (DType, i32, &'static str, usize) {
        // The table holds every variant: `every_type_has_a_row` below.
        DTYPES.iter().find(|row| row.0 == self).unwrap_or(&DTYPES[0])
    }

    /// Number in ONNX's `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        self.row().1
    }

    pub fn from_onnx(code: i32) -> Option<DType> {
        DTYPES.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    pub fn name(self) -> &'static str {
        self.row().2
    }

    pub fn from_name(name: &str) -> Option<DType> {
        DTYPES.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.row().3
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }
}

/// By name.
impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// By name.
impl<'de> serde::Deserialize<'de> for DType {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<DType, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(from)?;
        DType::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no element type")))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension: a number, or a multiple of the symbolic batch size `N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    Known(usize),
    /// `factor · N`.
    Batch(usize),
}

impl Dim {
    pub fn known(self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(n),
            Dim::Batch(_) => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Batch(1) => f.write_str("N"),
            Dim::Batch(k) => write!(f, "{k}N"),
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::Known(n)
    }
}

/// Element type and dimensions of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<Dim>,
}

impl TensorType {
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into_iter().map(Into::into).collect() }
    }

    pub fn scalar(dtype: DType) -> Self {
        TensorType { dtype, shape: vec![] }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// All dimensions as numbers; `None` where one is symbolic.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.known()).collect()
    }

    /// Number of elements, as a number or a multiple of the batch size; `None` where it holds `N` twice or is too large.
    pub fn count(&self) -> Option<Dim> {
        product(&self.shape)
    }
}

/// The product of dimensions; `None` for `N²`, and for a product that no memory could hold.
pub fn product(dims: &[Dim]) -> Option<Dim> {
    dims.iter().try_fold(Dim::Known(1), |a, b| match (a, *b) {
        (Dim::Known(x), Dim::Known(y)) => x.checked_mul(y).map(Dim::Known),
        (Dim::Known(x), Dim::Batch(y)) | (Dim::Batch(x), Dim::Known(y)) => x.checked_mul(y).map(Dim::Batch),
        (Dim::Batch(_), Dim::Batch(_)) => None,
    })
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// A dense tensor with its elements: little-endian, row-major. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
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

    fn from_parts(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Self {
        assert_eq!(shape.iter().product::<usize>() * dtype.size(), bytes.len(), "as many elements as the shape {shape:?} holds");
        Tensor { dtype, shape: shape.to_vec(), data: bytes.into() }
    }

    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        Tensor::from_parts(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_f64(shape: &[usize], values: &[f64]) -> Self {
        Tensor::from_parts(DType::F64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_i64(shape: &[usize], values: &[i64]) -> Self {
        Tensor::from_parts(DType::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_bool(shape: &[usize], values: &[bool]) -> Self {
        Tensor::from_parts(DType::Bool, shape, values.iter().map(|&v| v as u8).collect())
    }

    /// Values rounded to `dtype` (F32 or F64).
    pub fn from_floats(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        match dtype {
            DType::F64 => Tensor::from_f64(shape, values),
            _ => Tensor::from_f32(shape, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
        }
    }

    pub fn zeros(dtype: DType, shape: &[usize]) -> Self {
        Tensor::from_parts(dtype, shape, vec![0; shape.iter().product::<usize>() * dtype.size()])
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.iter().copied())
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        Tensor::new(self.dtype, shape, self.data.clone())
    }

    fn chunks<const W: usize>(&self) -> impl Iterator<Item = [u8; W]> + '_ {
        self.data.chunks_exact(W).map(|c| {
            let mut a = [0; W];
            a.copy_from_slice(c);
            a
        })
    }

    /// The elements of an F32 tensor.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        match self.dtype {
            DType::F32 => Ok(self.chunks().map(f32::from_le_bytes).collect()),
            other => Err(Error::model(format!("expected float32 data, found {other}"))),
        }
    }

    /// The elements as float64, from any numeric type but the 16-bit floats.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(match self.dtype {
            DType::F64 => self.chunks().map(f64::from_le_bytes).collect(),
            DType::F32 => self.chunks().map(|c| f32::from_le_bytes(c) as f64).collect(),
            DType::F16 | DType::BF16 => return Err(Error::model(format!("{} data is not supported here", self.dtype))),
            _ => self.to_i64()?.into_iter().map(|v| v as f64).collect(),
        })
    }

    /// The elements of an integer or boolean tensor.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        Ok(match self.dtype {
            DType::I64 => self.chunks().map(i64::from_le_bytes).collect(),
            DType::I32 => self.chunks().map(|c| i32::from_le_bytes(c) as i64).collect(),
            DType::I16 => self.chunks().map(|c| i16::from_le_bytes(c) as i64).collect(),
            DType::I8 => self.data.iter().map(|&v| v as i8 as i64).collect(),
            DType::U8 | DType::Bool => self.data.iter().map(|&v| v as i64).collect(),
            DType::U16 => self.chunks().map(|c| u16::from_le_bytes(c) as i64).collect(),
            DType::U32 => self.chunks().map(|c| u32::from_le_bytes(c) as i64).collect(),
            DType::U64 => self.chunks().map(|c| u64::from_le_bytes(c) as i64).collect(),
            other => return Err(Error::model(format!("expected integer data, found {other}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row() {
        for row in DTYPES {
            assert_eq!(row.0.onnx(), row.1);
            assert_eq!(DType::from_onnx(row.1), Some(row.0));
            assert_eq!(DType::from_name(row.2), Some(row.0));
        }
    }

    #[test]
    fn wrong_length_is_refused() {
        assert!(Tensor::new(DType::F32, vec![2, 2], vec![0u8; 15]).is_err());
        assert!(Tensor::new(DType::F32, vec![usize::MAX, 2], vec![0u8; 8]).is_err());
    }
}
