//! Any expression over single elements, in one pass over the device's memory; or its sums.

use super::super::native::{INSTRUCTIONS, product};
use super::device::{Compiled, Grid, Parameters, Session};
use super::kept::Kept;
use super::ports::{Tensor, input, output, stream};
use super::source::{self, Along, Element, Expression, FINISHING, Form, LANES, ROUND_BF16, ROUND_F16, Reading, SUMMING};
use super::typed::Entry;
use crate::ir::{DType, Dim, Layout, TensorType};
use crate::operator::View;
use crate::pass::{
    AXES, CHANNELS, CONSTANTS, Elements, Extras, Instruction, KEEP, Kernel as Row, MEAN, Port, RESULTS, Replaces, STEPS, SUMS, is_summed,
    kept_axes, spreads_channels,
};
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// Tensors that an expression can read.
const INPUTS: usize = 24;
/// And write.
const OUTPUTS: usize = 6;
/// Blocks that a sum is divided into at least, and elements that a thread has at least.
const SPLIT: (usize, usize) = (1024, 8);
/// Threads of a block that share channels, where these are last.
const DEEP: usize = (SUMMING / LANES) as usize;

const fn row(name: &'static str) -> Row {
    const ALL: [Port; OUTPUTS] = [Port::Alike; OUTPUTS];
    Row { name, replaces: Replaces::Nothing, covers: |_| false, inputs: &[Port::Others], outputs: &ALL, extras: Extras::NONE }
}

/// The operator for results of each type.
static ROWS: [(DType, Row); 3] =
    [(DType::F32, row("Elementwise")), (DType::F16, row("ElementwiseF16")), (DType::BF16, row("ElementwiseBf16"))];

/// What expressions on the device are over.
pub static ELEMENTS: LazyLock<Elements> = LazyLock::new(|| {
    static TABLE: LazyLock<Vec<Instruction>> = LazyLock::new(|| {
        let casts = |i: &Instruction| if i.operator == "Cast" { Instruction { covers: is_among_floats, ..*i } } else { *i };
        INSTRUCTIONS.iter().map(casts).collect()
    });
    Elements {
        kernels: &ROWS,
        ports: (INPUTS, OUTPUTS),
        sums: is_summed,
        computes: |ty| is_read(ty.dtype),
        reads: &[DType::F32, DType::F16, DType::BF16, DType::Bool],
        spreads: |ty, whole, layout| match layout {
            Layout::Onnx => spread(&ty.shape, &whole.shape, Dim::Known(1)).is_some(),
            Layout::ChannelsLast => {
                let one = |d: &Dim| *d == Dim::Known(1);
                // A number for each channel of each image is no run of what lies `[N, H, W, C]`.
                let is_run = ty.rank() < 4 || ty.shape.first().is_some_and(one) || whole.shape.iter().skip(2).all(one);
                is_run && whole.shape.get(1).is_some_and(|c| c.known().is_some()) && spreads_channels(ty, whole, layout)
            }
        },
        roundings: &[(DType::F16, ROUND_F16), (DType::BF16, ROUND_BF16)],
        instructions: &TABLE,
    }
});

fn is_read(ty: DType) -> bool {
    matches!(ty, DType::F32 | DType::F16 | DType::BF16 | DType::Bool)
}

/// Truths are numbers in an expression; what is made a truth of a number is not.
fn is_among_floats(n: &View) -> bool {
    let to = DType::from_onnx(n.node.int("to", 0) as i32);
    let from = n.ty(0).map(|ty: &TensorType| ty.dtype);
    matches!((from, to), (Ok(from), Some(to)) if is_read(from) && is_read(to) && (to != DType::Bool || from == DType::Bool))
}

/// How a tensor's elements serve those of a larger one: `(inner, run)` as axes, where only axes that follow each other are its own. Axes of length 1 are whatever they need to be.
fn spread<D: PartialEq + Copy>(shape: &[D], whole: &[D], one: D) -> Option<(Range<usize>, Range<usize>)> {
    let missing = whole.len().checked_sub(shape.len())?;
    let own = |axis: usize| axis.checked_sub(missing).and_then(|at| shape.get(at).copied()).unwrap_or(one);
    let (mut first, mut end) = (None, 0);
    for (axis, &size) in whole.iter().enumerate().filter(|(_, size)| **size != one) {
        if own(axis) == size {
            first.get_or_insert(axis);
            end = axis.saturating_add(1);
        } else if own(axis) != one {
            return None;
        }
    }
    let run = first.unwrap_or(end)..end;
    let dense = whole.iter().enumerate().filter(|(axis, size)| run.contains(axis) && **size != one).all(|(axis, &size)| own(axis) == size);
    dense.then_some((end..whole.len(), run))
}

/// One of the operators, for a session.
pub struct Elementwise {
    session: Arc<Session>,
    name: &'static str,
    element: Element,
}

/// All of them.
pub const ENTRY: Entry = (&ROWS, all);

fn all(domain: OperatorDomain, session: &Arc<Session>) -> Result<OperatorDomain> {
    let form = |(ty, row): &(DType, Row)| Some(Elementwise { session: Arc::clone(session), name: row.name, element: Element::of(*ty)? });
    ROWS.iter().filter_map(form).try_fold(domain, OperatorDomain::add)
}

