//! Whether images of a class come before others when they are sorted by the class's score.

/// `Σ_n (R_n − R_{n−1})·P_n` over the thresholds, as scikit-learn's `average_precision_score`: equal scores share a threshold. `None` where nothing is
/// positive.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let all = positive.iter().filter(|p| **p).count();
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut sum, mut right, mut seen) = (0.0, 0usize, 0usize);
    for equal in order.chunk_by(|a, b| a.0 == b.0) {
        seen = seen.saturating_add(equal.len());
        let own = equal.iter().filter(|(_, positive)| *positive).count();
        right = right.saturating_add(own);
        sum += own as f64 / all.max(1) as f64 * (right as f64 / seen as f64);
    }
    (all > 0).then_some(sum)
}

/// The mean of [`average_precision`] over the classes that have images. `scores` and `positive` are by image; `None` where no class has.
pub fn mean_average_precision(scores: &[Vec<f64>], positive: &[Vec<bool>]) -> Option<f64> {
    let classes = scores.first().map_or(0, Vec::len);
    let of_class = |k: usize| {
        let column: Vec<f64> = scores.iter().map(|row| row.get(k).copied().unwrap_or(f64::NEG_INFINITY)).collect();
        let marks: Vec<bool> = positive.iter().map(|row| row.get(k).copied().unwrap_or(false)).collect();
        average_precision(&column, &marks)
    };
    let found: Vec<f64> = (0..classes).filter_map(of_class).collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}
