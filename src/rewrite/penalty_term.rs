//! The penalty in the graph: its term for each parameter that it acts on, and the step that takes the gradient's place where it has one.

use super::fisher;
use super::plan::{Plan, Planned, Strength};
use super::resolve::{Penalization, Recipe};
use super::scalars::Scalars;
use super::state::StateTensor;
use crate::bundle::manifest::Role;
use crate::bundle::{PenaltyStep, Setting};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{Graph, Tensor, ValueId};
use crate::operator::{Builder, ParameterKind, Rule, View};
use crate::pass::start_constant;
use crate::penalty::{self, Groups, Penalty, Pretrained};
use std::collections::HashMap;

/// The penalty with everything that it reads.
pub(super) struct Penalties {
    shared: Option<&'static dyn Penalty>,
    step: PenaltyStep,
    /// The scalar inputs that it adds to the step, with their defaults.
    pub strengths: Vec<(Setting, f64)>,
    /// By name.
    parameters: HashMap<String, Penalized>,
}

/// What the penalty reads of one parameter.
struct Penalized {
    strength: Strength,
    groups: Groups,
    fisher: Option<Tensor>,
}

impl Penalties {
    /// None where nothing is penalised. Fails where the file of Fisher information is missing or does not fit.
    pub fn new(recipe: &Recipe, plan: &Plan, imported: &Imported, sha256: &str) -> Result<Option<Penalties>> {
        let Some(Penalization { shared, step, strengths }) = &recipe.penalty else { return Ok(None) };
        let mut fisher = match &recipe.options.fisher {
            Some(path) => fisher::read(path, sha256, &plan.parameters)?,
            None => HashMap::new(),
        };
        let mut parameters = HashMap::new();
        for p in &plan.parameters {
            let Some(strength) = p.strength.clone() else { continue };
            let fisher = fisher.remove(&p.parameter.name).filter(|_| p.role == Role::Shared);
            parameters.insert(p.parameter.name.clone(), Penalized { strength, groups: groups(p, imported), fisher });
        }
        Ok(Some(Penalties { shared: *shared, step: *step, strengths: strengths.clone(), parameters }))
    }

    /// The term for `p`, where the penalty acts on it.
    pub fn term(&self, graph: &mut Graph, scalars: &mut Scalars, p: &StateTensor) -> Result<Option<PenaltyTerm<'_>>> {
        let Some(own) = self.parameters.get(&p.name) else { return Ok(None) };
        let on = match p.role {
            Role::Shared => self.shared.map(On::Shared).ok_or_else(|| Error::internal(format!("no penalty acts on `{}`", p.name)))?,
            _ => On::New,
        };
        let (mut start, mut fisher) = (None, None);
        if let On::Shared(penalty) = on {
            start = p.start.as_ref().filter(|_| penalty.uses_start()).map(|t| start_constant(graph, &p.name, t));
            if let Some(tensor) = own.fisher.as_ref().filter(|_| penalty.uses_fisher()) {
                fisher = Some(graph.constant(&format!("{}.fisher", p.name), tensor.cast(p.ty.dtype)?));
            }
        }
        let input = scalars.input(&own.strength.setting)?;
        let mut b = Builder::new(graph);
        let mut build = || -> Rule<PenaltyTerm> {
            b.scope("scalars");
            let mut strength = scalars.beside(&mut b, input, &p.ty)?;
            b.scope(format!("{}.penalty", p.alias));
            if own.strength.factor != 1.0 {
                let factor = b.number(own.strength.factor, strength);
                strength = b.mul(strength, factor)?;
            }
            let seen = Pretrained { w: p.input, start, fisher, groups: &own.groups, strength };
            let (value, gradient) = match (on, self.step) {
                (On::Shared(penalty), PenaltyStep::Proximal) => (penalty.value(&mut b, &seen)?, None),
                (On::Shared(penalty), _) => {
                    let term = penalty.shared(&mut b, &seen)?;
                    (term.value, Some(term.gradient))
                }
                (On::New, _) => {
                    let term = penalty::on_new(&mut b, p.input, strength)?;
                    (term.value, Some(term.gradient))
                }
            };
            Ok(PenaltyTerm { on, step: self.step, seen, value, gradient })
        };
        build().map(Some).map_err(|why| Error::internal(format!("the penalty on `{}` cannot be built: {why}", p.alias)))
    }
}

/// One group for each output channel.
fn groups(p: &Planned, imported: &Imported) -> Groups {
    let ParameterKind::Kernel { axis } = p.parameter.kind else { return Groups::elements(&p.shape) };
    let graph = &imported.graph;
    let view = graph.nodes.get(p.parameter.node).map(|node| View { graph, node });
    let channels = view.and_then(|n| n.operator()?.output_channels(&n));
    Groups::channels(&p.shape, axis, channels.map_or(1, |c| c.blocks))
}

#[derive(Clone, Copy)]
enum On {
    Shared(&'static dyn Penalty),
    New,
}

/// The penalty on one parameter of a graph that is being built.
pub(super) struct PenaltyTerm<'a> {
    on: On,
    step: PenaltyStep,
    seen: Pretrained<'a>,
    /// A scalar.
    pub value: ValueId,
    /// Of the parameter's shape; none where a proximal step takes its place.
    gradient: Option<ValueId>,
}

impl PenaltyTerm<'_> {
    /// What the optimizer gets: the data loss's gradient, with the penalty's where that is no step of its own.
    pub fn gradient(&self, b: &mut Builder, data: ValueId) -> Rule<ValueId> {
        match (self.step, self.gradient) {
            (PenaltyStep::Decoupled, _) | (_, None) => Ok(data),
            (_, Some(gradient)) => b.add(data, gradient),
        }
    }

    /// The penalty's own step after the optimizer's, which led to `next` with the learning rate `lr`: proximal, or
    /// `next − lr·∇Ω(w)`.
    pub fn after(&self, b: &mut Builder, next: ValueId, lr: ValueId) -> Rule<ValueId> {
        match (self.on, self.step, self.gradient) {
            (_, PenaltyStep::Decoupled, Some(gradient)) => penalty::decoupled(b, next, gradient, lr),
            (On::Shared(penalty), PenaltyStep::Proximal, None) => {
                let threshold = b.mul(lr, self.seen.strength)?;
                penalty.prox(b, &Pretrained { w: next, strength: threshold, ..self.seen })
            }
            _ => Ok(next),
        }
    }
}
