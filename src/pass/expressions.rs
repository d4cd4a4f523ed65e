//! What works on single elements, as one expression wherever it meets.

use super::Pass;
use super::kernel::{self, Kernel};
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, DType, Dim, Domain, Graph, Layout, Node, OtherNodes, Readers, TensorType, ValueId};
use crate::operator::View;
use std::collections::{BTreeMap, HashMap};

/// The attribute of an expression with its steps: for each the operation's number and three operands.
pub const STEPS: &str = "steps";
/// The attribute with the numbers that steps read.
pub const CONSTANTS: &str = "constants";
/// The attribute with the steps whose results are the outputs.
pub const RESULTS: &str = "results";
/// The attribute of an expression over images that lie with their channels last: how many these are. Numbers for each channel lie as they would elsewhere.
pub const CHANNELS: &str = "channels";
/// An operand from here on is a constant, below it an input.
pub const CONSTANT: i64 = 1 << 16;
/// An operand from here on is what a step gave.
pub const STEP: i64 = 1 << 32;

/// Steps of one expression; more would not fit the registers of a processor's first-level cache.
const LONGEST: usize = 64;

/// An operator of ONNX as steps of an expression can compute it.
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    /// Its name.
    pub operator: &'static str,
    /// The operation's number.
    pub code: i64,
    /// Its inputs; a number stands for one that may be left out.
    pub inputs: &'static [Option<f32>],
    /// Attributes that are operands behind the inputs, with their defaults.
    pub attributes: &'static [(&'static str, f32)],
    /// Whether it gives its input as it is.
    pub passes: bool,
    /// Whether it takes any number of inputs, of which each meets the result of those before.
    pub folds: bool,
    /// Whether it computes what the node asks for.
    pub covers: fn(&View) -> bool,
}

/// What an engine's expressions are over.
pub struct Elements {
    /// The operator for results of each type; the first is the one that others are spoken of by. A node's results are of one type.
    pub kernels: &'static [(DType, Kernel)],
    /// Tensors that one can read, and write.
    pub ports: (usize, usize),
    /// Whether the kernel is to sum a value instead of writing it ([`is_summed`](super::is_summed)).
    pub sums: fn(&Graph, &Readers, ValueId) -> bool,
    /// Whether the elements of tensors of a type can be computed.
    pub computes: fn(&TensorType) -> bool,
    /// Types of tensors that can be read.
    pub reads: &'static [DType],
    /// Whether the first tensor can be read element by element beside the second, in whose layout it lies or which is not as large; single numbers and tensors of one
    /// shape always can.
    pub spreads: fn(&TensorType, &TensorType, Layout) -> bool,
    /// The operations that round what is computed to the numbers of a type.
    pub roundings: &'static [(DType, i64)],
    /// Which operators an expression can compute.
    pub instructions: &'static [Instruction],
}

/// Puts one node of a kernel in the place of nodes that work on the elements of tensors of one shape and layout and read each other, so that
/// memory is gone through once. What others read of it between its first and last node stays where it is.
pub struct FuseExpressions<'k> {
    /// What computes expressions.
    pub elements: &'k Elements,
    /// Every native operator that there is.
    pub kernels: &'k [&'static Kernel],
}

impl Pass for FuseExpressions<'_> {
    fn name(&self) -> &'static str {
        "fuse expressions"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut nodes = OtherNodes::of(graph);
        let readers = graph.readers();
        for group in self.groups(graph, &readers) {
            let Some(fused) = group.finished(graph, &readers, self) else { continue };
            group.members.keys().for_each(|&m| nodes.remove(m));
            group.last().into_iter().for_each(|last| nodes.put(last, fused.clone()));
        }
        nodes.into_graph(graph).map_err(Error::internal)
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        kernel::verify_layouts(graph, self.kernels)
    }
}

impl FuseExpressions<'_> {
    /// Nodes that can be computed together, in the place of the last of them.
    fn groups(&self, graph: &Graph, readers: &Readers) -> Vec<Group> {
        let mut groups: Vec<Option<Group>> = vec![];
        let mut home: HashMap<usize, usize> = HashMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(mut own) = Group::of(graph, at, self) else { continue };
            for before in node.used().filter_map(|v| graph.value(v).producer) {
                let Some(place) = home.get(&before).and_then(|h| groups.get_mut(*h)) else { continue };
                let joined = place.as_ref().and_then(|other| own.joined(other, graph, readers, self));
                if let Some(joined) = joined {
                    *place = None;
                    own = joined;
                }
            }
            home.extend(own.members.keys().map(|&m| (m, groups.len())));
            groups.push(Some(own));
        }
        groups.into_iter().flatten().collect()
    }

    fn instruction(&self, graph: &Graph, node: &Node) -> Option<&Instruction> {
        let named = self.elements.instructions.iter().find(|i| node.is(i.operator))?;
        (named.covers)(&View { graph, node }).then_some(named)
    }
}

