//! Whether a network is as often right as it says.

use serde::{Deserialize, Serialize};

/// Answers of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Confidences above it,
    pub low: f64,
    /// up to and with this one.
    pub high: f64,
    /// So many answers.
    pub images: usize,
    /// Their mean confidence; 0 without answers.
    pub confidence: f64,
    /// The share of them that is right; 0 without answers.
    pub accuracy: f64,
}

/// Confidence is the probability of the class that is said. Bins are of equal width, open at their lower end (as in Guo et al., 2017); the first one
/// holds 0 as well.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: the mean of |accuracy − confidence| over the bins, each counted by its images.
    pub ece: f64,
    /// The largest |accuracy − confidence| of a bin.
    pub mce: f64,
    /// Brier score: the mean over images of Σ_k (p_k − y_k)², over all classes, from 0 to 2.
    pub brier: f64,
    /// The mean confidence.
    pub confidence: f64,
    /// The bins, from 0 to 1.
    pub bins: Vec<ReliabilityBin>,
}

impl Calibration {
    /// Bins where nobody asks for another number.
    pub const BINS: usize = 15;

    /// Of answers with a confidence, whether they are right, and [`brier`]'s number. `None` without answers, and where a confidence is no
    /// probability.
    pub fn of(answers: &[(f64, bool, f64)], bins: usize) -> Option<Calibration> {
        if answers.is_empty() || bins == 0 || answers.iter().any(|a| !(0.0..=1.0 + 1e-6).contains(&a.0)) {
            return None;
        }
        let edge = |i: usize| i as f64 / bins as f64;
        let empty = |i| ReliabilityBin { low: edge(i), high: edge(i.saturating_add(1)), ..ReliabilityBin::default() };
        let mut found: Vec<ReliabilityBin> = (0..bins).map(empty).collect();
        for &(confidence, right, _) in answers {
            // The last one is also for what lies a rounding above 1.
            let place = found.iter().position(|bin| confidence <= bin.high).unwrap_or(bins.saturating_sub(1));
            let Some(bin) = found.get_mut(place) else { continue };
            bin.images = bin.images.saturating_add(1);
            bin.confidence += confidence;
            bin.accuracy += f64::from(u8::from(right));
        }
        let all = answers.len() as f64;
        let (mut ece, mut mce) = (0.0, 0.0_f64);
        for bin in found.iter_mut().filter(|b| b.images > 0) {
            bin.confidence /= bin.images as f64;
            bin.accuracy /= bin.images as f64;
            let gap = (bin.accuracy - bin.confidence).abs();
            ece += gap * bin.images as f64 / all;
            mce = mce.max(gap);
        }
        Some(Calibration {
            ece,
            mce,
            brier: answers.iter().map(|a| a.2).sum::<f64>() / all,
            confidence: answers.iter().map(|a| a.0).sum::<f64>() / all,
            bins: found,
        })
    }
}

/// Σ_k (p_k − y_k)² of one image.
pub fn brier(probabilities: &[f64], label: usize) -> f64 {
    probabilities.iter().enumerate().map(|(k, p)| (p - f64::from(u8::from(k == label))).powi(2)).sum()
}
