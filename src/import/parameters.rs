//! Which constants are parameters, what they are for, and what a person would call them.
//!
//! Every floating-point constant from which a gradient could come is one: it may enter its layer by itself or through nodes that read constants
//! alone (a Transpose, a weight standardization), and the place where it meets what depends on the images says what it is for. Numbers of
//! formulas, masks and the preparation of images are told from parameters by what they hold and where they stand; they stay as they are unless
//! somebody asks for them, and are named.

use super::fixed::{FixedReason, makes_a_divisor, no_parameter, of_formula, same_filter, shuts_out, varied};
use super::names::{is_generated, layer, unique};
use super::range::range_beside;
use super::stored::Stored;
use crate::ir::{Graph, Readers, ValueId};
use crate::operator::{ParameterKind, Status, View};
use std::collections::{HashMap, HashSet};

/// A constant of the source model that could be trained.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The parameter in the graph, a constant.
    pub value: ValueId,
    /// What enters the operator that uses it: the constant itself, or what nodes make of it alone.
    pub enters: ValueId,
    /// The name in the source model.
    pub name: String,
    /// What a person would call it.
    pub alias: String,
    /// What it is to the operator that uses it.
    pub kind: ParameterKind,
    /// The first node at which it meets what depends on the images.
    pub node: usize,
}

/// A constant that is no parameter, though a gradient could be computed for it.
#[derive(Debug, Clone)]
pub struct FixedConstant {
    /// What it would be as a parameter.
    pub parameter: Parameter,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Why it is none.
    pub why: FixedReason,
}

/// What is said of a graph's constants, each list in the order of use.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub parameters: Vec<Parameter>,
    pub fixed: Vec<FixedConstant>,
}

/// A use of a constant.
#[derive(Clone, Copy)]
struct Use {
    enters: ValueId,
    kind: ParameterKind,
    node: usize,
}

/// Finds the parameters in the order of use, among the constants that the file holds: what import computed from others has no
/// place in the file to which a trained value could be written back.
pub(super) fn find(graph: &Graph, stored: &Stored) -> Found {
    let search = Search::new(graph, stored).run();
    let prepared = preparations(graph);
    let (mut found, mut aliases) = (Found::default(), HashSet::new());
    for value in search.order {
        let Some(&Use { enters, kind, node }) = search.uses.get(&value) else { continue };
        let name = graph.name_of(value).to_string();
        let user = graph.nodes.get(node).filter(|_| is_generated(&name));
        let alias = user.map_or_else(|| name.clone(), |user| layer(&user.name, kind));
        let why = match kind.is_of_layer() {
            true if enters == value => of_formula(graph, value, kind, node).or_else(|| shuts_out(graph, value)),
            // What a weight is made of may be a mask on it, as pruning leaves, or a number that is repeated, as PyTorch writes a bias that is not there.
            true => no_parameter(graph, value)
                .filter(|why| matches!(why, FixedReason::Mask | FixedReason::Number))
                .or_else(|| makes_a_divisor(graph, &search.readers, value).filter(|_| kind.is_weight())),
            false if prepared.contains(&node) => Some(FixedReason::Preparation),
            false => no_parameter(graph, value),
        };
        let parameter = Parameter { value, enters, name, alias: unique(&mut aliases, alias), kind, node };
        let precision = (graph.ty(value).dtype != graph.ty(enters).dtype).then_some(FixedReason::Precision);
        match search.untrainable.get(&value).copied().or(precision).or(why).or_else(|| same_filter(graph, value, kind)) {
            None => found.parameters.push(parameter),
            Some(why) => found.fixed.push(FixedConstant { parameter, shape: graph.ty(value).dims().unwrap_or_default(), why }),
        }
    }
    let negative = exponents(graph, &found);
    let (fixed, kept): (Vec<_>, Vec<_>) = found.parameters.drain(..).partition(|p| negative.contains(&p.value));
    found.parameters = kept;
    for known in found.fixed.iter_mut().filter(|f| negative.contains(&f.parameter.value)) {
        known.why = FixedReason::Exponent;
    }
    found.fixed.extend(fixed.into_iter().map(|parameter| {
        let shape = graph.ty(parameter.value).dims().unwrap_or_default();
        FixedConstant { parameter, shape, why: FixedReason::Exponent }
    }));
    found
}