/// Nodes.
struct Group {
    /// What each gives, by its place.
    members: BTreeMap<usize, ValueId>,
}

impl Group {
    /// A node alone, where an expression can compute it.
    fn of(graph: &Graph, at: usize, pass: &FuseExpressions) -> Option<Group> {
        let &[output] = graph.nodes.get(at)?.outputs.as_slice() else { return None };
        let ty = graph.ty(output);
        let fits = (pass.elements.computes)(ty);
        let group = Group { members: [(at, output)].into() };
        (fits && group.program(graph, pass).is_some()).then_some(group)
    }

    /// What the first node gives: all results are of its shape and layout.
    fn whole(&self) -> Option<ValueId> {
        self.members.values().next().copied()
    }

    fn last(&self) -> Option<usize> {
        self.members.keys().next_back().copied()
    }

    /// Both, where they can be computed in the place of the later one's last node.
    fn joined(&self, other: &Group, graph: &Graph, readers: &Readers, pass: &FuseExpressions) -> Option<Group> {
        let (a, b) = (self.whole()?, other.whole()?);
        if graph.ty(a).shape != graph.ty(b).shape || graph.value(a).layout != graph.value(b).layout {
            return None;
        }
        let joined = Group { members: self.members.iter().chain(&other.members).map(|(&m, &v)| (m, v)).collect() };
        let last = joined.last()?;
        let waits = |v: &ValueId| readers.of(*v).iter().all(|r| *r > last || joined.members.contains_key(r));
        let results = joined.results(readers);
        let mut types = results.iter().map(|&v| graph.ty(v).dtype).filter(|ty| ty.is_float());
        let first = types.next();
        let few = results.len() <= pass.elements.ports.1 && types.all(|ty| Some(ty) == first);
        (few && joined.members.values().all(waits) && joined.program(graph, pass).is_some()).then_some(joined)
    }

    /// Values that others read.
    fn results(&self, readers: &Readers) -> Vec<ValueId> {
        let outside = |v: ValueId| readers.is_output(v) || readers.of(v).iter().any(|r| !self.members.contains_key(r));
        self.members.values().copied().filter(|&v| outside(v)).collect()
    }

    /// All steps; `None` where the kernel cannot compute one, or not so many.
    fn program(&self, graph: &Graph, pass: &FuseExpressions) -> Option<Program> {
        let mut program = Program { whole: self.whole()?, inputs: vec![], constants: vec![], steps: vec![], known: HashMap::new() };
        for &m in self.members.keys() {
            program.add(graph, graph.nodes.get(m)?, pass)?;
        }
        // Something has to say how large the result is.
        let image = graph.ty(program.whole);
        let sized = program.inputs.iter().any(|&v| graph.ty(v).shape == image.shape);
        (sized && program.inputs.len() <= pass.elements.ports.0 && program.steps.len() <= LONGEST).then_some(program)
    }

    /// The node for all; `None` where nothing would be gained, or where others read a truth, which kernels cannot give.
    fn finished(&self, graph: &Graph, readers: &Readers, pass: &FuseExpressions) -> Option<Node> {
        let program = self.program(graph, pass)?;
        let results = self.results(readers);
        let ty = graph.ty(*results.first()?).dtype;
        let (_, kernel) = pass.elements.kernels.iter().find(|(of, _)| *of == ty)?;
        let alike = results.iter().all(|&v| graph.ty(v).dtype == ty);
        let steps: Option<Vec<i64>> = results.iter().map(|v| program.known.get(v)?.checked_sub(STEP)).collect();
        // Nothing is gained by a single step, except that it reads what it meets as that lies beside images with their channels last.
        let summed = || results.iter().all(|&v| (pass.elements.sums)(graph, readers, v));
        let gains = program.steps.len() > 1
            || program.steps.len() == 1 && summed()
            || program.steps.len() == 1 && graph.value(program.whole).layout == Layout::ChannelsLast;
        let steps = steps.filter(|s| alike && !s.is_empty() && s.iter().all(|s| *s >= 0) && gains)?;
        let mut attrs = Attrs::from([
            (STEPS.to_string(), Attr::Ints(program.steps.concat())),
            (CONSTANTS.to_string(), Attr::Floats(program.constants)),
            (RESULTS.to_string(), Attr::Ints(steps)),
        ]);
        attrs.extend(lying(graph, program.whole));
        let name = graph.nodes.get(self.last()?)?.name.clone();
        let inputs = program.inputs.into_iter().map(Some).collect();
        Some(Node { domain: Domain::Native, outputs: results, ..Node::new(name, kernel.name, inputs, attrs) })
    }
}

