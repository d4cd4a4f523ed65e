//! Images side by side along their channels.

use super::super::compute::{Cores, Element, channels};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// How many images it can join.
const INPUTS: usize = 80;
const PORTS: [Port; INPUTS] = ports();

/// `(x, …) → y`
pub const JOIN_CHANNELS: Native = Native::on_images::<JoinChannels>(Kernel {
    name: "JoinChannels",
    replaces: Replaces::Operator("Concat"),
    covers,
    inputs: &PORTS,
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

/// One image, and others that may be left out.
pub const fn ports<const N: usize>() -> [Port; N] {
    let mut ports = [Port::FurtherImage; N];
    ports[0] = Port::Image;
    ports
}

fn covers(n: &View) -> bool {
    n.node.int("axis", 0) == 1 && n.node.inputs.len() <= INPUTS && n.node.inputs.iter().all(Option::is_some)
}

struct JoinChannels;

impl OnImages for JoinChannels {
    fn new(_: &KernelContext) -> Result<Self> {
        Ok(JoinChannels)
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let mut parts = vec![];
        for input in inputs.all::<INPUTS>() {
            parts.extend(input.optional_images::<E>()?);
        }
        let [y] = outputs.all();
        let Some(first) = parts.first() else { return Err(Error::new("no images to join")) };
        let [n, height, width, _] = first.image()?;
        let mut sides = vec![];
        for part in &parts {
            let [of, high, wide, channels] = part.image()?;
            if [of, high, wide] != [n, height, width] {
                return Err(Error::new(format!("images {:?} and {:?} cannot be joined", first.shape, part.shape)));
            }
            sides.push((part.data, channels));
        }
        let total = sides.iter().map(|side| side.1).sum();
        channels::join(cores, &sides, y.make_images::<E>(&[n, height, width, total])?);
        Ok(())
    }
}
