//! The options of `spgraph rewrite` that say how parameters follow their gradients.

use super::flags::flag;
use super::numbers::parse_factor;
use super::settings::{given, homeless, homes, set};
use clap::builder::PossibleValuesParser;
use spgraph::Field;
use spgraph::bundle::ByPattern;
use spgraph::error::{Error, Result};
use spgraph::optim::{self, Optimizer, RULES, UpdateRule};

#[derive(clap::Args)]
#[command(next_help_heading = "Optimizer")]
pub struct OptimizerArgs {
    /// How parameters follow their gradients
    #[arg(long, default_value = "sgd", value_parser = PossibleValuesParser::new(UpdateRule::KINDS))]
    optimizer: String,
    /// The bundle's default learning rate [default: 0.01 for sgd, 0.0001 for adamw, 1 for lars]
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Multiply the learning rate of some parameters: 'fc.*=10'. Later patterns win
    #[arg(long, value_name = "PATTERN=FACTOR", value_parser = parse_factor)]
    pub lr_mult: Vec<ByPattern>,
    /// Momentum of sgd and lars [default: 0.9]
    #[arg(long, allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Nesterov's variant of sgd's momentum
    #[arg(long)]
    nesterov: bool,
    /// Decay of adamw's mean of gradients [default: 0.9]
    #[arg(long, allow_negative_numbers = true)]
    beta1: Option<f64>,
    /// Decay of adamw's mean of squared gradients [default: 0.999]
    #[arg(long, allow_negative_numbers = true)]
    beta2: Option<f64>,
    /// Added to adamw's denominator [default: 1e-8]
    #[arg(long, allow_negative_numbers = true)]
    eps: Option<f64>,
    /// Decay of adamw towards 0, beside the penalty [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Step of lars as a share of a weight's norm, times --lr [default: 0.001]
    #[arg(long, allow_negative_numbers = true)]
    trust: Option<f64>,
    /// Scale the gradients down where their global norm is larger
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Selective Projection Decay: hold weights back that drift away from their start; 1 is a good strength
    #[arg(long, value_name = "STRENGTH", allow_negative_numbers = true)]
    spd: Option<f64>,
    /// Keep a moving average of the weights, for --state ema: 0.999
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    ema: Option<f64>,
}

impl OptimizerArgs {
    /// Fails for options that the chosen optimizer does not have.
    pub fn optimizer(&self) -> Result<Optimizer> {
        let options = [
            given(Field::MOMENTUM, self.momentum.as_ref())?,
            given(Field::NESTEROV, self.nesterov.then_some(&true))?,
            given(Field::BETA1, self.beta1.as_ref())?,
            given(Field::BETA2, self.beta2.as_ref())?,
            given(Field::EPS, self.eps.as_ref())?,
            given(Field::WEIGHT_DECAY, self.weight_decay.as_ref())?,
            given(Field::TRUST, self.trust.as_ref())?,
        ];
        let usual = optim::find(&self.optimizer)?;
        if let Some(field) = homeless(&[usual], &options) {
            let kinds = RULES.iter().map(|usual| usual()).map(|rule| (rule.kind(), rule));
            let hint = match field {
                Field::MOMENTUM => "; adamw's is --beta1",
                Field::WEIGHT_DECAY => "; elsewhere the penalty does that: --penalty l2 --alpha STRENGTH",
                _ => "",
            };
            return Err(Error::usage(format!(
                "{} has no meaning with --optimizer {}: it belongs to {}{hint}",
                flag(field),
                usual.kind(),
                homes(Field::OPTIMIZER, field, kinds)
            )));
        }
        Ok(Optimizer { rule: set(&usual, &options)?, clip_norm: self.clip_norm, spd: self.spd, ema: self.ema })
    }
}
