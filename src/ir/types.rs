//! Element types, dimensions, and the type of a value: both together.

use std::fmt;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// float32.
    F32,
    /// float64.
    F64,
    /// IEEE 754 binary16: 5 bits of exponent, 10 of mantissa.
    F16,
    /// bfloat16: the upper half of a float32.
    BF16,
    /// int8.
    I8,
    /// int16.
    I16,
    /// int32.
    I32,
    /// int64.
    I64,
    /// uint8.
    U8,
    /// uint16.
    U16,
    /// uint32.
    U32,
    /// uint64.
    U64,
    /// One byte, 0 or 1.
    Bool,
}

/// (type, its number in ONNX's TensorProto.DataType, name in the manifest, name in tables, bytes per element)
type Row = (DType, i32, &'static str, &'static str, usize);

const DTYPES: [Row; 13] = [
    (DType::F32, 1, "float32", "f32", 4),
    (DType::F64, 11, "float64", "f64", 8),
    (DType::F16, 10, "float16", "f16", 2),
    (DType::BF16, 16, "bfloat16", "bf16", 2),
    (DType::Bool, 9, "bool", "bool", 1),
    (DType::I8, 3, "int8", "i8", 1),
    (DType::I16, 5, "int16", "i16", 2),
    (DType::I32, 6, "int32", "i32", 4),
    (DType::I64, 7, "int64", "i64", 8),
    (DType::U8, 2, "uint8", "u8", 1),
    (DType::U16, 4, "uint16", "u16", 2),
    (DType::U32, 12, "uint32", "u32", 4),
    (DType::U64, 13, "uint64", "u64", 8),
];

impl DType {
    /// Every type.
    pub fn all() -> impl Iterator<Item = DType> {
        DTYPES.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // The table holds every variant: `every_type_has_a_row` below.
        DTYPES.iter().find(|row| row.0 == self).unwrap_or(&DTYPES[0])
    }

    /// Number in ONNX's `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        self.row().1
    }

    /// The type with this number in ONNX's `TensorProto.DataType`; `None` for a type that spgraph does not have, such as strings and complex numbers.
    pub fn from_onnx(code: i32) -> Option<DType> {
        DTYPES.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// Its name in manifests and messages: that of numpy.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The type that [`DType::name`] calls so.
    pub fn from_name(name: &str) -> Option<DType> {
        DTYPES.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The type that the project's generated tables call so: `f32`.
    pub fn from_short_name(name: &str) -> Option<DType> {
        DTYPES.iter().find(|row| row.3 == name).map(|row| row.0)
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.row().4
    }

    /// Whether it is a floating type of 16 bits.
    pub fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// Whether it holds floating-point numbers, the only ones that gradients go through.
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
    /// So many elements.
    Known(usize),
    /// `factor · N`.
    Batch(usize),
}

impl Dim {
    /// The number, where it is one.
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

/// How the elements of a value lie in memory. Its type is the same in every layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// As ONNX has it: the type's last dimension is the innermost.
    #[default]
    Onnx,
    /// An image of the type `[N, C, H, W]` that lies as `[N, H, W, C]`.
    ChannelsLast,
}

/// Element type and dimensions of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The type of each element.
    pub dtype: DType,
    /// From the outermost dimension to the innermost; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type from its parts; plain numbers are known dimensions.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into_iter().map(Into::into).collect() }
    }

    /// The type of a single element, of rank 0.
    pub fn scalar(dtype: DType) -> Self {
        TensorType { dtype, shape: vec![] }
    }

    /// The number of dimensions.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row() {
        for row in DTYPES {
            assert_eq!(row.0.onnx(), row.1);
            assert_eq!(DType::from_onnx(row.1), Some(row.0));
            assert_eq!(DType::from_name(row.2), Some(row.0));
            assert_eq!(DType::from_short_name(row.3), Some(row.0));
        }
    }
}
