//! A quadratic penalty and a step of SGD with momentum on one parameter, in one pass over it.

use super::super::compute::update::{Pull, Step, update};
use super::conv::is_set;
use super::{Compute, Context, Native, Port};
use ort::Result;

/// `(w, gradient, lr, velocity, strength?, start?, fisher?) → next w, next velocity, penalty?`; attributes `momentum`, `nesterov`.
pub const SGD_UPDATE: Native = Native {
    name: "SgdUpdate",
    source: None,
    inputs: &[Port::Plain, Port::Plain, Port::Plain, Port::Plain, Port::OptionalPlain, Port::OptionalPlain, Port::OptionalPlain],
    outputs: &[Port::Plain, Port::Plain, Port::OptionalPlain],
    create: |attributes| {
        let momentum = attributes.get::<f32>("momentum").unwrap_or(0.0);
        Ok(Box::new(SgdUpdate { momentum, nesterov: is_set(attributes, "nesterov") }))
    },
};

struct SgdUpdate {
    momentum: f32,
    nesterov: bool,
}

impl Compute for SgdUpdate {
    fn compute(&mut self, cx: &Context) -> Result<()> {
        let (w, gradient, lr, velocity) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
        let (strength, start, fisher) = (cx.optional(4)?, cx.optional(5)?, cx.optional(6)?);
        let pull = match &strength {
            None => None,
            Some(strength) => Some(Pull { strength: strength.scalar()?, start: start.map(|s| s.data), fisher: fisher.map(|f| f.data) }),
        };
        let step = Step {
            w: w.data,
            gradient: gradient.data,
            velocity: velocity.data,
            lr: lr.scalar()?,
            momentum: self.momentum,
            nesterov: self.nesterov,
            pull,
        };
        let term = update(cx, cx.isa, &step, cx.output(0, &w.shape)?, cx.output(1, &w.shape)?);
        if let Some(out) = cx.optional_output(2, &[])? {
            out[0] = term;
        }
        Ok(())
    }
}
