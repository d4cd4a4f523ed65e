//! A tile of a product in AVX2 registers: 6 rows of 16 columns, 12 of the 16 registers.
//!
//! As in AVX-512, rows are addressed by pointers, and indices into the accumulators are literals.

use super::super::isa::Avx2;
use super::super::lanes::{LANES, Pair};
use super::super::pack::LOW;
use super::super::panels::spread;
use super::super::{Element, Isa};
use super::sixteen::{Sixteen, ask, met, write};
use super::{OUTER_ROWS, Target};
use std::arch::x86_64::*;

const ROWS: usize = LOW;
/// Rows of a part of an outer product's tile.
const PART: usize = 4;
const _: () = assert!(OUTER_ROWS.is_multiple_of(PART));

// SAFETY of both methods: the processor has the instructions, as the proof says; the rest are the caller's promises.
impl Sixteen for Avx2 {
    fn isa(self) -> Isa {
        Isa::Avx2(self)
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
        for row in (0..OUTER_ROWS).step_by(PART) {
            let (a, out) = (a[row..].as_ptr(), (out.wrapping_add(row * stride), stride));
            match columns {
                0..=8 => unsafe { outer::<1>(a, a_stride, b.as_ptr(), depth, out) },
                _ => unsafe { outer::<2>(a, a_stride, b.as_ptr(), depth, out) },
            }
        }
    }

    fn pack<const WIDTH: usize>(self, row: &[f32], panels: &mut [f32], k: usize) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { spread_row::<WIDTH>(row, panels, k) }
    }
}

#[target_feature(enable = "avx2")]
fn spread_row<const WIDTH: usize>(row: &[f32], panels: &mut [f32], k: usize) {
    spread::<WIDTH>(row, panels, k);
}

macro_rules! literal_rows {
    ($run:ident) => {
        $run!(0 1 2 3 4 5)
    };
}

/// [`Sixteen::gathered`] with one or both halves of the columns.
///
/// # Safety
/// That of [`Sixteen::gathered`], and the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn gathered<const HALVES: usize, O: Element>(
    proof: Avx2,
    sources: &[*const f32],
    taps: usize,
    depth: usize,
    b: *const f32,
    target: &Target<O>,
    offsets: &[usize],
) {
    const { assert!(HALVES == 1 || HALVES == 2) };
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
        let mut b = b;
        ask(target, offsets);
        for tap in 0..taps {
            let at: &[*const f32] = &sources[tap * ROWS..][..ROWS];
            macro_rules! pointers { ($($r:literal)*) => { [$( at[$r] ),*] } }
            let row: [*const f32; ROWS] = literal_rows!(pointers);
            for k in 0..depth {
                let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                b = b.add(LANES);
                macro_rules! multiply { ($($r:literal)*) => { $(
                    let a = _mm256_broadcast_ss(&*row[$r].add(k));
                    acc[$r][0] = _mm256_fmadd_ps(a, b0, acc[$r][0]);
                    if HALVES == 2 {
                        acc[$r][1] = _mm256_fmadd_ps(a, b1, acc[$r][1]);
                    }
                )* } }
                literal_rows!(multiply);
            }
        }
        macro_rules! finish { ($($r:literal)*) => { $(
            if let Some(&at) = offsets.get($r) {
                finish(Pair::new(acc[$r], proof), target, at);
            }
        )* } }
        literal_rows!(finish);
    }
}

/// A row's sums to the output's elements from `at` on.
///
/// # Safety
/// That of [`Tile::gathered`].
#[inline(always)]
unsafe fn finish<O: Element>(sums: Pair, target: &Target<O>, at: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let v = met(sums, target, at);
        match target.streams {
            true => O::stream_pair(v, target.out.add(at)),
            false => write(v, target.columns, target.out.add(at)),
        }
    }
}

/// [`Tile::outer`] for four rows, with one or both halves of the columns.
///
/// # Safety
/// That of [`Tile::outer`], and the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn outer<const HALVES: usize>(a: *const f32, a_stride: usize, b: *const f32, depth: usize, (out, stride): (*mut f32, usize)) {
    const { assert!(HALVES == 1 || HALVES == 2) };
    let (mut a, mut b) = (a, b);
    macro_rules! outer_rows {
        ($run:ident) => {
            $run!(0 1 2 3)
        };
    }
    // SAFETY: `depth` turns of 4 and 16 words; the rows of `out` exist by the caller's promise.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; PART];
        for _ in 0..depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            macro_rules! multiply { ($($r:literal)*) => { $(
                let v = _mm256_broadcast_ss(&*a.add($r));
                acc[$r][0] = _mm256_fmadd_ps(v, b0, acc[$r][0]);
                if HALVES == 2 {
                    acc[$r][1] = _mm256_fmadd_ps(v, b1, acc[$r][1]);
                }
            )* } }
            outer_rows!(multiply);
            a = a.wrapping_add(a_stride);
            b = b.add(LANES);
        }
        macro_rules! finish { ($($r:literal)*) => { $(
            let to = out.add($r * stride);
            _mm256_storeu_ps(to, _mm256_add_ps(acc[$r][0], _mm256_loadu_ps(to)));
            if HALVES == 2 {
                _mm256_storeu_ps(to.add(8), _mm256_add_ps(acc[$r][1], _mm256_loadu_ps(to.add(8))));
            }
        )* } }
        outer_rows!(finish);
    }
}
