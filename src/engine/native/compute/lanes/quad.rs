//! Lanes of NEON.

use super::super::isa::Neon;
use super::{LANES, Lanes};
use half::bf16;
use std::arch::aarch64::*;

/// Sixteen numbers in four registers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Quad([float32x4_t; 4], Neon);

/// Numbers of a register.
const WIDTH: usize = 4;

/// Four float32 as bfloat16, as `Element::from_f32` has it.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn rounded(v: float32x4_t) -> uint16x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = vreinterpretq_u32_f32(v);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let nearest = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
        vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(v, v), nearest, quiet))
    }
}

/// The number at place `nth`, everywhere.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn everywhere(v: float32x4_t, nth: usize) -> float32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        match nth {
            0 => vdupq_laneq_f32::<0>(v),
            1 => vdupq_laneq_f32::<1>(v),
            2 => vdupq_laneq_f32::<2>(v),
            _ => vdupq_laneq_f32::<3>(v),
        }
    }
}

impl Quad {
    /// Of four registers.
    #[inline(always)]
    pub fn new(quarters: [float32x4_t; 4], proof: Neon) -> Quad {
        Quad(quarters, proof)
    }
}

macro_rules! all {
    ($v:ident = $self:ident $(, $x:ident = $value:expr)* => $result:expr) => { all!(@ $self ($v $($x = $value),*) $result; 0 1 2 3) };
    (@ $self:ident $bound:tt $result:expr; $($i:literal)*) => {
        // SAFETY: that of all methods, below.
        unsafe { Quad([$( all!(@@ $self $bound $result; $i) ),*], $self.1) }
    };
    (@@ $self:ident ($v:ident $($x:ident = $value:expr),*) $result:expr; $i:literal) => {{ let $v = $self.0[$i]; $(let $x = $value.0[$i];)* $result }};
}

// SAFETY of all methods: the processor has NEON, as the proof that is given or that a value holds says; loads and stores are within
// slices whose length is checked, or within what the caller promises.
impl Lanes for Quad {
    type Proof = Neon;

    #[inline(always)]
    fn proof(self) -> Neon {
        self.1
    }

    #[inline(always)]
    fn splat(proof: Neon, value: f32) -> Self {
        Quad([unsafe { vdupq_n_f32(value) }; 4], proof)
    }

    #[inline(always)]
    fn load(proof: Neon, from: &[f32]) -> Self {
        assert!(from.len() >= LANES);
        unsafe { Self::load_where(proof, u16::MAX, from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_where(proof: Neon, mask: u16, from: *const f32) -> Self {
        match mask {
            0 => Self::splat(proof, 0.0),
            _ => unsafe { Quad([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))], proof) },
        }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= LANES);
        let to = to.as_mut_ptr();
        unsafe {
            vst1q_f32(to, self.0[0]);
            vst1q_f32(to.add(4), self.0[1]);
            vst1q_f32(to.add(8), self.0[2]);
            vst1q_f32(to.add(12), self.0[3]);
        }
    }

    #[inline(always)]
    fn load_half(proof: Neon, from: &[bf16]) -> Self {
        assert!(from.len() >= LANES);
        let from: *const u16 = from.as_ptr().cast();
        let quarter = |from: *const u16| unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) };
        unsafe { Quad([quarter(from), quarter(from.add(4)), quarter(from.add(8)), quarter(from.add(12))], proof) }
    }

    #[inline(always)]
    fn store_half(self, to: &mut [bf16]) {
        assert!(to.len() >= LANES);
        let to: *mut u16 = to.as_mut_ptr().cast();
        unsafe {
            vst1_u16(to, rounded(self.0[0]));
            vst1_u16(to.add(4), rounded(self.0[1]));
            vst1_u16(to.add(8), rounded(self.0[2]));
            vst1_u16(to.add(12), rounded(self.0[3]));
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        all!(v = self, other = other => vaddq_f32(v, other))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        all!(v = self, other = other => vsubq_f32(v, other))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        all!(v = self, other = other => vmulq_f32(v, other))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        all!(v = self, factor = factor, addend = addend => vfmaq_f32(addend, v, factor))
    }

    /// The other one of what is no number, as with all lanes: `vmaxq` would keep it.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        all!(v = self, other = other => vmaxnmq_f32(v, other))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        all!(v = self, other = other => vminnmq_f32(v, other))
    }

    #[inline(always)]
    fn where_positive(self, mask: Self) -> Self {
        all!(v = self, mask = mask => vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(mask), vreinterpretq_u32_f32(v))))
    }

    #[inline(always)]
    fn where_equal(self, a: Self, b: Self) -> Self {
        all!(v = self, a = a, b = b => vreinterpretq_f32_u32(vandq_u32(vceqq_f32(a, b), vreinterpretq_u32_f32(v))))
    }

    #[inline(always)]
    fn unless_equal(self, a: Self, b: Self) -> Self {
        all!(v = self, a = a, b = b => vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vceqq_f32(a, b))))
    }

    #[inline(always)]
    fn of_group<const GROUP: usize>(self, nth: usize) -> Self {
        let [a, b, c, d] = self.0;
        let quarters = match GROUP {
            1 => self.0,
            2 => self.0.map(|v| unsafe { if nth == 0 { vtrn1q_f32(v, v) } else { vtrn2q_f32(v, v) } }),
            4 => self.0.map(|v| unsafe { everywhere(v, nth) }),
            _ => {
                let [low, high] = if nth < WIDTH { [a, c] } else { [b, d] };
                let [low, high] = [low, high].map(|v| unsafe { everywhere(v, nth % WIDTH) });
                [low, low, high, high]
            }
        };
        Quad(quarters, self.1)
    }
}
