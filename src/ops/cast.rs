//! Conversion between element types.

use crate::ir::{Attr, DType, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Import, Known, Meaning, Operator, Rule, View, attrs, fold};

/// Between floating types the gradient is cast back; through integers and booleans there is none.
pub struct Cast;

impl Operator for Cast {
    fn op_type(&self) -> &'static str {
        "Cast"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Conversion, half: Half::Never, ..Facts::ELEMENTWISE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let to = cx.source.int("to").map_err(|e| e.to_string())?.ok_or("it does not say to which type (`to`)")?;
        if DType::from_onnx(to as i32) == Some(cx.ty(0)?.dtype) && to <= i32::MAX as i64 {
            cx.source.int("saturate").map_err(|e| e.to_string())?;
            cx.replaced = Some(vec![cx.input(0)?]);
            return Ok(());
        }
        cx.set("to", Attr::Int(to));
        // Opset 19: how numbers too large for an 8-bit float are treated, which no type here is.
        cx.source.int("saturate").map_err(|e| e.to_string())?;
        // Opset 24: how numbers are rounded to one.
        cx.string("round_mode", "up")?;
        keep_constant(cx, to)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let code = n.node.int("to", 0);
        let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
        let dtype = dtype.ok_or_else(|| format!("it casts to the element type {code}, which spgraph does not have"))?;
        Ok(vec![TensorType { dtype, shape: n.ty(0)?.shape.clone() }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (from, dy) = (b.dtype(g.input(0)?), g.dy()?);
        // Nothing continuous goes through a type with steps.
        let smooth = from.is_float() && b.dtype(dy).is_float();
        Ok(vec![if smooth { Some(b.cast(dy, from)?) } else { None }])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let to = self.infer(n).ok()?.pop()?;
        if let Some(elems) = fold::list(n, 0).filter(|_| matches!(to.dtype, DType::I64 | DType::I32)) {
            return fold::known(&to, elems);
        }
        // Of the floating constants only scalars: others may be parameters.
        let t = n.constant(0).filter(|t| t.count() <= 1 << 16 && (!t.dtype().is_float() || t.shape().is_empty()))?;
        let values = t.to_f64().ok()?;
        Some(Known::Tensor(match to.dtype {
            DType::F32 | DType::F64 => Tensor::from_floats(to.dtype, t.shape(), &values),
            // Truncated towards zero; out of range has no meaning in ONNX.
            _ => fold::integers(
                to.dtype,
                t.shape(),
                &values.iter().map(|&v| if to.dtype == DType::Bool { (v != 0.0) as i64 } else { v as i64 }).collect::<Vec<_>>(),
            )?,
        }))
    }

    fn notes(&self) -> &'static str {
        "the gradient goes through between floating types only"
    }
}

/// A constant of the type already is not cast: weights that the source holds in half precision are float32 here.
pub(super) fn keep_constant(cx: &mut Import, to: i64) -> Rule<()> {
    let input = cx.input(0)?;
    if cx.constant(0).is_some_and(|t| i64::from(t.dtype().onnx()) == to) {
        cx.replaced = Some(vec![input]);
    }
    Ok(())
}

impl Builder<'_> {
    /// `a` with another element type; `a` itself where it has that already.
    pub fn cast(&mut self, a: ValueId, to: DType) -> Rule<ValueId> {
        if self.dtype(a) == to {
            return Ok(a);
        }
        self.apply(&Cast, &[a], attrs([("to", Attr::Int(to.onnx() as i64))]))
    }
}
