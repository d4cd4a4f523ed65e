//! How settings are chosen: the highest mean accuracy on validation images over the seeds of the selection; of equal ones the lowest mean loss; of
//! equal ones again the first of the grid, which is the weakest. A training that failed in any seed is not chosen.

use super::cell::Settings;
use super::results::CellResult;

/// The best settings of one method's selection; `None` where none came to its end.
pub fn choose(cells: &[CellResult]) -> Option<Settings> {
    let mut tried: Vec<Settings> = vec![];
    for cell in cells {
        if !tried.contains(&cell.settings) {
            tried.push(cell.settings);
        }
    }
    let scored = tried.into_iter().filter_map(|settings| {
        let own: Vec<&CellResult> = cells.iter().filter(|c| c.settings == settings).collect();
        let mean = |of: fn(&CellResult) -> f64| own.iter().map(|c| of(c)).sum::<f64>() / own.len() as f64;
        let whole = own.iter().all(|c| c.failed.is_none());
        whole.then(|| (settings, mean(|c| c.target.accuracy), mean(|c| c.target.loss)))
    });
    let better = |a: (Settings, f64, f64), b: (Settings, f64, f64)| if (b.1, -b.2) > (a.1, -a.2) { b } else { a };
    scored.reduce(better).map(|best| best.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::cell::{Cell, Phase};
    use crate::evaluation::results::{Drift, FORMAT, Score, Times};

    fn cell(strength: f64, seed: u64, accuracy: f64, loss: f64) -> CellResult {
        let settings = Settings { rate: 0.01, beta: 0.01, strength: Some(strength) };
        let (source, target, method) = ("a".into(), "b".into(), "l2-sp".into());
        CellResult {
            format: FORMAT,
            spgraph: String::new(),
            cell: Cell { phase: Phase::Selection, source, target, images: 10, method, variant: None, settings: Some(settings), seed },
            settings,
            steps: 1,
            target: Score { images: 10, accuracy, loss },
            source: None,
            drift: Drift::default(),
            similarity: vec![],
            seconds: Times::default(),
            engine: String::new(),
            processor: String::new(),
            failed: None,
        }
    }

    #[test]
    fn the_highest_mean_then_the_lowest_loss_then_the_first() {
        let chosen = |cells: &[CellResult]| choose(cells).and_then(|s| s.strength);
        let spread = [cell(0.1, 1, 0.9, 1.0), cell(0.1, 2, 0.5, 1.0), cell(1.0, 1, 0.8, 2.0), cell(1.0, 2, 0.8, 2.0)];
        assert_eq!(chosen(&spread), Some(1.0));
        assert_eq!(chosen(&[cell(0.1, 1, 0.8, 1.0), cell(1.0, 1, 0.8, 0.5)]), Some(1.0));
        assert_eq!(chosen(&[cell(0.1, 1, 0.8, 1.0), cell(1.0, 1, 0.8, 1.0)]), Some(0.1));
        let failed = CellResult { failed: Some("no number".into()), ..cell(1.0, 1, 0.99, 0.0) };
        assert_eq!(chosen(&[cell(0.1, 1, 0.2, 1.0), failed.clone()]), Some(0.1));
        assert_eq!(chosen(&[failed]), None);
    }
}
