//! Constants that are no parameters, told by what they hold and where they stand.

use super::names::is_generated;
use crate::ir::{DType, Dim, Graph, Readers, Tensor, ValueId};
use crate::operator::{Normalization, ParameterKind, View};
use std::collections::HashSet;

/// Why a constant is taken for no parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FixedReason {
    /// One number without the name of a layer.
    Number,
    /// The same number everywhere, without the name of a layer.
    Uniform,
    /// Nothing but 0 and 1, or 0 and a number that shuts positions out.
    Mask,
    /// It prepares the images before the first layer.
    Preparation,
    /// The same filter for every channel.
    Filter,
    /// Whatever depends on it is whole numbers or steps.
    Step,
    /// No constant of the file: computed from whole numbers, or from a formula.
    Computed,
    /// A single number that import has converted.
    Converted,
    /// It says how its operator works: where it cuts off, from where it counts.
    Setting,
    /// Nothing but a divisor is made of it.
    Norm,
    /// It is an exponent of what may be negative.
    Exponent,
    /// Running statistics are computed from it.
    Statistic,
    /// It has another element type than the layer that uses it, and is converted while the network runs.
    Precision,
}

impl FixedReason {
    /// Whether the constant can be trained where somebody wants it.
    pub fn can_be_trained(self) -> bool {
        use FixedReason::*;
        !matches!(self, Precision | Step | Computed | Converted | Setting | Exponent | Statistic)
    }

    /// In a few words, for people.
    pub fn text(self) -> &'static str {
        match self {
            FixedReason::Number => "a single number of a formula",
            FixedReason::Uniform => "one number repeated, without a name of its own",
            FixedReason::Mask => "a mask",
            FixedReason::Preparation => "it prepares the images before the first layer",
            FixedReason::Filter => "the same filter for every channel",
            FixedReason::Step => "behind rounding or a comparison, whose gradient is 0",
            FixedReason::Computed => "computed from whole numbers or a formula: the file holds no floating-point numbers for it",
            FixedReason::Converted => "a number of a formula in another type or shape, which is converted before the network runs",
            FixedReason::Setting => "a bound or a step of its operator, which is not trained",
            FixedReason::Norm => "nothing but a divisor is made of it, as of the directions of a spectral norm, which are statistics",
            FixedReason::Exponent => "an exponent of what may be negative, which has no logarithm: there is no gradient for it",
            FixedReason::Statistic => "running statistics are computed from it, which are not trained",
            FixedReason::Precision => "of another element type than its layer, which is not supported",
        }
    }
}

/// Whether the constant's numbers differ.
pub(super) fn varied(graph: &Graph, v: ValueId) -> bool {
    graph.value(v).initializer().is_some_and(|t| differ(t.bytes(), t.dtype()))
}

/// Whether numbers of that type, as they are stored, differ.
fn differ(numbers: &[u8], dtype: DType) -> bool {
    numbers.chunks_exact(dtype.size().max(1)).any(|number| !numbers.starts_with(number))
}

/// Whether a person, and no exporter, has given that name.
fn is_persons(name: &str) -> bool {
    !is_generated(name) && !name.contains(['/', ':'])
}

/// Why a constant that stands at no parameter's place of a layer is no parameter, where it is none.
pub(super) fn no_parameter(graph: &Graph, value: ValueId) -> Option<FixedReason> {
    let tensor = graph.value(value).initializer()?;
    let name = graph.name_of(value);
    // Exporters call the numbers of formulas after nodes, people call parameters after modules.
    let named = is_persons(name);
    if tensor.count() == 1 {
        return (!named).then_some(FixedReason::Number);
    }
    let numbers = tensor.to_f64().ok()?;
    let first = *numbers.first()?;
    if numbers.iter().all(|v| *v == first) {
        return (!named).then_some(FixedReason::Uniform);
    }
    let masks = |shut: &dyn Fn(f64) -> bool| numbers.iter().all(|&v| v == 0.0 || shut(v));
    (masks(&|v| v == 1.0) || masks(&|v| v <= -100.0 && v == numbers.iter().copied().fold(0.0, f64::min))).then_some(FixedReason::Mask)
}

