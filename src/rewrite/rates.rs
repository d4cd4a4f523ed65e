//! Learning-rate multipliers by pattern.

use super::graphs::StateTensor;
use super::patterns::{few, matching};
use super::plan::Planned;
use crate::error::{Error, Result};

/// Sets each trainable parameter's factor: that of the last pattern that matches its name or alias. Fails for a pattern that matches
/// nothing, or none of them; `all` are the network's parameters.
pub(super) fn multiply(trainable: &mut [StateTensor], patterns: &[(String, f64)], all: &[Planned]) -> Result<()> {
    for (pattern, factor) in patterns {
        let found = matching("--lr-mult", pattern, all.iter().map(|p| &p.parameter))?;
        let mut any = false;
        for p in trainable.iter_mut().filter(|p| found.iter().any(|&i| all[i].parameter.name == p.name)) {
            p.lr_mult = *factor;
            any = true;
        }
        if !any {
            return Err(Error::usage(format!(
                "--lr-mult '{pattern}={factor}' matches nothing that is trained: {} is frozen, or has no learning rate",
                few(found.iter().map(|&i| all[i].parameter.alias.as_str()))
            )));
        }
    }
    Ok(())
}
