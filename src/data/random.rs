//! Random numbers that depend on what they are for, not on when they are drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for. Streams of different purposes are independent at equal seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Shuffle = 1,
    Augment = 2,
    Split = 3,
    Synth = 4,
    Fisher = 5,
}

/// A stream of random numbers that belongs to one (purpose, seed, a, b), such as (augment, seed, epoch, sample): so
/// neither the order of the work nor the number of threads has an influence.
///
/// The draws are written out here, on top of ChaCha8, instead of taken from `rand`'s distributions: those may change
/// with a version, and a seed has to mean the same in the next release.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub fn new(purpose: Purpose, seed: u64, a: u64, b: u64) -> Random {
        // The words go into the key as they are, so no two streams can collide.
        let mut key = [0u8; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([purpose as u64, seed, a, b]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Random(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in 0 ≤ x < 1.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `low` ≤ x ≤ `high`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform in 0 ≤ x < `count`; 0 for a count of 0.
    pub fn below(&mut self, count: usize) -> usize {
        // A 64-bit product: the bias is below count / 2⁶⁴.
        ((self.0.next_u64() as u128 * count as u128) >> 64) as usize
    }

    /// About normal, mean 0, variance 1: a sum of twelve uniforms, which needs no logarithm and so is the same on
    /// every machine.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// Gumbel: the place of the largest `z_k + gumbel` is a draw from `softmax(z)`.
    pub fn gumbel(&mut self) -> f64 {
        // Strictly between 0 and 1, so both logarithms are finite.
        let unit = ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -libm::log(-libm::log(unit))
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_independent() {
        let draw = |p, s, a, b| Random::new(p, s, a, b).0.next_u64();
        let first = draw(Purpose::Shuffle, 1, 2, 3);
        assert_eq!(first, draw(Purpose::Shuffle, 1, 2, 3));
        assert_ne!(first, draw(Purpose::Augment, 1, 2, 3));
        assert_ne!(first, draw(Purpose::Shuffle, 2, 1, 3));
        assert_ne!(first, draw(Purpose::Shuffle, 1, 3, 2));
    }

    #[test]
    fn draws_have_the_right_moments() {
        let mut random = Random::new(Purpose::Synth, 0, 0, 0);
        let n = 20_000;
        let normals: Vec<f32> = (0..n).map(|_| random.normal()).collect();
        let mean = normals.iter().sum::<f32>() / n as f32;
        let variance = normals.iter().map(|v| v * v).sum::<f32>() / n as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let mut counts = [0; 7];
        (0..n).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|c| (2600..3120).contains(c)), "{counts:?}");
    }

    #[test]
    fn the_largest_of_scores_and_gumbel_noise_is_a_draw_from_the_softmax() {
        let p = [0.5f64, 0.2, 0.3];
        let mut random = Random::new(Purpose::Fisher, 0, 0, 0);
        let (n, mut counts) = (20_000, [0; 3]);
        for _ in 0..n {
            let noisy = p.map(|p| p.ln() + random.gumbel());
            counts[(0..3).fold(0, |best, k| if noisy[k] > noisy[best] { k } else { best })] += 1;
        }
        for (count, p) in counts.iter().zip(p) {
            assert!((*count as f64 / n as f64 - p).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(Purpose::Shuffle, 5, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
