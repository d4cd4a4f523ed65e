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
    Balance = 64,
    Mix = 6,
}

/// A stream of random numbers that belongs to one (purpose, seed, a, b), such as (augment, seed, epoch, sample): so
/// neither the order of the work nor the number of threads has an influence.
///
/// The draws are written out here, on top of ChaCha8, instead of taken from `rand`'s distributions: those may change
/// with a version, and a seed has to mean the same in the next release.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub fn new(purpose: Purpose, seed: u64, a: u64, b: u64) -> Random {
        Random::stream(purpose, 0, seed, a, b)
    }

    /// One of several independent streams of a purpose; that of number 0 is the one of [`Random::new`].
    pub fn stream(purpose: Purpose, number: u32, seed: u64, a: u64, b: u64) -> Random {
        // The words go into the key as they are, so no two streams can collide.
        let mut key = [0u8; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([purpose as u64 | u64::from(number) << 32, seed, a, b]) {
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
        ((self.0.next_u64() as u128).saturating_mul(count as u128) >> 64) as usize
    }

    /// About normal, mean 0, variance 1: a sum of twelve uniforms, which needs no logarithm and so is the same on
    /// every machine.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// Uniform in 0 < x < 1, so that its logarithm is finite.
    fn inner(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Gumbel: the place of the largest `z_k + gumbel` is a draw from `softmax(z)`.
    pub fn gumbel(&mut self) -> f64 {
        -libm::log(-libm::log(self.inner()))
    }

    /// Beta with both parameters `shape`, above 0: symmetric about ½, and the nearer to 0 or 1 the smaller `shape` is.
    pub fn beta(&mut self, shape: f64) -> f64 {
        let (x, y) = (self.log_gamma(shape), self.log_gamma(shape));
        1.0 / (1.0 + libm::exp(y - x))
    }

    /// The logarithm of a Gamma with that shape, by Marsaglia and Tsang; below 1 with their boost. As a logarithm, for draws with small shapes are
    /// smaller than any float.
    fn log_gamma(&mut self, shape: f64) -> f64 {
        let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        let log = loop {
            let x = self.gauss();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && libm::log(self.inner()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                break libm::log(d * v);
            }
        };
        if shape < 1.0 { log + libm::log(self.inner()) / shape } else { log }
    }

    /// Normal, mean 0, variance 1, by Marsaglia's polar method.
    fn gauss(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.inner() - 1.0, 2.0 * self.inner() - 1.0);
            let s = u * u + v * v;
            if s < 1.0 && s > 0.0 {
                return u * (-2.0 * libm::log(s) / s).sqrt();
            }
        }
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i.saturating_add(1)));
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

    /// Mean ½ and variance 1/(4·(2a + 1)); the share below 0.1 is the regularized incomplete beta function, by mpmath.
    #[test]
    fn beta_has_the_moments_of_its_shape() {
        for (shape, below) in [(0.2, 0.336_690), (0.4, 0.239_739), (1.0, 0.1), (2.0, 0.028), (8.0, 3.362e-5)] {
            let mut random = Random::new(Purpose::Augment, 3, 0, 0);
            let n = 20_000;
            let draws: Vec<f64> = (0..n).map(|_| random.beta(shape)).collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
            let share = draws.iter().filter(|&&v| v < 0.1).count() as f64 / n as f64;
            let expected = 1.0 / (4.0 * (2.0 * shape + 1.0));
            assert!((mean - 0.5).abs() < 0.01 && (variance / expected - 1.0).abs() < 0.04, "{shape}: {mean} {variance} {expected}");
            assert!((share - below).abs() < 0.01, "{shape}: {share} {below}");
            assert!(draws.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        assert!((0.0..=1.0).contains(&Random::new(Purpose::Augment, 3, 0, 0).beta(1e-3)));
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
