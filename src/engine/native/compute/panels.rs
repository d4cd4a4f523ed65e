//! Rows of an outer product's sides as the tiles of AVX-512 read them: in panels of columns.

#[cfg(target_arch = "x86_64")]
pub use self::spread::{spread, spread_pairs};

/// Rows of one panel.
pub const PIXELS: usize = 128;
/// Elements between packed panels beyond their own: with distances of a power of two, all panels' rows would fall into the same
/// lines of the first-level cache.
pub const GAP: usize = 48;

#[cfg(target_arch = "x86_64")]
mod spread {
    use super::super::isa::Avx512;
    use super::{GAP, PIXELS};
    use half::bf16;
    use std::arch::x86_64::*;

    /// Puts a row's columns into row `k` of panels of `WIDTH` columns and [`PIXELS`] rows; missing columns become 0.
    pub fn spread<const WIDTH: usize>(_: Avx512, row: &[f32], panels: &mut [f32], k: usize) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { spread_row::<WIDTH>(row, panels, k) }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    fn spread_row<const WIDTH: usize>(row: &[f32], panels: &mut [f32], k: usize) {
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

    /// Puts the columns of two rows, side by side, into row `k` of panels of `WIDTH` columns and half of [`PIXELS`] rows.
    pub fn spread_pairs<const WIDTH: usize>(_: Avx512, rows: [&[bf16]; 2], panels: &mut [f32], k: usize) {
        // SAFETY: the processor has the instructions, as the proof says.
        unsafe { spread_both::<WIDTH>(rows, panels, k) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn spread_both<const WIDTH: usize>([a, b]: [&[bf16]; 2], panels: &mut [f32], k: usize) {
        const { assert!(WIDTH == 8 || WIDTH.is_multiple_of(16)) };
        let (count, distance) = (a.len(), PIXELS / 2 * WIDTH + GAP);
        assert!(b.len() == count && panels.len() >= count.div_ceil(WIDTH) * distance && k < PIXELS / 2);
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
}
