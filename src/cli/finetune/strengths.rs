//! Strengths of what the bundle holds the network with.

use crate::cli::numbers::{RegularizerArg, StrengthArg, parse_regularizer, parse_strength};
use spgraph::bundle::Setting;
use spgraph::error::Error;
use spgraph::train::Training;

#[derive(clap::Args)]
pub struct StrengthArgs {
    /// Strength of the penalty on parameters with a starting point, or with PATTERN=STRENGTH of a pattern that was given to
    /// `spgraph rewrite` with a strength of its own (repeatable) [default: the bundle's]
    #[arg(long, allow_negative_numbers = true, value_name = "[PATTERN=]STRENGTH", value_parser = parse_strength)]
    alpha: Vec<StrengthArg>,
    /// Strength of the penalty on a new head's parameters [default: the bundle's]
    #[arg(long, allow_negative_numbers = true)]
    beta: Option<f64>,
    /// Strength of a regularizer of the bundle (repeatable) [default: the bundle's]
    #[arg(long, value_name = "KIND=STRENGTH", value_parser = parse_regularizer)]
    regularizer: Vec<RegularizerArg>,
}

impl StrengthArgs {
    pub fn set(&self, training: &mut Training) -> Result<(), Error> {
        for StrengthArg { pattern, value } in &self.alpha {
            training.scalars.insert(pattern.clone().map_or(Setting::Alpha, Setting::AlphaOf), *value);
        }
        for RegularizerArg { kind, strength } in &self.regularizer {
            let value = strength.ok_or_else(|| {
                Error::usage(format!("--regularizer {kind}: give its strength, such as {kind}=0.1; `spgraph rewrite` chooses regularizers"))
            })?;
            training.scalars.insert(Setting::Regularizer(spgraph::loss::find(kind)?.kind().into()), value);
        }
        if let Some(beta) = self.beta {
            training.scalars.insert(Setting::Beta, beta);
        }
        Ok(())
    }
}
