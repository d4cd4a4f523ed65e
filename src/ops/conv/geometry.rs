//! The shape of one convolution, from which the forms of its gradients are chosen.

use crate::ir::{Attr, Attrs, Dim, Node, TensorType};
use crate::operator::checked::{image, signed, spatial_sizes, times};
use crate::operator::window::{Window, WindowAxis};
use crate::operator::{Rule, attrs};

/// The geometry of one convolution; for a transposed one, of the convolution that it transposes.
#[derive(Clone)]
pub(super) struct Geometry {
    pub(super) window: Window,
    pub(super) group: usize,
    pub(super) batch: Dim,
    /// Channels and spatial sizes of the larger side (a convolution's input).
    pub(super) channels: usize,
    pub(super) input: Vec<usize>,
    /// Channels and spatial sizes of the smaller side (a convolution's output).
    pub(super) features: usize,
    pub(super) output: Vec<usize>,
}

impl Geometry {
    pub(super) fn new(node: &Node, large: &TensorType, small: &TensorType, kernel: &TensorType) -> Rule<Geometry> {
        let channels = |t: &TensorType| image(t)?.1.known().ok_or_else(|| format!("it needs the number of channels of {t}"));
        Ok(Geometry {
            window: Window::of(node, spatial_sizes(kernel)?),
            group: super::group_of(node)?,
            batch: image(large)?.0,
            channels: channels(large)?,
            input: spatial_sizes(large)?,
            features: channels(small)?,
            output: spatial_sizes(small)?,
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.input.len()
    }

    pub(super) fn attrs(&self) -> Attrs {
        let ints = |v: &[usize]| Attr::Ints(signed(v));
        attrs([
            ("kernel_shape", ints(&self.window.kernel)),
            ("strides", ints(&self.window.strides)),
            ("dilations", ints(&self.window.dilations)),
            ("pads", Attr::Ints(self.window.pads())),
            ("group", Attr::Int(self.group as i64)),
        ])
    }

    pub(super) fn pointwise(&self) -> bool {
        self.window.kernel.iter().all(|&k| k == 1)
    }

    pub(super) fn unit_stride(&self) -> bool {
        self.window.strides.iter().all(|&s| s == 1)
    }

    /// All positions of the kernel, row-major.
    pub(super) fn taps(&self) -> Vec<Vec<usize>> {
        self.window
            .kernel
            .iter()
            .fold(vec![vec![]], |list, &k| list.iter().flat_map(|t| (0..k).map(move |i| [t.as_slice(), &[i]].concat())).collect())
    }

    /// The order of axes in which batch and channels have changed places.
    pub(super) fn channels_first(&self) -> Vec<usize> {
        [vec![1, 0], self.spatial_axes()].concat()
    }

    /// Channels and features of a group.
    pub(super) fn of_group(&self) -> Rule<(usize, usize)> {
        let each = |n: usize| n.checked_div(self.group).ok_or("it has no groups");
        Ok((each(self.channels)?, each(self.features)?))
    }

    /// Pixels of the smaller side.
    pub(super) fn pixels(&self) -> Rule<usize> {
        times(&self.output)
    }

    /// Along each spatial axis the window, and the sizes of the larger and the smaller side.
    pub(super) fn sides(&self) -> impl Iterator<Item = (WindowAxis, usize, usize)> + '_ {
        self.window.axes().zip(&self.input).zip(&self.output).map(|((axis, &input), &output)| (axis, input, output))
    }

    /// The axes of the spatial dimensions.
    pub(super) fn spatial_axes(&self) -> Vec<usize> {
        (2..).take(self.rank()).collect()
    }
}
