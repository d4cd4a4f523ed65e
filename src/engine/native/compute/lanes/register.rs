//! Lanes of AVX-512.

use super::super::isa::Avx512;
use super::{LANES, Lanes, group_places};
use half::bf16;
use std::arch::x86_64::*;

/// Sixteen numbers in a register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Register(__m512, Avx512);

/// Sixteen bfloat16 as float32.
///
/// # Safety
/// The processor has AVX-512F.
#[inline(always)]
pub unsafe fn widened(halves: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// Sixteen float32 as bfloat16, as `Element::from_f32` has it.
///
/// # Safety
/// The processor has AVX-512F.
#[inline(always)]
pub unsafe fn rounded(v: __m512) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let bits = _mm512_mask_or_epi32(nearest, nan, bits, _mm512_set1_epi32(0x0040_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits))
    }
}

// SAFETY of all methods: the processor has AVX-512F, as the proof that is given or that a value holds says; loads and stores are
// within slices whose length is checked, or within what the caller promises.
impl Lanes for Register {
    type Proof = Avx512;

    #[inline(always)]
    fn proof(self) -> Avx512 {
        self.1
    }

    #[inline(always)]
    fn splat(proof: Avx512, value: f32) -> Self {
        Register(unsafe { _mm512_set1_ps(value) }, proof)
    }

    #[inline(always)]
    fn load(proof: Avx512, from: &[f32]) -> Self {
        assert!(from.len() >= LANES);
        Register(unsafe { _mm512_loadu_ps(from.as_ptr()) }, proof)
    }

    #[inline(always)]
    unsafe fn load_where(proof: Avx512, mask: u16, from: *const f32) -> Self {
        Register(unsafe { _mm512_maskz_loadu_ps(mask, from) }, proof)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= LANES);
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn load_half(proof: Avx512, from: &[bf16]) -> Self {
        assert!(from.len() >= LANES);
        Register(unsafe { widened(_mm256_loadu_si256(from.as_ptr().cast())) }, proof)
    }

    #[inline(always)]
    fn store_half(self, to: &mut [bf16]) {
        assert!(to.len() >= LANES);
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), rounded(self.0)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Register(unsafe { _mm512_add_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Register(unsafe { _mm512_sub_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Register(unsafe { _mm512_mul_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Register(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) }, self.1)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Register(unsafe { _mm512_max_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Register(unsafe { _mm512_min_ps(self.0, other.0) }, self.1)
    }

    #[inline(always)]
    fn where_positive(self, mask: Self) -> Self {
        unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask.0, _mm512_setzero_ps());
            Register(_mm512_maskz_mov_ps(positive, self.0), self.1)
        }
    }

    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        unsafe { Register(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0), self.0), self.1) }
    }

    #[inline(always)]
    fn unless_equal(self, a: Self, b: Self) -> Self {
        unsafe { Register(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a.0, b.0), self.0), self.1) }
    }

    #[inline(always)]
    fn of_group<const WIDTH: usize>(self, nth: usize) -> Self {
        let places = group_places::<WIDTH>(nth);
        // Up to four lie in a quarter of the register, which a faster instruction shuffles; it takes the places' lowest two bits.
        unsafe {
            let places = _mm512_loadu_si512(places.as_ptr().cast());
            match WIDTH {
                1 => self,
                2 | 4 => Register(_mm512_permutevar_ps(self.0, places), self.1),
                _ => Register(_mm512_permutexvar_ps(places, self.0), self.1),
            }
        }
    }
}
