//! The scalar inputs of a step, and scalars brought to each rank once.

use crate::bundle::Setting;
use crate::bundle::manifest::Scalar;
use crate::error::{Error, Result};
use crate::ir::{DType, Dim, Graph, TensorType, ValueId};
use crate::operator::{Builder, Rule};
use std::collections::HashMap;

/// The scalar inputs so far, and what was computed from them.
#[derive(Default)]
pub(super) struct Scalars {
    pub inputs: Vec<(Scalar, ValueId)>,
    by_type: HashMap<(ValueId, usize, DType), ValueId>,
    products: Vec<(ValueId, f64, ValueId)>,
}

/// The value in that element type: networks may mix float32 and float64.
pub(super) fn in_type(b: &mut Builder, value: ValueId, dtype: DType) -> Rule<ValueId> {
    if b.dtype(value) == dtype { Ok(value) } else { b.cast(value, dtype) }
}

/// Declares a scalar input.
pub(super) fn declare(graph: &mut Graph, dtype: DType, meaning: Setting, default: f64) -> (Scalar, ValueId) {
    let value = graph.input(&meaning.to_string(), TensorType::scalar(dtype));
    (Scalar { name: graph.name_of(value).to_string(), meaning, default }, value)
}

impl Scalars {
    /// Declares a scalar input.
    pub fn declare(&mut self, graph: &mut Graph, dtype: DType, meaning: Setting, default: f64) {
        self.inputs.push(declare(graph, dtype, meaning, default));
    }

    /// The input with that meaning.
    pub fn input(&self, meaning: &Setting) -> Result<ValueId> {
        let found = self.inputs.iter().find(|(s, _)| s.meaning == *meaning);
        found.map(|s| s.1).ok_or_else(|| Error::internal(format!("the step has no input `{meaning}`")))
    }

    /// The scalar in the element type of `like`, with as many axes, all of length 1.
    pub fn beside(&mut self, b: &mut Builder, scalar: ValueId, like: &TensorType) -> Rule<ValueId> {
        let key = (scalar, like.rank(), like.dtype);
        if let Some(&v) = self.by_type.get(&key) {
            return Ok(v);
        }
        let converted = in_type(b, scalar, like.dtype)?;
        let v = b.reshape(converted, &vec![Dim::Known(1); like.rank()])?;
        self.by_type.insert(key, v);
        Ok(v)
    }

    /// The scalar times a constant.
    pub fn multiplied(&mut self, b: &mut Builder, scalar: ValueId, factor: f64) -> Rule<ValueId> {
        if factor == 1.0 {
            return Ok(scalar);
        }
        if let Some((.., v)) = self.products.iter().find(|(s, f, _)| *s == scalar && *f == factor) {
            return Ok(*v);
        }
        let number = b.number(factor, scalar);
        let v = b.mul(scalar, number)?;
        self.products.push((scalar, factor, v));
        Ok(v)
    }
}
