//! How elements of images come from memory into registers of AVX-512, and go there; and how they go past the caches from those of AVX2.

use super::lanes::{Pair, rounded, widened};
use half::bf16;
use std::arch::x86_64::*;

/// How elements of images come from memory and go there. Only with AVX-512F, BW and VL, where a method says nothing else.
pub trait Stored: Copy {
    /// Those that the mask has.
    ///
    /// # Safety
    /// They exist.
    unsafe fn read(mask: u16, from: *const Self) -> __m512;
    /// Those that the mask has.
    ///
    /// # Safety
    /// They exist.
    unsafe fn write(mask: u16, to: *mut Self, values: __m512);
    /// Thirty-two, past the caches.
    ///
    /// # Safety
    /// They exist, at an address that is a multiple of 64.
    unsafe fn stream(to: *mut Self, first: __m512, second: __m512);
    /// Sixteen, past the caches. Needs AVX2 alone.
    ///
    /// # Safety
    /// They exist, at an address that is a multiple of 32.
    unsafe fn stream_pair(values: Pair, to: *mut Self);
}

// SAFETY of all methods: the caller's promises, and those of the trait.
impl Stored for f32 {
    #[inline(always)]
    unsafe fn read(mask: u16, from: *const f32) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[inline(always)]
    unsafe fn write(mask: u16, to: *mut f32, values: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, mask, values) }
    }

    #[inline(always)]
    unsafe fn stream(to: *mut f32, first: __m512, second: __m512) {
        unsafe {
            _mm512_stream_ps(to, first);
            _mm512_stream_ps(to.wrapping_add(16), second);
        }
    }

    #[inline(always)]
    unsafe fn stream_pair(values: Pair, to: *mut f32) {
        let [first, second] = values.halves();
        unsafe {
            _mm256_stream_ps(to, first);
            _mm256_stream_ps(to.wrapping_add(8), second);
        }
    }
}

// SAFETY: as above.
impl Stored for bf16 {
    #[inline(always)]
    unsafe fn read(mask: u16, from: *const bf16) -> __m512 {
        unsafe { widened(_mm256_maskz_loadu_epi16(mask, from.cast())) }
    }

    #[inline(always)]
    unsafe fn write(mask: u16, to: *mut bf16, values: __m512) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), mask, rounded(values)) }
    }

    #[inline(always)]
    unsafe fn stream(to: *mut bf16, first: __m512, second: __m512) {
        unsafe {
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rounded(first)), rounded(second));
            _mm512_stream_si512(to.cast(), both);
        }
    }

    #[inline(always)]
    unsafe fn stream_pair(values: Pair, to: *mut bf16) {
        unsafe { _mm256_stream_si256(to.cast(), values.rounded()) }
    }
}
