//! The updating half of a step: from the data loss's gradients to the next values of parameters and optimizer state. In order: the penalty's
//! gradient, clipping by the global norm, the update rule with each parameter's own learning rate, projection towards the start, the
//! penalty's own step, moving average.

use super::loss_scale::{self, LossScale, Outcome};
use super::penalty_term::{Penalties, PenaltyTerm};
use super::resolve::Recipe;
use super::scalars::{Scalars, in_type};
use super::state::{Names, StateTensor, failed};
use crate::bundle::Setting;
use crate::bundle::manifest::{Role, Scalar};
use crate::error::Result;
use crate::ir::{DType, Graph, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Rule};
use crate::optim::{self, Advanced, Update};
use crate::pass::start_constant;

/// Inputs and results of the updating half.
pub(super) struct Updates {
    pub scalars: Vec<(Scalar, ValueId)>,
    /// The sum of its terms.
    pub penalty: ValueId,
    /// Parameters with their next values.
    pub parameters: Vec<StateTensor>,
    /// The optimizer's own state, averages, and the loss scale's.
    pub optimizer: Vec<StateTensor>,
    /// Of a loss that is scaled.
    pub outcome: Option<Outcome>,
}

/// A parameter's gradient with its penalty.
struct PenalizedGradient<'a> {
    /// The data loss's gradient, with the penalty's where that is no step of its own.
    gradient: ValueId,
    penalty: Option<PenaltyTerm<'a>>,
}

/// Adds penalty and optimizer for the given parameters and data gradients.
pub(super) fn updates(
    graph: &mut Graph,
    recipe: &Recipe,
    penalties: Option<&Penalties>,
    mut parameters: Vec<StateTensor>,
    (gradients, loss_scale): (&[ValueId], Option<LossScale>),
) -> Result<Updates> {
    let dtype = scalar_type(&parameters);
    let mut scalars = Scalars::default();
    scalars.declare(graph, dtype, Setting::LearningRate, recipe.lr);
    for (meaning, default) in penalties.into_iter().flat_map(|p| &p.strengths) {
        scalars.declare(graph, dtype, meaning.clone(), *default);
    }
    let mut penalized = vec![];
    for (p, &data) in parameters.iter().zip(gradients) {
        let penalty = match penalties {
            Some(penalties) => penalties.term(graph, &mut scalars, p)?,
            None => None,
        };
        if recipe.options.optimizer.spd.is_some() {
            shared_start(graph, p);
        }
        let mut b = Builder::new(graph);
        b.scope(format!("{}.penalty", p.alias));
        let gradient = penalty.as_ref().map_or(Ok(data), |term| term.gradient(&mut b, data)).map_err(failed("the penalty's gradient"))?;
        penalized.push(PenalizedGradient { gradient, penalty });
    }
    let mut optimizer = optimize(graph, recipe, &mut scalars, &mut parameters, &penalized)?;
    let mut outcome = None;
    if let Some(mut scale) = loss_scale {
        let mut squares: Vec<ValueId> = parameters.iter().filter_map(|p| p.gradient_square).collect();
        if squares.is_empty() {
            let used: Vec<ValueId> = penalized.iter().map(|p| p.gradient).collect();
            squares = loss_scale::squares(graph, &used)?;
            for (p, &square) in parameters.iter_mut().zip(&squares) {
                graph.rename(square, &format!("{}.grad.square", p.name));
                p.gradient_square = Some(square);
            }
        }
        let known = scale.advance(graph, &squares)?;
        known.keep(graph, parameters.iter_mut().chain(&mut optimizer))?;
        optimizer.extend([scale.scale, scale.good]);
        outcome = Some(known);
    }
    let terms: Vec<ValueId> = penalized.iter().filter_map(|p| p.penalty.as_ref()).map(|term| term.value).collect();
    let mut b = Builder::new(graph);
    b.scope("penalty");
    let penalty = match terms.is_empty() {
        true => {
            let zero = b.constant(Tensor::from_floats(dtype, &[], &[0.0]));
            b.op("Identity", &[zero], Default::default())
        }
        false => summed(&mut b, &terms, dtype),
    };
    let penalty = penalty.map_err(failed("the penalty"))?;
    Ok(Updates { scalars: scalars.inputs, penalty, parameters, optimizer, outcome })
}

/// The element type of scalars: float32 as soon as a parameter is.
fn scalar_type(parameters: &[StateTensor]) -> DType {
    let types = || parameters.iter().map(|p| p.ty.dtype);
    types().find(|&d| d == DType::F32).or(types().next()).unwrap_or(DType::F32)
}

fn summed(b: &mut Builder, terms: &[ValueId], dtype: DType) -> Rule<ValueId> {
    let terms = terms.iter().map(|&v| in_type(b, v, dtype)).collect::<Rule<Vec<_>>>()?;
    b.op("Sum", &terms, Default::default())
}

/// The constant w⁰ of a parameter that has a starting point.
fn shared_start(graph: &mut Graph, p: &StateTensor) -> Option<ValueId> {
    p.start.as_ref().filter(|_| p.role == Role::Shared).map(|tensor| start_constant(graph, &p.name, tensor))
}

/// What the updates of all parameters have in common.
struct Common<'a> {
    optimizer: &'a optim::Optimizer,
    lr: ValueId,
    /// The values that the update rule computed for this step.
    shared: Vec<ValueId>,
}

