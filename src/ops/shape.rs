//! What a tensor's type says about it.

use crate::ir::{Attr, DType, Dim, Elem, TensorType};
use crate::operator::{Import, Known, Operator, Rule, Status, View, fold};

/// The dimensions from `start` to `end`, as a list.
pub struct Shape;

/// The dimensions that a canonical node lists.
fn dims<'a>(n: &View<'a>) -> Rule<&'a [Dim]> {
    let shape = &n.ty(0)?.shape;
    let rank = shape.len() as i64;
    let bound = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let (start, end) = (bound(n.node.int("start", 0)), bound(n.node.int("end", rank)));
    shape.get(start..end.max(start)).ok_or_else(|| "it asks for axes that there are not".into())
}

impl Operator for Shape {
    fn op_type(&self) -> &'static str {
        "Shape"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("start", 0)?;
        let rank = cx.ty(0)?.rank() as i64;
        cx.int("end", rank).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![TensorType::new(DType::I64, [dims(n)?.len()])])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let dims = dims(n).ok()?;
        fold::known(&TensorType::new(DType::I64, [dims.len()]), dims.iter().map(|&d| d.into()).collect())
    }
}

/// How many elements there are.
pub struct Size;

impl Operator for Size {
    fn op_type(&self) -> &'static str {
        "Size"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        n.ty(0)?;
        Ok(vec![TensorType::scalar(DType::I64)])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::known(&TensorType::scalar(DType::I64), vec![Elem::from(n.ty(0).ok()?.count()?)])
    }
}

/// `Shape`'s attributes for all dimensions.
pub(super) fn whole(rank: usize) -> crate::ir::Attrs {
    crate::operator::attrs([("start", Attr::Int(0)), ("end", Attr::Int(rank as i64))])
}
