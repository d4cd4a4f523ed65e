//! Element-wise functions of several values: ONNX's multidirectional broadcasting.

use crate::ir::{DType, Dim, Elem, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Grad, Known, Rule, View, broadcast};

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

/// Element arithmetic on shapes, for rank-1 operands of one length (or length 1) and scalars.
pub(in crate::ops) fn on_shapes(n: &View, f: impl Fn(Elem, Elem) -> Option<Elem>) -> Option<Known> {
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
        Some(v) if n.ty(0).ok()?.dtype == DType::I64 => {
            let rank0 = n.ty(0).ok()?.rank() == 0 && n.ty(1).ok()?.rank() == 0;
            Some(Known::Tensor(Tensor::from_i64(if rank0 { &[] } else { std::slice::from_ref(&len) }, &v)))
        }
        Some(_) => None,
        None => Some(Known::Elems(elems)),
    }
}

/// The gradient of a sum: each operand gets `dy`.
pub(in crate::ops) fn handed_on(b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
    let dy = g.dy()?;
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
