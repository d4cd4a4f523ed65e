//! Penalties on the parameters: value and gradient in closed form, one file each.

mod l2;
mod l2_sp;

use crate::error::{Error, Result};
use crate::ir::ValueId;
use crate::ops::{Builder, Rule};

/// A penalty's share for one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// A scalar.
    pub value: ValueId,
    /// Of the parameter's shape.
    pub gradient: ValueId,
}

/// One penalty. `strength` is α for parameters with a starting point and β for new ones.
pub trait Penalty: Sync {
    /// The name on the command line and in the manifest.
    fn kind(&self) -> &'static str;

    /// Whether the term for a shared parameter reads the starting point.
    fn uses_start(&self) -> bool;

    /// Defaults of α and β.
    fn defaults(&self) -> (f64, f64);

    /// The term of a shared parameter `w`, whose starting point is `start`; `strength` has as many axes as `w`, all of length 1.
    fn shared(&self, b: &mut Builder, w: ValueId, start: Option<ValueId>, strength: ValueId) -> Rule<Term>;

    /// The term of a new parameter: `(β/2)·‖w‖²` in every penalty of the family.
    fn new_parameter(&self, b: &mut Builder, w: ValueId, strength: ValueId) -> Rule<Term> {
        l2::term(b, w, strength)
    }
}

/// Every penalty but `none`.
pub static PENALTIES: &[&dyn Penalty] = &[&l2::L2, &l2_sp::L2Sp];

/// The penalty of that name; `None` for `none`.
pub fn find(kind: &str) -> Result<Option<&'static dyn Penalty>> {
    if kind == "none" {
        return Ok(None);
    }
    let found = PENALTIES.iter().copied().find(|p| p.kind() == kind);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = PENALTIES.iter().map(|p| p.kind()).collect();
        Error::usage(format!("there is no penalty `{kind}`; choose one of none, {}", names.join(", ")))
    })
}
