//! Sums of what an expression computes, without writing it.

use super::Pass;
use super::expressions::{CONSTANTS, Elements, Instruction, RESULTS, STEP, STEPS, lying};
use super::repeat::narrow;
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, DType, Domain, Graph, Node, OtherNodes, PerValue, Readers, ValueId};
use crate::operator::{Meaning, View, axis};
use std::ops::Range;

/// The attribute of an expression with how many of its results, the last ones, are sums.
pub const SUMS: &str = "sums";
/// The attribute with the axes that sums are over.
pub const AXES: &str = "axes";
/// The attribute of sums that keep these axes, of length 1.
pub const KEEP: &str = "keepdims";
/// The attribute of sums that are divided by how many elements each is of.
pub const MEAN: &str = "mean";

/// Lets expressions sum what they compute, where nothing else reads it, and sums alone be expressions: over all axes, or over some at the beginning and some at the end.
pub struct FuseSums<'k> {
    /// What computes expressions.
    pub elements: &'k Elements,
}

/// A sum, a mean or a sum of squares as an expression can take it.
struct Sum {
    of: ValueId,
    square: bool,
    /// How it is written in the node.
    attrs: Attrs,
}

impl Sum {
    fn read(graph: &Graph, node: &Node) -> Option<Sum> {
        let operator = View { graph, node }.operator().filter(|_| node.domain == Domain::Onnx)?;
        let (square, mean) = match operator.facts().meaning {
            Meaning::Total => (false, false),
            Meaning::Mean => (false, true),
            Meaning::TotalOfSquares => (true, false),
            _ => return None,
        };
        let of = node.input(0)?;
        let rank = graph.ty(of).rank();
        let given = match node.input(1) {
            Some(axes) => graph.value(axes).constant.as_ref()?.to_i64().ok()?,
            None => node.ints("axes").to_vec(),
        };
        let axes: Vec<i64> = match given.is_empty() {
            true if node.int("noop_with_empty_axes", 0) != 0 => return None,
            true => (0..rank as i64).collect(),
            false => given.iter().map(|&a| Some(axis(a, rank).ok()? as i64)).collect::<Option<_>>()?,
        };
        kept_axes(rank, &axes)?;
        let flag = |name: &str, is: bool| (name.to_string(), Attr::Int(i64::from(is)));
        let attrs = Attrs::from([(AXES.to_string(), Attr::Ints(axes)), flag(KEEP, node.int("keepdims", 1) != 0), flag(MEAN, mean)]);
        (rank > 0).then_some(Sum { of, square, attrs })
    }
}

/// The axes that a sum keeps, which follow each other: those before them and those behind are summed. `None` where others are summed as well.
pub fn kept_axes(rank: usize, axes: &[i64]) -> Option<Range<usize>> {
    let summed = |axis: &usize| axes.contains(&(*axis as i64));
    let first = (0..rank).take_while(summed).count();
    let behind = (first..rank).rev().take_while(summed).count();
    let kept = first..rank.saturating_sub(behind);
    (!kept.clone().any(|axis| summed(&axis))).then_some(kept)
}

/// Whether nothing reads a value but a node that sums it.
pub fn is_summed(graph: &Graph, readers: &Readers, v: ValueId) -> bool {
    matches!(readers.of(v), [one] if !readers.is_output(v) && graph.nodes.get(*one).is_some_and(|n| Sum::read(graph, n).is_some()))
}