/// The attribute that says how an image lies, where its channels are last.
pub(super) fn lying(graph: &Graph, v: ValueId) -> Option<(String, Attr)> {
    let channels = graph.ty(v).shape.get(1)?.known().filter(|_| graph.value(v).layout == Layout::ChannelsLast)?;
    Some((CHANNELS.to_string(), Attr::Int(i64::try_from(channels).ok()?)))
}

/// Steps under construction.
struct Program {
    /// A value of the shape and layout of all that is computed.
    whole: ValueId,
    inputs: Vec<ValueId>,
    constants: Vec<f32>,
    steps: Vec<[i64; 4]>,
    /// The operands that stand for values of the graph.
    known: HashMap<ValueId, i64>,
}

impl Program {
    /// What the node computes of values of the graph.
    fn add(&mut self, graph: &Graph, node: &Node, pass: &FuseExpressions) -> Option<()> {
        let operands = node.inputs.iter().map(|v| v.map(|v| self.outer(graph, v, pass)).map_or(Some(None), |o| o.map(Some)));
        let operands: Vec<Option<i64>> = operands.collect::<Option<_>>()?;
        let results = self.compute(graph, node, &operands, pass)?;
        self.known.extend(node.outputs.iter().copied().zip(results));
        Some(())
    }

    /// The operand for a value of the graph: what was computed, a constant, or a tensor that can be read element by element.
    fn outer(&mut self, graph: &Graph, v: ValueId, pass: &FuseExpressions) -> Option<i64> {
        if let Some(&known) = self.known.get(&v) {
            return Some(known);
        }
        let ty = graph.ty(v);
        let operand = match number(graph, v) {
            Some(value) => self.constant(value),
            None if pass.elements.reads.contains(&ty.dtype) && self.is_read(graph, v, pass) => {
                place(&mut self.inputs, v, |a, b| a == b) as i64
            }
            None => return None,
        };
        self.known.insert(v, operand);
        Some(operand)
    }

    /// Whether a tensor has an element for each of the result, one for all, or those that the kernel can spread.
    fn is_read(&self, graph: &Graph, v: ValueId, pass: &FuseExpressions) -> bool {
        let (whole, ty, layout) = (graph.ty(self.whole), graph.ty(v), graph.value(self.whole).layout);
        let alike = ty.shape == whole.shape && graph.value(v).layout == layout;
        alike || is_one(ty) || (pass.elements.spreads)(ty, whole, layout)
    }

    fn constant(&mut self, value: f32) -> i64 {
        CONSTANT.saturating_add(place(&mut self.constants, value, |a, b| a.to_bits() == b.to_bits()) as i64)
    }

    /// Adds the steps of a node, whose inputs are those operands; gives what stands for its outputs.
    fn compute(&mut self, graph: &Graph, node: &Node, inputs: &[Option<i64>], pass: &FuseExpressions) -> Option<Vec<i64>> {
        match &node.body {
            Some(body) => self.call(body, inputs, pass),
            None => {
                let instruction = pass.instruction(graph, node)?;
                let operand = self.instruct(instruction, node, inputs)?;
                Some(vec![self.rounded(graph, node, operand, pass)])
            }
        }
    }

