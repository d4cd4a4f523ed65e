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
