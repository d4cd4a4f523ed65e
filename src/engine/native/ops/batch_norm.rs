//! Batch normalisation with moving statistics.

use super::super::compute::norm::{Affine, affine};
use super::super::compute::{Cores, Element, Epilogue};
use super::conv::{ceiling, is_set};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::pass::{Extras, Kernel, Port, RECTIFIED, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `(x, scale, shift, mean, variance, addend?) → y`; attributes `epsilon`, `relu` and `ceiling`.
pub const BATCH_NORM: Native = Native::on_images::<BatchNorm>(Kernel {
    name: "BatchNormalization",
    replaces: Replaces::Operator("BatchNormalization"),
    covers: |n| n.node.outputs.len() == 1 && n.node.int("training_mode", 0) == 0,
    inputs: &[Port::Image, Port::Plain, Port::Plain, Port::Plain, Port::Plain, Port::OptionalImage],
    outputs: &[Port::Image],
    extras: Extras { rectifies: true, addend: Some(5), ..Extras::NONE },
});

pub fn epsilon(attributes: &ort::operator::KernelContext) -> f32 {
    attributes.get::<f32>("epsilon").unwrap_or(1e-5)
}

/// `1/√(variance + ε)`.
pub fn inverse(variance: &[f32], epsilon: f32) -> Vec<f32> {
    variance.iter().map(|v| (1.0 / (*v as f64 + epsilon as f64).sqrt()) as f32).collect()
}

struct BatchNorm {
    epsilon: f32,
    relu: bool,
    ceiling: Option<f32>,
}

impl OnImages for BatchNorm {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(BatchNorm { epsilon: epsilon(attributes), relu: is_set(attributes, RECTIFIED), ceiling: ceiling(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, scale, shift, mean, variance, addend] = inputs.all();
        let [y] = outputs.all();
        let (x, scale, shift, mean, variance, addend) =
            (x.images::<E>()?, scale.get()?, shift.get()?, mean.get()?, variance.get()?, addend.optional_images::<E>()?);
        let factor: Vec<f32> = inverse(variance.data, self.epsilon).iter().zip(scale.data).map(|(i, s)| i * s).collect();
        let map = Affine { x: x.data, centre: mean.data, factor: &factor, offset: shift.data, other: None };
        let epilogue = Epilogue { addend: addend.map(|a| a.data), relu: self.relu, ceiling: self.ceiling, ..Epilogue::default() };
        affine(cores, &map, &epilogue, y.make_images::<E>(&x.shape)?);
        Ok(())
    }
}
