//! Rows of an outer product's sides as tiles read them: in panels of columns.

#[cfg(target_arch = "x86_64")]
pub use self::words::{spread_pairs, transpose};

/// Rows of one panel.
pub const PIXELS: usize = 128;
/// Elements between packed panels beyond their own: with distances of a power of two, all panels' rows would fall into the same
/// lines of the first-level cache.
pub const GAP: usize = 48;

/// Puts a row's columns into row `k` of panels of `WIDTH` columns and [`PIXELS`] rows; missing columns become 0. For functions that are compiled for
/// an instruction set.
#[inline(always)]
pub fn spread<const WIDTH: usize>(row: &[f32], panels: &mut [f32], k: usize) {
    let mut at = k * WIDTH;
    let (whole, rest) = row.as_chunks::<WIDTH>();
    for values in whole {
        panels[at..at + WIDTH].copy_from_slice(values);
        at += PIXELS * WIDTH + GAP;
    }
    if !rest.is_empty() {
        panels[at..at + rest.len()].copy_from_slice(rest);
        panels[at + rest.len()..at + WIDTH].fill(0.0);
    }
}

#[cfg(target_arch = "x86_64")]
mod words {
    use super::super::isa::Avx512;
    use half::bf16;
    use std::arch::x86_64::*;

    /// Puts the columns of two rows, side by side, into row `k` of panels of `WIDTH` columns, which begin at the given distance.
    pub fn spread_pairs<const WIDTH: usize>(_: Avx512, rows: [&[bf16]; 2], panels: &mut [f32], k: usize, distance: usize) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { spread_both::<WIDTH>(rows, panels, k, distance) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn spread_both<const WIDTH: usize>([a, b]: [&[bf16]; 2], panels: &mut [f32], k: usize, distance: usize) {
        const { assert!(WIDTH == 8 || WIDTH.is_multiple_of(16)) };
        let count = a.len();
        assert!(b.len() == count && panels.len() >= count.div_ceil(WIDTH) * distance && (k + 1) * WIDTH <= distance);
        for first in (0..count.next_multiple_of(WIDTH)).step_by(16) {
            let mask = if count >= first + 16 { u16::MAX } else { (1u16 << count.saturating_sub(first)) - 1 };
            let to = first / WIDTH * distance + k * WIDTH + first % WIDTH;
            // SAFETY: loads touch the columns that there are. Stores are within row `k` of the panels that these columns lie in.
            unsafe {
                let load = |row: &[bf16]| _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row.as_ptr().wrapping_add(first).cast()));
                let words = _mm512_or_si512(load(a), _mm512_slli_epi32::<16>(load(b)));
                let to = panels.as_mut_ptr().add(to);
                if WIDTH == 8 {
                    _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(words));
                    if first + 8 < count {
                        _mm256_storeu_si256(to.add(distance).cast(), _mm512_extracti64x4_epi64::<1>(words));
                    }
                } else {
                    _mm512_storeu_si512(to.cast(), words);
                }
            }
        }
    }

    /// Sixteen rows of sixteen words as their columns, `from` at one distance, `to` at another.
    pub fn transpose(_: Avx512, from: (&[f32], usize), to: (&mut [f32], usize)) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { transpose_words(from, to) }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    fn transpose_words((from, from_row): (&[f32], usize), (to, to_row): (&mut [f32], usize)) {
        assert!(from.len() >= 15 * from_row + 16 && to.len() >= 15 * to_row + 16);
        // SAFETY: rows are inside both, by the assertion.
        let mut a: [__m512; 16] = std::array::from_fn(|r| unsafe { _mm512_loadu_ps(from.as_ptr().add(r * from_row)) });
        // Words of two rows, then of four, then quarters of registers of eight and of all.
        let mut b = a;
        for r in (0..16).step_by(2) {
            (b[r], b[r + 1]) = (_mm512_unpacklo_ps(a[r], a[r + 1]), _mm512_unpackhi_ps(a[r], a[r + 1]));
        }
        let double = |v: __m512| _mm512_castps_pd(v);
        for r in (0..16).step_by(4) {
            for half in 0..2 {
                let (first, second) = (double(b[r + half]), double(b[r + 2 + half]));
                a[r + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
                a[r + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
            }
        }
        for c in 0..4 {
            for half in 0..2 {
                b[c + 8 * half] = _mm512_shuffle_f32x4::<0x88>(a[c + 8 * half], a[c + 8 * half + 4]);
                b[c + 8 * half + 4] = _mm512_shuffle_f32x4::<0xDD>(a[c + 8 * half], a[c + 8 * half + 4]);
            }
        }
        for c in 0..8 {
            a[c] = _mm512_shuffle_f32x4::<0x88>(b[c], b[c + 8]);
            a[c + 8] = _mm512_shuffle_f32x4::<0xDD>(b[c], b[c + 8]);
        }
        for (c, column) in a.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(c * to_row), column) };
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::Isa;
    use super::words::transpose;

    #[test]
    fn sixteen_rows_become_columns() {
        let Isa::Avx512(proof, _) = Isa::best() else { return };
        let (from, mut to) = ((0..16 * 20).map(|n| n as f32).collect::<Vec<_>>(), vec![-1.0; 16 * 18]);
        transpose(proof, (&from, 20), (&mut to, 18));
        for (at, value) in to.iter().enumerate() {
            let (row, column) = (at / 18, at % 18);
            assert_eq!(*value, if column < 16 { (column * 20 + row) as f32 } else { -1.0 }, "{row}, {column}");
        }
    }
}
