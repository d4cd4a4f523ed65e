//! The penalty on each parameter: whether there is one, how strong it is, and its place in the graph.
//!
//! Strengths are scalar inputs of the step: `alpha` on shared parameters, `beta` on new ones, and `alpha:PATTERN` for each pattern
//! with a strength of its own. A weight by depth is a constant factor on `alpha`.

use super::fisher;
use super::graphs::StateTensor;
use super::options::{Options, Penalize, PenaltyStep, Strength};
use super::patterns::{few, matching};
use super::plan::{Plan, Planned};
use crate::bundle::Setting;
use crate::bundle::manifest::Role;
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{DType, Graph, Tensor, ValueId};
use crate::onnx::SourceModel;
use crate::operator::{Builder, ParameterKind, Rule, View};
use crate::pass::start_constant;
use crate::penalty::{self, Groups, Penalty, Pretrained};
use std::collections::HashMap;

/// The strength of the penalty on one parameter: the value of a scalar input times a constant.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnStrength {
    /// The scalar input.
    pub scalar: Setting,
    pub factor: f64,
}

/// Decides for every parameter whether the penalty acts on it, how strongly, and why. Roles and freezing are decided before.
pub(super) fn decide(parameters: &mut [Planned], options: &Options) -> Result<()> {
    let only_new = options.penalty == "none";
    if only_new && options.check()?.is_none() {
        return Ok(());
    }
    let all: Vec<_> = parameters.iter().map(|p| p.parameter.clone()).collect();
    let find = |option: &str, pattern: &str| matching(option, pattern, all.iter());
    // What the penalty would act on if nothing were frozen, and why.
    let mut wanted: Vec<Option<String>> = vec![None; all.len()];
    match &options.penalize {
        Penalize::Patterns(list) => {
            for pattern in list {
                let found = find("--penalize", pattern)?;
                if !found.iter().any(|&i| parameters[i].role != Role::Buffer && !parameters[i].frozen) {
                    return Err(Error::usage(format!(
                        "--penalize '{pattern}' matches only what is not trained: {}",
                        few(found.iter().map(|&i| all[i].alias.as_str()))
                    )));
                }
                for i in found {
                    wanted[i] = Some(format!("--penalize '{pattern}'"));
                }
            }
        }
        Penalize::All => wanted.iter_mut().for_each(|w| *w = Some("--penalize all".into())),
        Penalize::Weights => {
            for (w, p) in wanted.iter_mut().zip(&all) {
                *w = matches!(p.kind, ParameterKind::Kernel { .. }).then(|| "a weight".to_string());
            }
        }
    }
    let mut excluded: Vec<Option<&str>> = vec![None; all.len()];
    for pattern in &options.sp_exclude {
        for i in find("--sp-exclude", pattern)? {
            excluded[i] = Some(pattern);
        }
    }
    let layers = parameters.iter().filter(|p| counts_as_layer(p)).count();
    let mut seen = 0;
    for (i, p) in parameters.iter_mut().enumerate() {
        seen += counts_as_layer(p) as usize;
        // A bias or a scale belongs to the layer of the weight before it.
        let layer = seen.max(1);
        let kind = match p.parameter.kind {
            ParameterKind::Kernel { .. } => "a weight",
            ParameterKind::Bias => "a bias",
            ParameterKind::Scale => "a scale",
            ParameterKind::Shift => "a shift",
            ParameterKind::Mean | ParameterKind::Variance => "a statistic",
        };
        p.why_penalized = match (p.role, p.frozen, &wanted[i], excluded[i]) {
            (Role::Buffer, ..) => "no parameter".into(),
            (_, true, ..) => "frozen".into(),
            (Role::Shared, ..) if only_new => "--penalty none".into(),
            (_, _, None, _) => format!("{kind}, which --penalize leaves out"),
            (_, _, _, Some(pattern)) => format!("--sp-exclude '{pattern}'"),
            (_, _, Some(why), None) => {
                p.penalized = true;
                let depth = options.alpha_depth.filter(|_| p.role == Role::Shared);
                let factor = depth.map_or(1.0, |f| f.powf((layers - layer) as f64 / (layers - 1).max(1) as f64));
                let scalar = if p.role == Role::New { Setting::Beta } else { Setting::Alpha };
                p.strength = Some(OwnStrength { scalar, factor });
                match (p.role, depth) {
                    (Role::New, _) => format!("{why}, new"),
                    (_, Some(_)) => format!("{why}, layer {layer} of {layers}"),
                    _ => why.clone(),
                }
            }
        };
    }
    for (pattern, _) in &options.strengths {
        own_strength(parameters, pattern, &find("--alpha", pattern)?, &wanted)?;
    }
    for (pattern, _) in &options.strengths {
        let scalar = Setting::AlphaOf(pattern.clone());
        if !parameters.iter().any(|p| p.strength.as_ref().is_some_and(|s| s.scalar == scalar)) {
            return Err(Error::usage(format!(
                "--alpha '{pattern}=…' has no effect: later patterns match everything that it matches. Give the general pattern first"
            )));
        }
    }
    Ok(())
}

