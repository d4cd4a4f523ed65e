//! Lanes for every processor.

use super::{LANES, Lanes, group_places};
use half::bf16;

/// Sixteen numbers in an array.
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

macro_rules! lanes_of_plain {
    ($inline:ident) => {
        impl Lanes for Plain {
            type Proof = ();

            fn proof(self) {}

            #[inline($inline)]
            fn splat(_: (), value: f32) -> Self {
                Plain([value; LANES])
            }

            #[inline($inline)]
            fn load(_: (), from: &[f32]) -> Self {
                let mut v = [0.0; LANES];
                v.copy_from_slice(&from[..LANES]);
                Plain(v)
            }

            #[inline($inline)]
            unsafe fn load_where(_: (), mask: u16, from: *const f32) -> Self {
                match mask {
                    0 => Self::splat((), 0.0),
                    // SAFETY: the caller's promise.
                    _ => Plain(unsafe { from.cast::<[f32; LANES]>().read_unaligned() }),
                }
            }

            #[inline($inline)]
            fn store(self, to: &mut [f32]) {
                to[..LANES].copy_from_slice(&self.0);
            }

            #[inline($inline)]
            fn load_half(_: (), from: &[bf16]) -> Self {
                let mut v = [0.0; LANES];
                v.iter_mut().zip(&from[..LANES]).for_each(|(v, half)| *v = half.to_f32());
                Plain(v)
            }

            #[inline($inline)]
            fn store_half(self, to: &mut [bf16]) {
                to[..LANES].iter_mut().zip(self.0).for_each(|(half, v)| *half = bf16::from_f32(v));
            }

            #[inline($inline)]
            fn add(self, other: Self) -> Self {
                plain!(self, other, a, b => a + b)
            }

            #[inline($inline)]
            fn sub(self, other: Self) -> Self {
                plain!(self, other, a, b => a - b)
            }

            #[inline($inline)]
            fn mul(self, other: Self) -> Self {
                plain!(self, other, a, b => a * b)
            }

            #[inline($inline)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                self.mul(factor).add(addend)
            }

            #[inline($inline)]
            fn max(self, other: Self) -> Self {
                plain!(self, other, a, b => a.max(b))
            }

            #[inline($inline)]
            fn min(self, other: Self) -> Self {
                plain!(self, other, a, b => a.min(b))
            }

            #[inline($inline)]
            fn where_positive(self, mask: Self) -> Self {
                plain!(self, mask, a, b => if b > 0.0 { a } else { 0.0 })
            }

            #[inline($inline)]
            fn where_equal(self, a: Self, b: Self) -> Self {
                let mut out = self;
                for i in 0..LANES {
                    out.0[i] = if a.0[i] == b.0[i] { self.0[i] } else { 0.0 };
                }
                out
            }

            #[inline($inline)]
            fn unless_equal(self, a: Self, b: Self) -> Self {
                let mut out = self;
                for i in 0..LANES {
                    out.0[i] = if a.0[i] == b.0[i] { 0.0 } else { self.0[i] };
                }
                out
            }

            #[inline($inline)]
            fn of_group<const WIDTH: usize>(self, nth: usize) -> Self {
                Plain(group_places::<WIDTH>(nth).map(|place| self.0[place as usize]))
            }
        }
    };
}

// Where other lanes are there for speed, the methods are not inlined, which would take minutes to compile.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
lanes_of_plain!(never);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
lanes_of_plain!(always);
