//! The gradient of the input of batch normalisation with moving statistics: `dy·scale/√(var + ε)`.

use super::super::compute::norm::{Affine, affine};
use super::super::compute::{Cores, Element, Epilogue};
use super::batch_norm::{epsilon, inverse};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::ops::batch_norm;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `(dy, scale, variance) → dx`; attribute `epsilon`.
pub const BATCH_NORM_FROZEN_INPUT_GRAD: Native = Native::on_images::<BatchNormFrozenInputGrad>(Kernel {
    name: "BatchNormFrozenInputGrad",
    replaces: Replaces::Function(&batch_norm::FROZEN_INPUT_GRAD),
    covers: |_| true,
    inputs: &[Port::Image, Port::Plain, Port::Plain],
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

struct BatchNormFrozenInputGrad {
    epsilon: f32,
}

impl OnImages for BatchNormFrozenInputGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(BatchNormFrozenInputGrad { epsilon: epsilon(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, scale, variance] = inputs.all();
        let [dx] = outputs.all();
        let (dy, scale, variance) = (dy.images::<E>()?, scale.get()?, variance.get()?);
        let factor: Vec<f32> = inverse(variance.data, self.epsilon).iter().zip(scale.data).map(|(i, s)| i * s).collect();
        let zeros = vec![0.0; factor.len()];
        let map = Affine { x: dy.data, centre: &zeros, factor: &factor, offset: &zeros, other: None };
        affine(cores, &map, &Epilogue::default(), dx.make_images::<E>(&dy.shape)?);
        Ok(())
    }
}
