//! From `[N, C, H, W]` to `[N, H, W, C]` and back.

use super::super::compute::images::transposed;
use super::super::compute::{Cores, Element};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::product;
use crate::pass::{TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
use ort::Result;
use ort::operator::KernelContext;

pub const TO_LAST: Native = Native::on_images::<ToLast>(TO_CHANNELS_LAST);

pub const TO_FIRST: Native = Native::on_images::<ToFirst>(TO_CHANNELS_FIRST);

/// Rounds what it lays out where images are bfloat16.
struct ToLast;

struct ToFirst;

impl OnImages for ToLast {
    fn new(_: &KernelContext) -> Result<Self> {
        Ok(ToLast)
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let ([x], [y]) = (inputs.all(), outputs.all());
        let x = x.get()?;
        let [n, channels, height, width] = x.image()?;
        transposed(cores, n, channels, product(&[height, width])?, x.data, y.make_images::<E>(&[n, height, width, channels])?);
        Ok(())
    }
}

impl OnImages for ToFirst {
    fn new(_: &KernelContext) -> Result<Self> {
        Ok(ToFirst)
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let ([x], [y]) = (inputs.all(), outputs.all());
        let x = x.images::<E>()?;
        let [n, height, width, channels] = x.image()?;
        transposed(cores, n, product(&[height, width])?, channels, x.data, y.make(&[n, channels, height, width])?);
        Ok(())
    }
}
