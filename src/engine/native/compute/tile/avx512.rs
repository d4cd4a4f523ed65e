//! A tile of a product in AVX-512 registers: 14 rows of 32 columns, 28 of the 32 registers.
//!
//! Rows are addressed by pointers, one for each row and tap, so that no copy of the left side is made. Indices into the
//! accumulators are literals (through the macros): with an indexed loop after the product, the compiler keeps them in memory.
//!
//! Factors are words of 32 bits: a float32, or a pair of bfloat16, of which both are multiplied and added to the sum at once
//! (`vdpbf16ps`, whose factors, products and sums below 2⁻¹²⁶ are 0). Nothing else differs.

use super::super::isa::{Avx512, Avx512Bf16};
use super::super::pack::{PANEL, TALL};
use super::super::panels::spread;
use super::super::stored::Stored;
use super::super::{Element, Isa};
use super::{OUTER_ROWS, Target, Tile};
use std::arch::x86_64::*;

/// `sum + a·b` of floats, or of pairs.
///
/// # Safety
/// The processor has AVX-512F, and AVX512_BF16 for pairs.
#[inline(always)]
unsafe fn multiplied<const PAIRS: bool>(a: __m512, b: __m512, sum: __m512) -> __m512 {
    // SAFETY: the caller's promise; both are registers of 512 bits.
    unsafe {
        match PAIRS {
            true => _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b)),
            false => _mm512_fmadd_ps(a, b, sum),
        }
    }
}

