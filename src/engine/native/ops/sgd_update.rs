//! A quadratic penalty and a step of SGD with momentum on one parameter, in one pass over it.

use super::super::compute::Cores;
use super::super::compute::update::{Pull, Step, update};
use super::conv::is_set;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::ir::DType;
use crate::operator::View;
use crate::optim::sgd;
use crate::pass::{Extras, Kernel, Penalties, Port, Replaces};
use crate::penalty::{l2, l2_sp, l2_sp_fisher};
use ort::Result;

/// `(w, gradient, lr, velocity, strength?, start?, fisher?, after…) → next w, next velocity, penalty?`; attributes `momentum`,
/// `nesterov`. The next values may have the buffers of the present ones: `after` are values for which nothing else than to be there
/// first is asked, those of the nodes that read `w`.
pub const SGD_UPDATE: Native = Native {
    kernel: Kernel {
        name: "SgdUpdate",
        replaces: Replaces::Function(&sgd::UPDATE),
        covers,
        inputs: &[
            Port::Plain,
            Port::Plain,
            Port::Plain,
            Port::Plain,
            Port::OptionalPlain,
            Port::OptionalPlain,
            Port::OptionalPlain,
            Port::Others,
        ],
        outputs: &[Port::Plain, Port::Plain, Port::OptionalPlain],
        extras: Extras {
            penalties: Some(Penalties {
                functions: &[&l2::PENALTY, &l2_sp::PENALTY, &l2_sp_fisher::PENALTY],
                gradient: 1,
                strength: 4,
                value: 2,
            }),
            replaces: &[(0, 0), (3, 1)],
            ..Extras::NONE
        },
    },
    create: |attributes| {
        let momentum = attributes.get::<f32>("momentum").unwrap_or(0.0);
        Ok(Box::new(SgdUpdate { momentum, nesterov: is_set(attributes, "nesterov") }))
    },
    half: None,
};

/// Updates of float32 with momentum.
fn covers(n: &View) -> bool {
    n.node.inputs.len() == 4 && n.ty(0).is_ok_and(|w| w.dtype == DType::F32)
}

struct SgdUpdate {
    momentum: f32,
    nesterov: bool,
}

impl Compute for SgdUpdate {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [w, gradient, lr, velocity, strength, start, fisher] = inputs.all();
        let [next, moved, penalty] = outputs.all();
        let (gradient, lr) = (gradient.get()?, lr.get()?);
        let (strength, start, fisher) = (strength.optional()?, start.optional()?, fisher.optional()?);
        let pull = match &strength {
            None => None,
            Some(strength) => Some(Pull { strength: strength.scalar()?, start: start.map(|s| s.data), fisher: fisher.map(|f| f.data) }),
        };
        let (w, next) = next.replacing(w)?;
        let (velocity, moved) = moved.replacing(velocity)?;
        let (lr, momentum, nesterov) = (lr.scalar()?, self.momentum, self.nesterov);
        let step = Step { w, velocity, gradient: gradient.data, lr, momentum, nesterov, pull };
        let term = update(cores, &step, next, moved);
        if let Some(out) = penalty.optional(&[])? {
            out.iter_mut().take(1).for_each(|out| *out = term);
        }
        Ok(())
    }
}
