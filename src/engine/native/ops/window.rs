//! The attributes of convolutions and poolings.

use super::super::compute::{ConvGeometry, Element};
use super::ports::{Inputs, Outputs};
use crate::ir::Node;
use ort::operator::KernelContext;
use ort::{Error, Result};

/// Larger attributes make no sense.
const MOST: i64 = 1 << 30;

/// The product of sizes.
pub fn product(sizes: &[usize]) -> Result<usize> {
    let all = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    all.ok_or_else(|| Error::new(format!("the sizes {sizes:?} are impossibly large together")))
}

/// The attributes as the kernels need them.
#[derive(Debug, Clone)]
pub struct Window {
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// At the beginning of each axis.
    pub pads: [usize; 2],
    pub groups: usize,
}

/// Whether the node is about images (kernels of two dimensions), with explicit pads.
pub fn is_plain(node: &Node) -> bool {
    let (auto_pad, pads) = (node.string("auto_pad"), node.ints("pads"));
    node.ints("kernel_shape").len() == 2
        && (auto_pad.is_empty() || auto_pad == "NOTSET")
        && (pads.is_empty() || (pads.len() == 4 && pads.iter().all(|&p| p >= 0)))
}

/// The first two numbers of a list, which lie from `least` on; `otherwise` stands for a list that is not there.
fn pair(list: &[i64], least: i64, otherwise: Option<usize>) -> Option<[usize; 2]> {
    match (list, otherwise) {
        ([], _) => otherwise.map(|n| [n; 2]),
        (&[a, b, ..], _) if a.min(b) >= least && a.max(b) <= MOST => Some([a as usize, b as usize]),
        _ => None,
    }
}

impl Window {
    pub fn read(attributes: &KernelContext) -> Result<Window> {
        let read = |name: &str, least: i64, otherwise: Option<usize>| {
            let list = attributes.get::<Vec<i64>>(name).unwrap_or_default();
            let refused = || Error::new(format!("`{name}` {list:?} is not two numbers from {least} to {MOST}"));
            pair(&list, least, otherwise).ok_or_else(refused)
        };
        let groups = attributes.get::<i64>("group").unwrap_or(1).max(1) as usize;
        Ok(Window {
            kernel: read("kernel_shape", 1, None)?,
            strides: read("strides", 1, Some(1))?,
            dilations: read("dilations", 1, Some(1))?,
            pads: read("pads", 0, Some(0))?,
            groups,
        })
    }

    /// The convolution between images `[N, H, W, C]` of these sizes.
    pub fn conv(&self, input: [usize; 4], output: [usize; 4]) -> ConvGeometry {
        ConvGeometry {
            images: input[0],
            input: [input[1], input[2]],
            channels: input[3],
            output: [output[1], output[2]],
            features: output[3],
            kernel: self.kernel,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
            groups: self.groups,
            run: 1,
        }
    }
}

impl Window {
    /// Makes the output of a pooling, each channel by itself, of its input: `pool` fills it.
    pub fn pool<E: Element>(
        &self,
        pads: [usize; 4],
        (inputs, outputs): (Inputs, Outputs),
        pool: impl FnOnce(&ConvGeometry, &[E], &mut [E]),
    ) -> Result<()> {
        let ([x], [y]) = (inputs.all(), outputs.all());
        let x = x.images::<E>()?;
        let input = x.image()?;
        let output = self.output(input, pads, input[3])?;
        pool(&self.conv(input, output), x.data, y.make_images::<E>(&output)?);
        Ok(())
    }

    /// The output `[N, H', W', features]`, windows counted down.
    pub fn output(&self, input: [usize; 4], pads: [usize; 4], features: usize) -> Result<[usize; 4]> {
        let size = |axis: usize, input: usize, begin: usize, end: usize| {
            let at = |list: &[usize; 2]| list.get(axis).copied();
            let extent = at(&self.kernel)?.checked_sub(1)?.checked_mul(at(&self.dilations)?)?.checked_add(1)?;
            let whole = input.checked_add(begin)?.checked_add(end)?;
            whole.checked_sub(extent)?.checked_div(at(&self.strides)?)?.checked_add(1)
        };
        let [images, height, width, _] = input;
        let [top, left, bottom, right] = pads;
        match (size(0, height, top, bottom), size(1, width, left, right)) {
            (Some(height), Some(width)) => Ok([images, height, width, features]),
            _ => Err(Error::new(format!("windows of {:?} do not fit an image {input:?}", self.kernel))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_nothing_are_refused() {
        assert_eq!(pair(&[3, 5], 1, None), Some([3, 5]));
        assert_eq!(pair(&[], 1, Some(1)), Some([1, 1]));
        for list in [&[][..], &[3], &[0, 3], &[3, -1], &[3, i64::MAX]] {
            assert_eq!(pair(list, 1, None), None, "{list:?}");
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let window = Window { kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [0; 2], groups: 1 };
        assert_eq!(window.output([2, 8, 9, 4], [1, 1, 1, 1], 5).unwrap(), [2, 8, 9, 5]);
        assert!(window.output([2, usize::MAX, 9, 4], [1; 4], 5).is_err());
        assert!(Window { strides: [0, 1], ..window }.output([2, 8, 9, 4], [1; 4], 5).is_err());
    }
}
