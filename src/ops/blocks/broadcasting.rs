//! Element-wise functions of several values: ONNX's multidirectional broadcasting.

use crate::ir::{Dim, Elem, TensorType, ValueId};
use crate::operator::{Builder, Grad, Known, Rule, View, broadcast, fold};

/// The type of a function of all inputs, which have one element type.
pub(in crate::ops) fn combined(n: &View) -> Rule<Vec<TensorType>> {
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

/// Arithmetic on the elements of shapes and of integer constants, from the first operand to the last.
pub(in crate::ops) fn on_elements(n: &View, f: impl Fn(Elem, Elem) -> Option<Elem>) -> Option<Known> {
    let ty = combined(n).ok()?.pop().filter(|ty| !ty.dtype.is_float())?;
    let shape = ty.dims()?;
    shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&count| count <= fold::LIMIT)?;
    let mut result = spread(n, 0, &shape)?;
    for i in 1..n.node.inputs.len() {
        result = result.into_iter().zip(spread(n, i, &shape)?).map(|(a, b)| f(a, b)).collect::<Option<_>>()?;
    }
    if ty.rank() <= 1 {
        return fold::known(&ty, result);
    }
    let numbers: Option<Vec<i64>> = result.into_iter().map(|e| if let Elem::Int(v) = e { Some(v) } else { None }).collect();
    fold::integers(ty.dtype, &shape, &numbers?).map(Known::Tensor)
}

/// The elements of operand `i`, repeated to a shape that it broadcasts to.
fn spread(n: &View, i: usize, shape: &[usize]) -> Option<Vec<Elem>> {
    let (own, elems) = match fold::list(n, i) {
        Some(elems) => (n.ty(i).ok()?.dims()?, elems),
        None => {
            let t = fold::constant(n, i)?;
            (t.shape().to_vec(), t.to_i64().ok()?.into_iter().map(Elem::Int).collect())
        }
    };
    let missing = shape.len().checked_sub(own.len())?;
    // How far each axis of the shape goes in the operand: nowhere along those that are repeated.
    let paces = own.iter().zip(fold::strides(&own)).map(|(&size, stride)| if size == 1 { 0 } else { stride });
    let paces: Vec<usize> = std::iter::repeat_n(0, missing).chain(paces).collect();
    let mut places = vec![0usize];
    for (&size, &pace) in shape.iter().zip(&paces) {
        let along: Vec<usize> = (0..size).map(|i| i.checked_mul(pace)).collect::<Option<_>>()?;
        places = places.iter().flat_map(|at| along.iter().map(|step| at.checked_add(*step))).collect::<Option<_>>()?;
    }
    places.into_iter().map(|at| elems.get(at).copied()).collect()
}

/// The gradient of a sum: each operand gets `dy`.
pub(in crate::ops) fn handed_on(b: &mut Builder, g: &Grad, dy: ValueId) -> Rule<Vec<Option<ValueId>>> {
    (0..g.node.inputs.len()).map(|i| if g.needs(i) { Ok(Some(b.unbroadcast(dy, &b.ty(g.input(i)?).clone())?)) } else { Ok(None) }).collect()
}

impl Builder<'_> {
    /// Undoes broadcasting: sums `dy` over the axes along which a value of type `to` was repeated.
    pub fn unbroadcast(&mut self, dy: ValueId, to: &TensorType) -> Rule<ValueId> {
        let from = self.shape(dy).to_vec();
        let missing = from.len().checked_sub(to.rank()).ok_or_else(|| format!("{} is no broadcast {to}", self.ty(dy)))?;
        // What the operand has along each axis, where it has the axis.
        let own = std::iter::repeat_n(None, missing).chain(to.shape.iter().map(Some));
        let one = Dim::Known(1);
        let is_repeated = |of: Dim, own: Option<&Dim>| own.is_none_or(|own| *own == one && of != one);
        let repeated: Vec<usize> =
            from.iter().zip(own).enumerate().filter(|(_, (of, own))| is_repeated(**of, *own)).map(|(i, _)| i).collect();
        let summed = self.sum(dy, &repeated, true)?;
        self.reshape(summed, &to.shape)
    }
}
