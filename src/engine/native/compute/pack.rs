//! Weights `[O, I, kh, kw]` in the order in which products read them.

use super::disjoint_slice::DisjointSlice;
use super::gather::Gather;
use super::{ConvGeometry, Cores, Isa};

/// Columns of one panel of the AVX-512 tiles.
pub const PANEL: usize = 32;
/// Columns of one panel, at most, where the `gemm` crate multiplies.
const WIDE: usize = 256;

/// The right side of a product: for each group and panel of columns, for each tap, a row of the panel's columns for every row of
/// the left side's depth. Columns beyond the last are zero.
pub struct Packed {
    pub data: Vec<f32>,
    pub groups: usize,
    pub taps: usize,
    pub depth: usize,
    pub columns: usize,
    /// Columns of one panel: [`PANEL`], or up to [`WIDE`] where the `gemm` crate multiplies.
    pub panel: usize,
}

impl Packed {
    fn new(isa: Isa, groups: usize, taps: usize, depth: usize, columns: usize) -> Packed {
        let panel = match isa {
            Isa::Avx512(_) => PANEL,
            _ => columns.clamp(1, WIDE),
        };
        let size = groups * columns.div_ceil(panel) * panel * taps * depth;
        Packed { data: vec![0.0; size], groups, taps, depth, columns, panel }
    }

    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    /// Elements of one panel.
    pub fn size(&self) -> usize {
        self.taps * self.depth * self.panel
    }
}

/// For the forward convolution: rows are input channels, columns output channels.
pub fn pack_forward(cores: &Cores, conv: &ConvGeometry, w: &[f32]) -> Packed {
    let (depth, width, taps) = (conv.depth(), conv.width(), conv.taps());
    let mut packed = Packed::new(cores.isa(), conv.groups, taps, depth, width);
    let (panel, panels, size) = (packed.panel, packed.panels(), packed.size());
    let out = DisjointSlice::new(&mut packed.data);
    cores.run(conv.groups * panels, &|task| {
        let (group, first) = (task / panels, task % panels * panel);
        // SAFETY: each task has a panel of its own.
        let part = unsafe { out.part(task * size, size) };
        for column in 0..panel.min(width - first) {
            let filter = &w[(group * width + first + column) * depth * taps..][..depth * taps];
            for (i, values) in filter.chunks_exact(taps).enumerate() {
                for (tap, &value) in values.iter().enumerate() {
                    part[(tap * depth + i) * panel + column] = value;
                }
            }
        }
    });
    packed
}

/// For the input's gradient: rows are output channels, columns input channels, with the taps of `gather`.
pub fn pack_backward(cores: &Cores, conv: &ConvGeometry, gather: &Gather, w: &[f32]) -> Packed {
    let (depth, width, taps) = (conv.depth(), conv.width(), conv.taps());
    let mut packed = Packed::new(cores.isa(), conv.groups, gather.taps.len(), width, depth);
    let (panel, panels, size) = (packed.panel, packed.panels(), packed.size());
    let out = DisjointSlice::new(&mut packed.data);
    cores.run(conv.groups * panels, &|task| {
        let (group, first) = (task / panels, task % panels * panel);
        let columns = panel.min(depth - first);
        // SAFETY: each task has a panel of its own.
        let part = unsafe { out.part(task * size, size) };
        for o in 0..width {
            let filter = &w[((group * width + o) * depth + first) * taps..][..columns * taps];
            for (at, &tap) in gather.taps.iter().enumerate() {
                let row = &mut part[(at * width + o) * panel..][..columns];
                for (value, values) in row.iter_mut().zip(filter.chunks_exact(taps)) {
                    *value = values[tap];
                }
            }
        }
    });
    packed
}
