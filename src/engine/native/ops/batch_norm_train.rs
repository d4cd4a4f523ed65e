//! Batch normalisation with the batch's own statistics.

use super::super::compute::norm::{Affine, affine, moments};
use super::super::compute::{Cores, Element, Epilogue};
use super::batch_norm::{epsilon, inverse};
use super::conv::{ceiling, is_set};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::ops::batch_norm;
use crate::pass::{Extras, Kernel, Port, RECTIFIED, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `(x, scale, shift, addend?) → y, mean, biased variance`; attributes `epsilon`, `relu` and `ceiling`.
pub const BATCH_NORM_TRAIN: Native = Native::on_images::<BatchNormTrain>(Kernel {
    name: "BatchNormTrain",
    replaces: Replaces::Function(&batch_norm::TRAIN),
    covers: |_| true,
    inputs: &[Port::Image, Port::Plain, Port::Plain, Port::OptionalImage],
    outputs: &[Port::Image, Port::Plain, Port::Plain],
    extras: Extras { rectifies: true, addend: Some(3), ..Extras::NONE },
});

struct BatchNormTrain {
    epsilon: f32,
    relu: bool,
    ceiling: Option<f32>,
}

impl OnImages for BatchNormTrain {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(BatchNormTrain { epsilon: epsilon(attributes), relu: is_set(attributes, RECTIFIED), ceiling: ceiling(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, scale, shift, addend] = inputs.all();
        let [y, batch_mean, batch_variance] = outputs.all();
        let (x, scale, shift, addend) = (x.images::<E>()?, scale.get()?, shift.get()?, addend.optional_images::<E>()?);
        let channels = x.image()?[3];
        let (mean, variance) = moments(cores, x.data, channels);
        let factor: Vec<f32> = inverse(&variance, self.epsilon).iter().zip(scale.data).map(|(i, s)| i * s).collect();
        let map = Affine { x: x.data, centre: &mean, factor: &factor, offset: shift.data, other: None };
        let epilogue = Epilogue { addend: addend.map(|a| a.data), relu: self.relu, ceiling: self.ceiling, ..Epilogue::default() };
        affine(cores, &map, &epilogue, y.make_images::<E>(&x.shape)?);
        batch_mean.make(&[channels])?.copy_from_slice(&mean);
        batch_variance.make(&[channels])?.copy_from_slice(&variance);
        Ok(())
    }
}
