//! Penalties on the parameters: value and gradient in closed form, one file each.
//!
//! The family is that of Li, Grandvalet and Davoine, *Explicit Inductive Bias for Transfer Learning with Convolutional Networks*
//! (ICML 2018, arXiv 1802.01483). `S` are the parameters shared with the source network, with a starting point `w⁰`; every member
//! adds `(β/2)·‖w_S̄‖²` for the new ones.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

pub(crate) mod gl_sp;
pub(crate) mod gl_sp_fisher;
mod groups;
pub(crate) mod l1_sp;
pub(crate) mod l2;
pub(crate) mod l2_sp;
pub(crate) mod l2_sp_fisher;

pub use groups::Groups;

use crate::error::{Error, Result};
use crate::ir::{Attrs, ValueId};
use crate::nearest::hint;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// A penalty's share for one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// A scalar.
    pub value: ValueId,
    /// Of the parameter's shape.
    pub gradient: ValueId,
}

/// One shared parameter as a penalty sees it.
pub struct Pretrained<'a> {
    /// The parameter.
    pub w: ValueId,
    /// w⁰, of the shape of `w`; given where the penalty uses it.
    pub start: Option<ValueId>,
    /// F̂, of the shape of `w`; given where the penalty uses it.
    pub fisher: Option<ValueId>,
    /// Of its elements, for penalties that work on groups.
    pub groups: &'a Groups,
    /// α, with as many axes as `w`, all of length 1.
    pub strength: ValueId,
}

impl Pretrained<'_> {
    fn start(&self) -> Rule<ValueId> {
        self.start.ok_or_else(|| "the penalty needs the starting point".into())
    }

    fn fisher(&self) -> Rule<ValueId> {
        self.fisher.ok_or_else(|| "the penalty needs the Fisher information".into())
    }
}

/// One penalty.
pub trait Penalty: Sync {
    /// The name on the command line and in the manifest.
    fn kind(&self) -> &'static str;

    /// Whether the term for a shared parameter reads the starting point.
    fn uses_start(&self) -> bool;

    /// Whether it reads the diagonal of the Fisher information.
    fn uses_fisher(&self) -> bool {
        false
    }

    /// Whether the gradient is linear in `w`, so that it can act as a decay beside the optimizer.
    fn is_quadratic(&self) -> bool {
        false
    }

    /// Defaults of α and β.
    fn defaults(&self) -> (f64, f64);

    /// The term of a shared parameter.
    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term>;

    /// Why there is no proximal step, where there is none.
    fn without_prox(&self) -> Option<&'static str>;

    /// The value alone, for a proximal step, which has no use for the gradient: runtimes compute what nobody reads.
    fn value(&self, b: &mut Builder, p: &Pretrained) -> Rule<ValueId> {
        Ok(self.shared(b, p)?.value)
    }

    /// The proximal step: `argmin_x ½·‖x − w‖² + Ω(x)`, where `p.strength` is `lr·α` and `p.w` comes from the optimizer's step on
    /// the data loss alone.
    fn prox(&self, _: &mut Builder, _: &Pretrained) -> Rule<ValueId> {
        Err(self.without_prox().unwrap_or("the penalty has no proximal step").into())
    }
}

/// `(next w, gradient, lr) → next w`.
pub const DECOUPLED: Function = Function::new("DecoupledPenalty");

/// The step of a penalty's gradient beside the optimizer's, which led to `next`: `next − lr·∇Ω(w)`.
pub fn decoupled(b: &mut Builder, next: ValueId, gradient: ValueId, lr: ValueId) -> Rule<ValueId> {
    let [next] = b.call(&DECOUPLED, [next, gradient, lr], Attrs::new(), formula(|[next, gradient, lr]| [next - gradient * lr]))?;
    Ok(next)
}

/// The term of a new parameter: `(β/2)·‖w‖²` in every penalty of the family, and where there is no penalty on shared parameters.
/// `strength` is β, with as many axes as `w`.
pub fn on_new(b: &mut Builder, w: ValueId, strength: ValueId) -> Rule<Term> {
    l2::term(b, w, strength)
}

/// Every penalty.
pub static PENALTIES: &[&dyn Penalty] =
    &[&l2::L2, &l2_sp::L2Sp, &l2_sp_fisher::L2SpFisher, &l1_sp::L1Sp, &gl_sp::GlSp, &gl_sp_fisher::GlSpFisher];

/// The penalty of that name.
pub fn find(kind: &str) -> Result<&'static dyn Penalty> {
    PENALTIES.iter().copied().find(|p| p.kind() == kind).ok_or_else(|| {
        let names: Vec<_> = std::iter::once("none").chain(PENALTIES.iter().map(|p| p.kind())).collect();
        Error::usage(format!("there is no penalty `{kind}`; choose one of {}{}", names.join(", "), hint(kind, &names)))
    })
}
