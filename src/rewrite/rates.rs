//! Learning-rate multipliers by pattern.

use super::patterns::{few, matching, only};
use super::plan::Planned;
use super::state::StateTensor;
use crate::bundle::ByPattern;
use crate::error::{Error, Result};
use crate::field::Field;

/// Sets each trainable parameter's factor: that of the last pattern that matches its name or alias. Fails for a pattern that matches
/// nothing, or none of them; `all` are the network's parameters.
pub(super) fn multiply(trainable: &mut [StateTensor], patterns: &[ByPattern], all: &[Planned]) -> Result<()> {
    for ByPattern { pattern, value: factor } in patterns {
        let found = matching(Field::LR_MULT, pattern, all.iter().map(|p| &p.parameter))?;
        let mut any = false;
        for p in trainable.iter_mut().filter(|p| only(all, &found).any(|found| found.parameter.name == p.name)) {
            p.lr_mult = *factor;
            any = true;
        }
        if !any {
            return Err(Error::option(
                Field::LR_MULT,
                format!(
                    " '{pattern}={factor}' matches nothing that is trained: {} is frozen, or has no learning rate",
                    few(only(all, &found).map(|p| p.parameter.alias.as_str()))
                ),
            ));
        }
    }
    Ok(())
}
