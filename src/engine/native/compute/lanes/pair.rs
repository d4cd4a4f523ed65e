//! Lanes of AVX2.

use super::super::isa::Avx2;
use super::{LANES, Lanes, group_places};
use half::bf16;
use std::arch::x86_64::*;

/// Sixteen numbers in two registers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pair([__m256; 2], Avx2);

/// Eight float32 as bfloat16, each in the lower half of its place.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn rounded(v: __m256) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(nearest, quiet, nan))
    }
}

impl Pair {
    /// Of two registers.
    #[inline(always)]
    pub fn new(halves: [__m256; 2], proof: Avx2) -> Pair {
        Pair(halves, proof)
    }

    /// Both registers.
    #[inline(always)]
    pub fn halves(self) -> [__m256; 2] {
        self.0
    }

    /// All sixteen as bfloat16, each to the nearest.
    #[inline(always)]
    pub fn rounded(self) -> __m256i {
        // SAFETY: the processor has AVX2, as the value proves. Packing goes by halves of the registers.
        unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(rounded(self.0[0]), rounded(self.0[1]))) }
    }
}

macro_rules! both {
    ($v:ident = $self:ident $(, $x:ident = $value:expr)* => $result:expr) => {
        // SAFETY: that of all methods, below.
        unsafe {
            let halves = [{ let $v = $self.0[0]; $(let $x = $value.0[0];)* $result }, { let $v = $self.0[1]; $(let $x = $value.0[1];)* $result }];
            Pair(halves, $self.1)
        }
    };
}

// SAFETY of all methods: the processor has AVX2 and FMA, as the proof that is given or that a value holds says; loads and stores
// are within slices whose length is checked, or within what the caller promises.
impl Lanes for Pair {
    type Proof = Avx2;

    #[inline(always)]
    fn proof(self) -> Avx2 {
        self.1
    }

    #[inline(always)]
    fn splat(proof: Avx2, value: f32) -> Self {
        let half = unsafe { _mm256_set1_ps(value) };
        Pair([half, half], proof)
    }

    #[inline(always)]
    fn load(proof: Avx2, from: &[f32]) -> Self {
        assert!(from.len() >= LANES);
        unsafe { Pair([_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))], proof) }
    }

    #[inline(always)]
    unsafe fn load_where(proof: Avx2, mask: u16, from: *const f32) -> Self {
        match mask {
            0 => Self::splat(proof, 0.0),
            _ => unsafe { Pair([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))], proof) },
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= LANES);
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.0[1]);
        }
    }

    #[inline(always)]
    fn load_half(proof: Avx2, from: &[bf16]) -> Self {
        assert!(from.len() >= LANES);
        let half = |from: *const bf16| unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))))
        };
        Pair([half(from.as_ptr()), half(from[8..].as_ptr())], proof)
    }

    #[inline(always)]
    fn store_half(self, to: &mut [bf16]) {
        assert!(to.len() >= LANES);
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), self.rounded()) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        both!(v = self, other = other => _mm256_add_ps(v, other))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        both!(v = self, other = other => _mm256_sub_ps(v, other))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        both!(v = self, other = other => _mm256_mul_ps(v, other))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        both!(v = self, factor = factor, addend = addend => _mm256_fmadd_ps(v, factor, addend))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        both!(v = self, other = other => _mm256_max_ps(v, other))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        both!(v = self, other = other => _mm256_min_ps(v, other))
    }

    #[inline(always)]
    fn where_positive(self, mask: Self) -> Self {
        both!(v = self, mask = mask => _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(mask, _mm256_setzero_ps()), v))
    }

    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        both!(v = self, a = a, b = b => _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), v))
    }

    #[inline(always)]
    fn unless_equal(self, a: Self, b: Self) -> Self {
        both!(v = self, a = a, b = b => _mm256_and_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(a, b), v))
    }

    #[inline(always)]
    fn of_group<const WIDTH: usize>(self, nth: usize) -> Self {
        let places = group_places::<WIDTH>(nth);
        // A group lies in one of both; the instruction takes the places' lowest three bits.
        both!(v = self => _mm256_permutevar8x32_ps(v, _mm256_loadu_si256(places.as_ptr().cast())))
    }
}
