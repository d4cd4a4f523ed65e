//! Batch normalisation with the batch's own statistics.

use super::super::compute::norm::{Affine, affine, moments};
use super::super::compute::{Cores, Epilogue};
use super::batch_norm::{epsilon, inverse};
use super::conv::is_set;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::ops::batch_norm;
use crate::pass::{Extras, Kernel, Port, RECTIFIED, Replaces};
use ort::Result;

/// `(x, scale, shift, addend?) → y, mean, biased variance`; attributes `epsilon` and `relu`.
pub const BATCH_NORM_TRAIN: Native = Native {
    kernel: Kernel {
        name: "BatchNormTrain",
        replaces: Replaces::Function(&batch_norm::TRAIN),
        covers: |_| true,
        inputs: &[Port::Image, Port::Plain, Port::Plain, Port::OptionalImage],
        outputs: &[Port::Image, Port::Plain, Port::Plain],
        extras: Extras { rectifies: true, addend: Some(3), ..Extras::NONE },
    },
    create: |attributes| Ok(Box::new(BatchNormTrain { epsilon: epsilon(attributes), relu: is_set(attributes, RECTIFIED) })),
};

struct BatchNormTrain {
    epsilon: f32,
    relu: bool,
}

impl Compute for BatchNormTrain {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, scale, shift, addend] = inputs.all();
        let [y, batch_mean, batch_variance] = outputs.all();
        let (x, scale, shift, addend) = (x.get()?, scale.get()?, shift.get()?, addend.optional()?);
        let channels = x.image()?[3];
        let (mean, variance) = moments(cores, x.data, channels);
        let factor: Vec<f32> = inverse(&variance, self.epsilon).iter().zip(scale.data).map(|(i, s)| i * s).collect();
        let map = Affine { x: x.data, centre: &mean, factor: &factor, offset: shift.data, other: None };
        let epilogue = Epilogue { addend: addend.map(|a| a.data), relu: self.relu, ..Epilogue::default() };
        affine(cores, &map, &epilogue, y.make(&x.shape)?);
        batch_mean.make(&[channels])?.copy_from_slice(&mean);
        batch_variance.make(&[channels])?.copy_from_slice(&variance);
        Ok(())
    }
}
