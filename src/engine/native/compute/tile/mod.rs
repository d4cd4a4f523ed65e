//! Tiles of products in a processor's registers: rows that stay in their places with a panel of packed columns, and outer products.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod sixteen;

#[cfg(target_arch = "x86_64")]
pub use self::avx512::finished;

use super::isa::Avx512;
use super::{Element, Isa};

/// Registers of one kind, and the products whose sums stay in them. A value is the proof that the processor has them.
pub trait Tile: Copy + Send + Sync {
    /// Rows of a tile of gathered rows.
    const ROWS: usize;
    /// Its columns: those of a panel.
    const PANEL: usize;

    /// For what is no product.
    fn isa(self) -> Isa;

    /// That words are pairs of bfloat16, where they are.
    fn pairs(self) -> Option<Avx512>;

    /// `out[r] = relu?(Σ_tap Σ_k sources[tap][r][k]·b[tap][k] + bias + addend[r])`, 0 where `mask[r]` is not positive or reaches the ceiling; for the rows
    /// that `offsets` has. With `add`, the sum begins with what is there.
    ///
    /// # Safety
    /// `sources` holds [`Tile::ROWS`] pointers to `depth` words for each of `taps`; `b` has `taps·depth` rows of [`Tile::PANEL`] words; `offsets` has at most
    /// `ROWS` entries, and at each of them `out`, `addend` and `mask` have `columns` elements.
    unsafe fn gathered<O: Element>(
        self,
        sources: &[*const f32],
        taps: usize,
        depth: usize,
        b: *const f32,
        target: &Target<O>,
        offsets: &[usize],
    );

    /// `out[r][c] += Σ_k a[k][r]·b[k][c]` with [`OUTER_ROWS`] columns of `a`, whose rows have the distance `a_stride`, and [`Tile::PANEL`] of `b`; rows of
    /// `out` at a stride. Where no more than half of the columns are wanted, the others keep what they have. Both sides are words, each row `k`
    /// one number of a column, or two.
    ///
    /// # Safety
    /// `a` has `OUTER_ROWS` words in each of `depth` rows, `b` `PANEL` words; `out` has `OUTER_ROWS` rows of `PANEL` elements.
    unsafe fn outer(self, a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize);

    /// Puts a row of an outer product's left side into row `k` of panels of [`OUTER_ROWS`] columns ([`panels`](super::panels)).
    fn pack_left(self, row: &[f32], panels: &mut [f32], k: usize);

    /// Puts a row of the right side into row `k` of panels of [`Tile::PANEL`] columns.
    fn pack_right(self, row: &[f32], panels: &mut [f32], k: usize);
}

/// The most rows of a tile of gathered rows.
pub const MOST_ROWS: usize = super::pack::TALL;
/// Rows of a tile of an outer product: a number that divides usual numbers of channels.
pub const OUTER_ROWS: usize = 8;

/// Where a tile goes, and what happens to it on the way.
pub struct Target<O> {
    /// The output's first element; `offsets` count from here. So do those of `addend` and `mask`, where they are not null.
    pub out: *mut O,
    pub addend: *const O,
    pub mask: *const O,
    /// For the tile's columns, or null.
    pub bias: *const f32,
    pub relu: bool,
    /// Rectified results do not exceed it, and are 0 where the mask reaches it; infinite where there is none.
    pub ceiling: f32,
    /// Columns that exist, up to those of a panel.
    pub columns: usize,
    /// Whether the product is added to what `out` holds.
    pub add: bool,
    /// Whether results go past the caches to memory. All columns of the panel exist then, at addresses that are multiples of 64.
    /// Where a processor has no instructions for it, only what results meet is asked for in time.
    pub streams: bool,
}
