//! The gradients of scale and shift of batch normalisation with moving statistics: `Σ dy·(x − mean)/√(var + ε)` and `Σ dy`.

use super::super::compute::norm::cotangent_sums;
use super::super::compute::{Cores, Element};
use super::batch_norm::{epsilon, inverse};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::ops::batch_norm;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `(dy, x, mean, variance) → dscale, dshift`; attribute `epsilon`.
pub const BATCH_NORM_FROZEN_AFFINE_GRAD: Native = Native::on_images::<BatchNormFrozenAffineGrad>(Kernel {
    name: "BatchNormFrozenAffineGrad",
    replaces: Replaces::Function(&batch_norm::FROZEN_AFFINE_GRAD),
    covers: |_| true,
    inputs: &[Port::BroughtImage, Port::Image, Port::Plain, Port::Plain],
    outputs: &[Port::Plain, Port::Plain],
    extras: Extras::NONE,
});

struct BatchNormFrozenAffineGrad {
    epsilon: f32,
}

impl OnImages for BatchNormFrozenAffineGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(BatchNormFrozenAffineGrad { epsilon: epsilon(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, x, mean, variance] = inputs.all();
        let [dscale, dshift] = outputs.all();
        let (dy, x, mean, variance) = (dy.images::<E>()?, x.images::<E>()?, mean.get()?, variance.get()?);
        let channels = x.image()?[3];
        let (sums, products) = cotangent_sums(cores, dy.data, x.data, mean.data);
        let inverse = inverse(variance.data, self.epsilon);
        for (out, (p, i)) in dscale.make(&[channels])?.iter_mut().zip(products.iter().zip(&inverse)) {
            *out = (p * *i as f64) as f32;
        }
        dshift.make(&[channels])?.iter_mut().zip(sums).for_each(|(out, s)| *out = s as f32);
        Ok(())
    }
}
