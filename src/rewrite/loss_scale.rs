//! The dynamic loss scale of a training with float16: the loss's gradient is multiplied before it goes back through the network, so that small numbers stay
//! numbers, and gradients are divided by it in float32.
//!
//! ```text
//! all gradients finite      every next value counts;   after GROWTH such steps in a row the scale doubles, up to MOST
//! otherwise                 the state stays as it is;  the scale is halved, down to 1
//! ```

use super::state::{Names, StateTensor, failed};
use crate::bundle::StateMeaning;
use crate::bundle::manifest::Role;
use crate::error::Result;
use crate::ir::{Attrs, DType, Dim, Graph, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Rule};

/// At the start.
const START: f64 = 65536.0;
/// Steps with finite gradients in a row after which it doubles.
const GROWTH: f64 = 2000.0;
/// Beyond it the loss's own gradient leaves the range of float16.
const MOST: f64 = 16_777_216.0;

/// Its state.
#[derive(Debug, Clone)]
pub(super) struct LossScale {
    pub scale: StateTensor,
    /// Steps with finite gradients since it last changed.
    pub good: StateTensor,
}

/// What became of a step.
pub(super) struct Outcome {
    /// A boolean of rank 0.
    finite: ValueId,
    /// 1 where the state stays as it is, else 0.
    pub skipped: ValueId,
}

impl LossScale {
    /// Declares its inputs.
    pub fn new(graph: &mut Graph) -> LossScale {
        let mut state = |kind: &str, meaning, start| {
            let declared = StateTensor::beside(graph, None, Role::Optimizer, kind, TensorType::scalar(DType::F32));
            StateTensor { meaning: Some(meaning), start, ..declared }
        };
        let start = Some(Tensor::from_floats(DType::F32, &[], &[START]));
        LossScale { scale: state("loss_scale", StateMeaning::LossScale, start), good: state("good_steps", StateMeaning::GoodSteps, None) }
    }

    /// The same in another graph, in which the names are still free.
    pub fn again(&self, source: &Graph, graph: &mut Graph) -> LossScale {
        let mut found = self.clone();
        for s in [&mut found.scale, &mut found.good] {
            s.input = graph.input_as(source.name_of(s.input), s.ty.clone());
            s.next = s.input;
        }
        found
    }

    /// A cotangent of what the network computes, times the scale.
    pub fn scaled(&self, graph: &mut Graph, cotangent: ValueId) -> Result<ValueId> {
        let mut b = Builder::new(graph);
        b.scope("loss_scale");
        let factor = at_rank(&mut b, self.scale.input, cotangent).map_err(failed("the loss scale"))?;
        b.mul(cotangent, factor).map_err(failed("the loss scale"))
    }

    /// Gradients of the scaled loss, divided by the scale.
    pub fn unscaled(&self, graph: &mut Graph, gradients: &[ValueId]) -> Result<Vec<ValueId>> {
        let mut b = Builder::new(graph);
        b.scope("loss_scale");
        let mut divide = || -> Rule<Vec<ValueId>> {
            let one = b.number(1.0, self.scale.input);
            let inverse = b.op("Div", &[one, self.scale.input], Attrs::new())?;
            let mut found = vec![];
            for &g in gradients {
                let factor = at_rank(&mut b, inverse, g)?;
                found.push(b.mul(g, factor)?);
            }
            Ok(found)
        };
        divide().map_err(failed("the loss scale"))
    }

    /// Moves the scale by the gradients' squared norms.
    pub fn advance(&mut self, graph: &mut Graph, squares: &[ValueId]) -> Result<Outcome> {
        let outcome = outcome(graph, squares)?;
        let (scale, good) = (self.scale.input, self.good.input);
        let mut b = Builder::new(graph);
        b.scope("loss_scale");
        let mut next = || -> Rule<[ValueId; 2]> {
            let [number, zero, two, half] = [1.0, 0.0, 2.0, 0.5].map(|n| b.number(n, scale));
            let [enough, most] = [GROWTH, MOST].map(|n| b.number(n, scale));
            let more = b.add(good, number)?;
            let grows = b.op("GreaterOrEqual", &[more, enough], Attrs::new())?;
            let (twice, halved) = (b.mul(scale, two)?, b.mul(scale, half)?);
            let twice = b.op("Min", &[twice, most], Attrs::new())?;
            let halved = b.op("Max", &[halved, number], Attrs::new())?;
            let kept = b.op("Where", &[grows, twice, scale], Attrs::new())?;
            let counted = b.op("Where", &[grows, zero, more], Attrs::new())?;
            let next = b.op("Where", &[outcome.finite, kept, halved], Attrs::new())?;
            Ok([next, b.op("Where", &[outcome.finite, counted, zero], Attrs::new())?])
        };
        let next = next().map_err(failed("the loss scale"))?;
        let mut names = Names::from(0);
        for (s, value) in [&mut self.scale, &mut self.good].into_iter().zip(next) {
            s.next = names.give(graph, value, &format!("{}.next", s.name))?;
        }
        Ok(outcome)
    }
}

/// Whether all gradients are finite: squares of what is not are not, nor is a sum with such.
pub(super) fn outcome(graph: &mut Graph, squares: &[ValueId]) -> Result<Outcome> {
    let mut b = Builder::new(graph);
    b.scope("loss_scale");
    let mut find = || -> Rule<Outcome> {
        let total = b.op("Sum", squares, Attrs::new())?;
        let most = b.number(f32::MAX.into(), total);
        // Of no number nothing is true.
        let finite = b.op("LessOrEqual", &[total, most], Attrs::new())?;
        let (one, zero) = (b.number(1.0, total), b.number(0.0, total));
        Ok(Outcome { finite, skipped: b.op("Where", &[finite, zero, one], Attrs::new())? })
    };
    find().map_err(failed("the check of gradients"))
}

/// The squared norms of gradients.
pub(super) fn squares(graph: &mut Graph, gradients: &[ValueId]) -> Result<Vec<ValueId>> {
    let mut b = Builder::new(graph);
    b.scope("loss_scale");
    gradients.iter().map(|&g| b.sum_square(g)).collect::<Rule<_>>().map_err(failed("the check of gradients"))
}

impl Outcome {
    /// Lets the tensors stay as they are where the gradients are not finite.
    pub fn keep<'a>(&self, graph: &mut Graph, state: impl Iterator<Item = &'a mut StateTensor>) -> Result<()> {
        for s in state {
            let name = graph.name_of(s.next).to_string();
            graph.rename(s.next, &format!("{}.proposed", s.name));
            let mut b = Builder::new(graph);
            b.scope(format!("{}.update", s.alias));
            let kept = b.op("Where", &[self.finite, s.next, s.input], Attrs::new()).map_err(failed("the choice of a next value"))?;
            graph.rename_as(kept, &name);
            s.next = kept;
        }
        Ok(())
    }
}

/// The scalar with as many axes of length 1 as `like` has.
fn at_rank(b: &mut Builder, scalar: ValueId, like: ValueId) -> Rule<ValueId> {
    b.reshape(scalar, &vec![Dim::Known(1); b.rank(like)])
}