impl Pass for FuseSums<'_> {
    fn name(&self) -> &'static str {
        "fuse sums"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let readers = graph.readers();
        let mut nodes = OtherNodes::of(graph);
        // Where the node is now that gives a value.
        let mut place = PerValue::new(graph, None);
        graph.ids().for_each(|v| place[v] = graph.value(v).producer);
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(sum) = Sum::read(graph, node) else { continue };
            let alone = readers.of(sum.of).len() == 1 && !readers.is_output(sum.of);
            let before = place[sum.of].filter(|_| alone);
            let joined = before.and_then(|p| Some((p, self.joined(&readers, nodes.get(p)?, node, &sum, at)?)));
            let made = match joined {
                Some((p, made)) => {
                    nodes.remove(p);
                    Some(made)
                }
                None => {
                    // What is widened for the sum alone is read as it was.
                    let narrow =
                        narrow(graph, sum.of).filter(|_| alone && before.is_some_and(|p| nodes.get(p).is_some_and(|n| n.is("Cast"))));
                    if narrow.is_some() {
                        before.into_iter().for_each(|p| nodes.remove(p));
                    }
                    self.alone(graph, node, &sum, narrow.unwrap_or(sum.of))
                }
            };
            let Some(made) = made else { continue };
            made.outputs.iter().for_each(|&v| place[v] = Some(at));
            nodes.put(at, made);
        }
        nodes.into_graph(graph).map_err(Error::internal)
    }
}

impl FuseSums<'_> {
    fn instruction(&self, operator: &str) -> Option<&Instruction> {
        self.elements.instructions.iter().find(|i| i.operator == operator)
    }

    /// The kernel for results of a type.
    fn kernel(&self, ty: DType) -> Option<&'static str> {
        self.elements.kernels.iter().find(|(of, _)| *of == ty).map(|(_, kernel)| kernel.name)
    }

    /// The expression of the value itself, read `from` where it is as numbers of whatever type.
    fn alone(&self, graph: &Graph, node: &Node, sum: &Sum, from: ValueId) -> Option<Node> {
        let name = self.kernel(graph.ty(sum.of).dtype)?;
        let code = if sum.square { self.instruction("Mul") } else { self.instruction("Identity") }?.code;
        let mut attrs = sum.attrs.clone();
        attrs.extend([
            (STEPS.to_string(), Attr::Ints(vec![code, 0, 0, 0])),
            (CONSTANTS.to_string(), Attr::Floats(vec![])),
            (RESULTS.to_string(), Attr::Ints(vec![0])),
            (SUMS.to_string(), Attr::Int(1)),
        ]);
        attrs.extend(lying(graph, sum.of));
        let made = Node::new(node.name.clone(), name, vec![Some(from)], attrs);
        Some(Node { domain: Domain::Native, outputs: node.outputs.clone(), ..made })
    }

    /// The expression before, that sums the value instead of giving it. It moves to the sum's place: nobody may have read its other results before.
    fn joined(&self, readers: &Readers, before: &Node, node: &Node, sum: &Sum, at: usize) -> Option<Node> {
        let own = before.domain == Domain::Native && self.elements.kernels.iter().any(|(_, kernel)| kernel.name == before.op_type);
        let taken = before.int(SUMS, 0);
        let alike = taken == 0 || sum.attrs.iter().all(|(name, value)| before.attrs.get(name) == Some(value));
        let later = |v: &ValueId| *v == sum.of || readers.of(*v).iter().all(|r| *r > at);
        if !own || !alike || !before.outputs.iter().all(later) {
            return None;
        }
        let index = before.outputs.iter().position(|v| *v == sum.of)?;
        let (mut steps, mut results) = (before.ints(STEPS).to_vec(), before.ints(RESULTS).to_vec());
        // A value that is a sum already is none of these results.
        let whole = results.len().checked_sub(usize::try_from(taken).ok()?)?;
        if index >= whole {
            return None;
        }
        let mut step = results.remove(index);
        if sum.square {
            let code = self.instruction("Mul")?.code;
            let value = STEP.checked_add(step)?;
            step = steps.len() as i64 / 4;
            steps.extend([code, value, value, value]);
        }
        results.push(step);
        let mut outputs = before.outputs.clone();
        outputs.remove(index);
        outputs.extend(node.outputs.iter().copied());
        let mut attrs = before.attrs.clone();
        attrs.extend(sum.attrs.clone());
        attrs.extend([
            (STEPS.to_string(), Attr::Ints(steps)),
            (RESULTS.to_string(), Attr::Ints(results)),
            (SUMS.to_string(), Attr::Int(taken.checked_add(1)?)),
        ]);
        Some(Node { outputs, attrs, ..before.clone() })
    }
}
