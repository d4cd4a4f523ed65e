//! The gradients of batch normalisation with the batch's own statistics.
//!
//! With `i = 1/√(var + ε)` and means over all values of a channel:
//! `dx = scale·i·(dy − mean(dy) − (x − mean)·i²·mean(dy·(x − mean)))`, `dscale = i·Σ dy·(x − mean)`, `dshift = Σ dy`.

use super::super::compute::norm::{Affine, affine, cotangent_sums};
use super::super::compute::{Cores, Element, Epilogue};
use super::batch_norm::{epsilon, inverse};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::ops::batch_norm;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `(dy, x, scale, mean, variance) → dx, dscale, dshift`; attribute `epsilon`.
pub const BATCH_NORM_TRAIN_GRAD: Native = Native::on_images::<BatchNormTrainGrad>(Kernel {
    name: "BatchNormTrainGrad",
    replaces: Replaces::Function(&batch_norm::TRAIN_GRAD),
    covers: |_| true,
    inputs: &[Port::BroughtImage, Port::Image, Port::Plain, Port::Plain, Port::Plain],
    outputs: &[Port::Image, Port::Plain, Port::Plain],
    extras: Extras::NONE,
});

struct BatchNormTrainGrad {
    epsilon: f32,
}

impl OnImages for BatchNormTrainGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(BatchNormTrainGrad { epsilon: epsilon(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, x, scale, mean, variance] = inputs.all();
        let [dx, dscale, dshift] = outputs.all();
        let (dy, x, scale, mean, variance) = (dy.images::<E>()?, x.images::<E>()?, scale.get()?, mean.get()?, variance.get()?);
        let [n, height, width, channels] = x.image()?;
        if [scale.data.len(), mean.data.len(), variance.data.len()] != [channels; 3] {
            return Err(Error::new(format!("scale, mean and variance must have a number for each of {channels} channels")));
        }
        let count = n as f64 * height as f64 * width as f64;
        let (sums, products) = cotangent_sums(cores, dy.data, x.data, mean.data);
        let inverse = inverse(variance.data, self.epsilon);
        let (mut factor, mut tilt, mut centre) = (vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]);
        let zeros = vec![0.0; channels];
        let (dscale, dshift) = (dscale.make(&[channels])?, dshift.make(&[channels])?);
        let known = inverse.iter().zip(scale.data).zip(sums.iter().zip(&products));
        let makes = factor.iter_mut().zip(&mut tilt).zip(&mut centre).zip(dscale.iter_mut().zip(dshift));
        for (((&inverse, &scale), (&sum, &product)), (((factor, tilt), centre), (dscale, dshift))) in known.zip(makes) {
            let i = inverse as f64;
            let f = scale as f64 * i;
            let t = -f * i * i * product / count;
            *factor = f as f32;
            *tilt = t as f32;
            *centre = (sum / count) as f32;
            *dscale = (product * i) as f32;
            *dshift = sum as f32;
        }
        let map = Affine { x: dy.data, centre: &centre, factor: &factor, offset: &zeros, other: Some((x.data, mean.data, &tilt)) };
        affine(cores, &map, &Epilogue::default(), dx.make_images::<E>(&x.shape)?);
        Ok(())
    }
}
