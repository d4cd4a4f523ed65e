//! What an operator is, and the tools that its rules are written with.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod builder;
pub(crate) mod checked;
mod facts;
pub(crate) mod fold;
mod function;
mod import;
mod per_sample;
pub(crate) mod window;

pub use builder::Builder;
pub(crate) use builder::attrs;
pub use facts::{Facts, Half, Meaning, Normalization, OutputChannels, ParameterKind};
pub use function::Function;
pub use import::Import;
pub use per_sample::{PerSample, Samples};

use crate::error::fault;
use crate::ir::{Attr, Attrs, DType, Dim, Elem, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::pb;

/// What a rule gives back: its result, or the reason why it cannot handle this node.
pub type Rule<T> = std::result::Result<T, String>;

/// What an operator says of its types that import always writes as something else: no graph has it.
pub(crate) fn imported_as<T>(what: &str) -> Rule<T> {
    Err(fault(format!("it is imported as {what}")))
}

/// The three states an operator can be in; anything that the table does not list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Has a gradient rule.
    Differentiable,
    /// Its gradient is zero everywhere: shapes, comparisons, integer results.
    ZeroGradient,
    /// Known, and refused with this reason.
    Refused(&'static str),
}

/// A result that is known without running the node.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// All elements, numbers.
    Tensor(Tensor),
    /// Elements of a rank-1 integer tensor (or of a scalar) that may be the batch size.
    Elems(Vec<Elem>),
}

/// One operator of the table. Rules see nodes in canonical form: as opset [`OPSET`] writes them, every attribute explicit.
pub trait Operator: Sync {
    /// The name in ONNX's own domain; of a function that has a gradient rule, the function's.
    fn op_type(&self) -> &'static str;

    /// Whether there is a gradient; by default there is.
    fn status(&self) -> Status {
        Status::Differentiable
    }

    /// Brings a node of the source model into canonical form. Attributes that this does not read are refused.
    fn import(&self, _: &mut Import) -> Rule<()> {
        Ok(())
    }

    /// Gives a node of the source model, as the source writes it, the form that computes what it does in inference.
    fn inference_form(&self, _: &mut pb::NodeProto) {}

    /// Types of the outputs.
    fn infer(&self, n: &View) -> Rule<Vec<TensorType>>;

    /// Cotangents of the inputs, each `None` where it is zero or not needed ([`Grad::needs`]).
    fn gradient(&self, _b: &mut Builder, _g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Err("it has no gradient rule".into())
    }

    /// For operators that have parameters: the gradient of each input for every sample on its own, instead of the batch's sum;
    /// `None` where it is not needed.
    fn per_sample(&self, _b: &mut Builder, _s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        Err("it has no rule for the gradients of single samples".into())
    }

    /// The outputs by other operators, where ONNX Runtime is faster with those for the shapes at hand. `inputs` are those of the node,
    /// in the builder's graph.
    fn alternative(&self, _b: &mut Builder, _n: &View, _inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        Ok(None)
    }

    /// The outputs by operators of opset [`OPSET`], for one that the opset lacks or that has further outputs here. In emitted graphs it is
    /// then a function of its own name, which the table of functions declares. `inputs` are those of the node, in the builder's graph.
    fn body(&self, _b: &mut Builder, _n: &View, _inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        Ok(None)
    }

    /// The outputs by operators that are more common, for a runtime that has not this one, or not right. `inputs` are those of the node, in the builder's graph.
    fn plain(&self, _b: &mut Builder, _n: &View, _inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        Ok(None)
    }

    /// The first output, where it follows from shapes and constants.
    fn evaluate(&self, _: &View) -> Option<Known> {
        None
    }

    /// Of an operator whose second input, in canonical form, is a constant of its own with the shape of the result: that constant for the
    /// shapes that the inputs have now. `None` where the shape has to be computed while the model runs.
    fn shape_operand(&self, _: &View) -> Rule<Option<Tensor>> {
        Ok(None)
    }

    /// What is always true of it.
    fn facts(&self) -> Facts {
        Facts::NONE
    }

