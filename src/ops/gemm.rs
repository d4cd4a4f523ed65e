//! Gemm: `Y = alpha·op(A)·op(B) + beta·C`.

use crate::ir::{Attr, Attrs, TensorType, ValueId};
use crate::operator::attrs;
use crate::operator::{
    Builder, Facts, Grad, Half, Import, Meaning, Operator, OutputChannels, ParameterKind, PerSample, Rule, Samples, View, broadcast,
    floating,
};

/// `dA = alpha·dY·op(B)ᵀ` (transposed where `transA`), `dB` likewise, `dC = beta·dY` summed to C's shape.
pub struct Gemm;

fn transposes(a: bool, b: bool, alpha: f32) -> Attrs {
    attrs([("alpha", Attr::Float(alpha)), ("beta", Attr::Float(1.0)), ("transA", Attr::Int(a as i64)), ("transB", Attr::Int(b as i64))])
}

impl Builder<'_> {
    /// `op(a)·op(b)` for matrices.
    pub fn gemm(&mut self, a: ValueId, trans_a: bool, b: ValueId, trans_b: bool) -> Rule<ValueId> {
        self.op("Gemm", &[a, b], transposes(trans_a, trans_b, 1.0))
    }
}

impl Operator for Gemm {
    fn op_type(&self) -> &'static str {
        "Gemm"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::MatrixProduct, half: Half::Product, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 1.0)?;
        cx.float("beta", 1.0)?;
        cx.int("transA", 0)?;
        cx.int("transB", 0)?;
        // Up to opset 6 an attribute switched broadcasting on, which later is always allowed.
        cx.source.int("broadcast").map_err(|e| e.to_string())?;
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (a, b) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(a)?;
        if a.rank() != 2 || b.rank() != 2 {
            return Err(format!("its operands {a} and {b} are not both matrices"));
        }
        let sides = |ty: &TensorType, transposed: i64| match (&*ty.shape, transposed) {
            ([rows, columns], 0) => Ok((*rows, *columns)),
            ([columns, rows], 1) => Ok((*rows, *columns)),
            (_, 0 | 1) => Err(format!("{ty} is no matrix")),
            _ => Err("transA and transB must be 0 or 1".to_string()),
        };
        let ((rows, inner), (depth, columns)) = (sides(a, n.node.int("transA", 0))?, sides(b, n.node.int("transB", 0))?);
        if inner != depth {
            return Err(format!("the inner dimensions of {a} and {b} differ"));
        }
        let shape = vec![rows, columns];
        if n.input(2).is_some() && broadcast(&shape, &n.ty(2)?.shape)? != shape {
            return Err(format!("its third operand {} does not broadcast to the product", n.ty(2)?));
        }
        Ok(vec![TensorType { dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (a, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let (ta, tb) = (g.node.int("transA", 0) == 1, g.node.int("transB", 0) == 1);
        let (alpha, beta) = (g.node.float("alpha", 1.0), g.node.float("beta", 1.0));
        let da = match (g.needs(0), ta) {
            (false, _) => None,
            (true, false) => Some(b.op("Gemm", &[dy, w], transposes(false, !tb, alpha))?),
            (true, true) => Some(b.op("Gemm", &[w, dy], transposes(tb, true, alpha))?),
        };
        let db = match (g.needs(1), tb) {
            (false, _) => None,
            (true, false) => Some(b.op("Gemm", &[a, dy], transposes(!ta, false, alpha))?),
            (true, true) => Some(b.op("Gemm", &[dy, a], transposes(true, ta, alpha))?),
        };
        let dc = if g.needs(2) {
            let scaled = if beta == 1.0 {
                dy
            } else {
                let beta = b.number(beta as f64, dy);
                b.mul(dy, beta)?
            };
            Some(b.unbroadcast(scaled, &b.ty(g.input(2)?).clone())?)
        } else {
            None
        };
        Ok(vec![da, db, dc])
    }

    /// `alpha·dyₙ ⊗ xₙ`, or transposed; `beta·dyₙ` summed to C's shape.
    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let (dy, node) = (g.dy()?, &g.node);
        if g.needs(0) {
            return Err("its parameter stands on the left, where samples are no rows; export it as data · weight".into());
        }
        let scaled = |b: &mut Builder, factor: f32| {
            if factor == 1.0 {
                return Ok(dy);
            }
            let factor = b.number(factor as f64, dy);
            b.mul(dy, factor)
        };
        let kernel = if g.needs(1) {
            if node.int("transA", 0) == 1 {
                return Err("its data is transposed, so its samples are columns; export it with transA = 0".into());
            }
            let dy = scaled(b, node.float("alpha", 1.0))?;
            Some(s.product(b, g.input(0)?, dy, node.int("transB", 0) == 1)?)
        } else {
            None
        };
        let bias = if g.needs(2) {
            let dy = scaled(b, node.float("beta", 1.0))?;
            Some(s.unbroadcast(b, dy, &b.ty(g.input(2)?).clone())?)
        } else {
            None
        };
        Ok(vec![None, kernel, bias])
    }

    fn parameters(&self, n: &View) -> Vec<Option<ParameterKind>> {
        let transposed = |name: &str| n.node.int(name, 0) == 1;
        let left = n.is_fixed(0).then_some(ParameterKind::Kernel { axis: transposed("transA") as usize });
        vec![left, Some(ParameterKind::Kernel { axis: !transposed("transB") as usize }), Some(ParameterKind::Bias)]
    }

    fn output_channels(&self, _: &View) -> Option<OutputChannels> {
        Some(OutputChannels { axis: 1, blocks: 1 })
    }
}