/// Whether it is a weight by which layers are counted.
fn counts_as_layer(p: &Planned) -> bool {
    matches!(p.parameter.kind, ParameterKind::Kernel { .. }) && p.role == Role::Shared
}

/// Gives the parameters `found` by the pattern its strength.
fn own_strength(parameters: &mut [Planned], pattern: &str, found: &[usize], wanted: &[Option<String>]) -> Result<()> {
    let aliases = |list: Vec<usize>| few(list.iter().map(|&i| parameters[i].parameter.alias.as_str()));
    let frozen: Vec<usize> = found.iter().copied().filter(|&i| parameters[i].frozen && wanted[i].is_some()).collect();
    let frozen: Vec<usize> = frozen.into_iter().filter(|&i| parameters[i].role != Role::Buffer).collect();
    if !frozen.is_empty() {
        return Err(Error::usage(format!(
            "--alpha '{pattern}=…' gives a strength to what is frozen: {}. A frozen parameter cannot move; leave it out of the pattern, or don't freeze it",
            aliases(frozen)
        )));
    }
    let shared: Vec<usize> = found.iter().copied().filter(|&i| parameters[i].penalized && parameters[i].role == Role::Shared).collect();
    if shared.is_empty() {
        let new = found.iter().any(|&i| parameters[i].role == Role::New);
        return Err(Error::usage(format!(
            "--alpha '{pattern}=…' matches {}, which {}",
            aliases(found.to_vec()),
            if new { "are new: their strength is --beta" } else { "the penalty leaves out; --penalize says what it acts on" }
        )));
    }
    for i in shared {
        parameters[i].strength = Some(OwnStrength { scalar: Setting::AlphaOf(pattern.into()), factor: 1.0 });
        parameters[i].why_penalized = format!("--alpha '{pattern}=…'");
    }
    Ok(())
}

/// The penalty with everything that it reads.
pub struct Penalties {
    penalty: &'static dyn Penalty,
    step: PenaltyStep,
    /// The scalar inputs that it adds to the step, with their defaults.
    pub scalars: Vec<(Setting, f64)>,
    /// By name.
    parameters: HashMap<String, Own>,
}

struct Own {
    scalar: Setting,
    factor: f64,
    groups: Groups,
    fisher: Option<Tensor>,
}

impl Penalties {
    /// Fails where the file of Fisher information is missing or does not fit.
    pub fn new(strength: &Strength, options: &Options, plan: &Plan, imported: &Imported, source: &SourceModel) -> Result<Penalties> {
        let Strength { penalty, alpha, beta } = *strength;
        let mut scalars = vec![(Setting::Alpha, alpha), (Setting::Beta, beta)];
        if penalty.kind() == "none" {
            scalars.remove(0);
        }
        scalars.extend(options.strengths.iter().map(|(pattern, value)| (Setting::AlphaOf(pattern.clone()), *value)));
        let mut fisher = match &options.fisher {
            Some(path) => fisher::read(path, &source.sha256, &plan.parameters)?,
            None => HashMap::new(),
        };
        let mut parameters = HashMap::new();
        for p in plan.parameters.iter().filter(|p| p.penalized) {
            let Some(own) = &p.strength else { continue };
            let fisher = fisher.remove(&p.parameter.name).filter(|_| p.role == Role::Shared);
            let own = Own { scalar: own.scalar.clone(), factor: own.factor, groups: groups(p, imported), fisher };
            parameters.insert(p.parameter.name.clone(), own);
        }
        Ok(Penalties { penalty, step: options.penalty_step, scalars, parameters })
    }

