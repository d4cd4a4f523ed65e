//! Operators that make tensors out of nothing but attributes and shapes.

use crate::ir::{Attr, DType, Dim, Elem, Tensor, TensorType, ValueId};
use crate::onnx;
use crate::operator::{Builder, Import, Known, Operator, Rule, Status, View, attrs, fixed, fold};
use std::path::Path;

/// A constant; import puts it into the graph as such, under its output's name.
pub struct Constant;

/// The tensor in the attribute `name`.
fn tensor(cx: &Import, name: &str) -> Rule<Option<Tensor>> {
    let Some(proto) = cx.source.tensor(name).map_err(|e| e.to_string())? else { return Ok(None) };
    if !proto.external_data.is_empty() {
        return Err(format!("its `{name}` lies in another file, which only initializers may"));
    }
    onnx::tensor(proto, Path::new("")).map(Some).map_err(|e| e.to_string())
}

impl Operator for Constant {
    fn op_type(&self) -> &'static str {
        "Constant"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let mut found = vec![];
        found.extend(tensor(cx, "value")?);
        let source = &cx.source;
        let f32s = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let new = |dtype, shape: Vec<usize>, data| Tensor::new(dtype, shape, data).map_err(|e| e.to_string());
        if let Some(v) = source.int("value_int").map_err(|e| e.to_string())? {
            found.push(Tensor::from_i64(&[], &[v]));
        }
        if let Some(v) = source.ints("value_ints").map_err(|e| e.to_string())? {
            found.push(Tensor::from_i64(&[v.len()], v));
        }
        if let Some(v) = source.float("value_float").map_err(|e| e.to_string())? {
            found.push(new(DType::F32, vec![], f32s(&[v]))?);
        }
        if let Some(v) = source.floats("value_floats").map_err(|e| e.to_string())? {
            found.push(new(DType::F32, vec![v.len()], f32s(v))?);
        }
        let (Some(value), []) = (found.pop(), &*found) else {
            return Err("it must hold exactly one value, a tensor or numbers".into());
        };
        let name = cx.outputs.first().cloned().unwrap_or_default();
        cx.replaced = Some(vec![cx.graph.constant(&name, value)]);
        Ok(())
    }

    /// Of the nodes that write a function's constants out; what import finds are values of the graph, not nodes.
    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        match n.node.attrs.get("value") {
            Some(Attr::Tensor(value)) => Ok(vec![value.ty()]),
            _ => Err("it has no tensor `value`".into()),
        }
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        match n.node.attrs.get("value") {
            Some(Attr::Tensor(value)) => Some(Known::Tensor(value.clone())),
            _ => None,
        }
    }

    fn notes(&self) -> &'static str {
        "becomes an initializer"
    }
}

/// A tensor of one number repeated, its shape given by a list of integers.
pub struct ConstantOfShape;

impl Operator for ConstantOfShape {
    fn op_type(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let value = tensor(cx, "value")?.unwrap_or_else(|| Tensor::from_f32(&[1], &[0.0]));
        if value.count() != 1 {
            return Err(format!("its `value` must hold one element, not {}", value.count()));
        }
        let value = value.reshaped(vec![1]).map_err(|e| e.to_string())?;
        cx.set("value", Attr::Tensor(value));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let Some(elems) = fold::list(n, 0) else {
            return Err("the shape (input 0) is computed while the model runs; export the network with constant shapes".into());
        };
        let dim = |e| match e {
            Elem::Int(v) => usize::try_from(v).map(Dim::Known).map_err(|_| format!("the dimension {v} is negative")),
            Elem::Batch(k) => Ok(Dim::Batch(k)),
        };
        Ok(vec![TensorType { dtype: value(n).dtype(), shape: elems.into_iter().map(dim).collect::<Rule<_>>()? }])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let shape = self.infer(n).ok()?.first()?.dims()?;
        fold::gathered(&value(n), &shape, |_| 0).map(Known::Tensor)
    }
}

/// The repeated element.
fn value(n: &View) -> Tensor {
    match n.node.attrs.get("value") {
        Some(Attr::Tensor(t)) => t.clone(),
        _ => Tensor::from_f32(&[1], &[0.0]),
    }
}

/// `start, start + delta, …` below `limit`.
pub struct Range;

impl Operator for Range {
    fn op_type(&self) -> &'static str {
        "Range"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let ty = n.ty(0)?;
        if ty.dtype.is_float() {
            return Ok(vec![TensorType { dtype: ty.dtype, shape: vec![Dim::Known(Range::floats(n)?)] }]);
        }
        let one = |i: usize| match fold::list(n, i).as_deref() {
            Some([e]) => Ok(*e),
            _ => Err(format!("input {i} is computed while the model runs; export the network with constant shapes")),
        };
        let count = match (one(0)?, one(1)?, one(2)?) {
            (_, _, Elem::Int(0)) => return Err("its `delta` is 0".into()),
            (Elem::Int(start), Elem::Int(limit), Elem::Int(delta)) => {
                // In 128 bits no difference of two i64 overflows.
                let (from, to) = if delta > 0 { (start, limit) } else { (limit, start) };
                let span = i128::from(to).saturating_sub(i128::from(from));
                let count = u128::try_from(span).map_or(0, |span| span.div_ceil(delta.unsigned_abs().into()));
                Dim::Known(usize::try_from(count).map_err(|_| "it is impossibly long".to_string())?)
            }
            (Elem::Int(0), Elem::Batch(k), Elem::Int(1)) => Dim::Batch(k),
            _ => return Err("its length depends on the batch size in a way that is not supported; rewrite with a fixed batch size".into()),
        };
        Ok(vec![TensorType { dtype: ty.dtype, shape: vec![count] }])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let ty = self.infer(n).ok()?.pop().filter(|ty| !ty.dtype.is_float())?;
        let number = |i: usize| match fold::list(n, i)?.as_slice() {
            [Elem::Int(v)] => Some(*v),
            _ => None,
        };
        let (start, delta) = (number(0)?, number(2)?);
        let count = ty.shape.first()?.known().filter(|&c| c <= 1 << 16)? as i64;
        let elems = (0..count).map(|i| Some(Elem::Int(start.checked_add(delta.checked_mul(i)?)?))).collect::<Option<_>>()?;
        fold::known(&ty, elems)
    }

    fn notes(&self) -> &'static str {
        "of integers, which may hold the batch size, and of constant floats"
    }
}

impl Range {
    /// How many numbers three constant floats make. They are no constant of the network then: what computes with them is no parameter's place.
    fn floats(n: &View) -> Rule<usize> {
        let one = |i: usize| {
            let given = n.constant(i).filter(|t| t.count() == 1).and_then(|t| t.to_f64().ok()?.first().copied());
            given
                .filter(|v| v.is_finite())
                .ok_or_else(|| format!("input {i} is computed while the model runs, or is no number; export it as a constant"))
        };
        let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
        let count = ((limit - start) / delta).ceil().max(0.0);
        if delta == 0.0 || count.is_nan() || count > (1u64 << 24) as f64 {
            return Err(format!("from {start} to {limit} by {delta} it is impossibly long"));
        }
        Ok(count as usize)
    }
}

impl Builder<'_> {
    /// A tensor of zeros with known dimensions, made while the model runs.
    pub fn zeros(&mut self, ty: &TensorType) -> Rule<ValueId> {
        let dims: Vec<i64> = fixed(ty)?.into_iter().map(|d| d as i64).collect();
        let dims = self.ints(&dims);
        self.apply(&ConstantOfShape, &[dims], attrs([("value", Attr::Tensor(Tensor::zeros(ty.dtype, &[1])))]))
    }
}
