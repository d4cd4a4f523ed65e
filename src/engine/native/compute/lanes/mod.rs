//! Sixteen numbers side by side: a register of AVX-512, two of AVX2, four of NEON, or an array.

#[cfg(target_arch = "x86_64")]
mod pair;
mod plain;
#[cfg(target_arch = "aarch64")]
mod quad;
#[cfg(target_arch = "x86_64")]
mod register;

#[cfg(target_arch = "x86_64")]
pub use self::pair::Pair;
pub use self::plain::Plain;
#[cfg(target_arch = "aarch64")]
pub use self::quad::Quad;
#[cfg(target_arch = "x86_64")]
pub use self::register::{Register, rounded, widened};
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
    fn min(self, other: Self) -> Self;
    /// `self` where `mask` is above 0, 0 elsewhere.
    fn where_positive(self, mask: Self) -> Self;
    /// `self` where `a` and `b` are equal, 0 elsewhere.
    fn where_equal(self, a: Self, b: Self) -> Self;
    /// 0 where `a` and `b` are equal, `self` elsewhere.
    fn unless_equal(self, a: Self, b: Self) -> Self;
    /// In groups of 1, 2, 4 or 8 numbers: every one is the `nth` of its group.
    fn of_group<const WIDTH: usize>(self, nth: usize) -> Self;

    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        self.mul(Self::splat(self.proof(), factor))
    }
}

/// How many numbers.
pub const LANES: usize = 16;

/// Where [`Lanes::of_group`] takes its numbers from.
const fn group_places<const WIDTH: usize>(nth: usize) -> [i32; LANES] {
    let (mut places, mut lane) = ([0; LANES], 0);
    while lane < LANES {
        places[lane] = (lane / WIDTH * WIDTH + nth) as i32;
        lane += 1;
    }
    places
}

/// A function over [`Lanes`] `V` (and kinds of `Element`), compiled for AVX-512, for AVX2, for NEON and for every
/// processor. Its first argument, without a type, is an [`Isa`](super::Isa), which chooses; inside it is the proof for `V`.
macro_rules! for_isa {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident<$V:ident $(, $E:ident)*>($isa:ident, $($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $visibility fn $name<$($E: super::Element),*>($isa: super::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body<$V: Lanes $(, $E: super::Element)*>($isa: $V::Proof, $($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn fast<$($E: super::Element),*>(proof: <super::lanes::Register as Lanes>::Proof, $($arg: $ty),*) {
                body::<super::lanes::Register $(, $E)*>(proof, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn wide<$($E: super::Element),*>(proof: <super::lanes::Pair as Lanes>::Proof, $($arg: $ty),*) {
                body::<super::lanes::Pair $(, $E)*>(proof, $($arg),*)
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            fn quads<$($E: super::Element),*>(proof: <super::lanes::Quad as Lanes>::Proof, $($arg: $ty),*) {
                body::<super::lanes::Quad $(, $E)*>(proof, $($arg),*)
            }
            match $isa {
                // SAFETY: the proof says that the processor has it.
                #[cfg(target_arch = "x86_64")]
                super::Isa::Avx512(proof, _) => unsafe { fast::<$($E),*>(proof, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                super::Isa::Avx2(proof) => unsafe { wide::<$($E),*>(proof, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                super::Isa::Neon(proof) => unsafe { quads::<$($E),*>(proof, $($arg),*) },
                _ => body::<super::lanes::Plain $(, $E)*>((), $($arg),*),
            }
        }
    };
}
pub(super) use for_isa;