    /// The penalty on `p`, with its constants put into the graph.
    pub(super) fn on(&self, graph: &mut Graph, p: &StateTensor) -> Option<Site<'_>> {
        let own = self.parameters.get(&p.name).filter(|_| p.penalized)?;
        let shared = p.role == Role::Shared;
        let start = p.start.as_ref().filter(|_| shared && self.penalty.uses_start());
        let start = start.map(|t| start_constant(graph, &p.name, t));
        let fisher = own.fisher.as_ref().filter(|_| shared && self.penalty.uses_fisher());
        let fisher = fisher.map(|t| graph.constant(&format!("{}.fisher", p.name), cast(t, p.ty.dtype)));
        Some(Site { penalties: self, own, scalar: &own.scalar, w: p.input, shared, start, fisher })
    }
}

fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    match tensor.to_f64() {
        Ok(values) if tensor.dtype() != dtype => Tensor::from_floats(dtype, tensor.shape(), &values),
        _ => tensor.clone(),
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

/// The penalty at one parameter of a graph that is being built.
pub(super) struct Site<'a> {
    penalties: &'a Penalties,
    own: &'a Own,
    /// The input with its strength.
    pub scalar: &'a Setting,
    w: ValueId,
    shared: bool,
    /// w⁰, where the penalty reads it.
    pub start: Option<ValueId>,
    fisher: Option<ValueId>,
}

/// The penalty at one parameter with its strength and its term.
pub(super) struct Acting<'a> {
    site: Site<'a>,
    strength: ValueId,
    /// A scalar.
    pub value: ValueId,
    /// Of the parameter's shape; none where a proximal step takes its place.
    gradient: Option<ValueId>,
}

impl<'a> Site<'a> {
    fn seen(&self, w: ValueId, strength: ValueId) -> Pretrained<'_> {
        Pretrained { w, start: self.start, fisher: self.fisher, groups: &self.own.groups, strength }
    }

    /// With the scalar of its strength, which has as many axes as the parameter.
    pub fn act(self, b: &mut Builder, scalar: ValueId) -> Rule<Acting<'a>> {
        let strength = match self.own.factor {
            1.0 => scalar,
            factor => {
                let factor = b.number(factor, scalar);
                b.mul(scalar, factor)?
            }
        };
        let penalty = self.penalties.penalty;
        let (value, gradient) = match (self.shared, self.penalties.step) {
            (true, PenaltyStep::Proximal) => (penalty.value(b, &self.seen(self.w, strength))?, None),
            (true, _) => {
                let term = penalty.shared(b, &self.seen(self.w, strength))?;
                (term.value, Some(term.gradient))
            }
            (false, _) => {
                let term = penalty.new_parameter(b, self.w, strength)?;
                (term.value, Some(term.gradient))
            }
        };
        Ok(Acting { site: self, strength, value, gradient })
    }
}

impl Acting<'_> {
    /// What the optimizer gets: the data loss's gradient, with the penalty's where that is no step of its own.
    pub fn gradient(&self, b: &mut Builder, data: ValueId) -> Rule<ValueId> {
        match (self.site.penalties.step, self.gradient) {
            (PenaltyStep::Decoupled, _) | (_, None) => Ok(data),
            (_, Some(gradient)) => b.add(data, gradient),
        }
    }

    /// The penalty's own step after the optimizer's, which led to `next` with the learning rate `lr`: proximal, or
    /// `next − lr·∇Ω(w)`.
    pub fn after(&self, b: &mut Builder, next: ValueId, lr: ValueId) -> Rule<ValueId> {
        match (self.site.penalties.step, self.gradient) {
            (PenaltyStep::Decoupled, Some(gradient)) => penalty::decoupled(b, next, gradient, lr),
            (PenaltyStep::Proximal, None) => {
                let threshold = b.mul(lr, self.strength)?;
                self.site.penalties.penalty.prox(b, &self.site.seen(next, threshold))
            }
            _ => Ok(next),
        }
    }
}

/// Fails where a strength makes no sense: negative, no number, or twice for one pattern.
pub(super) fn check(options: &Options) -> Result<()> {
    for (i, (pattern, value)) in options.strengths.iter().enumerate() {
        if !(value.is_finite() && *value >= 0.0) {
            return Err(Error::usage(format!("--alpha '{pattern}={value}' is no strength: it must be 0 or a positive number")));
        }
        if options.strengths[..i].iter().any(|(p, _)| p == pattern) {
            return Err(Error::usage(format!("--alpha gives '{pattern}' two strengths")));
        }
    }
    if let Some(factor) = options.alpha_depth.filter(|f| !(f.is_finite() && *f > 0.0)) {
        return Err(Error::usage(format!("--alpha-depth {factor} is no positive number")));
    }
    Ok(())
}