/// How sums are taken.
struct Sums {
    axes: Vec<i64>,
    keep: bool,
    mean: bool,
}

/// At one node.
pub struct Node {
    of: Computed,
    kept: Kept<Tensors, Ready>,
}

/// What a node computes.
struct Computed {
    session: Arc<Session>,
    element: Element,
    expression: Expression,
    sums: Sums,
    /// How many channels images have, where these are last.
    channels: Option<usize>,
}

/// What tensors are made of, and their shapes.
type Tensors = Vec<(Element, Vec<usize>)>;

/// What is known of the tensors by their types and shapes.
struct Ready {
    kernel: Compiled,
    form: Form,
    whole: Vec<usize>,
    /// `(inner, run)` of inputs that are spread.
    pairs: Vec<(usize, usize)>,
    /// `[outer, channels, inner]` of what is summed, and the result's shape.
    summed: Option<([usize; 3], Vec<usize>)>,
}

impl Operator for Elementwise {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(super::PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        (0..OUTPUTS)
            .map(|at| if at == 0 { OperatorOutput::required(self.element.ort()) } else { OperatorOutput::optional(self.element.ort()) })
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node> {
        let list = |name: &str| attributes.get::<Vec<i64>>(name).unwrap_or_default();
        let steps = list(STEPS).chunks_exact(4).filter_map(|step| step.try_into().ok()).collect();
        let constants = attributes.get::<Vec<f32>>(CONSTANTS).unwrap_or_default();
        let results = list(RESULTS).into_iter().map(|r| usize::try_from(r).unwrap_or(usize::MAX)).collect();
        let sums = attributes.get::<i64>(SUMS).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let expression = Expression { steps, constants, results, sums };
        expression.check(INPUTS).map_err(Error::new)?;
        let flag = |name: &str| attributes.get::<i64>(name).unwrap_or(0) != 0;
        let sums = Sums { axes: list(AXES), keep: flag(KEEP), mean: flag(MEAN) };
        let channels = attributes.get::<i64>(CHANNELS).and_then(|n| usize::try_from(n).ok());
        let of = Computed { session: Arc::clone(&self.session), element: self.element, expression, sums, channels };
        Ok(Node { of, kept: Kept::NONE })
    }
}

impl Kernel for Node {
    fn compute(&mut self, cx: &ComputeContext) -> Result<()> {
        let inputs = (0..cx.num_inputs()?).map(|at| input(cx, at)).collect::<Result<Vec<_>>>()?;
        let same = |known: &Tensors| known.iter().map(|(e, shape)| (*e, shape)).eq(inputs.iter().map(|t| (t.element, &t.shape)));
        let ready = self.kept.get_if(same, || {
            let tensors = inputs.iter().map(|t| (t.element, t.shape.clone())).collect();
            Ok((tensors, self.of.prepare(&inputs)?))
        })?;
        self.of.start(cx, ready, &inputs)
    }
}

impl Computed {
    fn prepare(&self, inputs: &[Tensor]) -> Result<Ready> {
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| lying(&t.shape, self.channels)).collect();
        let largest = inputs.iter().zip(&shapes).max_by_key(|(t, shape)| (t.count(), shape.len()));
        let whole = largest.map(|(_, shape)| shape.clone()).ok_or_else(|| Error::new("an expression reads nothing"))?;
        let total: usize = whole.iter().product();
        let summed = (self.expression.sums > 0).then(|| self.sums.of(&whole)).transpose()?;
        let channel = summed.as_ref().map(|([_, channels, inner], _)| (*inner, *channels));
        let (mut readings, mut pairs) = (vec![], vec![]);
        for (t, shape) in inputs.iter().zip(&shapes) {
            readings.push((t.element, reading(shape, &whole, channel, &mut pairs)?));
        }
        let rows = summed.as_ref().is_some_and(|([_, channels, inner], _)| (*inner, *channels > 1) == (1, true));
        let quads = match &summed {
            Some(([_, channels, _], _)) => rows && channels.is_multiple_of(4),
            None => total.is_multiple_of(4),
        };
        let long = total > i32::MAX as usize;
        let along = pairs.iter().map(|&pair| Along::of(pair)).collect();
        let form = Form { inputs: readings, output: self.element, pairs: along, quads, rows, long };
        let names: &[&str] = if summed.is_some() { &["expression", "finish"] } else { &["expression"] };
        let kernel = self.session.compiled(source::cuda(&self.expression.source(&form), long), names)?;
        Ok(Ready { kernel, form, whole, pairs, summed })
    }

