//! Batch normalisation with the batch's own statistics.

use super::super::compute::Epilogue;
use super::super::compute::norm::{Affine, affine, moments};
use super::batch_norm::{epsilon, inverse};
use super::conv::is_set;
use super::{Compute, Context, Native, Port, Replaces};
use ort::Result;

/// `(x, scale, shift, addend?) → y, mean, biased variance`; attributes `epsilon` and `relu`.
pub const BATCH_NORM_TRAIN: Native = Native {
    name: "BatchNormTrain",
    replaces: Some(Replaces {
        function: true,
        op_type: "BatchNormTrain",
        covers: |editor, node| editor.is_image(&node.input[0]),
        shape: Some(|editor, node| editor.shape(&node.input[0]).map(<[i64]>::to_vec)),
    }),
    inputs: &[Port::Image, Port::Plain, Port::Plain, Port::OptionalImage],
    outputs: &[Port::Image, Port::Plain, Port::Plain],
    create: |attributes| Ok(Box::new(BatchNormTrain { epsilon: epsilon(attributes), relu: is_set(attributes, "relu") })),
};

struct BatchNormTrain {
    epsilon: f32,
    relu: bool,
}

impl Compute for BatchNormTrain {
    fn compute(&mut self, cx: &Context) -> Result<()> {
        let (x, scale, shift, addend) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3)?);
        let channels = x.image()?[3];
        let (mean, variance) = moments(cx, cx.isa, x.data, channels);
        let factor: Vec<f32> = inverse(&variance, self.epsilon).iter().zip(scale.data).map(|(i, s)| i * s).collect();
        let map = Affine { x: x.data, centre: &mean, factor: &factor, offset: shift.data, other: None };
        let epilogue = Epilogue { addend: addend.map(|a| a.data), relu: self.relu, ..Epilogue::default() };
        affine(cx, cx.isa, &map, &epilogue, cx.output(0, &x.shape)?);
        cx.output(1, &[channels])?.copy_from_slice(&mean);
        cx.output(2, &[channels])?.copy_from_slice(&variance);
        Ok(())
    }
}
