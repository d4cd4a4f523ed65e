//! The Rust types that are elements of tensors.

use super::types::DType;
use half::{bf16, f16};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// What a tensor's elements were asked for, and are not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// Elements of another type.
    #[error("expected {wanted} data, found {found}")]
    Type {
        /// As they were asked for.
        wanted: DType,
        /// As they are.
        found: DType,
    },
    /// Integers were asked for, and the elements are floating-point numbers.
    #[error("expected integer data, found {0}")]
    Integers(DType),
    /// Another number of dimensions.
    #[error("expected a tensor of {wanted} dimensions, found the shape {shape:?}")]
    Rank {
        /// As they were asked for.
        wanted: usize,
        /// The tensor's.
        shape: Vec<usize>,
    },
    /// A `bool` tensor with a byte that is neither 0 nor 1.
    #[error("a bool tensor holds the byte {0}, which is neither 0 nor 1: the file is damaged")]
    Bool(u8),
    /// A uint64 above the largest int64.
    #[error("the number {0} is too large for int64")]
    Range(u64),
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type whose values lie in a [`Tensor`](super::Tensor) as they lie in memory, up to the order of bytes.
pub trait Element:
    sealed::Sealed + TryFromBytes + IntoBytes + Immutable + KnownLayout + Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
    /// The tensor's element type.
    const DTYPE: DType;

    /// The nearest value, as ONNX's Cast has it: floats round to nearest, ties to even; integers lose their fraction, and what is out of range
    /// becomes the nearest end of it, NaN 0; a bool is whether the number is not 0.
    fn from_f64(value: f64) -> Self;

    /// The value as float64; exact but for integers above 2⁵³. A bool is 0 or 1.
    fn to_f64(self) -> f64;

    /// From the bytes of one element, the lowest first.
    fn read_le(bytes: &[u8]) -> Result<Self, TensorError>;

    /// Adds the bytes of the element, the lowest first.
    fn write_le(self, out: &mut Vec<u8>);
}

macro_rules! elements {
    ($($rust:ty = $dtype:ident, $from:expr, $to:expr;)*) => {
        $(
            impl sealed::Sealed for $rust {}

            impl Element for $rust {
                const DTYPE: DType = DType::$dtype;

                fn from_f64(value: f64) -> Self {
                    $from(value)
                }

                fn to_f64(self) -> f64 {
                    $to(self)
                }

                fn read_le(bytes: &[u8]) -> Result<Self, TensorError> {
                    let mut own = [0; size_of::<$rust>()];
                    own.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    Ok(<$rust>::from_le_bytes(own))
                }

                fn write_le(self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&self.to_le_bytes());
                }
            }
        )*
    };
}

elements! {
    f32 = F32, |v| v as f32, |v| v as f64;
    f64 = F64, |v| v, |v| v;
    f16 = F16, |v| f16::from_f32(to_odd(v)), f16::to_f64;
    bf16 = BF16, |v| bf16::from_f32(to_odd(v)), bf16::to_f64;
    i8 = I8, |v| v as i8, |v| v as f64;
    i16 = I16, |v| v as i16, |v| v as f64;
    i32 = I32, |v| v as i32, |v| v as f64;
    i64 = I64, |v| v as i64, |v| v as f64;
    u8 = U8, |v| v as u8, |v| v as f64;
    u16 = U16, |v| v as u16, |v| v as f64;
    u32 = U32, |v| v as u32, |v| v as f64;
    u64 = U64, |v| v as u64, |v| v as f64;
}

impl sealed::Sealed for bool {}

impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn from_f64(value: f64) -> Self {
        value != 0.0
    }

    fn to_f64(self) -> f64 {
        self as u8 as f64
    }

    fn read_le(bytes: &[u8]) -> Result<Self, TensorError> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(TensorError::Bool(other.first().copied().unwrap_or_default())),
        }
    }

    fn write_le(self, out: &mut Vec<u8>) {
        out.push(self as u8);
    }
}