    /// What a constant at each input is, where it is a parameter; empty for operators without parameters.
    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![]
    }

    /// Whether an input may be a sequence of tensors. Import knows such lists; the graph has none.
    fn takes_sequences(&self) -> bool {
        false
    }

    /// The inputs that say how the operator works and take no gradient, though they may hold floating-point numbers: bounds, scales.
    fn settings(&self) -> &'static [usize] {
        &[]
    }

    /// The axis of input `i` that runs along `axis` of the first result, where the elements of the result are those of the input, moved or
    /// each changed by itself or by a normalization; `None` where they are not, as after broadcasting.
    fn source_axis(&self, n: &View, i: usize, axis: usize) -> Option<usize> {
        self.facts().source_axis(i, &n.ty(i).ok()?.shape, &self.infer(n).ok()?.first()?.shape, axis)
    }

    /// For operators with a kernel: where its output channels lie.
    fn output_channels(&self, _: &View) -> Option<OutputChannels> {
        None
    }

    /// Of an operator that sums or normalizes over axes: these.
    fn along(&self, _: &View) -> Option<Vec<usize>> {
        None
    }

    /// Between which numbers its first result lies, whatever its first input is.
    fn bounds(&self, _: &View) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    /// Of an operator whose gradient is a number for one input only where another one is not negative: both, by their places.
    fn trained_above_zero(&self) -> Option<(usize, usize)> {
        None
    }

    /// Of an operator that does nothing but put axes into another order: output axis `i` is input axis `order[i]`.
    fn order(&self, _: &View) -> Option<Vec<usize>> {
        None
    }

    /// What the node has to be where its images, all that it reads and gives of tensors of four axes, lie with their axes in another order: axis `i`
    /// of what lies there is axis `order[i]` of the image. `None` where it cannot work on them so.
    fn reordered(&self, _: &View, _order: &[usize]) -> Option<Reordered> {
        None
    }

    /// The operator's row of docs/operators.md: what is covered, conventions at kinks.
    fn notes(&self) -> &'static str {
        ""
    }
}

/// How a node works on images whose axes lie in another order.
#[derive(Debug, Clone, PartialEq)]
pub struct Reordered {
    /// All of its attributes.
    pub attrs: Attrs,
    /// Constants in the place of some of its inputs.
    pub constants: Vec<(usize, Tensor)>,
}

impl Reordered {
    /// Of an operator with an attribute `axis`, which is not negative.
    pub fn along(n: &View, order: &[usize]) -> Option<Reordered> {
        let here = usize::try_from(n.node.int("axis", 0)).ok()?;
        let mut attrs = n.node.attrs.clone();
        attrs.insert("axis".into(), Attr::Int(order.iter().position(|&a| a == here)? as i64));
        Some(Reordered { attrs, constants: vec![] })
    }
}

/// The opset of every graph that spgraph emits.
pub const OPSET: i64 = 17;

/// A node with its graph, for rules that only look.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Where the node lies, or will lie.
    pub graph: &'a Graph,
    /// In canonical form; without outputs where it is about to be added.
    pub node: &'a Node,
}

impl<'a> View<'a> {
    /// Input `i`, where it is there.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.node.input(i)
    }

    /// Type of the required input `i`.
    pub fn ty(&self, i: usize) -> Rule<&'a TensorType> {
        self.input(i).map(|v| self.graph.ty(v)).ok_or_else(|| format!("input {i} is missing"))
    }

    /// Whether input `i` is computed from constants alone, or is one.
    pub fn is_fixed(&self, i: usize) -> bool {
        self.input(i).is_some_and(|v| !self.graph.value(v).varies)
    }

    /// The constant that enters at `i`.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        self.graph.value(self.input(i)?).constant.as_ref()
    }

    /// The integers that enter at `i`, where they are known numbers.
    pub fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.constant(i)?.to_i64().ok()
    }

    /// The integers that enter at `i`, which must be known.
    pub fn known_ints(&self, i: usize, what: &str) -> Rule<Vec<i64>> {
        self.ints(i).ok_or_else(|| format!("{what} (input {i}) is computed while the model runs; export the network with constant shapes"))
    }

    /// Elements of an integer input, each a number or a multiple of the batch size.
    pub fn elems(&self, i: usize) -> Option<Vec<Elem>> {
        self.graph.value(self.input(i)?).known_elems()
    }
}

