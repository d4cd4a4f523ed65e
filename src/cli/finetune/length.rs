//! How long, and at which learning rate over time.

use crate::cli::choice::choice;
use spgraph::error::Error;
use spgraph::train::{Length, Schedule, Training};

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
    /// Passes over the images; with --resume +N is so many more than the run has
    #[arg(long, value_name = "N", value_parser = parse_amount, conflicts_with = "steps")]
    epochs: Option<Amount>,
    /// Training steps; with --resume +N is so many more than the run has
    #[arg(long, value_name = "N", value_parser = parse_amount)]
    steps: Option<Amount>,
    /// Train the new head alone for the first N epochs (or steps, with --steps), then everything
    #[arg(long, value_name = "N")]
    head_first: Option<u64>,
    /// Learning rate over time; step is a tenth after two thirds of the steps [default: step]
    #[arg(long, value_parser = choice::<Schedule>(&["constant", "step", "cosine"]))]
    schedule: Option<Schedule>,
}

impl LengthArgs {
    /// Fails where a new run's length is missing.
    pub fn check_given(&self) -> Result<(), Error> {
        match (self.epochs, self.steps) {
            (None, None) => Err(Error::usage("how long to train is missing: give --epochs, or --steps")),
            _ => Ok(()),
        }
    }

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
        training.schedule = self.schedule.unwrap_or(training.schedule);
    }
}