/// Constants for which there is no gradient, since a node needs another of its inputs not to be negative for that, and it may be whatever becomes of the
/// parameters.
fn exponents(graph: &Graph, known: &Found) -> HashSet<ValueId> {
    let free: HashSet<ValueId> = known.parameters.iter().map(|p| p.value).collect();
    let on_demand = known.fixed.iter().filter(|f| f.why.can_be_trained()).map(|f| f.parameter.value);
    let trainable: HashSet<ValueId> = free.iter().copied().chain(on_demand).collect();
    let mut found = HashSet::new();
    for node in &graph.nodes {
        let view = View { graph, node };
        let Some((own, base)) = view.operator().and_then(|o| o.trained_above_zero()) else { continue };
        // A number of the formula, as most exponents are, needs no range of what it is an exponent to.
        let mut asked = constants_of(graph, view.input(own)).into_iter().filter(|v| trainable.contains(v)).peekable();
        if asked.peek().is_some() && view.is_fixed(own) && view.input(base).is_none_or(|v| range_beside(graph, v, &free).low < 0.0) {
            found.extend(asked);
        }
    }
    found
}

/// The constants that a value is made of.
fn constants_of(graph: &Graph, value: Option<ValueId>) -> HashSet<ValueId> {
    let (mut open, mut seen) = (Vec::from_iter(value), HashSet::from_iter(value));
    while let Some(v) = open.pop() {
        for used in graph.producer(v).into_iter().flat_map(|node| node.used()) {
            open.extend(seen.insert(used).then_some(used));
        }
    }
    seen.retain(|v| graph.value(*v).constant.is_some());
    seen
}

