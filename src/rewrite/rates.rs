//! Learning-rate multipliers by pattern.

use super::graphs::Slot;
use super::plan::Planned;
use crate::error::{Error, Result};
use wildmatch::WildMatch;

/// Sets each trainable parameter's factor: that of the last pattern that matches its name or alias. Fails for a pattern that matches
/// none of them; `all` are the network's parameters, to say why.
pub(super) fn multiply(trainable: &mut [Slot], patterns: &[(String, f64)], all: &[Planned]) -> Result<()> {
    for (pattern, factor) in patterns {
        let glob = WildMatch::new(pattern);
        let mut any = false;
        for p in trainable.iter_mut().filter(|p| glob.matches(&p.name) || glob.matches(&p.alias)) {
            p.lr_mult = *factor;
            any = true;
        }
        if any {
            continue;
        }
        let known = all.iter().any(|p| glob.matches(&p.parameter.name) || glob.matches(&p.parameter.alias));
        let names: Vec<&str> = trainable.iter().map(|p| p.alias.as_str()).take(6).collect();
        let why = match known {
            true => "matches nothing that is trained: what it matches is frozen, or has no learning rate".to_string(),
            false => {
                format!(
                    "matches no parameter. Patterns are globs (* and ?) on names such as {}; `spgraph inspect` lists all",
                    names.join(", ")
                )
            }
        };
        return Err(Error::usage(format!("--lr-mult '{pattern}={factor}' {why}")));
    }
    Ok(())
}