/// Gives every parameter its next value; returns the state that this takes. `penalized` are in the order of `parameters`.
fn optimize(
    graph: &mut Graph,
    recipe: &Recipe,
    scalars: &mut Scalars,
    parameters: &mut [StateTensor],
    penalized: &[PenalizedGradient],
) -> Result<Vec<StateTensor>> {
    let optimizer = &recipe.options.optimizer;
    let lr = scalars.input(&Setting::LearningRate)?;
    let mut names = Names::from(graph.nodes.len());
    if parameters.is_empty() {
        return Ok(vec![]);
    }
    let dtype = scalar_type(parameters);
    let gradients: Vec<ValueId> = penalized.iter().map(|p| p.gradient).collect();
    let gradients = clipped(graph, optimizer.clip_norm, scalars, parameters, &gradients).map_err(failed("the clipping of gradients"))?;
    let mut state = vec![];
    let mut common: Vec<StateTensor> = vec![];
    for kind in optimizer.rule.scalar_state() {
        common.push(StateTensor::beside(graph, None, Role::Optimizer, kind, TensorType::scalar(dtype)));
    }
    let inputs: Vec<ValueId> = common.iter().map(|s| s.input).collect();
    let mut b = Builder::new(graph);
    b.scope("optimizer");
    let Advanced { next, shared } = optimizer.rule.advance(&mut b, &inputs).map_err(failed("the optimizer"))?;
    for (slot, value) in common.iter_mut().zip(next) {
        slot.next = names.give(graph, value, &format!("{}.next", slot.name))?;
    }
    let all = Common { optimizer, lr, shared };
    let mut averages = vec![];
    for ((p, &gradient), of) in parameters.iter_mut().zip(&gradients).zip(penalized) {
        p.update_gradient = Some(gradient);
        let mut own: Vec<StateTensor> = vec![];
        for kind in optimizer.rule.state() {
            own.push(StateTensor::beside(graph, Some(p), Role::Optimizer, kind, p.ty.clone()));
        }
        let inputs: Vec<ValueId> = own.iter().map(|s| s.input).collect();
        let update = UpdateInputs { gradient, penalty: of.penalty.as_ref(), state: &inputs };
        let next = one(graph, scalars, &all, p, update).map_err(failed("an update"))?;
        for (slot, &value) in std::iter::once(&mut *p).chain(&mut own).zip(&next) {
            slot.next = names.give(graph, value, &format!("{}.next", slot.name))?;
        }
        state.append(&mut own);
        if let Some(decay) = optimizer.ema {
            let mut slot = StateTensor::beside(graph, Some(p), Role::Ema, "ema", p.ty.clone());
            let mut b = Builder::new(graph);
            b.scope(format!("{}.update", p.alias));
            let next = optim::average(&mut b, slot.input, p.next, decay).map_err(failed("an average"))?;
            slot.next = names.give(graph, next, &format!("{}.next", slot.name))?;
            averages.push(slot);
        }
    }
    state.append(&mut common);
    state.append(&mut averages);
    Ok(state)
}

fn clipped(
    graph: &mut Graph,
    max_norm: Option<f64>,
    scalars: &mut Scalars,
    parameters: &mut [StateTensor],
    gradients: &[ValueId],
) -> Rule<Vec<ValueId>> {
    let Some(max_norm) = max_norm else { return Ok(gradients.to_vec()) };
    let mut b = Builder::new(graph);
    let (mut squares, dtype) = (vec![], scalar_type(parameters));
    for (p, &gradient) in parameters.iter_mut().zip(gradients) {
        b.scope(format!("{}.clip", p.alias));
        let square = b.sum_square(gradient)?;
        b.graph.rename(square, &format!("{}.grad.square", p.name));
        p.gradient_square = Some(square);
        squares.push(in_type(&mut b, square, dtype)?);
    }
    b.scope("clip");
    let factor = optim::coefficient(&mut b, &squares, max_norm)?;
    let mut clipped = vec![];
    for (p, &gradient) in parameters.iter().zip(gradients) {
        b.scope("clip");
        let factor = scalars.beside(&mut b, factor, &p.ty)?;
        b.scope(format!("{}.clip", p.alias));
        clipped.push(b.mul(gradient, factor)?);
    }
    Ok(clipped)
}

/// What an update of a parameter takes, its gradient clipped.
struct UpdateInputs<'a> {
    gradient: ValueId,
    penalty: Option<&'a PenaltyTerm<'a>>,
    /// The parameter's optimizer state.
    state: &'a [ValueId],
}

/// The next value of a parameter, then those of its state.
fn one(graph: &mut Graph, scalars: &mut Scalars, common: &Common, p: &StateTensor, update: UpdateInputs) -> Rule<Vec<ValueId>> {
    let Common { optimizer, lr, shared } = common;
    let UpdateInputs { gradient, penalty, state } = update;
    let start = optimizer.spd.and_then(|lambda| Some((lambda, shared_start(graph, p)?)));
    let mut b = Builder::new(graph);
    b.scope("scalars");
    let lr = scalars.multiplied(&mut b, *lr, p.lr_mult)?;
    let lr = scalars.beside(&mut b, lr, &p.ty)?;
    let shared: Vec<ValueId> = shared.iter().map(|&v| scalars.beside(&mut b, v, &p.ty)).collect::<Rule<_>>()?;
    b.scope(format!("{}.update", p.alias));
    let mut all = optimizer.rule.update(&mut b, &Update { w: p.input, gradient, lr, shared: &shared, state })?;
    let next = all.first_mut().ok_or("the update rule gives no next value")?;
    if let Some((lambda, start)) = start {
        *next = optim::project(&mut b, p.input, *next, gradient, start, lambda)?;
    }
    if let Some(penalty) = penalty {
        *next = penalty.after(&mut b, *next, lr)?;
    }
    Ok(all)
}