struct Search<'a> {
    graph: &'a Graph,
    readers: Readers,
    stored: &'a Stored,
    order: Vec<ValueId>,
    uses: HashMap<ValueId, Use>,
    /// Values that were followed, with what they are there.
    seen: HashSet<(ValueId, ParameterKind)>,
    live: Vec<bool>,
    /// Values behind steps that were followed.
    stepped: HashSet<ValueId>,
    /// Numbers that say how an operator works.
    settings: Vec<(ValueId, Use, FixedReason)>,
    /// Why a constant cannot be trained, for those to which no gradient comes.
    untrainable: HashMap<ValueId, FixedReason>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, stored: &'a Stored) -> Self {
        let (uses, seen, stepped, settings, untrainable) = Default::default();
        let (readers, live) = (graph.readers(), graph.live_nodes());
        Search { graph, readers, stored, order: vec![], uses, seen, live, stepped, settings, untrainable }
    }

    fn run(mut self) -> Self {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !node.outputs.iter().any(|&v| self.graph.value(v).varies) {
                continue;
            }
            let view = View { graph: self.graph, node };
            if let Some(&enters) = node.inputs.iter().flatten().next() {
                self.chosen_by(&view, Use { enters, kind: ParameterKind::Operand, node: index });
            }
            if self.live.get(index).copied().unwrap_or(false) {
                for &i in view.operator().map_or(&[][..], |o| o.settings()) {
                    self.setting(view.input(i), FixedReason::Setting, &|v| Use { enters: v, kind: ParameterKind::Operand, node: index });
                }
            }
            for (i, kind) in self.kinds(&view) {
                let Some(v) = view.input(i).filter(|_| view.is_fixed(i)) else { continue };
                if self.live.get(index).copied().unwrap_or(false) || kind.is_of_layer() {
                    self.follow(v, Use { enters: v, kind, node: index });
                }
            }
        }
        // A node that import has replaced has no place: the constant goes by its own name.
        let at = |name: &str| self.graph.nodes.iter().position(|n| n.name == name).unwrap_or(usize::MAX);
        for (name, node) in &self.stored.settings {
            if let Some(v) = self.graph.find(name) {
                self.settings.push((v, Use { enters: v, kind: ParameterKind::Operand, node: at(node) }, FixedReason::Setting));
            }
        }
        for (v, used, why) in std::mem::take(&mut self.settings) {
            if !self.uses.contains_key(&v) {
                self.untrainable.insert(v, why);
                self.note(v, used);
            }
        }
        self
    }

    /// The constant of the file itself, or that of which import has computed this one.
    fn of_file(&self, v: ValueId) -> Option<ValueId> {
        let name = &self.graph.value(v).name;
        match self.stored.names.contains(name) {
            true => Some(v),
            false => self.graph.find(self.stored.computed.get(name)?),
        }
    }

    /// Takes note of the numbers of the file that something is made of which says how an operator works.
    fn setting(&mut self, v: Option<ValueId>, why: FixedReason, used: &dyn Fn(ValueId) -> Use) {
        let Some(v) = v.filter(|&v| self.graph.ty(v).dtype.is_float() && !self.graph.value(v).varies) else { return };
        match self.graph.producer(v) {
            Some(node) => {
                if self.stepped.insert(v) {
                    node.used().for_each(|v| self.setting(Some(v), why, used));
                }
            }
            None => self.settings.extend(self.of_file(v).map(|v| (v, used(v), why))),
        }
    }

    /// Keeps the use that says most of a constant.
    fn note(&mut self, v: ValueId, used: Use) {
        match self.uses.get_mut(&v) {
            Some(known) if rank(used.kind) < rank(known.kind) => *known = used,
            Some(_) => {}
            None => {
                self.order.push(v);
                self.uses.insert(v, used);
            }
        }
    }

    /// Follows the whole numbers and conditions that a node reads.
    fn chosen_by(&mut self, view: &View, used: Use) {
        let settings = view.operator().map_or(&[][..], |o| o.settings());
        for i in (0..view.node.inputs.len()).filter(|i| !settings.contains(i) && view.is_fixed(*i)) {
            if let Some(v) = view.input(i).filter(|&v| !self.graph.ty(v).dtype.is_float()) {
                self.behind_step(v, used);
            }
        }
    }

    /// Follows a value of which only steps are used: the constants that it is made of have no gradient from there.
    fn behind_step(&mut self, v: ValueId, used: Use) {
        let value = self.graph.value(v);
        if value.varies || self.uses.contains_key(&v) || !self.stepped.insert(v) {
            return;
        }
        match self.graph.producer(v) {
            Some(node) => node.used().for_each(|v| self.behind_step(v, used)),
            None if value.initializer().is_some_and(|t| t.dtype().is_float())
                && self.stored.names.contains(&value.name)
                && varied(self.graph, v) =>
            {
                self.untrainable.insert(v, FixedReason::Step);
                self.note(v, used);
            }
            None => {}
        }
    }

    /// The floating-point inputs of a node that take a gradient, with what a constant there would be.
    fn kinds(&self, view: &View) -> Vec<(usize, ParameterKind)> {
        let Some(operator) = view.operator().filter(|o| o.status() == Status::Differentiable) else { return vec![] };
        let declared = operator.parameters(view);
        let kind = |i: usize| declared.get(i).copied().flatten().unwrap_or(ParameterKind::Operand);
        let takes = |i: &usize| view.ty(*i).is_ok_and(|t| t.dtype.is_float()) && !operator.settings().contains(i);
        (0..view.node.inputs.len()).filter(takes).map(|i| (i, kind(i))).collect()
    }

    /// Follows a value that depends on no image back to the constants it is made of.
    fn follow(&mut self, v: ValueId, used: Use) {
        if !self.seen.insert((v, used.kind)) {
            return;
        }
        let value = self.graph.value(v);
        if value.initializer().is_some_and(|t| t.dtype().is_float()) {
            let computed = !self.stored.names.contains(&value.name);
            if computed && !(used.kind.is_weight() && varied(self.graph, v)) {
                // One that was converted and is no parameter's place: known by what the file has for it.
                if let Some(v) = self.of_file(v) {
                    // Nothing of the graph reads what import has converted, so it could not be trained either.
                    let read = !self.readers.of(v).is_empty();
                    let why = if read { FixedReason::Number } else { FixedReason::Converted };
                    self.settings.push((v, Use { enters: v, ..used }, why));
                }
                return;
            }
            if computed {
                self.untrainable.insert(v, FixedReason::Computed);
            } else if self.untrainable.get(&v) == Some(&FixedReason::Step) {
                // A gradient comes to it another way.
                self.untrainable.remove(&v);
                self.uses.insert(v, used);
            }
            self.note(v, used);
            return;
        }
        let Some(node) = self.graph.producer(v) else { return };
        let view = View { graph: self.graph, node };
        // A statistic is written by its layer, in the place of the constant that was moved; one that is computed has no such place.
        if used.kind.is_buffer() {
            return match view.input(0).filter(|_| view.facts().keeps_elements()) {
                Some(moved) => self.follow(moved, used),
                None => self.setting(Some(v), FixedReason::Statistic, &|_| used),
            };
        }
        if let Some(operator) = view.operator().filter(|o| o.status() == Status::ZeroGradient) {
            if !operator.facts().elementwise {
                node.used().for_each(|v| self.setting(Some(v), FixedReason::Setting, &|_| used));
            }
            return node.used().for_each(|v| self.behind_step(v, used));
        }
        self.chosen_by(&view, used);
        for (i, declared) in self.kinds(&view) {
            if let (Some(input), Some(kind)) = (view.input(i), before(&view, i, used.kind, declared)) {
                self.follow(input, Use { kind, ..used });
            }
        }
    }
}

