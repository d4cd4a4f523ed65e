//! Which rows of channels a convolution reads and writes.
//!
//! In `[N, H, W, C]` a pixel is a row of contiguous channels. A convolution is then a product in which an output row meets, for
//! each tap of the kernel, one input row: nothing is copied, and padding is a row of zeros.

/// The geometry of a two-dimensional convolution: sizes as `[height, width]`, pads as `[top, left]` (those at the end follow
/// from the sizes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvGeometry {
    pub images: usize,
    pub input: [usize; 2],
    pub channels: usize,
    pub output: [usize; 2],
    pub features: usize,
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    pub pads: [usize; 2],
    pub groups: usize,
    /// Neighbouring pixels that one tap meets at once, as a single longer row; 1 unless taps were merged.
    pub run: usize,
}

impl ConvGeometry {
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub fn input_pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Input elements that one tap meets: the channels of one group, of each pixel of a run.
    pub fn depth(&self) -> usize {
        self.channels / self.groups * self.run
    }

    /// Output channels of one group.
    pub fn width(&self) -> usize {
        self.features / self.groups
    }

    /// The input position along `axis` that output position `at` meets with tap `tap`.
    pub(super) fn source(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let place = at * self.strides[axis] + tap * self.dilations[axis];
        place.checked_sub(self.pads[axis]).filter(|&p| p < self.input[axis])
    }

    /// The output position along `axis` that meets input position `at` with tap `tap`.
    pub(super) fn target(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let place = (at + self.pads[axis]).checked_sub(tap * self.dilations[axis])?;
        (place % self.strides[axis] == 0).then(|| place / self.strides[axis]).filter(|&p| p < self.output[axis])
    }
}

/// No row: zeros.
pub const NONE: u32 = u32::MAX;

/// For the rows of one image: where each goes, and for each tap which row it meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    /// The kernel's taps that take part, as `ky·kernel width + kx`.
    pub taps: Vec<usize>,
    /// Target rows within an image.
    pub targets: Vec<u32>,
    /// `taps × targets`: source rows within an image, or [`NONE`].
    pub sources: Vec<u32>,
}

impl Gather {
    /// Every output row from the input rows under the kernel.
    pub fn forward(conv: &ConvGeometry) -> Gather {
        let width = conv.output[1];
        let mut sources = Vec::with_capacity(conv.taps() * conv.output_pixels());
        for tap in 0..conv.taps() {
            let (ky, kx) = (tap / conv.kernel[1], tap % conv.kernel[1]);
            for at in 0..conv.output_pixels() {
                let row = conv.source(0, at / width, ky).zip(conv.source(1, at % width, kx));
                sources.push(row.map_or(NONE, |(y, x)| (y * conv.input[1] + x) as u32));
            }
        }
        Gather { taps: (0..conv.taps()).collect(), targets: (0..conv.output_pixels() as u32).collect(), sources }
    }

    /// Every input row from the output rows that read it; one table for each phase of the strides, with the taps that the
    /// phase meets (there may be none).
    pub fn backward(conv: &ConvGeometry) -> Vec<Gather> {
        let mut all = vec![];
        for phase in 0..conv.strides[0] * conv.strides[1] {
            let (py, px) = (phase / conv.strides[1], phase % conv.strides[1]);
            let rows: Vec<(usize, usize)> = (py..conv.input[0])
                .step_by(conv.strides[0])
                .flat_map(|y| (px..conv.input[1]).step_by(conv.strides[1]).map(move |x| (y, x)))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let mut taps = vec![];
            let mut sources = vec![];
            for tap in 0..conv.taps() {
                let (ky, kx) = (tap / conv.kernel[1], tap % conv.kernel[1]);
                let met = rows.iter().map(|&(y, x)| {
                    let row = conv.target(0, y, ky).zip(conv.target(1, x, kx));
                    row.map_or(NONE, |(y, x)| (y * conv.output[1] + x) as u32)
                });
                let before = sources.len();
                sources.extend(met);
                if sources[before..].iter().all(|&s| s == NONE) {
                    sources.truncate(before);
                } else {
                    taps.push(tap);
                }
            }
            let targets = rows.iter().map(|&(y, x)| (y * conv.input[1] + x) as u32).collect();
            all.push(Gather { taps, targets, sources });
        }
        all
    }
}
