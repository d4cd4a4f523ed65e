//! Element-wise functions of several values, with broadcasting.

use crate::ir::{Attrs, Dim, Elem, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Known, Meaning, Operator, ParameterKind, PerSample, Rule, Samples, View, broadcast};

fn combined(n: &View) -> Rule<Vec<TensorType>> {
    let first = n.ty(0)?;
    let mut shape = first.shape.clone();
    for i in 1..n.node.inputs.len() {
        let other = n.ty(i)?;
        if other.dtype != first.dtype {
            return Err(format!("its inputs have different element types, {} and {}", first.dtype, other.dtype));
        }
        shape = broadcast(&shape, &other.shape)?;
    }
    Ok(vec![TensorType { dtype: first.dtype, shape }])
}

/// Element arithmetic on shapes, for rank-1 operands of one length (or length 1) and scalars.
fn on_shapes(n: &View, f: impl Fn(Elem, Elem) -> Option<Elem>) -> Option<Known> {
    if n.ty(0).ok()?.dtype.is_float() {
        return None;
    }
    let (a, b) = (n.elems(0)?, n.elems(1)?);
    let len = a.len().max(b.len());
    if (a.len() != len && a.len() != 1) || (b.len() != len && b.len() != 1) || n.ty(0).ok()?.rank() > 1 || n.ty(1).ok()?.rank() > 1 {
        return None;
    }
    let pick = |v: &[Elem], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    let elems: Vec<Elem> = (0..len).map(|i| f(pick(&a, i), pick(&b, i))).collect::<Option<_>>()?;
    let numbers: Option<Vec<i64>> = elems.iter().map(|e| if let Elem::Int(v) = e { Some(*v) } else { None }).collect();
    match numbers {
        Some(v) if n.ty(0).ok()?.dtype == crate::ir::DType::I64 => {
            let rank0 = n.ty(0).ok()?.rank() == 0 && n.ty(1).ok()?.rank() == 0;
            Some(Known::Tensor(Tensor::from_i64(if rank0 { &[] } else { std::slice::from_ref(&len) }, &v)))
        }
        Some(_) => None,
        None => Some(Known::Elems(elems)),
    }
}

/// A constant for each channel next to a matrix product or convolution is that layer's bias.
fn bias_next_to_product(n: &View) -> Vec<Option<ParameterKind>> {
    let product = |i: usize| {
        let node = n.input(i).and_then(|v| n.graph.producer(v));
        let operator = node.and_then(|node| View { graph: n.graph, node }.operator());
        operator.is_some_and(|o| o.facts().meaning.takes_bias())
    };
    let spans_channels =
        |i: usize| n.ty(i).is_ok_and(|t| t.dtype.is_float() && t.shape.iter().filter(|d| **d != Dim::Known(1)).count() == 1);
    match (product(0) && spans_channels(1), product(1) && spans_channels(0)) {
        (true, _) => vec![None, Some(ParameterKind::Bias)],
        (_, true) => vec![Some(ParameterKind::Bias), None],
        _ => vec![],
    }
}

pub struct Add;

impl Operator for Add {
    fn op_type(&self) -> &'static str {
        "Add"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Sum, keeps_classes: true, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Sum.gradient(b, g)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_shapes(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_add(b).map(Elem::Int),
            (x, Elem::Int(0)) | (Elem::Int(0), x) => Some(x),
            (Elem::Batch(a), Elem::Batch(b)) => Some(Elem::Batch(a + b)),
            _ => None,
        })
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let mut found = vec![];
        for (i, input) in s.grad.node.inputs.iter().enumerate() {
            found.push(match input.filter(|_| s.grad.needs(i)) {
                Some(input) => Some(s.unbroadcast(b, s.grad.dy()?, &b.ty(input).clone())?),
                None => None,
            });
        }
        Ok(found)
    }

    fn parameters(&self, n: &View) -> Vec<Option<ParameterKind>> {
        bias_next_to_product(n)
    }
}

pub struct Sub;

