//! How long, and at which learning rate over time.

use crate::cli::choice::choice;
use spgraph::error::Error;
use spgraph::train::{Criterion, Length, Schedule, Training};

#[derive(clap::Args)]
#[command(next_help_heading = "Training")]
pub struct LengthArgs {
    /// Passes over the images [default: as many as make 300 steps, from 10 to 300]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Training steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
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
    pub fn set(&self, training: &mut Training) {
        let length = self.epochs.map(Length::Epochs).or(self.steps.map(Length::Steps));
        training.length = length.unwrap_or(training.length);
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
