//! The gradients of a normalization over the last axis: of pixels with their channels last, of tokens.

use super::super::compute::Cores;
use super::super::compute::layer_norm::{Normalized, gradients};
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::ir::DType;
use crate::operator::View;
use crate::ops::normalization;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::{Error, Result};

/// `(dy, x, scale, inverse, mean) → dx, dscale, dshift`
pub const LAYER_NORM_GRAD: Native = Native {
    kernel: Kernel {
        name: "LayerNormGrad",
        replaces: Replaces::Function(&normalization::GRAD),
        covers,
        inputs: &[Port::Plain; 5],
        outputs: &[Port::Plain, Port::OptionalPlain, Port::OptionalPlain],
        extras: Extras::NONE,
    },
    create: |_| Ok(Box::new(LayerNormGrad)),
    half: None,
};

/// Over the last axis alone, with a mean, and a scale and shift for each of its places.
fn covers(n: &View) -> bool {
    let (Ok(x), Ok(scale)) = (n.ty(1), n.ty(2)) else { return false };
    let last = x.rank().checked_sub(1).and_then(|last| i64::try_from(last).ok());
    let row = x.shape.last().map(|d| vec![*d]);
    let rows = || n.node.outputs.iter().skip(1).all(|&o| Some(&n.graph.ty(o).shape) == row.as_ref());
    n.node.inputs.len() == 5
        && x.dtype == DType::F32
        && n.node.ints("axes").iter().copied().eq(last)
        && Some(&scale.shape) == row.as_ref()
        && x.shape.last().is_some_and(|d| d.known().is_some_and(|c| c > 0))
        && rows()
}

struct LayerNormGrad;

impl Compute for LayerNormGrad {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, x, scale, inverse, mean] = inputs.all();
        let [dx, dscale, dshift] = outputs.all();
        let (dy, x, scale, inverse, mean) = (dy.get()?, x.get()?, scale.get()?, inverse.get()?, mean.get()?);
        let width = scale.data.len();
        if x.shape.last() != Some(&width) || dy.shape != x.shape {
            return Err(Error::new(format!("rows of {width} do not make up {:?}", x.shape)));
        }
        let of = Normalized { dy: dy.data, x: x.data, scale: scale.data, inverse: inverse.data, mean: mean.data };
        gradients(cores, &of, dx.make(&x.shape)?, dscale.optional(&[width])?, dshift.optional(&[width])?);
        Ok(())
    }
}
