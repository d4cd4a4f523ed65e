//! What the kernels are tested with: numbers, threads, convolutions of every form, and their definition.

use super::{ConvGeometry, Cores, Isa, Threads};

/// New threads for every call.
struct Scoped;

impl Threads for Scoped {
    fn lend(&self, count: usize, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..count {
                scope.spawn(work);
            }
            work();
        });
    }
}

/// So many threads.
pub fn cores(count: usize, isa: Isa) -> Cores<'static> {
    Cores::new(&Scoped, count, isa)
}

/// Numbers between −½ and ½ without a pattern.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

#[track_caller]
pub fn close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| (*a as f64 - b).powi(2)).sum();
    let norm: f64 = expected.iter().map(|b| b * b).sum();
    let error = (difference / norm.max(1e-30)).sqrt();
    assert!(error <= tolerance, "{what}: off by {error:.1e} of the norm");
}

/// What a product of float32 may be off by: where it is three of bfloat16, factors lose what is beyond their second parts, up to 2⁻¹⁸ each.
pub fn allowed(isa: Isa, tolerance: f64) -> f64 {
    let split = isa.pairs().is_some_and(|pairs| pairs.matrices.is_some());
    if split { tolerance.max(6e-6) } else { tolerance }
}

/// Sizes that are not written out are those of a square image without groups or dilation.
pub fn conv(images: usize, input: [usize; 2], channels: usize, features: usize, kernel: usize, stride: usize, pad: usize) -> ConvGeometry {
    shaped(ConvGeometry {
        images,
        input,
        channels,
        output: [0, 0],
        features,
        kernel: [kernel, kernel],
        strides: [stride, stride],
        dilations: [1, 1],
        pads: [pad, pad],
        groups: 1,
        run: 1,
    })
}

/// With the output's size for equal pads on both sides.
pub fn shaped(mut conv: ConvGeometry) -> ConvGeometry {
    for axis in 0..2 {
        let extent = (conv.kernel[axis] - 1) * conv.dilations[axis] + 1;
        conv.output[axis] = (conv.input[axis] + 2 * conv.pads[axis] - extent) / conv.strides[axis] + 1;
    }
    conv
}

/// All pairs that a convolution multiplies: positions in x, w and y.
pub fn pairs(c: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let (depth, width) = (c.depth(), c.width());
    for n in 0..c.images {
        for (oy, ox) in (0..c.output[0]).flat_map(|y| (0..c.output[1]).map(move |x| (y, x))) {
            for (ky, kx) in (0..c.kernel[0]).flat_map(|y| (0..c.kernel[1]).map(move |x| (y, x))) {
                let Some(iy) = (oy * c.strides[0] + ky * c.dilations[0]).checked_sub(c.pads[0]).filter(|&y| y < c.input[0]) else {
                    continue;
                };
                let Some(ix) = (ox * c.strides[1] + kx * c.dilations[1]).checked_sub(c.pads[1]).filter(|&x| x < c.input[1]) else {
                    continue;
                };
                let x = (n * c.input_pixels() + iy * c.input[1] + ix) * c.channels;
                let y = (n * c.output_pixels() + oy * c.output[1] + ox) * c.features;
                for o in 0..c.features {
                    for i in 0..depth {
                        let w = (o * depth + i) * c.taps() + ky * c.kernel[1] + kx;
                        visit(x + o / width * depth + i, w, y + o);
                    }
                }
            }
        }
    }
}

/// Convolutions that reach every form: direct, merged taps, Winograd; whole and partial tiles, panels and blocks.
pub fn convolutions() -> Vec<(&'static str, ConvGeometry, f64)> {
    // Rounding of up to 2700 summands: about √2700·2⁻²⁴.
    let direct = 2e-6;
    // Winograd's transforms cost a digit.
    let winograd = 4e-6;
    vec![
        ("odd channels", conv(2, [7, 9], 21, 37, 3, 1, 1), direct),
        ("stride", conv(3, [8, 7], 64, 33, 3, 2, 1), direct),
        ("groups and dilation", shaped(ConvGeometry { groups: 2, dilations: [2, 2], ..conv(1, [9, 9], 36, 40, 3, 1, 2) }), direct),
        ("narrow groups", shaped(ConvGeometry { groups: 12, ..conv(2, [6, 7], 48, 48, 3, 2, 1) }), direct),
        ("groups of two", shaped(ConvGeometry { groups: 16, ..conv(2, [5, 6], 32, 32, 3, 1, 1) }), direct),
        (
            "groups of eight, strides, dilation",
            shaped(ConvGeometry { groups: 4, dilations: [2, 1], ..conv(2, [9, 8], 32, 32, 3, 2, 1) }),
            direct,
        ),
        ("narrow groups without whole sixteens", shaped(ConvGeometry { groups: 10, ..conv(2, [6, 7], 40, 40, 3, 2, 1) }), direct),
        ("narrow groups of two widths", shaped(ConvGeometry { groups: 6, ..conv(1, [6, 5], 12, 30, 3, 1, 1) }), direct),
        ("depthwise", shaped(ConvGeometry { groups: 40, ..conv(2, [8, 7], 40, 40, 3, 1, 1) }), direct),
        (
            "depthwise, strides, dilation and a wide kernel",
            shaped(ConvGeometry { groups: 19, dilations: [1, 2], ..conv(2, [12, 13], 19, 19, 5, 2, 2) }),
            direct,
        ),
        ("depthwise with twice the features", shaped(ConvGeometry { groups: 8, ..conv(2, [5, 6], 8, 16, 3, 1, 1) }), direct),
        ("1×1", conv(2, [5, 5], 40, 70, 1, 1, 0), direct),
        ("1×1 with stride, a rim unread", conv(2, [6, 7], 40, 70, 1, 2, 0), direct),
        ("a network's stem", conv(1, [20, 21], 3, 16, 7, 2, 3), direct),
        ("a small network's stem", conv(2, [12, 33], 3, 16, 3, 1, 1), direct),
        ("few channels, pads beyond all that is read", conv(1, [1, 1], 3, 5, 2, 20, 5), direct),
        ("few channels, wide pads", conv(2, [5, 6], 8, 8, 3, 1, 2), direct),
        ("two sizes", shaped(ConvGeometry { kernel: [1, 5], pads: [0, 2], strides: [2, 1], ..conv(2, [9, 8], 20, 24, 1, 1, 0) }), direct),
        ("more than one block", conv(1, [33, 17], 24, 130, 1, 1, 0), direct),
        ("deep", conv(1, [4, 4], 300, 20, 3, 2, 1), direct),
        ("rows in parts", conv(1, [3, 3], 700, 150, 1, 1, 0), direct),
        ("rows in parts, strides that leave a rim", conv(1, [5, 4], 300, 700, 1, 2, 0), direct),
        ("rows in parts and taps", conv(1, [4, 3], 650, 130, 3, 2, 1), 4e-6),
        ("Winograd, partial tiles", conv(3, [14, 9], 64, 48, 3, 1, 1), winograd),
        ("Winograd by columns", conv(2, [4, 4], 512, 160, 3, 1, 1), winograd),
        ("Winograd by columns, more tiles than are held", conv(5, [14, 16], 192, 160, 3, 1, 1), winograd),
        ("Winograd, few channels", conv(3, [13, 10], 16, 16, 3, 1, 1), winograd),
        ("Winograd without pads", conv(2, [12, 8], 32, 32, 3, 1, 0), winograd),
        ("Winograd with wide pads", conv(1, [7, 5], 32, 64, 3, 1, 2), winograd),
    ]
}
