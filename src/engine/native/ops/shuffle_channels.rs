//! The channels of an image in another order.

use super::super::compute::{Cores, Element, channels};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::pass::{ORDER, SHUFFLE_CHANNELS};
use ort::operator::KernelContext;
use ort::{Error, Result};

pub const SHUFFLE: Native = Native::on_images::<ShuffleChannels>(SHUFFLE_CHANNELS);

struct ShuffleChannels {
    order: Vec<usize>,
}

impl OnImages for ShuffleChannels {
    fn new(attributes: &KernelContext) -> Result<Self> {
        let order = attributes.get::<Vec<i64>>(ORDER).unwrap_or_default();
        let order = order.into_iter().map(|c| usize::try_from(c).map_err(|_| Error::new(format!("{c} is no channel"))));
        Ok(ShuffleChannels { order: order.collect::<Result<_>>()? })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.images::<E>()?;
        if x.image()?[3] != self.order.len() {
            return Err(Error::new(format!("an order of {} channels does not fit {:?}", self.order.len(), x.shape)));
        }
        channels::shuffle(cores, x.data, &self.order, y.make_images::<E>(&x.shape)?);
        Ok(())
    }
}
