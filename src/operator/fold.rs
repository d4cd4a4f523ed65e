//! What shape computations give, without running them: elements that are numbers or multiples of the batch size, and small
//! integer constants.

use super::{Known, Operator, Rule, View};
use crate::ir::{DType, Dim, Elem, Tensor, TensorType};

/// Larger results are left for the runtime to compute.
pub(crate) const LIMIT: usize = 1 << 18;

/// Of larger tensors one alone fills the memory.
const MOST: u64 = 1 << 32;
/// What is said of more.
pub(crate) const TOO_MANY: &str = "has more elements than spgraph computes with";

/// What the node's first output, of the type `types[0]`, is known to be. The only way to [`Operator::evaluate`], so that no operator passes the limit.
pub fn evaluate(operator: &dyn Operator, n: &View, types: &[TensorType]) -> Option<Known> {
    // A node without inputs holds its result itself.
    let small = n.node.inputs.is_empty() || matches!(types.first()?.count()?, Dim::Known(count) if count <= LIMIT);
    if small { operator.evaluate(n) } else { None }
}

/// Fails for results that no machine could hold, of which nothing may be computed any more: sums and products of sizes would overflow.
pub fn possible(types: &[TensorType]) -> Rule<()> {
    let size = |ty: &TensorType| {
        ty.shape.iter().try_fold(1u64, |all, d| match *d {
            Dim::Known(n) | Dim::Batch(n) => all.checked_mul(n as u64),
        })
    };
    match types.iter().find(|ty| size(ty).is_none_or(|n| n > MOST)) {
        Some(ty) => Err(format!("its result {ty} {TOO_MANY} ({MOST})")),
        None => Ok(()),
    }
}

/// The elements of a scalar or a list as knowledge: a constant where all are numbers.
pub(crate) fn known(ty: &TensorType, elems: Vec<Elem>) -> Option<Known> {
    let shape: &[usize] = match ty.rank() {
        0 if elems.len() == 1 => &[],
        1 => &[elems.len()],
        _ => return None,
    };
    let numbers: Option<Vec<i64>> = elems.iter().map(|e| if let Elem::Int(v) = e { Some(*v) } else { None }).collect();
    match numbers {
        Some(v) => integers(ty.dtype, shape, &v).map(Known::Tensor),
        None if matches!(ty.dtype, DType::I64 | DType::I32) => Some(Known::Elems(elems)),
        None => None,
    }
}

/// An integer or boolean tensor; `None` for other types and numbers that do not fit.
pub(crate) fn integers(dtype: DType, shape: &[usize], values: &[i64]) -> Option<Tensor> {
    let bytes: Vec<u8> = match dtype {
        DType::I64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I32 => {
            values.iter().map(|&v| i32::try_from(v)).collect::<Result<Vec<_>, _>>().ok()?.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        DType::Bool => values.iter().map(|&v| (v != 0) as u8).collect(),
        _ => return None,
    };
    Tensor::new(dtype, shape.to_vec(), bytes).ok()
}

/// The elements of input `i`, a scalar or a list of integers.
pub(crate) fn list(n: &View, i: usize) -> Option<Vec<Elem>> {
    let ty = n.ty(i).ok()?;
    if ty.rank() > 1 || ty.dtype.is_float() { None } else { n.elems(i) }
}

/// The constant at input `i` where it is small and of integers: never a parameter.
pub(crate) fn constant<'a>(n: &View<'a>, i: usize) -> Option<&'a Tensor> {
    n.constant(i).filter(|t| !t.dtype().is_float() && t.count() <= LIMIT)
}

/// Input 0 under another shape.
pub(crate) fn reshaped(n: &View, to: &TensorType) -> Option<Known> {
    if to.rank() <= 1
        && let Some(elems) = list(n, 0)
    {
        return known(to, elems);
    }
    Some(Known::Tensor(constant(n, 0)?.reshaped(to.dims()?).ok()?))
}

/// The constant at input 0 with `f` of each element, where all of them are integers and have one.
pub(crate) fn mapped(n: &View, f: impl Fn(i64) -> Option<i64>) -> Option<Known> {
    let t = constant(n, 0)?;
    let values = t.to_i64().ok()?.into_iter().map(f).collect::<Option<Vec<_>>>()?;
    integers(t.dtype(), t.shape(), &values).map(Known::Tensor)
}

/// The tensor of the given shape whose element at each position is the one of `t` that `source` names, by index from 0.
pub(crate) fn gathered(t: &Tensor, shape: &[usize], source: impl Fn(&[usize]) -> usize) -> Option<Tensor> {
    let count = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&c| c <= LIMIT)?;
    let width = t.dtype().size();
    let mut bytes = Vec::with_capacity(count.checked_mul(width)?);
    let mut at = vec![0; shape.len()];
    for _ in 0..count {
        let from = source(&at).checked_mul(width)?;
        bytes.extend_from_slice(t.bytes().get(from..from.checked_add(width)?)?);
        for (position, size) in at.iter_mut().zip(shape).rev() {
            *position = position.saturating_add(1);
            if *position < *size {
                break;
            }
            *position = 0;
        }
    }
    Tensor::new(t.dtype(), shape.to_vec(), bytes).ok()
}

/// How far apart neighbours along each axis lie, in a row-major tensor.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut next = 1usize;
    let mut strides = Vec::with_capacity(shape.len());
    for &size in shape.iter().rev() {
        strides.push(next);
        next = next.saturating_mul(size);
    }
    strides.reverse();
    strides
}

/// The entries `picks` along `axis`.
pub(crate) fn picked(t: &Tensor, axis: usize, picks: &[usize]) -> Option<Tensor> {
    let strides = strides(t.shape());
    let mut shape = t.shape().to_vec();
    *shape.get_mut(axis)? = picks.len();
    let source = |i: usize, p: usize| if i == axis { picks.get(p).copied().unwrap_or(usize::MAX) } else { p };
    gathered(t, &shape, |at| {
        let terms = at.iter().zip(&strides).enumerate().map(|(i, (&p, s))| source(i, p).saturating_mul(*s));
        terms.fold(0, usize::saturating_add)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_picked_in_order() {
        let t = Tensor::from_i64(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(picked(&t, 1, &[2, 0]).unwrap(), Tensor::from_i64(&[2, 2], &[2, 0, 5, 3]));
        assert_eq!(picked(&t, 0, &[1]).unwrap(), Tensor::from_i64(&[1, 3], &[3, 4, 5]));
        assert_eq!(picked(&t, 0, &[]).unwrap().count(), 0);
        assert!(picked(&t, 0, &[2]).is_none());
    }

    #[test]
    fn numbers_become_constants() {
        let list = TensorType::new(DType::I32, [2]);
        assert_eq!(known(&list, vec![Elem::Int(1), Elem::Int(-1)]), integers(DType::I32, &[2], &[1, -1]).map(Known::Tensor));
        let batch = vec![Elem::Batch(1), Elem::Int(3)];
        assert_eq!(known(&list, batch.clone()), Some(Known::Elems(batch)));
        assert_eq!(known(&list, vec![Elem::Int(1 << 40), Elem::Int(0)]), None);
    }
}
