//! The optimizer's half of a step: from total gradients to the next values of parameters and optimizer state. In order: clipping by
//! the global norm, the update rule with each parameter's own learning rate, projection towards the start, the penalty's own step, moving average.

use super::graphs::{Scalars, StateTensor, failed, own_name};
use super::options::Options;
use super::strengths::Acting;
use crate::bundle::manifest::Role;
use crate::error::Result;
use crate::ir::{Graph, TensorType, ValueId};
use crate::operator::{Builder, Rule};
use crate::optim::{self, Advanced, Update};

/// The value with the squared norm of a parameter's gradient, where gradients are clipped.
pub(super) fn square_name(parameter: &str) -> String {
    format!("{parameter}.grad.square")
}

/// What acts on one parameter.
pub(super) struct Pull<'a> {
    /// Of data loss and penalty together.
    pub gradient: ValueId,
    /// The constant w⁰ of a parameter that has one and needs it.
    pub start: Option<ValueId>,
    pub penalty: Option<Acting<'a>>,
}

/// What the updates of all parameters have in common.
struct Common<'a> {
    optimizer: &'a optim::Optimizer,
    lr: ValueId,
    /// The values that the update rule computed for this step.
    shared: Vec<ValueId>,
}

/// Gives every parameter its next value; returns the state that this takes. `pulls` are in the order of `parameters`.
pub(super) fn update(
    graph: &mut Graph,
    options: &Options,
    scalars: &mut Scalars,
    lr: ValueId,
    parameters: &mut [StateTensor],
    pulls: &[Pull],
) -> Result<Vec<StateTensor>> {
    let optimizer = &options.optimizer;
    let built = graph.nodes.len();
    let Some(first) = parameters.first() else { return Ok(vec![]) };
    let gradients: Vec<ValueId> = pulls.iter().map(|p| p.gradient).collect();
    let gradients = clipped(graph, optimizer.clip_norm, scalars, parameters, &gradients).map_err(failed("clipping"))?;
    let mut state = vec![];
    let mut common: Vec<StateTensor> = vec![];
    for kind in optimizer.rule.scalar_state() {
        common.push(extra(graph, None, Role::Optimizer, kind, TensorType::scalar(first.ty.dtype)));
    }
    let inputs: Vec<ValueId> = common.iter().map(|s| s.input).collect();
    let mut b = Builder::new(graph);
    b.scope("optimizer");
    let Advanced { next, shared } = optimizer.rule.advance(&mut b, &inputs).map_err(failed("optimizer"))?;
    for (slot, value) in common.iter_mut().zip(next) {
        slot.next = own_name(graph, value, &format!("{}.next", slot.name), built)?;
    }
    let all = Common { optimizer, lr, shared };
    let mut averages = vec![];
    for ((p, &gradient), pull) in parameters.iter_mut().zip(&gradients).zip(pulls) {
        let mut own: Vec<StateTensor> = vec![];
        for kind in optimizer.rule.state() {
            own.push(extra(graph, Some(p), Role::Optimizer, kind, p.ty.clone()));
        }
        let inputs: Vec<ValueId> = own.iter().map(|s| s.input).collect();
        let next = one(graph, scalars, &all, p, Clipped { gradient, pull }, &inputs).map_err(failed("update"))?;
        for (slot, &value) in std::iter::once(&mut *p).chain(&mut own).zip(&next) {
            slot.next = own_name(graph, value, &format!("{}.next", slot.name), built)?;
        }
        state.append(&mut own);
        if let Some(decay) = optimizer.ema {
            let mut slot = extra(graph, Some(p), Role::Ema, "ema", p.ty.clone());
            let mut b = Builder::new(graph);
            b.scope(format!("{}.update", p.alias));
            let next = optim::average(&mut b, slot.input, p.next, decay).map_err(failed("average"))?;
            slot.next = own_name(graph, next, &format!("{}.next", slot.name), built)?;
            averages.push(slot);
        }
    }
    state.append(&mut common);
    state.append(&mut averages);
    Ok(state)
}

/// State of the optimizer, of one parameter or of all together.
fn extra(graph: &mut Graph, of: Option<&StateTensor>, role: Role, kind: &str, ty: TensorType) -> StateTensor {
    let (name, alias) = of.map_or(("optimizer", "optimizer"), |p| (&p.name, &p.alias));
    let input = graph.input(&format!("{name}.{kind}"), ty.clone());
    StateTensor {
        name: graph.name_of(input).to_string(),
        alias: format!("{alias}.{kind}"),
        role,
        penalized: false,
        start: None,
        lr_mult: 1.0,
        of: of.map(|p| p.name.clone()),
        ty,
        input,
        next: input,
    }
}

fn clipped(
    graph: &mut Graph,
    max_norm: Option<f64>,
    scalars: &mut Scalars,
    parameters: &[StateTensor],
    gradients: &[ValueId],
) -> Rule<Vec<ValueId>> {
    let Some(max_norm) = max_norm else { return Ok(gradients.to_vec()) };
    let mut b = Builder::new(graph);
    let mut squares = vec![];
    for (p, &gradient) in parameters.iter().zip(gradients) {
        b.scope(format!("{}.clip", p.alias));
        let square = b.sum_square(gradient)?;
        b.graph.rename(square, &square_name(&p.name));
        squares.push(square);
    }
    b.scope("clip");
    let factor = optim::coefficient(&mut b, &squares, max_norm)?;
    let mut clipped = vec![];
    for (p, &gradient) in parameters.iter().zip(gradients) {
        b.scope("clip");
        let factor = scalars.at_rank(&mut b, factor, p.ty.rank())?;
        b.scope(format!("{}.clip", p.alias));
        clipped.push(b.mul(gradient, factor)?);
    }
    Ok(clipped)
}

/// What acts on a parameter, with the gradient that is left after clipping.
struct Clipped<'a> {
    gradient: ValueId,
    pull: &'a Pull<'a>,
}

/// The next value of a parameter, then those of its state.
fn one(
    graph: &mut Graph,
    scalars: &mut Scalars,
    common: &Common,
    p: &StateTensor,
    acting: Clipped,
    state: &[ValueId],
) -> Rule<Vec<ValueId>> {
    let Common { optimizer, lr, shared } = common;
    let Clipped { gradient, pull } = acting;
    let rank = p.ty.rank();
    let mut b = Builder::new(graph);
    b.scope("scalars");
    let lr = scalars.multiplied(&mut b, *lr, p.lr_mult)?;
    let lr = scalars.at_rank(&mut b, lr, rank)?;
    let shared: Vec<ValueId> = shared.iter().map(|&v| scalars.at_rank(&mut b, v, rank)).collect::<Rule<_>>()?;
    b.scope(format!("{}.update", p.alias));
    let mut next = optimizer.rule.update(&mut b, &Update { w: p.input, gradient, lr, shared: &shared, state })?;
    if let (Some(lambda), Some(start), Role::Shared) = (optimizer.spd, pull.start, p.role) {
        next[0] = optim::project(&mut b, p.input, next[0], gradient, start, lambda)?;
    }
    if let Some(penalty) = &pull.penalty {
        next[0] = penalty.after(&mut b, next[0], lr)?;
    }
    Ok(next)
}
