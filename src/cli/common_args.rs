//! Options that rewriting and training have in common: of a model that is rewritten they are the bundle's, of a bundle the run's.

use super::numbers::{RegularizerArg, StrengthArg, parse_regularizer, parse_strength};
use spgraph::bundle::read_class_names;
use spgraph::error::Error;
use spgraph::import::BatchSize;
use std::path::PathBuf;

/// A learning rate.
#[derive(Clone, Copy)]
pub enum RateArg {
    /// That one.
    Value(f64),
    /// The one that a range test finds.
    Auto,
}

fn parse_rate(text: &str) -> Result<RateArg, String> {
    match text {
        "auto" => Ok(RateArg::Auto),
        _ => text.parse().map(RateArg::Value).map_err(|_| "give a number such as 0.01, or auto".into()),
    }
}

/// Images per step.
#[derive(Clone, Copy)]
pub enum BatchArg {
    /// That many, or any number.
    Value(BatchSize),
    /// As many as fit into memory.
    Auto,
}

fn parse_batch(text: &str) -> Result<BatchArg, String> {
    match text {
        "auto" => Ok(BatchArg::Auto),
        _ => text.parse().map(BatchArg::Value).map_err(|_| "give a number of images, `dynamic` or `auto`".into()),
    }
}

#[derive(Default, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct CommonArgs {
    /// Strength of the penalty on parameters that have a starting point [default: a bundle's own, or the penalty's]
    ///
    /// The defaults are 0.1 for l2-sp and l2-sp-fisher, 0.0001 for l2, 0.001 for the others. PATTERN=STRENGTH is for those that a glob pattern
    /// matches (repeatable; the last match counts; a bundle has its patterns).
    #[arg(long, allow_negative_numbers = true, value_name = "[PATTERN=]STRENGTH", value_parser = parse_strength, help_heading = "Penalty")]
    pub alpha: Vec<StrengthArg>,
    /// Strength of the penalty on a new head's parameters [default: a bundle's own; 0.01; for l2 as --alpha, or 0.001]
    #[arg(long, value_name = "STRENGTH", allow_negative_numbers = true, help_heading = "Penalty")]
    pub beta: Option<f64>,
    /// A loss beside the penalty, on what the network computes: delta, bss or lwf (repeatable)
    ///
    /// delta: feature maps stay near the source's; bss: small singular values of the features vanish; lwf: what the old classifier says stays. Of a
    /// bundle, with its strength, one that it has. The default strengths are 0.01 for delta, 0.001 for bss, 4 for lwf.
    #[arg(long, value_name = "KIND[=STRENGTH]", value_parser = parse_regularizer, help_heading = "Penalty")]
    pub regularizer: Vec<RegularizerArg>,
    /// Learning rate, or `auto` for that which a range test finds before the first step [default: a bundle's own; 0.01 for sgd, 0.0001 for adamw, 1
    /// for lars]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, value_parser = parse_rate)]
    pub lr: Option<RateArg>,
    /// Images per step, or `dynamic`, or `auto` for 32 or the largest half of it whose step is predicted to fit into the free memory [default: a
    /// bundle's own, or 32]
    #[arg(long, value_name = "N", value_parser = parse_batch)]
    pub batch: Option<BatchArg>,
    /// Seed of a new head's weights, of the order of the images, their changes and the split [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// File with the class names by label: one on each line, or a list or object in JSON
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<PathBuf>,
}

impl CommonArgs {
    /// The names in the file, where one is given.
    pub fn class_names(&self) -> Result<Option<Vec<String>>, Error> {
        self.class_names.as_deref().map(read_class_names).transpose()
    }
}