/// Which of two uses says what a constant is: the lower.
fn rank(kind: ParameterKind) -> usize {
    match kind {
        ParameterKind::Kernel { .. } => 0,
        ParameterKind::KernelPart => 1,
        ParameterKind::Factor | ParameterKind::Addend => 3,
        ParameterKind::Operand => 4,
        _ => 2,
    }
}

/// What input `i` of a node is whose result is a `kind`; `declared` is what the operator takes it for. `None` where either is a running
/// statistic: nobody trains those.
fn before(view: &View, i: usize, kind: ParameterKind, declared: ParameterKind) -> Option<ParameterKind> {
    let source = |axis: usize| view.operator().and_then(|o| o.source_axis(view, i, axis));
    let output = view.graph.ty(*view.node.outputs.first()?);
    // Moved, cut out or joined, and not repeated.
    let carries = || view.ty(i).is_ok_and(|t| t.count() == output.count()) || (0..output.rank()).any(|axis| source(axis).is_some());
    match kind {
        _ if kind.is_buffer() || declared.is_buffer() => None,
        ParameterKind::Kernel { axis } if source(axis).is_some() => source(axis).map(|axis| ParameterKind::Kernel { axis }),
        ParameterKind::Kernel { .. } if carries() => Some(ParameterKind::KernelPart),
        _ => Some(if carries() && !declared.is_weight() { kind } else { declared }),
    }
}

/// Nodes before the first layer, which prepare the images: what they compute depends on no parameter of a layer.
fn preparations(graph: &Graph) -> HashSet<usize> {
    let is_layer = |index: &usize| {
        let Some(node) = graph.nodes.get(*index) else { return false };
        let view = View { graph, node };
        let declared = view.operator().map(|o| o.parameters(&view)).unwrap_or_default();
        declared.into_iter().enumerate().any(|(i, kind)| kind.is_some_and(|k| k.is_of_layer()) && view.is_fixed(i))
    };
    let layers: HashSet<usize> = (0..graph.nodes.len()).filter(is_layer).collect();
    let mut raw: HashSet<ValueId> = graph.inputs.iter().copied().collect();
    let mut found = HashSet::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let mut varying = node.used().filter(|&v| graph.value(v).varies).peekable();
        if varying.peek().is_some() && varying.all(|v| raw.contains(&v)) && !layers.contains(&index) {
            raw.extend(&node.outputs);
            found.insert(index);
        }
    }
    // A network without any layer prepares nothing.
    if layers.is_empty() { HashSet::new() } else { found }
}
