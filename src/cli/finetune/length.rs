//! How long, and at which learning rate over time.

use crate::cli::choice::choice;
use spgraph::error::Error;
use spgraph::train::{Criterion, Length, Schedule, Training};

/// `10`, or `+5`.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    count: u64,
    more: bool,
}

fn parse_amount(text: &str) -> Result<Amount, String> {
    let (count, more) = text.strip_prefix('+').map_or((text, false), |count| (count, true));
    match count.parse() {
        // Rust's numbers may have a sign of their own.
        Ok(count) if !text.starts_with("++") => Ok(Amount { count, more }),
        _ => Err("give a number such as 10, or +5 for so many more of a run that is resumed".into()),
    }
}

#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
pub struct LengthArgs {
    /// Passes over the images; with --resume +N is so many more than the run has [default: as many as make 300 steps, from 10 to 300]
    #[arg(long, value_name = "N", value_parser = parse_amount, conflicts_with = "steps")]
    epochs: Option<Amount>,
    /// Training steps; with --resume +N is so many more than the run has
    #[arg(long, value_name = "N", value_parser = parse_amount)]
    steps: Option<Amount>,
    /// Train the new head alone for the first N epochs (or steps, with --steps), then everything
    #[arg(long, value_name = "N")]
    head_first: Option<u64>,
    /// Leave the images of an epoch that fill no batch out of it
    #[arg(long)]
    drop_last: bool,
    /// Learning rate over time: constant, step[:FACTOR][@MILESTONE,…] with milestones as shares of the steps or as epochs (30e), cosine[:FLOOR]
    /// [default: step:0.1@2/3]
    #[arg(long, value_name = "SCHEDULE", value_parser = parse_schedule)]
    schedule: Option<Schedule>,
    /// So many steps, the first ones, have a rate that grows to the full one; 0 for none [default: a tenth of the steps, at most 100]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// End after N validations in a row that brought nothing better
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// What a validation must gain to count as better for --patience [default: 0]
    #[arg(long, value_name = "GAIN", allow_negative_numbers = true)]
    min_delta: Option<f64>,
    /// What makes a validation the best: accuracy or loss [default: accuracy]
    #[arg(long, value_name = "WHAT", value_parser = choice::<Criterion>(&["accuracy", "loss"]))]
    criterion: Option<Criterion>,
}

fn parse_schedule(text: &str) -> Result<Schedule, String> {
    text.parse().map_err(|e: Error| crate::cli::flags::with_flags(&e.to_string()))
}

impl LengthArgs {
    fn given(&self, more: bool) -> Option<Length> {
        let of = |amount: Option<Amount>| amount.filter(|amount| amount.more == more).map(|amount| amount.count);
        of(self.epochs).map(Length::Epochs).or(of(self.steps).map(Length::Steps))
    }

    /// So much more than a run has that is resumed.
    pub fn more(&self) -> Option<Length> {
        self.given(true)
    }

    pub fn set(&self, training: &mut Training) {
        training.length = self.given(false).unwrap_or(training.length);
        training.head_first = self.head_first.unwrap_or(training.head_first);
        training.drop_last |= self.drop_last;
        if let Some(schedule) = &self.schedule {
            training.schedule = schedule.clone();
        }
        training.warmup = self.warmup.or(training.warmup);
        let stopping = &mut training.early_stopping;
        stopping.patience = self.patience.or(stopping.patience);
        stopping.min_delta = self.min_delta.unwrap_or(stopping.min_delta);
        stopping.criterion = self.criterion.unwrap_or(stopping.criterion);
    }
}
