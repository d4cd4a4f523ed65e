//! Some channels of an image, or all of them in several images.

use super::super::compute::{Cores, Element, channels};
use super::join_channels::ports;
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::ir::{Attr, Attrs};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, RANGES, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// How many images it can give.
const OUTPUTS: usize = 16;
const PORTS: [Port; OUTPUTS] = ports();

/// `x → y`: a slice along the channels.
pub const TAKE_CHANNELS: Native =
    Native::on_images::<CutChannels>(row("TakeChannels", "Slice", &[Port::Image], |n| sliced(n).is_some(), |n| told(sliced(n))));

/// `x → y, …`: all channels in parts.
pub const CUT_CHANNELS: Native =
    Native::on_images::<CutChannels>(row("CutChannels", "Split", &PORTS, |n| split(n).is_some(), |n| told(split(n))));

const fn row(
    name: &'static str,
    operator: &'static str,
    outputs: &'static [Port],
    covers: fn(&View) -> bool,
    told: fn(&View) -> Attrs,
) -> Kernel {
    let extras = Extras { told, ..Extras::NONE };
    Kernel { name, replaces: Replaces::Operator(operator), covers, inputs: &[Port::Image], outputs, extras }
}

/// From where to where a slice goes, all channels from one on to another.
fn sliced(n: &View) -> Option<Vec<i64>> {
    let (start, end, axes) = (n.ints(1)?, n.ints(2)?, n.ints(3)?);
    let steps = if n.input(4).is_some() { n.ints(4)? } else { vec![1] };
    let ([start], [end], [1], [1]) = (&start[..], &end[..], &axes[..], &steps[..]) else { return None };
    (0 <= *start && start < end && *end <= channels_of(n)?).then(|| vec![*start, *end])
}

/// Where parts begin, and where the last ends.
fn split(n: &View) -> Option<Vec<i64>> {
    let sizes = n.ints(1).filter(|sizes| n.node.int("axis", 0) == 1 && sizes.len() <= OUTPUTS && sizes.iter().all(|&s| s > 0))?;
    let mut ends = vec![0];
    let mut at = 0i64;
    for &size in &sizes {
        at = at.checked_add(size)?;
        ends.push(at);
    }
    (ends.last().copied() == channels_of(n)).then_some(ends)
}

fn channels_of(n: &View) -> Option<i64> {
    n.ty(0).ok()?.shape.get(1)?.known().and_then(|c| i64::try_from(c).ok())
}

fn told(ends: Option<Vec<i64>>) -> Attrs {
    ends.map(|ends| (RANGES.to_string(), Attr::Ints(ends))).into_iter().collect()
}

struct CutChannels {
    ends: Vec<usize>,
}

impl OnImages for CutChannels {
    fn new(attributes: &KernelContext) -> Result<Self> {
        let ends = attributes.get::<Vec<i64>>(RANGES).unwrap_or_default();
        let ends: Vec<usize> = ends.into_iter().filter_map(|c| usize::try_from(c).ok()).collect();
        match ends.len() >= 2 && ends.is_sorted() {
            true => Ok(CutChannels { ends }),
            false => Err(Error::new(format!("{ends:?} are no parts of channels"))),
        }
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let x = x.images::<E>()?;
        let [n, height, width, channels] = x.image()?;
        let mut parts = vec![];
        for ((&begin, &end), output) in self.ends.iter().zip(self.ends.iter().skip(1)).zip(outputs.all::<OUTPUTS>()) {
            // They are sorted.
            let count = end.saturating_sub(begin);
            if let Some(y) = output.optional_images::<E>(&[n, height, width, count])? {
                parts.push((begin, count, y));
            }
        }
        channels::cut(cores, x.data, channels, parts);
        Ok(())
    }
}
