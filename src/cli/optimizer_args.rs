//! The options of `spgraph rewrite` that say how parameters follow their gradients.

use clap::ValueEnum;
use spgraph::error::{Error, Result};
use spgraph::optim::{AdamW, Lars, Optimizer, Sgd, UpdateRule};

#[derive(clap::Args)]
#[command(next_help_heading = "Optimizer")]
pub struct OptimizerArgs {
    /// How parameters follow their gradients
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: Kind,
    /// The bundle's default learning rate [default: 0.01 for sgd, 0.0001 for adamw, 1 for lars]
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Multiply the learning rate of some parameters: 'fc.*=10'. Later patterns win
    #[arg(long, value_name = "PATTERN=FACTOR", value_parser = parse_factor)]
    pub lr_mult: Vec<(String, f64)>,
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

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Sgd,
    #[value(name = "adamw")]
    AdamW,
    Lars,
}

/// `fc.*=10`.
fn parse_factor(text: &str) -> Result<(String, f64), String> {
    let parts = text.rsplit_once('=').filter(|(pattern, _)| !pattern.is_empty());
    let (pattern, factor) = parts.ok_or("give a pattern and a factor, such as 'fc.*=10'")?;
    let factor = factor.trim().parse().map_err(|_| format!("`{factor}` is no number; give a pattern and a factor, such as 'fc.*=10'"))?;
    Ok((pattern.to_string(), factor))
}

impl OptimizerArgs {
    /// Fails for options that the chosen optimizer does not have.
    pub fn optimizer(&self) -> Result<Optimizer> {
        use Kind::{AdamW as A, Lars as L, Sgd as S};
        let given: [(&str, bool, &[Kind]); 7] = [
            ("--momentum", self.momentum.is_some(), &[S, L]),
            ("--nesterov", self.nesterov, &[S]),
            ("--beta1", self.beta1.is_some(), &[A]),
            ("--beta2", self.beta2.is_some(), &[A]),
            ("--eps", self.eps.is_some(), &[A]),
            ("--weight-decay", self.weight_decay.is_some(), &[A]),
            ("--trust", self.trust.is_some(), &[L]),
        ];
        let name = |k: Kind| k.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
        for (option, given, kinds) in given {
            if given && !kinds.contains(&self.optimizer) {
                let those: Vec<String> = kinds.iter().map(|&k| format!("--optimizer {}", name(k))).collect();
                let hint = match (option, self.optimizer) {
                    ("--momentum", _) => "; adamw's is --beta1",
                    ("--weight-decay", _) => "; elsewhere the penalty does that: --penalty l2 --alpha STRENGTH",
                    _ => "",
                };
                return Err(Error::usage(format!(
                    "{option} has no meaning with --optimizer {}: it belongs to {}{hint}",
                    name(self.optimizer),
                    those.join(" and ")
                )));
            }
        }
        let rule = match self.optimizer {
            S => UpdateRule::Sgd(Sgd { momentum: self.momentum.unwrap_or(Sgd::default().momentum), nesterov: self.nesterov }),
            A => {
                let usual = AdamW::default();
                UpdateRule::AdamW(AdamW {
                    beta1: self.beta1.unwrap_or(usual.beta1),
                    beta2: self.beta2.unwrap_or(usual.beta2),
                    eps: self.eps.unwrap_or(usual.eps),
                    weight_decay: self.weight_decay.unwrap_or(usual.weight_decay),
                })
            }
            L => {
                let usual = Lars::default();
                UpdateRule::Lars(Lars { momentum: self.momentum.unwrap_or(usual.momentum), trust: self.trust.unwrap_or(usual.trust) })
            }
        };
        Ok(Optimizer { rule, clip_norm: self.clip_norm, spd: self.spd, ema: self.ema })
    }
}
