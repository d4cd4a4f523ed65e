//! The figures of a run's last steps, as many as fit.

use super::output::percent;
use spgraph::train::StepRecord;
use std::collections::VecDeque;

/// Figures with what they say, those first that are kept longest.
struct Part {
    text: String,
    /// Its place in the line.
    place: u8,
}

/// Means over steps.
pub fn figures(recent: &VecDeque<StepRecord>, room: Option<usize>) -> String {
    let count = recent.len().max(1) as f64;
    let mean = |f: fn(&StepRecord) -> f64| recent.iter().map(f).sum::<f64>() / count;
    let images = recent.iter().map(|r| r.images as f64).sum::<f64>();
    let seconds = recent.iter().map(|r| r.seconds).sum::<f64>().max(1e-9);
    let wait = recent.iter().map(|r| r.wait).sum::<f64>();
    let correct = recent.iter().map(|r| Some(r.correct? as f64)).sum::<Option<f64>>();
    let last = recent.back();
    let part = |place, text: String| Part { text, place };
    let by_worth = [
        part(1, format!("loss {:.4}", mean(|r| r.loss))),
        part(3, correct.map_or(String::new(), |correct| format!("accuracy {}", percent(correct / images.max(1.0))))),
        part(0, format!("epoch {}", last.map_or(0, |r| r.epoch))),
        part(5, format!("{:.0} images/s", images / seconds)),
        part(2, format!("(data {:.4} penalty {:.4})", mean(|r| r.data_loss), mean(|r| r.penalty))),
        part(4, format!("lr {:.3e}", last.map_or(0.0, |r| r.lr))),
        part(6, format!("wait {:.0} %", 100.0 * wait / seconds)),
    ];
    fitting(by_worth, room)
}

/// The parts that fit, in the order of their places; what follows one that does not fit is left out, too.
fn fitting<const N: usize>(by_worth: [Part; N], room: Option<usize>) -> String {
    let mut kept: Vec<Part> = vec![];
    let mut length = 0usize;
    for part in by_worth.into_iter().filter(|part| !part.text.is_empty()) {
        length = length.saturating_add(part.text.chars().count()).saturating_add(usize::from(!kept.is_empty()));
        if room.is_some_and(|room| length > room) {
            break;
        }
        kept.push(part);
    }
    kept.sort_by_key(|part| part.place);
    kept.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// The steps of an epoch so far.
#[derive(Default)]
pub struct EpochSums {
    epoch: u64,
    images: usize,
    /// `None` where no answer can be right.
    correct: Option<u64>,
    /// Weighed by images.
    losses: [f64; 3],
}

impl EpochSums {
    pub fn add(&mut self, r: &StepRecord) {
        if r.epoch != self.epoch {
            *self = EpochSums { epoch: r.epoch, correct: Some(0), ..EpochSums::default() };
        }
        self.images = self.images.saturating_add(r.images);
        self.correct = self.correct.zip(r.correct).map(|(sum, more)| sum.saturating_add(more));
        for (sum, value) in self.losses.iter_mut().zip([r.loss, r.data_loss, r.penalty]) {
            *sum += value * r.images as f64;
        }
    }

    /// `epoch 3: training loss 0.3121 (data 0.2012 penalty 0.1109) accuracy 91.00 %`
    pub fn text(&self) -> String {
        let all = self.images.max(1) as f64;
        let [loss, data, penalty] = self.losses.map(|sum| sum / all);
        let accuracy = self.correct.map_or(String::new(), |correct| format!(" accuracy {}", percent(correct as f64 / all)));
        format!("epoch {}: training loss {loss:.4} (data {data:.4} penalty {penalty:.4}){accuracy}", self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, epoch: u64) -> StepRecord {
        StepRecord {
            step,
            epoch,
            lr: 0.01,
            loss: 0.5,
            data_loss: 0.4,
            penalty: 0.1,
            correct: Some(3),
            loss_scale: None,
            skipped: false,
            images: 4,
            seconds: 0.1,
            wait: 0.0,
        }
    }

    #[test]
    fn what_fits_is_shown_and_the_loss_stays_longest() {
        let recent = VecDeque::from([record(1, 1)]);
        let all = figures(&recent, None);
        assert_eq!(all, "epoch 1 loss 0.5000 (data 0.4000 penalty 0.1000) accuracy 75.00 % lr 1.000e-2 40 images/s wait 0 %");
        let mut before = 0;
        for room in 0..=all.len() {
            let text = figures(&recent, Some(room));
            assert!(text.chars().count() <= room && text.len() >= before, "{room}: {text}");
            before = text.len();
        }
        assert_eq!(figures(&recent, Some(12)), "loss 0.5000");
        assert_eq!(figures(&recent, Some(40)), "epoch 1 loss 0.5000 accuracy 75.00 %");
    }

    #[test]
    fn an_epoch_s_means_are_by_images() {
        let mut sums = EpochSums::default();
        sums.add(&record(1, 1));
        sums.add(&record(2, 2));
        sums.add(&StepRecord { images: 12, loss: 0.1, correct: Some(12), ..record(3, 2) });
        assert_eq!(sums.text(), "epoch 2: training loss 0.2000 (data 0.4000 penalty 0.1000) accuracy 93.75 %");
    }
}
