//! How long, and at which learning rate over time.

use crate::cli::choice::choice;
use spgraph::error::Error;
use spgraph::train::{Length, Schedule, Training};

#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
pub struct LengthArgs {
    /// Passes over the images
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Training steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
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

    pub fn set(&self, training: &mut Training) {
        let length = self.epochs.map(Length::Epochs).or(self.steps.map(Length::Steps));
        training.length = length.unwrap_or(training.length);
        training.head_first = self.head_first.unwrap_or(training.head_first);
        training.schedule = self.schedule.unwrap_or(training.schedule);
    }
}
