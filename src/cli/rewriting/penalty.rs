//! What holds the parameters near their starting point.

use crate::cli::common_args::CommonArgs;
use spgraph::bundle::{ByPattern, Options, Penalize, PenaltyOption, PenaltyStep};
use spgraph::error::Error;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(next_help_heading = "Penalty")]
pub struct PenaltyArgs {
    /// Penalty: none, l2, l2-sp, l2-sp-fisher, l1-sp, gl-sp or gl-sp-fisher [default: l2-sp; none with --regularizer]
    #[arg(long)]
    penalty: Option<String>,
    /// Weigh alpha by depth: FACTOR times alpha at the first layer, falling (or rising) geometrically to alpha at the last
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    alpha_depth: Option<f64>,
    /// Which parameters are penalised: `weights` (of Conv, Gemm and MatMul), `all`, or glob patterns on names or aliases [default: weights]
    #[arg(long, num_args = 1.., value_name = "weights|all|PATTERN")]
    penalize: Vec<String>,
    /// Leave parameters out of the penalty: glob patterns on names or aliases
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    sp_exclude: Vec<String>,
    /// Fisher information that `spgraph fisher` estimated from this model, for l2-sp-fisher and gl-sp-fisher
    #[arg(long, value_name = "FILE")]
    fisher: Option<PathBuf>,
    /// l1-sp and gl-sp by their proximal step, which returns weights or whole channels exactly to their start
    #[arg(long, conflicts_with = "decoupled")]
    prox: bool,
    /// l2, l2-sp and l2-sp-fisher beside the optimizer, not through its gradient and momentum
    #[arg(long)]
    decoupled: bool,
}

impl PenaltyArgs {
    pub fn set(&self, common: &CommonArgs, options: &mut Options) -> Result<(), Error> {
        if let Some(penalty) = self.penalty.as_deref().map(PenaltyOption::from)
            && penalty != options.penalty
        {
            // Strengths and steps of another penalty, from a configuration, are none of this one's.
            (options.alpha, options.beta, options.alpha_depth) = (None, None, None);
            (options.strengths, options.penalty_step, options.fisher) = (vec![], PenaltyStep::Gradient, None);
            options.penalty = penalty;
        }
        let plain: Vec<f64> = common.alpha.iter().filter(|a| a.pattern.is_none()).map(|a| a.value).collect();
        if plain.len() > 1 {
            return Err(Error::usage("--alpha is given twice without a pattern"));
        }
        options.alpha = plain.first().copied().or(options.alpha);
        let own: Vec<ByPattern> =
            common.alpha.iter().filter_map(|a| Some(ByPattern { pattern: a.pattern.clone()?, value: a.value })).collect();
        if !own.is_empty() {
            options.strengths = own;
        }
        options.beta = common.beta.or(options.beta);
        options.alpha_depth = self.alpha_depth.or(options.alpha_depth);
        match &self.penalize[..] {
            [] => {}
            [one] if one == "weights" => options.penalize = Penalize::Weights,
            [one] if one == "all" => options.penalize = Penalize::All,
            patterns => options.penalize = Penalize::Patterns(patterns.to_vec()),
        }
        if !self.sp_exclude.is_empty() {
            options.sp_exclude = self.sp_exclude.clone();
        }
        if self.fisher.is_some() {
            options.fisher = self.fisher.clone();
        }
        match (self.prox, self.decoupled) {
            (true, _) => options.penalty_step = PenaltyStep::Proximal,
            (_, true) => options.penalty_step = PenaltyStep::Decoupled,
            _ => {}
        }
        Ok(())
    }
}