impl Operator for Sub {
    fn op_type(&self) -> &'static str {
        "Sub"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        let da = if g.needs(0) { Some(b.unbroadcast(dy, &b.ty(g.input(0)?).clone())?) } else { None };
        let db = if g.needs(1) {
            let summed = b.unbroadcast(dy, &b.ty(g.input(1)?).clone())?;
            Some(b.neg(summed)?)
        } else {
            None
        };
        Ok(vec![da, db])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_shapes(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_sub(b).map(Elem::Int),
            (x, Elem::Int(0)) => Some(x),
            _ => None,
        })
    }
}

pub struct Mul;

impl Operator for Mul {
    fn op_type(&self) -> &'static str {
        "Mul"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        let one = |b: &mut Builder, of: usize, other: usize| -> Rule<Option<ValueId>> {
            if !g.needs(of) {
                return Ok(None);
            }
            let product = b.mul(dy, g.input(other)?)?;
            Ok(Some(b.unbroadcast(product, &b.ty(g.input(of)?).clone())?))
        };
        Ok(vec![one(b, 0, 1)?, one(b, 1, 0)?])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_shapes(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_mul(b).map(Elem::Int),
            (Elem::Batch(a), Elem::Int(b)) | (Elem::Int(b), Elem::Batch(a)) => {
                usize::try_from(b).ok().filter(|&b| b > 0).and_then(|b| a.checked_mul(b)).map(Elem::Batch)
            }
            _ => None,
        })
    }
}

/// `a / b`; for integers ONNX truncates.
pub struct Div;

impl Operator for Div {
    fn op_type(&self) -> &'static str {
        "Div"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    /// `da = dy / b`, `db = −dy·y / b`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let ratio = b.div(g.dy()?, g.input(1)?)?;
        let da = if g.needs(0) { Some(b.unbroadcast(ratio, &b.ty(g.input(0)?).clone())?) } else { None };
        let db = if g.needs(1) {
            let product = b.mul(ratio, g.output(0))?;
            let summed = b.unbroadcast(product, &b.ty(g.input(1)?).clone())?;
            Some(b.neg(summed)?)
        } else {
            None
        };
        Ok(vec![da, db])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_shapes(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_div(b).map(Elem::Int),
            (Elem::Batch(a), Elem::Int(b)) => usize::try_from(b).ok().filter(|&b| b > 0 && a % b == 0).map(|b| Elem::Batch(a / b)),
            _ => None,
        })
    }
}

/// `aᵇ` for a constant exponent; gradient `dy·b·aᵇ⁻¹`.
pub struct Pow;

impl Operator for Pow {
    fn op_type(&self) -> &'static str {
        "Pow"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let shape = broadcast(&n.ty(0)?.shape, &n.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: n.ty(0)?.dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.needs(1) {
            return Err("a gradient for the exponent is not supported".into());
        }
        let (x, dy) = (g.input(0)?, g.dy()?);
        let exponent = b.graph.value(g.input(1)?).constant.as_ref().filter(|t| t.count() == 1).and_then(|t| t.to_f64().ok());
        let exponent = exponent.ok_or("only a constant scalar exponent is supported")?[0];
        let (factor, less) = (b.number(exponent, x), b.number(exponent - 1.0, x));
        let power = if exponent == 2.0 { x } else { b.op("Pow", &[x, less], Attrs::new())? };
        let slope = b.mul(power, factor)?;
        let product = b.mul(dy, slope)?;
        Ok(vec![Some(b.unbroadcast(product, &b.ty(x).clone())?), None])
    }

    fn notes(&self) -> &'static str {
        "constant scalar exponent"
    }
}

/// The sum of any number of values.
pub struct Sum;

impl Operator for Sum {
    fn op_type(&self) -> &'static str {
        "Sum"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Sum, ..Facts::ELEMENTWISE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        (0..g.node.inputs.len())
            .map(|i| if g.needs(i) { Ok(Some(b.unbroadcast(dy, &b.ty(g.input(i)?).clone())?)) } else { Ok(None) })
            .collect()
    }
}

/// The largest of several values; spgraph writes it itself and knows no gradient for it.
pub struct Max;

impl Operator for Max {
    fn op_type(&self) -> &'static str {
        "Max"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn status(&self) -> crate::operator::Status {
        crate::operator::Status::Refused("its gradient is not implemented")
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }
}
