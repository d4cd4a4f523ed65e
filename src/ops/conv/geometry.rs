//! The shape of one convolution, from which the forms of its gradients are chosen.

use crate::ir::{Attr, Attrs, Dim, Node, TensorType};
use crate::operator::attrs;
use crate::operator::window::Window;
use crate::operator::{Rule, fixed};

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
        let spatial = |t: &TensorType| fixed(&TensorType { dtype: t.dtype, shape: t.shape[1..].to_vec() });
        let (large_dims, small_dims) = (spatial(large)?, spatial(small)?);
        Ok(Geometry {
            window: Window::of(node, fixed(kernel)?[2..].to_vec()),
            group: super::group_of(node)?,
            batch: large.shape[0],
            channels: large_dims[0],
            input: large_dims[1..].to_vec(),
            features: small_dims[0],
            output: small_dims[1..].to_vec(),
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.input.len()
    }

    pub(super) fn attrs(&self) -> Attrs {
        let ints = |v: &[usize]| Attr::Ints(v.iter().map(|&x| x as i64).collect());
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

    /// The axes of the spatial dimensions.
    pub(super) fn spatial_axes(&self) -> Vec<usize> {
        (2..2 + self.rank()).collect()
    }
}