/// Rounded to float32 such that rounding the result to nearest, to fewer bits, is as rounding `value` to nearest at once: what is not exact
/// becomes the neighbour with an odd last bit (Boldo & Melquiond, Emulation of FMA and correctly rounded sums, 2008).
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if nearest as f64 == value || value.is_nan() {
        return nearest;
    }
    let towards_zero = nearest.to_bits().wrapping_sub((nearest.abs() as f64 > value.abs()) as u32);
    f32::from_bits(towards_zero | 1)
}

/// Evaluates an expression with `$rust` as the Rust type of the elements of a [`DType`].
macro_rules! with_element {
    ($dtype:expr, $rust:ident => $result:expr) => {
        match $dtype {
            $crate::ir::DType::F32 => with_element!(@ f32, $rust, $result),
            $crate::ir::DType::F64 => with_element!(@ f64, $rust, $result),
            $crate::ir::DType::F16 => with_element!(@ half::f16, $rust, $result),
            $crate::ir::DType::BF16 => with_element!(@ half::bf16, $rust, $result),
            $crate::ir::DType::I8 => with_element!(@ i8, $rust, $result),
            $crate::ir::DType::I16 => with_element!(@ i16, $rust, $result),
            $crate::ir::DType::I32 => with_element!(@ i32, $rust, $result),
            $crate::ir::DType::I64 => with_element!(@ i64, $rust, $result),
            $crate::ir::DType::U8 => with_element!(@ u8, $rust, $result),
            $crate::ir::DType::U16 => with_element!(@ u16, $rust, $result),
            $crate::ir::DType::U32 => with_element!(@ u32, $rust, $result),
            $crate::ir::DType::U64 => with_element!(@ u64, $rust, $result),
            $crate::ir::DType::Bool => with_element!(@ bool, $rust, $result),
        }
    };
    (@ $type:ty, $rust:ident, $result:expr) => {{
        type $rust = $type;
        $result
    }};
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::*;

    /// Ties, what lies just above and below them beyond float32's reach, overflow, subnormals: the bits as numpy 2 rounds float64 to float16.
    #[test]
    fn halves_round_once_to_the_nearest_even() {
        let tie = 1.0 + 2f64.powi(-11);
        for (value, bits) in [
            (tie, 0x3c00),
            (tie + 2f64.powi(-40), 0x3c01),
            (tie - 2f64.powi(-40), 0x3c00),
            (1.0 + 3.0 * 2f64.powi(-11), 0x3c02),
            (1.0 + 3.0 * 2f64.powi(-11) - 2f64.powi(-40), 0x3c01),
            (-tie - 2f64.powi(-40), 0xbc01),
            (65519.999999, 0x7bff),
            (65520.0, 0x7c00),
            (1e300, 0x7c00),
            (-f64::INFINITY, 0xfc00),
            (2f64.powi(-25), 0x0000),
            (2f64.powi(-25) * (1.0 + 2f64.powi(-45)), 0x0001),
            (-1e-300, 0x8000),
        ] {
            assert_eq!(<f16 as Element>::from_f64(value).to_bits(), bits, "{value:e}");
        }
        assert!(<f16 as Element>::from_f64(f64::NAN).is_nan());
        let tie = 1.0 + 2f64.powi(-8);
        for (value, bits) in [(tie, 0x3f80), (tie + 2f64.powi(-40), 0x3f81), (1.0 + 3.0 * 2f64.powi(-8), 0x3f82), (-1e39, 0xff80)] {
            assert_eq!(<bf16 as Element>::from_f64(value).to_bits(), bits, "{value:e}");
        }
    }

    #[test]
    fn a_type_is_that_of_its_elements() {
        for code in 1..=16 {
            let Some(dtype) = DType::from_onnx(code) else { continue };
            with_element!(dtype, T => {
                assert_eq!((T::DTYPE, size_of::<T>()), (dtype, dtype.size()));
                let mut bytes = vec![];
                T::from_f64(1.0).write_le(&mut bytes);
                assert_eq!(T::read_le(&bytes).map(T::to_f64), Ok(1.0));
            });
        }
        assert_eq!(bool::read_le(&[7]), Err(TensorError::Bool(7)));
    }
}