    fn start(&self, cx: &ComputeContext, ready: &Ready, inputs: &[Tensor]) -> Result<()> {
        let whole = self.expression.whole();
        let shape = |at: usize| match &ready.summed {
            Some((_, shape)) if at >= whole => shape,
            _ => &ready.whole,
        };
        let outputs = (0..self.expression.results.len()).map(|at| output(cx, at, shape(at))).collect::<Result<Vec<_>>>()?;
        let total: usize = ready.whole.iter().product();
        let mut parameters = Parameters::default();
        inputs.iter().for_each(|t| parameters.pointer(t.address));
        for &(inner, run) in &ready.pairs {
            parameters.place(inner);
            parameters.place(run);
        }
        outputs.iter().take(whole).for_each(|&y| parameters.pointer(y));
        if total == 0 && self.expression.sums == 0 || ready.summed.as_ref().is_some_and(|([_, channels, _], _)| *channels == 0) {
            return Ok(());
        }
        let stream = stream(cx)?;
        let Some(([outer, channels, inner], _)) = ready.summed else {
            parameters.place(total);
            let each = if ready.form.quads { total / 4 } else { total };
            return self.session.over(&ready.kernel, each, &mut parameters, stream);
        };
        let each = product(&[outer, inner])?;
        // Channels that a block has, and elements of each that it goes through before it begins again.
        let (beside, deep) = match (ready.form.rows, ready.form.quads) {
            (false, _) => (1, SUMMING as usize),
            (true, false) => (LANES as usize, DEEP),
            (true, true) => ((LANES as usize).saturating_mul(4), DEEP),
        };
        let blocks = channels.div_ceil(beside);
        let splits = SPLIT.0.div_ceil(blocks).min(each.div_ceil(SPLIT.1.saturating_mul(deep))).max(1);
        let parts = if splits > 1 { self.session.memory(product(&[self.expression.sums, splits, channels, 4])?)? } else { 0 };
        let ends = |parameters: &mut Parameters| {
            parameters.pointer(parts);
            parameters.place(splits);
            parameters.float(if self.sums.mean { each as f32 } else { 1.0 });
            outputs.iter().skip(whole).for_each(|&y| parameters.pointer(y));
        };
        [outer, channels, inner].into_iter().for_each(|n| parameters.place(n));
        ends(&mut parameters);
        let grid = Grid { blocks: [blocks as u32, splits as u32], threads: SUMMING };
        self.session.launch(&ready.kernel, 0, grid, &mut parameters, stream)?;
        if splits == 1 {
            return Ok(());
        }
        let mut finish = Parameters::default();
        finish.place(channels);
        ends(&mut finish);
        let blocks = [channels as u32, self.expression.sums as u32];
        self.session.launch(&ready.kernel, 1, Grid { blocks, threads: FINISHING }, &mut finish, stream)
    }
}

/// A shape as it lies: with the channels last, numbers for each channel `[C, 1, 1]` are `[1, 1, C]`. (Whatever lies so already ends with as many or with 1, and where there is
/// one channel it is the same.)
fn lying(shape: &[usize], channels: Option<usize>) -> Vec<usize> {
    match (shape, channels) {
        (&[c, 1, 1], Some(channels)) if c == channels => vec![1, 1, c],
        (&[n, c, 1, 1], Some(channels)) if c == channels => vec![n, 1, 1, c],
        _ => shape.to_vec(),
    }
}

/// How an input of that shape is read; `channel` is the pair of what is summed.
fn reading(shape: &[usize], whole: &[usize], channel: Option<(usize, usize)>, pairs: &mut Vec<(usize, usize)>) -> Result<Reading> {
    let count = product(shape)?;
    if count == product(whole)? {
        return Ok(Reading::Whole);
    }
    if count == 1 {
        return Ok(Reading::One);
    }
    let unread = || Error::new(format!("an expression over {whole:?} cannot read {shape:?}"));
    let (inner, run) = spread(shape, whole, 1).ok_or_else(unread)?;
    let pair = (size(whole, inner)?, size(whole, run)?);
    if channel == Some(pair) {
        return Ok(Reading::Channel);
    }
    let at = pairs.iter().position(|p| *p == pair).unwrap_or(pairs.len());
    if at == pairs.len() {
        pairs.push(pair);
    }
    Ok(Reading::Spread(at))
}

/// How many elements these axes have together.
fn size(whole: &[usize], axes: Range<usize>) -> Result<usize> {
    product(whole.get(axes).ok_or_else(|| Error::new(format!("an expression over {whole:?} has other axes")))?)
}

impl Sums {
    /// `[outer, channels, inner]` of a tensor that is summed over the outer and the inner axes, and the shape of the sums.
    fn of(&self, whole: &[usize]) -> Result<([usize; 3], Vec<usize>)> {
        let summed = |axis: usize| self.axes.contains(&(axis as i64));
        let kept = kept_axes(whole.len(), &self.axes)
            .ok_or_else(|| Error::new(format!("no kernel sums {whole:?} over the axes {:?}", self.axes)))?;
        let sizes = match kept.is_empty() {
            true => [1, 1, size(whole, 0..whole.len())?],
            false => [size(whole, 0..kept.start)?, size(whole, kept.clone())?, size(whole, kept.end..whole.len())?],
        };
        let axes = whole.iter().enumerate().filter(|(a, _)| self.keep || !summed(*a));
        let result = axes.map(|(a, &size)| if summed(a) { 1 } else { size }).collect();
        Ok((sizes, result))
    }
}

#[cfg(test)]
#[path = "elementwise_tests.rs"]
mod tests;
