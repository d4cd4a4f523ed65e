//! How far numbers are from those that are right.

use serde::{Deserialize, Serialize};

/// Over images and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Regression {
    /// The mean of |output − target|.
    pub mae: f64,
    /// The root of the mean of (output − target)².
    pub rmse: f64,
    /// `1 − Σ(o − y)² / Σ(y − ȳ)²` of each output, averaged. `None` where the targets of every output are all the same.
    pub r2: Option<f64>,
}

impl Regression {
    /// Of outputs and targets by image. `None` without any.
    pub fn of(outputs: &[Vec<f64>], targets: &[Vec<f64>]) -> Option<Regression> {
        let pairs = || outputs.iter().zip(targets).flat_map(|(o, y)| o.iter().zip(y));
        let count = pairs().count();
        if count == 0 {
            return None;
        }
        let mean = |f: fn((&f64, &f64)) -> f64| pairs().map(f).sum::<f64>() / count as f64;
        let widths = outputs.first().map_or(0, Vec::len);
        let r2: Vec<f64> = (0..widths).filter_map(|k| r2(outputs, targets, k)).collect();
        Some(Regression {
            mae: mean(|(o, y)| (o - y).abs()),
            rmse: mean(|(o, y)| (o - y).powi(2)).sqrt(),
            r2: (!r2.is_empty()).then(|| r2.iter().sum::<f64>() / r2.len() as f64),
        })
    }
}

/// Of output `k`; `None` where its targets are all the same.
fn r2(outputs: &[Vec<f64>], targets: &[Vec<f64>], k: usize) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = outputs.iter().zip(targets).filter_map(|(o, y)| Some((*o.get(k)?, *y.get(k)?))).collect();
    let mean = pairs.iter().map(|p| p.1).sum::<f64>() / pairs.len().max(1) as f64;
    let spread: f64 = pairs.iter().map(|p| (p.1 - mean).powi(2)).sum();
    (spread > 0.0).then(|| 1.0 - pairs.iter().map(|p| (p.0 - p.1).powi(2)).sum::<f64>() / spread)
}
