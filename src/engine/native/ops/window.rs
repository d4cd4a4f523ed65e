//! The attributes of convolutions and poolings.

use super::super::compute::ConvGeometry;
use crate::ir::Node;
use ort::operator::KernelContext;
use ort::{Error, Result};

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

impl Window {
    pub fn read(attributes: &KernelContext) -> Result<Window> {
        let pair = |name: &str, default: usize| -> Result<[usize; 2]> {
            let list = attributes.get::<Vec<i64>>(name).unwrap_or_default();
            match list[..] {
                [] => Ok([default; 2]),
                [a, b, ..] if a >= 0 && b >= 0 => Ok([a as usize, b as usize]),
                _ => Err(Error::new(format!("`{name}` {list:?} is not two numbers"))),
            }
        };
        let groups = attributes.get::<i64>("group").unwrap_or(1).max(1) as usize;
        Ok(Window {
            kernel: pair("kernel_shape", 0)?,
            strides: pair("strides", 1)?,
            dilations: pair("dilations", 1)?,
            pads: pair("pads", 0)?,
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
    /// The output `[N, H', W', features]`, windows counted down.
    pub fn output(&self, input: [usize; 4], pads: [usize; 4], features: usize) -> Result<[usize; 4]> {
        let size = |axis: usize| {
            let extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let whole = input[axis + 1] + pads[axis] + pads[axis + 2];
            whole.checked_sub(extent).map(|rest| rest / self.strides[axis] + 1)
        };
        match (size(0), size(1)) {
            (Some(height), Some(width)) => Ok([input[0], height, width, features]),
            _ => Err(Error::new(format!("windows of {:?} do not fit an image {input:?}", self.kernel))),
        }
    }
}
