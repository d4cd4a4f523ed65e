//! How parameters follow their gradients.

use crate::cli::common_args::{CommonArgs, RateArg};
use crate::cli::flags::flag;
use crate::cli::numbers::parse_factor;
use crate::cli::settings::{given, homeless, homes, set};
use clap::builder::PossibleValuesParser;
use spgraph::Field;
use spgraph::bundle::{ByPattern, Options};
use spgraph::error::{Error, Result};
use spgraph::optim::{self, Optimizer, RULES, UpdateRule};

#[derive(clap::Args)]
#[command(next_help_heading = "Optimizer")]
pub struct OptimizerArgs {
    /// How parameters follow their gradients [default: sgd]
    #[arg(long, value_parser = PossibleValuesParser::new(UpdateRule::KINDS))]
    optimizer: Option<String>,
    /// Multiply the learning rate of some parameters: 'fc.*=10'. Later patterns win
    #[arg(long, value_name = "PATTERN=FACTOR", value_parser = parse_factor)]
    lr_mult: Vec<ByPattern>,
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
    pub fn set(&self, common: &CommonArgs, options: &mut Options) -> Result<()> {
        let settings = [
            given(Field::MOMENTUM, self.momentum.as_ref())?,
            given(Field::NESTEROV, self.nesterov.then_some(&true))?,
            given(Field::BETA1, self.beta1.as_ref())?,
            given(Field::BETA2, self.beta2.as_ref())?,
            given(Field::EPS, self.eps.as_ref())?,
            given(Field::WEIGHT_DECAY, self.weight_decay.as_ref())?,
            given(Field::TRUST, self.trust.as_ref())?,
        ];
        let before = options.optimizer;
        let rule = match self.optimizer.as_deref() {
            Some(kind) if kind != before.rule.kind() => {
                // The rate of another optimizer, from a configuration, is none of this one's.
                options.lr = None;
                optim::find(kind)?
            }
            _ => before.rule,
        };
        if let Some(field) = homeless(&[rule], &settings) {
            let kinds = RULES.iter().map(|usual| usual()).map(|rule| (rule.kind(), rule));
            let hint = match field {
                Field::MOMENTUM => "; adamw's is --beta1",
                Field::WEIGHT_DECAY => "; elsewhere the penalty does that: --penalty l2 --alpha STRENGTH",
                _ => "",
            };
            return Err(Error::usage(format!(
                "{} has no meaning with --optimizer {}: it belongs to {}{hint}",
                flag(field),
                rule.kind(),
                homes(Field::OPTIMIZER, field, kinds)
            )));
        }
        options.optimizer = Optimizer {
            rule: set(&rule, &settings)?,
            clip_norm: self.clip_norm.or(before.clip_norm),
            spd: self.spd.or(before.spd),
            ema: self.ema.or(before.ema),
        };
        if let Some(RateArg::Value(lr)) = common.lr {
            options.lr = Some(lr);
        }
        if !self.lr_mult.is_empty() {
            options.lr_mult = self.lr_mult.clone();
        }
        Ok(())
    }
}
