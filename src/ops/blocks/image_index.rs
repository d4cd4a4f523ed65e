//! Indices that are computed of the number of an image, as exporters write strides: `image · stride + offsets`.

use crate::ir::{DType, Dim, Elem, Graph, Tensor, ValueId};
use crate::operator::{View, broadcast, table_of};
use ndarray::ArrayD;

/// `stride` for each image, and the offsets within it, with as many axes as the indices: the first, along the images, has one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageIndex {
    pub stride: i64,
    pub offsets: Tensor,
}

impl ImageIndex {
    /// Whether all offsets are among the `size` elements of an image.
    pub fn is_within(&self, size: usize) -> bool {
        self.offsets.to_i64().is_ok_and(|list| list.iter().all(|&i| usize::try_from(i).is_ok_and(|i| i < size)))
    }
}

/// How many nodes are looked at: exporters write a handful, and a value that is added to itself again and again has no end of ways to it.
const NODES: usize = 64;

/// What a value with one row for each image is in that form; `None` where it is anything else, or is computed by too many nodes.
pub fn image_index(graph: &Graph, v: ValueId) -> Option<ImageIndex> {
    index_within(graph, v, &mut NODES.clone())
}

/// [`image_index`], as long as nodes are left to look at.
fn index_within(graph: &Graph, v: ValueId, left: &mut usize) -> Option<ImageIndex> {
    *left = left.checked_sub(1)?;
    let value = graph.value(v);
    if value.ty.dtype != DType::I64 {
        return None;
    }
    if let Some(t) = &value.constant {
        return Some(ImageIndex { stride: 0, offsets: t.clone() });
    }
    if value.ty.shape.first() != Some(&Dim::Batch(1)) {
        return None;
    }
    let node = graph.producer(v)?;
    let view = View { graph, node };
    let mut of = |i: usize| index_within(graph, view.input(i)?, left);
    // The same with other axes of one entry.
    let reshaped = |found: ImageIndex| {
        let shape = value.ty.shape.iter().skip(1).map(|d| d.known()).collect::<Option<Vec<_>>>()?;
        let offsets = found.offsets.reshaped([&[1], &shape[..]].concat()).ok()?;
        Some(ImageIndex { offsets, ..found })
    };
    match node.op_type.as_str() {
        "Range" => {
            let counts = [Elem::Int(0), Elem::Batch(1), Elem::Int(1)];
            let given = |i: usize, wanted: Elem| view.elems(i).as_deref() == Some(&[wanted]);
            let whole = counts.into_iter().enumerate().all(|(i, wanted)| given(i, wanted));
            whole.then(|| ImageIndex { stride: 1, offsets: Tensor::from_i64(&[1], &[0]) })
        }
        "Identity" => of(0),
        // An axis before that of the images is seen by the type.
        "Unsqueeze" | "Reshape" => reshaped(of(0)?),
        "Add" => combined(of(0)?, of(1)?, i64::checked_add).filter(|found| fits(found, &value.ty.shape)),
        "Mul" => {
            let (a, b) = (of(0)?, of(1)?);
            let (index, factor) = if a.stride == 0 { (b, a) } else { (a, b) };
            let factor = (factor.stride == 0 && factor.offsets.count() == 1).then(|| factor.offsets.to_i64().ok()?.first().copied())??;
            let list = index.offsets.to_i64().ok()?.into_iter().map(|v| v.checked_mul(factor)).collect::<Option<Vec<_>>>()?;
            let offsets = Tensor::from_i64(index.offsets.shape(), &list);
            Some(ImageIndex { stride: index.stride.checked_mul(factor)?, offsets }).filter(|found| fits(found, &value.ty.shape))
        }
        _ => None,
    }
}

/// Whether the axes are those of a value, and the images lie along the first.
fn fits(found: &ImageIndex, shape: &[Dim]) -> bool {
    let (own, rest) = (found.offsets.shape(), shape.get(1..).unwrap_or_default());
    own.len() == shape.len() && own.first() == Some(&1) && own.iter().skip(1).zip(rest).all(|(&n, &d)| Dim::Known(n) == d)
}

/// Element by element, with broadcasting.
fn combined(a: ImageIndex, b: ImageIndex, f: impl Fn(i64, i64) -> Option<i64>) -> Option<ImageIndex> {
    let dims = |t: &Tensor| t.shape().iter().map(|&n| Dim::Known(n)).collect::<Vec<_>>();
    let shape = broadcast(&dims(&a.offsets), &dims(&b.offsets)).ok()?.into_iter().map(Dim::known).collect::<Option<Vec<_>>>()?;
    table_of(&shape).ok()?;
    let array = |t: &Tensor| ArrayD::from_shape_vec(t.shape(), t.to_i64().ok()?).ok();
    let (p, q) = (array(&a.offsets)?, array(&b.offsets)?);
    let both = p.broadcast(shape.as_slice())?.into_iter().zip(q.broadcast(shape.as_slice())?);
    let sums = both.map(|(&p, &q)| f(p, q)).collect::<Option<Vec<_>>>()?;
    Some(ImageIndex { stride: f(a.stride, b.stride)?, offsets: Tensor::from_i64(&shape, &sums) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::TensorType;
    use crate::operator::Builder;

    /// A value that is added to itself, and the sum to itself, has two ways to it, then four, then eight.
    #[test]
    fn sums_of_sums_end() {
        let mut graph = Graph::default();
        let mut v = graph.input("rows", TensorType { dtype: DType::I64, shape: vec![Dim::Batch(1)] });
        let mut b = Builder::new(&mut graph);
        for _ in 0..60 {
            v = b.op("Add", &[v, v], Default::default()).unwrap();
        }
        assert_eq!(image_index(&graph, v), None);
    }
}
