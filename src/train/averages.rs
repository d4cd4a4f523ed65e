//! Moving averages among the state, and what they are averages of.

use crate::bundle::manifest::{Role, State};
use crate::error::{Error, Result};

/// Of each average its place in the state, and that of its parameter.
pub(super) fn averages(states: &[State]) -> Result<Vec<(usize, usize)>> {
    let of = |(at, average): (usize, &State)| {
        let parameter = states.iter().position(|s| average.of.as_ref() == Some(&s.name));
        let missing = || Error::model(format!("the bundle's manifest does not say of what `{}` is the average", average.name));
        Ok((at, parameter.ok_or_else(missing)?))
    };
    states.iter().enumerate().filter(|(_, s)| s.role == Role::Ema).map(of).collect()
}
