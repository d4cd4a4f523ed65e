//! Blocks of pixels moved into channels and back.

use crate::ir::{Attr, Attrs, Dim, Node, TensorType, ValueId};
use crate::operator::attrs;
use crate::operator::checked::times;
use crate::operator::{Builder, Facts, Grad, Half, Import, Operator, Rule, View};

/// The attributes of `SpaceToDepth`, or of `DepthToSpace` with the blocks' pixels outside of the channels.
pub(super) fn blocks(size: usize, to_space: bool) -> Attrs {
    let mut list = attrs([("blocksize", Attr::Int(size as i64))]);
    if to_space {
        list.insert("mode".into(), Attr::String("DCR".into()));
    }
    list
}

/// The block size and the shape `[N, C, H, W]`.
fn parts(n: &View) -> Rule<(usize, Dim, usize, usize, usize)> {
    let x = n.ty(0)?;
    let size =
        usize::try_from(n.node.int("blocksize", 0)).ok().filter(|&b| b > 0 && b <= 1 << 15).ok_or("its `blocksize` is out of range")?;
    match x.shape[..] {
        [batch, Dim::Known(c), Dim::Known(h), Dim::Known(w)] => Ok((size, batch, c, h, w)),
        _ => Err(format!("it needs images [N, C, H, W] of known size, not {x}")),
    }
}

fn typed(x: &TensorType, batch: Dim, sizes: [Option<usize>; 3]) -> Rule<Vec<TensorType>> {
    let sizes = sizes
        .into_iter()
        .map(|s| s.map(Dim::Known))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("{x} does not fit its block size"))?;
    Ok(vec![TensorType { dtype: x.dtype, shape: [vec![batch], sizes].concat() }])
}

fn divided(a: usize, b: usize) -> Option<usize> {
    a.checked_div(b).filter(|_| a.is_multiple_of(b))
}

/// Pixel `(i, j)` of each block becomes the channels `(i·b + j)·C …`; the gradient goes the way back.
pub struct SpaceToDepth;

impl Operator for SpaceToDepth {
    fn op_type(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("blocksize", 0).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (b, batch, c, h, w) = parts(n)?;
        typed(n.ty(0)?, batch, [c.checked_mul(times(&[b, b])?), divided(h, b), divided(w, b)])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let size = g.node.int("blocksize", 1) as usize;
        Ok(vec![Some(b.op("DepthToSpace", &[g.dy()?], blocks(size, true))?)])
    }
}

/// The reverse; with mode `CRD` the channels lie outside of the blocks' pixels (PyTorch's pixel shuffle).
pub struct DepthToSpace;

fn channels_first(node: &Node) -> bool {
    node.string("mode") == "CRD"
}

impl Operator for DepthToSpace {
    fn op_type(&self) -> &'static str {
        "DepthToSpace"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("blocksize", 0)?;
        let mode = cx.string("mode", "DCR")?;
        if mode != "DCR" && mode != "CRD" {
            return Err(format!("`mode` is \"{mode}\", which ONNX does not know"));
        }
        cx.set("mode", Attr::String(mode));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (b, batch, c, h, w) = parts(n)?;
        typed(n.ty(0)?, batch, [divided(c, times(&[b, b])?), h.checked_mul(b), w.checked_mul(b)])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (size, batch, c, h, w) = parts(&View { graph: b.graph, node: &g.node })?;
        let dx = b.op("SpaceToDepth", &[g.dy()?], blocks(size, false))?;
        if !channels_first(&g.node) {
            return Ok(vec![Some(dx)]);
        }
        let block = times(&[size, size])?;
        let channels = divided(c, block).ok_or("its channels do not fall into blocks")?;
        let dx = b.reshape(dx, &[batch, block.into(), channels.into(), h.into(), w.into()])?;
        let dx = b.transpose(dx, &[0, 2, 1, 3, 4])?;
        Ok(vec![Some(b.reshape(dx, &[batch, c.into(), h.into(), w.into()])?)])
    }
}
