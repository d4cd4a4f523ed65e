//! A tile of a product in NEON registers: 6 rows of 16 columns, 24 of the 32 registers; an outer product's of 8 rows with 8 columns, 16 of them,
//! whose rows are 8 words of the left side in two more.
//!
//! As in AVX-512, rows are addressed by pointers, and indices into the accumulators are literals. A row's word is multiplied from its
//! place in a register, without being repeated in one of its own. Nothing is written past the caches: ARM's instructions for that are hints.

use super::super::isa::Neon;
use super::super::lanes::{LANES, Quad};
use super::super::pack::LOW;
use super::super::panels::spread;
use super::super::{Element, Isa};
use super::sixteen::{Sixteen, ask, met, write};
use super::{OUTER_ROWS, Target};
use std::arch::aarch64::*;

const ROWS: usize = LOW;
/// Columns of an outer product that are summed at once.
const PART: usize = 8;
const _: () = assert!(OUTER_ROWS == 8 && LANES == 2 * PART);

// SAFETY of all methods: the processor has the instructions, as the proof says; the rest are the caller's promises.
impl Sixteen for Neon {
    fn isa(self) -> Isa {
        Isa::Neon(self)
    }

    unsafe fn gathered<const HALVES: usize, O: Element>(
        self,
        sources: &[*const f32],
        taps: usize,
        depth: usize,
        b: *const f32,
        target: &Target<O>,
        offsets: &[usize],
    ) {
        unsafe { gathered::<HALVES, O>(self, sources, taps, depth, b, target, offsets) }
    }

    unsafe fn outer(self, a: &[f32], a_stride: usize, b: &[f32], depth: usize, (out, stride): (*mut f32, usize), columns: usize) {
        for first in (0..LANES.min(columns)).step_by(PART) {
            unsafe { outer(a.as_ptr(), a_stride, b.as_ptr().wrapping_add(first), depth, (out.wrapping_add(first), stride)) };
        }
    }

    fn pack<const WIDTH: usize>(self, row: &[f32], panels: &mut [f32], k: usize) {
        spread::<WIDTH>(row, panels, k);
    }
}

/// [`Sixteen::gathered`] with one or both halves of the columns.
///
/// # Safety
/// That of [`Sixteen::gathered`], and the processor has NEON.
#[target_feature(enable = "neon")]
unsafe fn gathered<const HALVES: usize, O: Element>(
    proof: Neon,
    sources: &[*const f32],
    taps: usize,
    depth: usize,
    b: *const f32,
    target: &Target<O>,
    offsets: &[usize],
) {
    const { assert!(HALVES == 1 || HALVES == 2) };
    macro_rules! literal_rows {
        ($run:ident) => {
            $run!(0 1 2 3 4 5)
        };
    }
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); 4]; ROWS];
        let mut b = b;
        ask(target, offsets);
        for tap in 0..taps {
            let at: &[*const f32] = &sources[tap * ROWS..][..ROWS];
            macro_rules! pointers { ($($r:literal)*) => { [$( at[$r] ),*] } }
            let row: [*const f32; ROWS] = literal_rows!(pointers);
            for k in 0..depth {
                let (b0, b1, b2, b3) = (vld1q_f32(b), vld1q_f32(b.add(4)), vld1q_f32(b.add(8)), vld1q_f32(b.add(12)));
                b = b.add(LANES);
                macro_rules! multiply { ($($r:literal)*) => { $(
                    let a = *row[$r].add(k);
                    acc[$r][0] = vfmaq_n_f32(acc[$r][0], b0, a);
                    acc[$r][1] = vfmaq_n_f32(acc[$r][1], b1, a);
                    if HALVES == 2 {
                        acc[$r][2] = vfmaq_n_f32(acc[$r][2], b2, a);
                        acc[$r][3] = vfmaq_n_f32(acc[$r][3], b3, a);
                    }
                )* } }
                literal_rows!(multiply);
            }
        }
        macro_rules! finish { ($($r:literal)*) => { $(
            if let Some(&at) = offsets.get($r) {
                write(met(Quad::new(acc[$r], proof), target, at), target.columns, target.out.add(at));
            }
        )* } }
        literal_rows!(finish);
    }
}

/// [`Tile::outer`] for eight columns.
///
/// # Safety
/// That of [`Tile::outer`] for eight columns from `b` and `out` on, and the processor has NEON.
#[target_feature(enable = "neon")]
unsafe fn outer(a: *const f32, a_stride: usize, b: *const f32, depth: usize, (out, stride): (*mut f32, usize)) {
    let (mut a, mut b) = (a, b);
    // Each row, and where its word lies: in which register, at which place of it.
    macro_rules! outer_rows {
        ($run:ident) => {
            $run!((0: 0, 0) (1: 0, 1) (2: 0, 2) (3: 0, 3) (4: 1, 0) (5: 1, 1) (6: 1, 2) (7: 1, 3))
        };
    }
    // SAFETY: `depth` turns of 8 words on both sides; the rows of `out` exist by the caller's promise.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); 2]; OUTER_ROWS];
        for _ in 0..depth {
            let left = [vld1q_f32(a), vld1q_f32(a.add(4))];
            let (b0, b1) = (vld1q_f32(b), vld1q_f32(b.add(4)));
            macro_rules! multiply { ($(($r:literal: $register:literal, $place:literal))*) => { $(
                acc[$r][0] = vfmaq_laneq_f32::<$place>(acc[$r][0], b0, left[$register]);
                acc[$r][1] = vfmaq_laneq_f32::<$place>(acc[$r][1], b1, left[$register]);
            )* } }
            outer_rows!(multiply);
            a = a.wrapping_add(a_stride);
            b = b.wrapping_add(LANES);
        }
        macro_rules! finish { ($(($r:literal: $register:literal, $place:literal))*) => { $(
            let to = out.add($r * stride);
            vst1q_f32(to, vaddq_f32(acc[$r][0], vld1q_f32(to)));
            vst1q_f32(to.add(4), vaddq_f32(acc[$r][1], vld1q_f32(to.add(4))));
        )* } }
        outer_rows!(finish);
    }
}
