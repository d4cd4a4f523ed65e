//! Sixteen numbers side by side: a register of AVX-512, two of AVX2, or an array.

pub use super::element::Element;
use super::element::convert;
#[cfg(target_arch = "x86_64")]
use super::isa::{Avx2, Avx512};
use half::bf16;

/// Element-wise arithmetic on sixteen numbers.
///
/// Methods are inlined into the function that is compiled for the instruction set; outside of such a function they are correct
/// and slow.
pub trait Lanes: Copy {
    /// That the processor has the instructions: who makes a value shows it, and so every value proves it.
    type Proof: Copy;

    fn proof(self) -> Self::Proof;
    fn splat(proof: Self::Proof, value: f32) -> Self;
    /// The first sixteen elements.
    fn load(proof: Self::Proof, from: &[f32]) -> Self;
    /// The sixteen elements at `from` for a mask of `u16::MAX`, and zeros for 0.
    ///
    /// # Safety
    /// There are sixteen elements, or the mask is 0: then the address may be any.
    unsafe fn load_where(proof: Self::Proof, mask: u16, from: *const f32) -> Self;
    /// To the first sixteen elements.
    fn store(self, to: &mut [f32]);
    /// The first sixteen elements.
    fn load_half(proof: Self::Proof, from: &[bf16]) -> Self;
    /// To the first sixteen elements, each to the nearest, ties to the even one; a NaN stays one.
    fn store_half(self, to: &mut [bf16]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self·factor + addend`, rounded once or twice.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    fn max(self, other: Self) -> Self;
    /// `self` where `mask` is above 0, 0 elsewhere.
    fn where_positive(self, mask: Self) -> Self;
    /// `self` where `a` and `b` are equal, 0 elsewhere.
    fn where_equal(self, a: Self, b: Self) -> Self;
    /// 0 where `a` and `b` are equal, `self` elsewhere.
    fn unless_equal(self, a: Self, b: Self) -> Self;

    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        self.mul(Self::splat(self.proof(), factor))
    }
}

/// How many numbers.
pub const LANES: usize = 16;

/// Sixteen numbers for every processor. On x86-64, where [`Pair`] and [`Register`] are there for speed, its methods are not inlined,
/// which would take minutes to compile.
#[derive(Clone, Copy)]
pub struct Plain([f32; LANES]);

macro_rules! plain {
    ($a:ident, $b:ident, $x:ident, $y:ident => $result:expr) => {{
        let mut out = $a;
        for i in 0..LANES {
            let ($x, $y) = ($a.0[i], $b.0[i]);
            out.0[i] = $result;
        }
        out
    }};
}

impl Lanes for Plain {
    type Proof = ();

    fn proof(self) {}

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn splat(_: (), value: f32) -> Self {
        Plain([value; LANES])
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn load(_: (), from: &[f32]) -> Self {
        let mut v = [0.0; LANES];
        v.copy_from_slice(&from[..LANES]);
        Plain(v)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    unsafe fn load_where(_: (), mask: u16, from: *const f32) -> Self {
        match mask {
            0 => Self::splat((), 0.0),
            // SAFETY: the caller's promise.
            _ => Plain(unsafe { from.cast::<[f32; LANES]>().read_unaligned() }),
        }
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn store(self, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&self.0);
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn load_half(_: (), from: &[bf16]) -> Self {
        let mut v = [0.0; LANES];
        convert(&from[..LANES], &mut v);
        Plain(v)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn store_half(self, to: &mut [bf16]) {
        convert(&self.0, &mut to[..LANES]);
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn add(self, other: Self) -> Self {
        plain!(self, other, a, b => a + b)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn sub(self, other: Self) -> Self {
        plain!(self, other, a, b => a - b)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn mul(self, other: Self) -> Self {
        plain!(self, other, a, b => a * b)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn max(self, other: Self) -> Self {
        plain!(self, other, a, b => a.max(b))
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn where_positive(self, mask: Self) -> Self {
        plain!(self, mask, a, b => if b > 0.0 { a } else { 0.0 })
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn where_equal(self, a: Self, b: Self) -> Self {
        let mut out = self;
        for i in 0..LANES {
            out.0[i] = if a.0[i] == b.0[i] { self.0[i] } else { 0.0 };
        }
        out
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
    fn unless_equal(self, a: Self, b: Self) -> Self {
        let mut out = self;
        for i in 0..LANES {
            out.0[i] = if a.0[i] == b.0[i] { 0.0 } else { self.0[i] };
        }
        out
    }
}

/// Sixteen numbers in a register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Register(std::arch::x86_64::__m512, Avx512);

#[cfg(target_arch = "x86_64")]
pub use self::register::{rounded, widened};

#[cfg(target_arch = "x86_64")]
mod register {
    use super::{Avx512, LANES, Lanes, Register, bf16};
    use std::arch::x86_64::*;

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
    }
}

/// Sixteen numbers in two registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pair([std::arch::x86_64::__m256; 2], Avx2);

#[cfg(target_arch = "x86_64")]
mod pair {
    use super::{Avx2, LANES, Lanes, Pair, bf16};
    use std::arch::x86_64::*;

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
            unsafe {
                // Packing goes by halves of the registers.
                let packed = _mm256_packus_epi32(rounded(self.0[0]), rounded(self.0[1]));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
            }
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
    }
}

/// A function over [`Lanes`] `V` (and kinds of [`Element`](super::element::Element)), compiled for AVX-512, for AVX2 and for every
/// processor. Its first argument, without a type, is an [`Isa`](super::Isa), which chooses; inside it is the proof for `V`.
macro_rules! for_isa {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident<$V:ident $(, $E:ident)*>($isa:ident, $($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $visibility fn $name<$($E: super::lanes::Element),*>($isa: super::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body<$V: Lanes $(, $E: super::lanes::Element)*>($isa: $V::Proof, $($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn fast<$($E: super::lanes::Element),*>(proof: <super::lanes::Register as Lanes>::Proof, $($arg: $ty),*) {
                body::<super::lanes::Register $(, $E)*>(proof, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn wide<$($E: super::lanes::Element),*>(proof: <super::lanes::Pair as Lanes>::Proof, $($arg: $ty),*) {
                body::<super::lanes::Pair $(, $E)*>(proof, $($arg),*)
            }
            match $isa {
                // SAFETY: the proof says that the processor has it.
                #[cfg(target_arch = "x86_64")]
                super::Isa::Avx512(proof, _) => unsafe { fast::<$($E),*>(proof, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                super::Isa::Avx2(proof) => unsafe { wide::<$($E),*>(proof, $($arg),*) },
                _ => body::<super::lanes::Plain $(, $E)*>((), $($arg),*),
            }
        }
    };
}
pub(super) use for_isa;
