//! Mutations: of bytes, of text, of JSON, of a model's structure, and of formats whose checksums hide what is behind them.

mod bytes;
mod checksums;
mod json;
mod less;
mod model;

pub use bytes::{bytes, text, with_header};
pub use checksums::{image, npy, zip};
pub use json::json;
pub use less::parts_less;
pub use model::model;

/// A generator that gives the same numbers everywhere (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 where `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// One of [`EXTREMES`].
    pub fn extreme(&mut self) -> i64 {
        EXTREMES[self.below(EXTREMES.len())]
    }
}

/// Numbers at which arithmetic breaks, and small ones that mean something in many places.
const EXTREMES: [i64; 24] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    7,
    -2,
    -3,
    255,
    65_535,
    65_536,
    30_000,
    -30_000,
    1 << 24,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MAX / 2,
    i64::MIN + 1,
];
