//! Mixing the images of a batch, and what becomes of their targets.

use super::operation::{Action, Blend};
use super::table::Operation;
use crate::data::random::{Purpose, Random};
use ndarray::{Array4, ArrayView3, ArrayViewMut3, Axis, Zip};

/// The operations of a recipe that mix batches. Of several, each batch gets one by chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing(pub(super) Vec<Operation>);

/// How a batch was mixed: each row with the one before it, the first of them with the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    /// Rows that take part; those behind them only fill the batch up.
    pub rows: usize,
    /// The share of a row's own target; the rest is that of the row before it.
    pub share: f32,
}

impl Mixed {
    /// The row that a row is mixed with.
    pub fn partner(&self, row: usize) -> usize {
        if row >= self.rows {
            row
        } else if row == 0 {
            self.rows - 1
        } else {
            row - 1
        }
    }
}

impl Mixing {
    /// Mixes the first `rows` images of batch `number` in its epoch. `channels_last` says where the batch has its channels.
    pub(crate) fn apply(&self, batch: &mut Array4<f32>, rows: usize, channels_last: bool, (seed, epoch, number): (u64, u64, u64)) -> Mixed {
        let mut random = Random::new(Purpose::Mix, seed, epoch, number);
        // An image by itself has nothing to mix with, and a batch of one is then as it was.
        let rows = rows.min(batch.len_of(Axis(0)));
        let chosen = if self.0.len() > 1 { random.below(self.0.len()) } else { 0 };
        let (height, width) = if channels_last { (1, 2) } else { (2, 3) };
        let size = (batch.len_of(Axis(height)), batch.len_of(Axis(width)));
        let blend = match self.0.get(chosen).map(Operation::action) {
            Some(Action::Batch(mix)) if rows > 1 => mix.blend(size.0, size.1, &mut random),
            _ => return Mixed { rows, share: 1.0 },
        };
        mix(batch, rows, channels_last, blend);
        Mixed { rows, share: blend.share() }
    }
}

/// torchvision's arithmetic: the image before times 1 − λ, and λ times the own one added; or the box of the image before.
pub(super) fn mix(batch: &mut Array4<f32>, rows: usize, channels_last: bool, blend: Blend) {
    let (down, across) = if channels_last { (Axis(0), Axis(1)) } else { (Axis(1), Axis(2)) };
    let part = |mut image: ArrayViewMut3<f32>, other: ArrayView3<f32>| match blend {
        // 1 − λ is rounded once, from double precision.
        Blend::Sum(share) => {
            let rest = (1.0 - f64::from(share)) as f32;
            Zip::from(&mut image).and(&other).for_each(|own, other| *own = other * rest + *own * share);
        }
        Blend::Box { top, bottom, left, right, .. } => {
            let mut image = image.slice_axis_move(down, (top..bottom).into());
            let other = other.slice_axis_move(down, (top..bottom).into());
            image.slice_axis_mut(across, (left..right).into()).assign(&other.slice_axis(across, (left..right).into()));
        }
    };
    if rows < 2 {
        return;
    }
    // From the last row on, so that the one before is still as it was; the first one meets a copy of the last.
    let last = batch.index_axis(Axis(0), rows - 1).to_owned();
    for row in (1..rows).rev() {
        let (before, mut from) = batch.view_mut().split_at(Axis(0), row);
        part(from.index_axis_mut(Axis(0), 0), before.index_axis(Axis(0), row - 1));
    }
    part(batch.index_axis_mut(Axis(0), 0), last.view());
}