    fn call(&mut self, body: &Graph, inputs: &[Option<i64>], pass: &FuseExpressions) -> Option<Vec<i64>> {
        let mut place: HashMap<ValueId, i64> = body.inputs.iter().zip(inputs).filter_map(|(v, o)| Some((*v, (*o)?))).collect();
        for node in body.live().nodes {
            let operand = |v: &Option<ValueId>| match v {
                None => Some(None),
                Some(v) => place.get(v).copied().or_else(|| number(body, *v).map(|value| self.constant(value))).map(Some),
            };
            let operands: Vec<Option<i64>> = match node.outputs[..] {
                // A number that a node gives, as it is.
                [o] if number(body, o).is_some() => continue,
                _ => node.inputs.iter().map(operand).collect::<Option<_>>()?,
            };
            let known = |ty: DType| ty == DType::Bool || pass.elements.kernels.iter().any(|k| k.0 == ty);
            if !node.outputs.iter().all(|&o| known(body.ty(o).dtype)) {
                return None;
            }
            let results = self.compute(body, node, &operands, pass)?;
            place.extend(node.outputs.iter().copied().zip(results));
        }
        body.outputs.iter().map(|o| place.get(o).copied()).collect()
    }

    /// What a node gives in a type with fewer numbers has them.
    fn rounded(&mut self, graph: &Graph, node: &Node, operand: i64, pass: &FuseExpressions) -> i64 {
        let ty = node.outputs.first().map(|&v| graph.ty(v).dtype);
        match pass.elements.roundings.iter().find(|(of, _)| Some(*of) == ty) {
            Some((_, code)) => self.step(*code, [operand; 3]),
            None => operand,
        }
    }

    fn instruct(&mut self, instruction: &Instruction, node: &Node, inputs: &[Option<i64>]) -> Option<i64> {
        if instruction.passes {
            return inputs.first().copied().flatten();
        }
        if instruction.folds {
            let all: Vec<i64> = inputs.iter().copied().collect::<Option<_>>()?;
            let (first, rest) = all.split_first()?;
            return Some(rest.iter().fold(*first, |before, next| self.step(instruction.code, [before, *next, *next])));
        }
        let mut operands = vec![];
        for (i, otherwise) in instruction.inputs.iter().enumerate() {
            let given = inputs.get(i).copied().flatten();
            operands.push(given.or_else(|| otherwise.map(|value| self.constant(value)))?);
        }
        for (name, otherwise) in instruction.attributes {
            operands.push(self.constant(node.float(name, *otherwise)));
        }
        let first = *operands.first()?;
        (inputs.len() <= instruction.inputs.len()).then(|| {
            let at = |i: usize| operands.get(i).copied().unwrap_or(first);
            self.step(instruction.code, [at(0), at(1), at(2)])
        })
    }

    fn step(&mut self, code: i64, [a, b, c]: [i64; 3]) -> i64 {
        let at = self.steps.len() as i64;
        self.steps.push([code, a, b, c]);
        STEP.saturating_add(at)
    }
}

/// The place of an entry in a list, to which it is added where none is the same.
fn place<T>(list: &mut Vec<T>, entry: T, same: impl Fn(&T, &T) -> bool) -> usize {
    if let Some(at) = list.iter().position(|one| same(one, &entry)) {
        return at;
    }
    list.push(entry);
    list.len().saturating_sub(1)
}

/// The number that a value is known to be.
fn number(graph: &Graph, v: ValueId) -> Option<f32> {
    let tensor = graph.value(v).constant.as_ref().filter(|t| (t.dtype() == DType::F32 || t.dtype().is_half()) && t.count() == 1)?;
    tensor.to_f64().ok()?.first().map(|&n| n as f32)
}

fn is_one(ty: &TensorType) -> bool {
    ty.shape.iter().all(|&d| d == Dim::Known(1))
}

/// What the processor's kernels spread: with channels last a number for each channel, else one for each place of the last axis.
pub fn spreads_channels(ty: &TensorType, whole: &TensorType, layout: Layout) -> bool {
    if layout == Layout::ChannelsLast { is_gate(ty, whole) } else { is_row(ty, whole) }
}

/// Whether a tensor has one number for each channel of an image, of each or of all images. It lies alike in both layouts.
fn is_gate(ty: &TensorType, image: &TensorType) -> bool {
    let one = Dim::Known(1);
    let (n, c, h, w) = match *ty.shape {
        [n, c, h, w] => (n, c, h, w),
        [c, h, w] => (one, c, h, w),
        _ => return false,
    };
    let [images, channels, _, _] = *image.shape else { return false };
    c == channels && [h, w] == [one, one] && (n == images || n == one)
}

/// Whether a tensor has one number for each place of the last axis.
fn is_row(ty: &TensorType, whole: &TensorType) -> bool {
    let Some((last, others)) = ty.shape.split_last() else { return false };
    whole.shape.last() == Some(last) && ty.rank() <= whole.rank() && others.iter().all(|&d| d == Dim::Known(1))
}
