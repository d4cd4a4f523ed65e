//! Means and paired comparisons over seeds. Two methods with the same seed share training images and order, so that their difference seed by
//! seed says more than two separate means.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, by n − 1; 0 for a single one.
    pub deviation: f64,
}

/// Mean and deviation; `None` of nothing.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let deviation = if n > 1 { (squares / n.saturating_sub(1) as f64).sqrt() } else { 0.0 };
    Some(Summary { n, mean, deviation })
}

/// A paired comparison: of differences seed by seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Seeds that both have.
    pub n: usize,
    /// The mean difference.
    pub difference: f64,
    /// Its 95 % confidence interval, by Student's t.
    pub interval: [f64; 2],
    /// Two-sided, of the paired t test.
    pub p_t: f64,
    /// Two-sided, of the exact sign-flip permutation test on the mean: of all 2ⁿ choices of signs the share whose mean is at least as far from 0. It
    /// assumes no normal distribution, and cannot be below 2/2ⁿ. `None` with more than 20 pairs.
    pub p_flip: Option<f64>,
    /// Effect size: Hedges' g of paired differences, the mean over the deviation, times 1 − 3/(4(n−1)−1) for small n.
    pub effect: f64,
}

/// At most so many pairs have all signs tried.
const MOST: usize = 20;

/// Compares pairs of numbers by their differences, first minus second. `None` with fewer than two pairs. Where all differences are equal there
/// is no deviation to measure by, and the effect is infinite (or 0).
pub fn compare(pairs: &[(f64, f64)]) -> Option<Comparison> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let Summary { n, mean, deviation } = summary(&differences)?;
    if n < 2 {
        return None;
    }
    let freedom = n.saturating_sub(1) as f64;
    let error = deviation / (n as f64).sqrt();
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let reach = t.inverse_cdf(0.975) * error;
    let p_t = match (error > 0.0, mean == 0.0) {
        (true, _) => 2.0 * t.cdf(-(mean / error).abs()),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let effect = if mean == 0.0 { 0.0 } else { mean / deviation * (1.0 - 3.0 / (4.0 * freedom - 1.0)) };
    let p_flip = (n <= MOST).then(|| flips(&differences));
    Some(Comparison { n, difference: mean, interval: [mean - reach, mean + reach], p_t, p_flip, effect })
}

fn flips(differences: &[f64]) -> f64 {
    let n = differences.len();
    let observed = differences.iter().sum::<f64>().abs();
    // Sums of the same numbers in another order may differ in their last place.
    let slack = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let far = (0..1u32 << n).filter(|signs| {
        let sum: f64 = differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum();
        sum.abs() >= observed - slack
    });
    far.count() as f64 / f64::from(1u32 << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{found} is not {wanted}");
    }

    /// scipy 1.17.1: `ttest_rel` with its `confidence_interval`, `permutation_test(permutation_type="samples", n_resamples=inf)`; deviations by
    /// numpy with `ddof=1`.
    #[test]
    fn comparisons_are_scipys() {
        let a = [79.1, 80.4, 78.2, 81.0, 79.9];
        let b = [76.5, 79.9, 77.7, 78.1, 78.8];
        let pairs: Vec<(f64, f64)> = a.into_iter().zip(b).collect();
        let found = compare(&pairs).unwrap();
        near(found.difference, 1.5200000000000018);
        near(found.p_t, 0.04218114805716819);
        near(found.interval[0], 0.0869669671400144);
        near(found.interval[1], 2.953033032859989);
        near(found.p_flip.unwrap(), 0.0625);
        // The mean over the deviation is 1.3170172871054273; the correction for 4 degrees of freedom 0.8.
        near(found.effect, 1.3170172871054273 * 0.8);
        let one = summary(&a).unwrap();
        near(one.mean, 79.72);
        near(one.deviation, 1.0986355173577824);
    }

    #[test]
    fn seven_pairs_with_a_zero() {
        let c = [0.5, -0.25, 0.125, -1.0, 0.75, 0.0, 0.3];
        let found = compare(&c.map(|v| (v, 0.0))).unwrap();
        near(found.p_t, 0.7878385579992749);
        near(found.interval[0], -0.4671803206421131);
        near(found.interval[1], 0.5886088920706846);
        near(found.p_flip.unwrap(), 0.8125);
    }

    #[test]
    fn edges() {
        assert_eq!(summary(&[]), None);
        assert_eq!(compare(&[(1.0, 0.0)]), None);
        let same = compare(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert_eq!((same.p_t, same.p_flip, same.effect), (1.0, Some(1.0), 0.0));
        let steady = compare(&[(2.0, 1.0), (3.0, 2.0), (4.0, 3.0)]).unwrap();
        assert_eq!((steady.difference, steady.p_t, steady.p_flip), (1.0, 0.0, Some(0.25)));
    }
}
