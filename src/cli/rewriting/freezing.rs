//! Which parameters are trained.

use crate::cli::choice::choice;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{DropoutMode, Options};

#[derive(clap::Args)]
#[command(next_help_heading = "What is trained")]
pub struct FreezingArgs {
    /// Keep parameters as they are: quoted glob patterns on names or aliases, behind the model
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Keep the first N stages: 1 is what lies before the first residual unit, each further one a residual stage
    #[arg(long, value_name = "N")]
    freeze_stages: Option<usize>,
    /// Keep the first N units: 1 is what lies before the first residual unit, each further one a residual unit
    #[arg(long, value_name = "N")]
    freeze_units: Option<usize>,
    /// Train only what the glob patterns match (and a new head), keep the rest as it is
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    train: Vec<String>,
    /// BatchNorm with batch statistics or with its moving ones [default: train, where the network has live BatchNorm]
    #[arg(long, value_parser = choice::<BatchNormMode>(&["train", "frozen"]))]
    batch_norm: Option<BatchNormMode>,
    /// Dropout that the model's file has: `off` for what does nothing, `keep` for masks that follow from --seed; or how much is dropped of what enters the
    /// classifier: 0.2 [default: off]
    #[arg(long, value_name = "off|keep|SHARE", allow_negative_numbers = true)]
    dropout: Option<DropoutMode>,
}

impl FreezingArgs {
    pub fn set(&self, options: &mut Options) {
        if !self.freeze.is_empty() {
            options.freeze = self.freeze.clone();
        }
        if !self.train.is_empty() {
            options.train = self.train.clone();
        }
        options.freeze_stages = self.freeze_stages.unwrap_or(options.freeze_stages);
        options.freeze_units = self.freeze_units.unwrap_or(options.freeze_units);
        options.batch_norm = self.batch_norm.or(options.batch_norm);
        options.dropout = self.dropout.unwrap_or(options.dropout);
    }
}
