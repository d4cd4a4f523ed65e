//! Tensors to tract's.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use tract_onnx::prelude::{DatumType, IntoTValue as _, TValue};

pub(super) fn datum_type(dtype: DType) -> Result<DatumType> {
    Ok(match dtype {
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::F16 => DatumType::F16,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
        DType::BF16 => {
            return Err(Error::engine(format!("tract does not know bfloat16; use ONNX Runtime ({} ort) for this model", Field::ENGINE)));
        }
    })
}

pub(super) fn to_tract(tensor: &Tensor) -> Result<TValue> {
    let dtype = datum_type(tensor.dtype())?;
    if tensor.dtype() == DType::Bool && tensor.bytes().iter().any(|&b| b > 1) {
        return Err(Error::engine("a bool tensor holds a byte that is neither 0 nor 1"));
    }
    // SAFETY: every bit pattern is a value of the numeric types, and the bytes of bool tensors were checked above;
    // `Tensor::new` guarantees as many bytes as type and shape need.
    let value = unsafe { tract_onnx::prelude::Tensor::from_raw_dt(dtype, tensor.shape(), tensor.bytes()) };
    Ok(value.map_err(|e| Error::engine(format!("tract could not take a tensor: {e:#}")))?.into_tvalue())
}
