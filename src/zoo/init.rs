//! First values of parameters.

use crate::error::Result;
use crate::ir::{DType, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// How a parameter starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Init {
    Constant(f32),
    /// Normal with mean 0.
    Normal {
        deviation: f64,
    },
    /// Uniform between −bound and bound.
    Uniform {
        bound: f64,
    },
}

/// A tensor to draw.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
    pub init: Init,
}

/// The first values of all parameters. Each has a random stream of its own (its index), so that they can be drawn on
/// all cores and the backbone does not change with the head.
pub(super) fn draw(parameters: &[Parameter], seed: u64) -> Result<Vec<Tensor>> {
    let one = |(stream, p): (usize, &Parameter)| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream as u64);
        tensor(p, &mut random)
    };
    parameters.par_iter().enumerate().map(one).collect()
}

fn tensor(p: &Parameter, random: &mut ChaCha8Rng) -> Result<Tensor> {
    let count = p.shape.iter().product::<usize>();
    let mut data = Vec::with_capacity(count * DType::F32.size() + 4);
    let mut push = |v: f64| data.extend_from_slice(&(v as f32).to_le_bytes());
    match p.init {
        Init::Constant(v) => (0..count).for_each(|_| push(v as f64)),
        Init::Uniform { bound } => (0..count).for_each(|_| push(bound * symmetric(random))),
        Init::Normal { deviation } => {
            for _ in 0..count.div_ceil(2) {
                let (a, b) = normal_pair(random);
                push(deviation * a);
                push(deviation * b);
            }
        }
    }
    // A pair may have given one element too many.
    data.truncate(count * DType::F32.size());
    data.shrink_to_fit();
    Tensor::new(DType::F32, p.shape.clone(), data)
}

/// Uniform in [−1, 1), in steps of 2⁻⁵².
fn symmetric(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
}

/// Two independent numbers from the standard normal distribution: Marsaglia's polar method.
fn normal_pair(random: &mut ChaCha8Rng) -> (f64, f64) {
    loop {
        let (x, y) = (symmetric(random), symmetric(random));
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            // The logarithm of the `libm` crate: the standard library's differs between systems in the last bit.
            let scale = (-2.0 * libm::log(square) / square).sqrt();
            return (x * scale, y * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(init: Init, count: usize, seed: u64) -> Vec<f32> {
        let p = [Parameter { name: "w".into(), shape: vec![count], init }];
        draw(&p, seed).unwrap()[0].to_f32().unwrap()
    }

    /// Mean of the `power`-th power.
    fn moment(values: &[f32], power: i32) -> f64 {
        values.iter().map(|&v| (v as f64).powi(power)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn distributions_have_their_moments() {
        // Tolerances are about four standard errors at this count.
        let n = 200_001;
        let v = sample(Init::Normal { deviation: 0.5 }, n, 1);
        assert_eq!(v.len(), n);
        assert!(moment(&v, 1).abs() < 0.0045, "{}", moment(&v, 1));
        assert!((moment(&v, 2) - 0.25).abs() < 0.0032, "{}", moment(&v, 2));
        assert!((moment(&v, 4) - 3.0 * 0.0625).abs() < 0.0055, "{}", moment(&v, 4));
        let neighbours = v.windows(2).map(|w| w[0] as f64 * w[1] as f64).sum::<f64>() / n as f64;
        assert!(neighbours.abs() < 0.0023, "{neighbours}");

        let v = sample(Init::Uniform { bound: 0.5 }, n, 1);
        assert!(v.iter().all(|x| (-0.5..=0.5).contains(x)));
        assert!(moment(&v, 1).abs() < 0.0026 && (moment(&v, 2) - 0.25 / 3.0).abs() < 0.0007);
        assert_eq!(sample(Init::Constant(1.0), 3, 1), [1.0; 3]);
    }

    #[test]
    fn the_seed_decides() {
        let init = Init::Normal { deviation: 1.0 };
        assert_eq!(sample(init, 9, 7), sample(init, 9, 7));
        assert_ne!(sample(init, 9, 7), sample(init, 9, 8));
        // Fixed numbers: a change of the generator must not pass unnoticed.
        assert_eq!(sample(init, 3, 0), FIRST);
    }

    const FIRST: [f32; 3] = [1.8292917, -0.29816568, 0.15428795];
}
