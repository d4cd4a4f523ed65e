//! The options of `spgraph rewrite` that say how parameters follow their gradients.

use super::numbers::parse_factor;
use spgraph::bundle::ByPattern;
use spgraph::error::{Error, Result};
use spgraph::optim::{Optimizer, UpdateRule};

#[derive(clap::Args)]
#[command(next_help_heading = "Optimizer")]
pub struct OptimizerArgs {
    /// How parameters follow their gradients
    #[arg(long, default_value = "sgd", value_parser = UpdateRule::KINDS)]
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
        let given: [(&str, bool, &[&str]); 7] = [
            ("--momentum", self.momentum.is_some(), &["sgd", "lars"]),
            ("--nesterov", self.nesterov, &["sgd"]),
            ("--beta1", self.beta1.is_some(), &["adamw"]),
            ("--beta2", self.beta2.is_some(), &["adamw"]),
            ("--eps", self.eps.is_some(), &["adamw"]),
            ("--weight-decay", self.weight_decay.is_some(), &["adamw"]),
            ("--trust", self.trust.is_some(), &["lars"]),
        ];
        let own = self.optimizer.as_str();
        for (option, given, kinds) in given {
            if given && !kinds.contains(&own) {
                let those: Vec<String> = kinds.iter().map(|kind| format!("--optimizer {kind}")).collect();
                let hint = match option {
                    "--momentum" => "; adamw's is --beta1",
                    "--weight-decay" => "; elsewhere the penalty does that: --penalty l2 --alpha STRENGTH",
                    _ => "",
                };
                return Err(Error::usage(format!(
                    "{option} has no meaning with --optimizer {own}: it belongs to {}{hint}",
                    those.join(" and ")
                )));
            }
        }
        let mut rule = UpdateRule::usual(own)?;
        match &mut rule {
            UpdateRule::Sgd(sgd) => {
                set(&mut sgd.momentum, self.momentum);
                sgd.nesterov = self.nesterov;
            }
            UpdateRule::AdamW(adamw) => {
                set(&mut adamw.beta1, self.beta1);
                set(&mut adamw.beta2, self.beta2);
                set(&mut adamw.eps, self.eps);
                set(&mut adamw.weight_decay, self.weight_decay);
            }
            UpdateRule::Lars(lars) => {
                set(&mut lars.momentum, self.momentum);
                set(&mut lars.trust, self.trust);
            }
        }
        Ok(Optimizer { rule, clip_norm: self.clip_norm, spd: self.spd, ema: self.ema })
    }
}

fn set(setting: &mut f64, given: Option<f64>) {
    *setting = given.unwrap_or(*setting);
}
