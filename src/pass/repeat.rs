//! What costs less to compute again than to write and read.

use super::Pass;
use super::kernel::lies_alike;
use crate::error::{Error, Result};
use crate::ir::{Becomes, DType, Domain, Graph, Node, Readers, Rebuild, ValueId, rebuild};
use crate::operator::Meaning;
use crate::ops::table;
use std::collections::HashMap;

/// Gives every reader of such a value one of its own: of a half-precision value that is converted to float32, so that an expression that reads it reads half of the bytes; and of an
/// image less or times a number for each channel, as the deviations from a mean are.
pub struct RepeatCheap;

/// What takes as long as reading and writing does, where one operand is an image and the others are less.
fn is_cheap(node: &Node) -> bool {
    let operator = table::find(&node.op_type).filter(|_| node.domain == Domain::Onnx);
    operator.is_some_and(|o| matches!(o.facts().meaning, Meaning::Sum | Meaning::Difference | Meaning::Product))
}

/// What the value is before it is widened.
pub(super) fn narrow(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let cast = graph.producer(v).filter(|n| n.is("Cast") && graph.ty(v).dtype == DType::F32)?;
    cast.input(0).filter(|&x| graph.ty(x).dtype.is_half())
}

/// The node that gives the value, where it can be computed again at little cost.
fn cheap(graph: &Graph, v: ValueId) -> Option<&Node> {
    let (node, ty) = (graph.producer(v)?, graph.ty(v));
    let whole = |x: &ValueId| graph.ty(*x).shape == ty.shape;
    let by_channels = || {
        let is_image = ty.rank() == 4 && ty.dtype.is_float() && !lies_alike(ty);
        is_image && is_cheap(node) && node.used().filter(whole).count() == 1
    };
    (narrow(graph, v).is_some() || by_channels()).then_some(node)
}

/// Values that each of their readers computes.
struct Repeated<'g> {
    graph: &'g Graph,
    readers: Readers,
}

impl<'g> Repeated<'g> {
    /// The node of a value that its readers compute: several, or one that is computed again itself.
    fn node(&self, v: ValueId) -> Option<&'g Node> {
        let again = |at: &usize| self.graph.nodes.get(*at).is_some_and(|n| matches!(*n.outputs, [output] if self.node(output).is_some()));
        let often = || match self.readers.of(v) {
            [one] => again(one),
            list => list.len() > 1,
        };
        cheap(self.graph, v).filter(|_| !self.readers.is_output(v) && often())
    }

    /// What stands for a value where `reader` reads it.
    fn of(&self, r: &mut Rebuild, reader: &str, v: ValueId, made: &mut HashMap<ValueId, ValueId>) -> std::result::Result<ValueId, String> {
        let Some(node) = self.node(v) else { return r.get(v) };
        if let Some(&here) = made.get(&v) {
            return Ok(here);
        }
        let mut inputs = vec![];
        for input in &node.inputs {
            inputs.push(input.map(|x| self.of(r, reader, x, made)).transpose()?);
        }
        let name = format!("{reader}/{}", self.graph.name_of(v));
        let copy = Node { name: name.clone(), inputs, outputs: vec![], ..node.clone() };
        let here = r.single(copy, (name, self.graph.ty(v).clone()));
        r.graph.value_mut(here).layout = self.graph.value(v).layout;
        made.insert(v, here);
        Ok(here)
    }
}

impl Pass for RepeatCheap {
    fn name(&self) -> &'static str {
        "repeat what is cheap"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let repeated = Repeated { graph, readers: graph.readers() };
        let made = rebuild(graph, |r, node| {
            if matches!(*node.outputs, [output] if repeated.node(output).is_some()) {
                return Ok(Becomes::Nothing);
            }
            if !node.used().any(|v| repeated.node(v).is_some()) {
                return Ok(Becomes::Itself);
            }
            let (mut inputs, mut own) = (vec![], HashMap::new());
            for input in &node.inputs {
                inputs.push(input.map(|v| repeated.of(r, &node.name, v, &mut own)).transpose()?);
            }
            let outputs = r.outputs(node);
            let made = r.node(Node { inputs, outputs: vec![], ..node.clone() }, outputs);
            for (&v, &here) in node.outputs.iter().zip(&made) {
                r.graph.value_mut(here).layout = r.source().value(v).layout;
            }
            Ok(Becomes::Values(made))
        });
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }
}
