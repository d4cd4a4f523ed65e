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
    let (strides, lead) = (fold::strides(&own), shape.len() - own.len());
    let source = |mut place: usize| {
        let mut at = 0;
        for axis in (0..shape.len()).rev() {
            let here = place % shape[axis];
            place /= shape[axis];
            if axis >= lead && own[axis - lead] != 1 {
                at += here * strides[axis - lead];
            }
        }
        elems.get(at).copied()
    };
    (0..shape.iter().product()).map(source).collect()
}

/// The gradient of a sum: each operand gets `dy`.
pub(in crate::ops) fn handed_on(b: &mut Builder, g: &Grad, dy: ValueId) -> Rule<Vec<Option<ValueId>>> {
    (0..g.node.inputs.len()).map(|i| if g.needs(i) { Ok(Some(b.unbroadcast(dy, &b.ty(g.input(i)?).clone())?)) } else { Ok(None) }).collect()
}

impl Builder<'_> {
    /// Undoes broadcasting: sums `dy` over the axes along which a value of type `to` was repeated.
    pub fn unbroadcast(&mut self, dy: ValueId, to: &TensorType) -> Rule<ValueId> {
        let from = self.shape(dy).to_vec();
        let lead = from.len() - to.rank();
        let repeated: Vec<usize> =
            (0..from.len()).filter(|&i| i < lead || (to.shape[i - lead] == Dim::Known(1) && from[i] != Dim::Known(1))).collect();
        let summed = self.sum(dy, &repeated, true)?;
        self.reshape(summed, &to.shape)
    }
}