/// Whether a constant shuts some of what it is added to out, and leaves the rest as it is. No layer has learnt such numbers.
pub(super) fn shuts_out(graph: &Graph, value: ValueId) -> Option<FixedReason> {
    let numbers = graph.value(value).initializer()?.to_f64().ok()?;
    let low = numbers.iter().copied().fold(0.0, f64::min);
    (low <= -100.0 && numbers.contains(&0.0) && numbers.iter().all(|v| *v == 0.0 || *v == low)).then_some(FixedReason::Mask)
}

/// Whether nothing but a divisor is made of a list of numbers before it meets the images: of the directions of a spectral norm, which are statistics,
/// comes the number by which weights are divided. A number that multiplies may be learnt.
pub(super) fn makes_a_divisor(graph: &Graph, readers: &Readers, value: ValueId) -> Option<FixedReason> {
    let single = |v: ValueId| graph.ty(v).count() == Some(Dim::Known(1));
    if single(value) {
        return None;
    }
    let (mut open, mut seen, mut found) = (vec![value], HashSet::from([value]), false);
    while let Some(v) = open.pop() {
        for node in readers.of(v).iter().filter_map(|&index| graph.nodes.get(index)) {
            let divides = single(v) && node.is("Div") && node.inputs.get(1) == Some(&Some(v)) && node.inputs.first() != Some(&Some(v));
            for &made in &node.outputs {
                match (graph.value(made).varies, single(v) && !single(made)) {
                    (true, _) => return None,
                    (false, true) if divides => found = true,
                    (false, true) => return None,
                    (false, false) => open.extend(seen.insert(made).then_some(made)),
                }
            }
        }
    }
    found.then_some(FixedReason::Norm)
}

/// Whether a constant at a layer's place is a formula's; see [`is_of_formula`].
pub(super) fn of_formula(graph: &Graph, value: ValueId, kind: ParameterKind, node: usize) -> Option<FixedReason> {
    let tensor = graph.value(value).initializer()?;
    let normalization = graph.nodes.get(node).and_then(|user| View { graph, node: user }.operator()?.facts().normalization);
    is_of_formula(tensor, graph.name_of(value), kind, normalization).then_some(FixedReason::Uniform)
}

/// Whether a constant of that name is a formula's where it stands at a layer's place: a sum or mean that is written as a product, and the ones and zeros
/// of a normalization that has no parameters. Exporters name such constants; a kernel of zeros may be a layer that adds nothing yet.
pub(super) fn is_of_formula(tensor: &Tensor, name: &str, kind: ParameterKind, normalization: Option<Normalization>) -> bool {
    if tensor.count() < 2 || !is_generated(name) || differ(tensor.bytes(), tensor.dtype()) {
        return false;
    }
    let Some(number) = tensor.to_f64().ok().and_then(|numbers| numbers.first().copied()) else { return false };
    match kind {
        ParameterKind::Kernel { .. } => number != 0.0,
        ParameterKind::Scale => number == 1.0 && normalization == Some(Normalization::Sample),
        ParameterKind::Shift => number == 0.0 && normalization == Some(Normalization::Sample),
        _ => false,
    }
}

/// Whether a kernel filters every channel alike, and not with equal numbers as a fresh one may hold: blurring before a stride.
pub(super) fn same_filter(graph: &Graph, value: ValueId, kind: ParameterKind) -> Option<FixedReason> {
    let ParameterKind::Kernel { axis: 0 } = kind else { return None };
    let tensor = graph.value(value).initializer()?;
    let [channels, 1, _, _] = tensor.shape() else { return None };
    let size = tensor.bytes().len().checked_div(*channels)?;
    let mut rows = tensor.bytes().chunks_exact(size.max(1));
    let first = rows.next()?;
    (*channels > 1 && differ(first, tensor.dtype()) && rows.all(|row| row == first)).then_some(FixedReason::Filter)
}