/// What a gradient rule is given.
pub struct Grad {
    /// The forward node.
    pub node: Node,
    /// Cotangents of the outputs; `None` is zero.
    pub dy: Vec<Option<ValueId>>,
    /// Which inputs need a cotangent.
    pub needs: Vec<bool>,
}

impl Grad {
    /// The required input `i`, which import has made sure of.
    pub fn input(&self, i: usize) -> Rule<ValueId> {
        self.node.input(i).ok_or_else(|| fault(format!("input {i} is missing")))
    }

    /// Whether input `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    /// Output `i` of the forward node, which the operator has: its rule says how many there are.
    #[allow(clippy::indexing_slicing)]
    pub fn output(&self, i: usize) -> ValueId {
        self.node.outputs[i]
    }

    /// Whether input `i` needs a cotangent.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// The cotangent of the first output. The engine calls a rule only where some cotangent is there.
    pub fn dy(&self) -> Rule<ValueId> {
        self.dy.first().copied().flatten().ok_or_else(|| "only a secondary output is used".into())
    }
}

/// The axis as a number from 0, from one that may count from the end.
pub fn axis(axis: i64, rank: usize) -> Rule<usize> {
    let a = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    if (0..rank.max(1) as i64).contains(&a) {
        Ok(a as usize)
    } else {
        Err(format!("axis {axis} does not exist in a tensor of rank {rank}"))
    }
}

/// Numbers in a table that a rule makes of sizes: a mask, a matrix, counts of elements. A file may say any sizes.
const MOST: usize = 1 << 24;

/// The number of elements of a table of these sizes, which a rule is about to make.
pub fn table_of(sizes: &[usize]) -> Rule<usize> {
    let count = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&count| count <= MOST);
    count.ok_or_else(|| format!("it needs a table of the sizes {sizes:?}; more than {MOST} numbers are not supported"))
}

/// Axes counted from 0, sorted; all of them where `axes` is empty.
pub fn axes(axes: &[i64], rank: usize) -> Rule<Vec<usize>> {
    if axes.is_empty() {
        return Ok((0..rank).collect());
    }
    let mut found = axes.iter().map(|&a| axis(a, rank)).collect::<Rule<Vec<_>>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Axes counted from 0, in the order in which they are given, each once.
pub fn distinct_axes(axes: &[i64], rank: usize) -> Rule<Vec<usize>> {
    let mut found = vec![];
    for &a in axes {
        let one = axis(a, rank)?;
        if found.contains(&one) {
            return Err(format!("its axes {axes:?} name one twice"));
        }
        found.push(one);
    }
    Ok(found)
}

/// The shape that ONNX's multidirectional broadcasting gives.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Rule<Vec<Dim>> {
    let rank = a.len().max(b.len());
    // The shorter one has ones in front.
    let at = |s: &[Dim], i: usize| (i.saturating_add(s.len())).checked_sub(rank).and_then(|i| s.get(i).copied()).unwrap_or(Dim::Known(1));
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (Dim::Known(1), y) => Ok(y),
            (x, Dim::Known(1)) => Ok(x),
            (x, y) => Err(format!("dimensions {x} and {y} do not broadcast")),
        })
        .collect()
}

/// All dimensions as numbers, or the reason why not.
pub fn fixed(ty: &TensorType) -> Rule<Vec<usize>> {
    ty.dims().ok_or_else(|| format!("it needs every dimension of {ty} as a number; rewrite with a fixed batch size"))
}

/// The type of input 0, floating, for functions that keep it.
pub fn unchanged(n: &View) -> Rule<Vec<TensorType>> {
    floating(n.ty(0)?)?;
    Ok(vec![n.ty(0)?.clone()])
}

/// Fails unless the element type is a floating one that rules compute with.
pub fn floating(ty: &TensorType) -> Rule<DType> {
    match ty.dtype {
        // Half precision is there in emitted graphs alone: import widens it.
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => Ok(ty.dtype),
        other => Err(format!("element type {other} is not supported here, only float32 and float64")),
    }
}