/// Declares a function for floats, and the same for pairs, which it is where the first argument proves that there are such instructions.
macro_rules! for_words {
    ($(#[$doc:meta])* $visibility:vis unsafe fn $name:ident<$($O:ident: $bound:ident)?>($($arg:ident: $ty:ty),* $(,)?) $body:ident) => {
        $(#[$doc])*
        $visibility unsafe fn $name<$($O: $bound)?>((_, pairs): Proofs $(, $arg: $ty)*) {
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            unsafe fn floats<$($O: $bound)?>($($arg: $ty),*) {
                // SAFETY: the caller's promises.
                unsafe { $body::<false $(, $O)?>($($arg),*) }
            }
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
            unsafe fn of_pairs<$($O: $bound)?>($($arg: $ty),*) {
                // SAFETY: the caller's promises.
                unsafe { $body::<true $(, $O)?>($($arg),*) }
            }
            // SAFETY: the processor has the instructions, as the proofs say; the rest are the caller's promises.
            unsafe { if pairs.is_some() { of_pairs($($arg),*) } else { floats($($arg),*) } }
        }
    };
}

/// That the processor has the instructions, and those for pairs where these are meant.
pub type Proofs = (Avx512, Option<Avx512Bf16>);

const ROWS: usize = TALL;

// SAFETY of both methods: the caller's promises are the functions' own.
impl Tile for Proofs {
    const ROWS: usize = ROWS;
    const PANEL: usize = PANEL;

    fn isa(self) -> Isa {
        Isa::Avx512(self.0, None)
    }

    fn pairs(self) -> Option<Avx512> {
        self.1.map(|_| self.0)
    }

    unsafe fn gathered<O: Element>(
        self,
        sources: &[*const f32],
        taps: usize,
        depth: usize,
        b: *const f32,
        target: &Target<O>,
        offsets: &[usize],
    ) {
        unsafe { gathered(self, sources, taps, depth, b, target, offsets) }
    }

    unsafe fn outer(self, a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize) {
        unsafe { outer(self, a, a_stride, b, depth, out, columns) }
    }

    fn pack_left(self, row: &[f32], panels: &mut [f32], k: usize) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { spread_row::<OUTER_ROWS>(row, panels, k) }
    }

    fn pack_right(self, row: &[f32], panels: &mut [f32], k: usize) {
        // SAFETY: as above.
        unsafe { spread_row::<PANEL>(row, panels, k) }
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn spread_row<const WIDTH: usize>(row: &[f32], panels: &mut [f32], k: usize) {
    spread::<WIDTH>(row, panels, k);
}

macro_rules! literal_rows {
    ($run:ident) => {
        $run!(0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
}

for_words! {
    /// `out[r] = relu?(Σ_tap Σ_k sources[tap][r][k]·b[tap][k] + bias + addend[r])`, 0 where `mask[r]` is not positive or reaches the ceiling; for the rows
    /// that `offsets` has. With `add`, the sum begins with what is there.
    ///
    /// # Safety
    /// `sources` holds 14 pointers to `depth` words for each of `taps`; `b` has
    /// `taps·depth·32` words; `offsets` has at most 14 entries, and at each of them `out`, `addend` and `mask` have `columns` elements.
    unsafe fn gathered<O: Stored>(
        sources: &[*const f32], taps: usize, depth: usize, b: *const f32, target: &Target<O>, offsets: &[usize],
    ) gathered_columns
}

/// # Safety
/// That of [`gathered`].
#[inline(always)]
unsafe fn gathered_columns<const PAIRS: bool, O: Stored>(
    sources: &[*const f32],
    taps: usize,
    depth: usize,
    b: *const f32,
    target: &Target<O>,
    offsets: &[usize],
) {
    // SAFETY: the caller's promises.
    match target.columns {
        0..=16 => unsafe { gathered_halves::<PAIRS, 1, O>(sources, taps, depth, b, target, offsets) },
        _ => unsafe { gathered_halves::<PAIRS, 2, O>(sources, taps, depth, b, target, offsets) },
    }
}

/// [`gathered`] with one or both halves of the columns.
///
/// # Safety
/// That of [`gathered`]; with one half, `target` has at most 16 columns.
#[inline(always)]
unsafe fn gathered_halves<const PAIRS: bool, const HALVES: usize, O: Stored>(
    sources: &[*const f32],
    taps: usize,
    depth: usize,
    b: *const f32,
    target: &Target<O>,
    offsets: &[usize],
) {
    const { assert!(HALVES == 1 || HALVES == 2) };
    // SAFETY: masked loads and stores touch the tile's columns alone, which exist by the caller's promise.
    unsafe {
        let zero = _mm512_setzero_ps();
        let mut acc = [[zero; 2]; ROWS];
        let mut b = b;
        if target.streams {
            // What the results meet comes from memory while they are computed.
            for side in [target.addend, target.mask] {
                if !side.is_null() {
                    for &at in offsets {
                        _mm_prefetch::<_MM_HINT_T0>(side.wrapping_add(at).cast());
                        _mm_prefetch::<_MM_HINT_T0>(side.wrapping_add(at + 16).cast());
                    }
                }
            }
        }
        for tap in 0..taps {
            let at: &[*const f32] = &sources[tap * ROWS..][..ROWS];
            macro_rules! pointers { ($($r:literal)*) => { [$( at[$r] ),*] } }
            let row: [*const f32; ROWS] = literal_rows!(pointers);
            for k in 0..depth {
                // `b` has 32 words for each of the `taps·depth` turns, every row `depth` words, which lie as bfloat16 may.
                let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                b = b.add(PANEL);
                macro_rules! multiply { ($($r:literal)*) => { $(
                    let a = _mm512_set1_ps(row[$r].add(k).read_unaligned());
                    acc[$r][0] = multiplied::<PAIRS>(a, b0, acc[$r][0]);
                    if HALVES == 2 {
                        acc[$r][1] = multiplied::<PAIRS>(a, b1, acc[$r][1]);
                    }
                )* } }
                literal_rows!(multiply);
            }
        }
        let (m0, m1) = masks(target.columns);
        let (biases, ceiling) = (target.biases(m0, m1), _mm512_set1_ps(target.ceiling));
        macro_rules! finish { ($($r:literal)*) => { $(
            if let Some(&at) = offsets.get($r) {
                finish(acc[$r], target, at, [m0, m1], biases, ceiling);
            }
        )* } }
        literal_rows!(finish);
    }
}

impl<O> Target<O> {
    /// The columns' biases, or zeros.
    #[inline(always)]
    unsafe fn biases(&self, m0: u16, m1: u16) -> [__m512; 2] {
        // SAFETY: the masks have the columns that there are.
        unsafe {
            match self.bias.is_null() {
                true => [_mm512_setzero_ps(); 2],
                false => [_mm512_maskz_loadu_ps(m0, self.bias), _mm512_maskz_loadu_ps(m1, self.bias.wrapping_add(16))],
            }
        }
    }
}

/// A row's sums to the output's elements from `at` on.
///
/// # Safety
/// The processor has AVX-512F, BW and VL; the rest is that of [`gathered`].
#[inline(always)]
unsafe fn finish<O: Stored>(
    sums: [__m512; 2],
    target: &Target<O>,
    at: usize,
    [m0, m1]: [u16; 2],
    [bias0, bias1]: [__m512; 2],
    ceiling: __m512,
) {
    // SAFETY: masked loads and stores touch the tile's columns alone, which exist by the caller's promise.
    unsafe {
        let zero = _mm512_setzero_ps();
        let (mut v0, mut v1) = (_mm512_add_ps(sums[0], bias0), _mm512_add_ps(sums[1], bias1));
        if target.add {
            let from = target.out.add(at);
            v0 = _mm512_add_ps(v0, O::read(m0, from));
            v1 = _mm512_add_ps(v1, O::read(m1, from.wrapping_add(16)));
        }
        if !target.addend.is_null() {
            let from = target.addend.add(at);
            v0 = _mm512_add_ps(v0, O::read(m0, from));
            v1 = _mm512_add_ps(v1, O::read(m1, from.wrapping_add(16)));
        }
        if target.relu {
            v0 = _mm512_min_ps(_mm512_max_ps(v0, zero), ceiling);
            v1 = _mm512_min_ps(_mm512_max_ps(v1, zero), ceiling);
        }
        if !target.mask.is_null() {
            let from = target.mask.add(at);
            let (mask0, mask1) = (O::read(m0, from), O::read(m1, from.wrapping_add(16)));
            let mut open0 = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask0, zero);
            let mut open1 = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask1, zero);
            if target.ceiling < f32::INFINITY {
                open0 &= _mm512_cmp_ps_mask::<_CMP_LT_OQ>(mask0, ceiling);
                open1 &= _mm512_cmp_ps_mask::<_CMP_LT_OQ>(mask1, ceiling);
            }
            v0 = _mm512_maskz_mov_ps(open0, v0);
            v1 = _mm512_maskz_mov_ps(open1, v1);
        }
        let to = target.out.add(at);
        if target.streams {
            O::stream(to, v0, v1);
        } else {
            O::write(m0, to, v0);
            O::write(m1, to.wrapping_add(16), v1);
        }
    }
}

/// Sums of rows with 32 columns, which were made elsewhere, to where they belong.
///
/// # Safety
/// At each of `offsets`, `out`, `addend` and `mask` have `columns` elements.
pub unsafe fn finished<O: Stored>(_: Avx512, sums: &[f32], target: &Target<O>, offsets: &[usize]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn rows<O: Stored>(sums: &[f32], target: &Target<O>, offsets: &[usize]) {
        let (m0, m1) = masks(target.columns);
        // SAFETY: the caller's promise; a row of sums has 32.
        unsafe {
            let (biases, ceiling) = (target.biases(m0, m1), _mm512_set1_ps(target.ceiling));
            for (row, &at) in sums.as_chunks::<PANEL>().0.iter().zip(offsets) {
                let sums = [_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row.as_ptr().add(16))];
                finish(sums, target, at, [m0, m1], biases, ceiling);
            }
        }
    }
    // SAFETY: the processor has the instructions, as the proof says; the rest is the caller's promise.
    unsafe { rows(sums, target, offsets) }
}

for_words! {
    /// `out[r][c] += Σ_k a[k][r]·b[k][c]` with 8 columns of `a`, whose rows have the distance `a_stride`, and 32 of `b`; rows of `out` at
    /// `stride`. Where no more than 16 `columns` are wanted, the others keep what they have. Both sides are words, each row `k` one
    /// number of a column, or two.
    ///
    /// # Safety
    /// `a` has 8 words in each of `depth` rows, `b` `32·depth` words; `out` has 8 rows of 32 elements.
    unsafe fn outer<>(a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize) outer_columns
}

/// # Safety
/// That of [`outer`].
#[inline(always)]
unsafe fn outer_columns<const PAIRS: bool>(a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize) {
    // SAFETY: the caller's promises.
    match columns {
        0..=16 => unsafe { outer_halves::<PAIRS, 1>(a, a_stride, b, depth, out) },
        _ => unsafe { outer_halves::<PAIRS, 2>(a, a_stride, b, depth, out) },
    }
}

/// [`outer`] with one or both halves of the columns.
///
/// # Safety
/// That of [`outer`].
#[inline(always)]
unsafe fn outer_halves<const PAIRS: bool, const HALVES: usize>(
    a: &[f32],
    a_stride: usize,
    b: &[f32],
    depth: usize,
    (out, stride): (*mut f32, usize),
) {
    debug_assert!(depth == 0 || (a.len() >= a_stride * (depth - 1) + OUTER_ROWS && b.len() >= PANEL * depth));
    let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
    const { assert!(HALVES == 1 || HALVES == 2) };
    macro_rules! outer_rows {
        ($run:ident) => {
            $run!(0 1 2 3 4 5 6 7)
        };
    }
    // SAFETY: `depth` turns of 8 and 32 words; the rows of `out` exist by the caller's promise.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; OUTER_ROWS];
        for _ in 0..depth {
            let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
            macro_rules! multiply { ($($r:literal)*) => { $(
                let v = _mm512_set1_ps(*a.add($r));
                acc[$r][0] = multiplied::<PAIRS>(v, b0, acc[$r][0]);
                if HALVES == 2 {
                    acc[$r][1] = multiplied::<PAIRS>(v, b1, acc[$r][1]);
                }
            )* } }
            outer_rows!(multiply);
            a = a.wrapping_add(a_stride);
            b = b.add(PANEL);
        }
        macro_rules! finish { ($($r:literal)*) => { $(
            let to = out.add($r * stride);
            _mm512_storeu_ps(to, _mm512_add_ps(acc[$r][0], _mm512_loadu_ps(to)));
            if HALVES == 2 {
                _mm512_storeu_ps(to.add(16), _mm512_add_ps(acc[$r][1], _mm512_loadu_ps(to.add(16))));
            }
        )* } }
        outer_rows!(finish);
    }
}

/// Masks of the first and second half of a tile's columns.
fn masks(columns: usize) -> (u16, u16) {
    let mask = |n: usize| if n >= 16 { u16::MAX } else { (1u16 << n) - 1 };
    (mask(columns), mask(columns.saturating_sub(16)))
}
