//! Operators by others of the same meaning, where those are faster or where the emitted opset has no such operator. Knows no operator by name.

use super::Pass;
use crate::error::{Error, Result};
use crate::functions;
use crate::ir::{Domain, Graph, ValueId};
use crate::operator::{Builder, Operator, Rule, View};
use crate::ops::table;
use std::sync::Arc;

/// Gives nodes a body in the domain [`Domain::Alternative`], wherever [`Operator::alternative`](crate::operator::Operator::alternative)
/// knows one. Values keep their names and types. Such nodes have no gradient rule, so this comes after differentiation.
pub struct Alternatives;

impl Pass for Alternatives {
    fn name(&self) -> &'static str {
        "alternatives"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        give_bodies(graph, Domain::Alternative, |operator, b, n, inputs| operator.alternative(b, n, inputs))
    }
}

/// Operators that opset 17 lacks, as functions: gives nodes a body in the domain [`Domain::Function`], wherever
/// [`Operator::body`](crate::operator::Operator::body) has one. Emitting a graph begins with this.
pub struct NewerOperators;

impl NewerOperators {
    /// Whether the graph has operators that it is for.
    pub fn concerns(graph: &Graph) -> bool {
        graph.nodes.iter().any(|n| n.domain == Domain::Onnx && functions::find(&n.op_type).is_some())
    }
}

impl Pass for NewerOperators {
    fn name(&self) -> &'static str {
        "newer operators"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        give_bodies(graph, Domain::Function, |operator, b, n, inputs| operator.body(b, n, inputs))
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        match NewerOperators::concerns(graph) {
            true => Err("an operator that is a function has no body".into()),
            false => Ok(()),
        }
    }
}

/// These operators as others of the same meaning, for a runtime that has them not or not right: gives nodes a body in the domain [`Domain::Function`], wherever
/// [`Operator::plain`](crate::operator::Operator::plain) has one. Bodies that are there already stay as they are.
pub struct PlainOperators<'a>(pub &'a [&'a str]);

impl Pass for PlainOperators<'_> {
    fn name(&self) -> &'static str {
        "plain operators"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        give_bodies(graph, Domain::Function, |operator, b, n, inputs| match self.0.contains(&operator.op_type()) {
            true => operator.plain(b, n, inputs),
            false => Ok(None),
        })
    }
}

type Outputs = Rule<Option<Vec<ValueId>>>;

/// Gives each node of ONNX's own domain the body that `rule` makes, where it makes one, in another domain.
fn give_bodies(graph: &mut Graph, domain: Domain, rule: impl Fn(&dyn Operator, &mut Builder, &View, &[ValueId]) -> Outputs) -> Result<()> {
    let mut found = vec![];
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(operator) = table::find(&node.op_type).filter(|_| node.domain == Domain::Onnx) else { continue };
        let Some(inputs) = node.inputs.iter().copied().collect::<Option<Vec<_>>>() else { continue };
        let (mut body, arguments) = graph.inner(&node.op_type, &inputs);
        let outputs = rule(operator, &mut Builder::new(&mut body), &View { graph, node }, &arguments);
        let outputs = outputs.map_err(|why| Error::internal(format!("the body of node `{}` ({}): {why}", node.name, node.op_type)))?;
        if let Some(outputs) = outputs {
            body.outputs = outputs;
            found.push((index, body));
        }
    }
    for (index, body) in found {
        if let Some(node) = graph.nodes.get_mut(index) {
            (node.domain, node.body) = (domain, Some(Arc::new(body)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Dim, TensorType};
    use crate::operator::attrs;
    use crate::pass;

    /// A 3×3 convolution of 8 small maps.
    fn convolution(size: usize) -> Graph {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::new(DType::F32, [8, 64, size, size]));
        let w = graph.input("w", TensorType::new(DType::F32, [64, 64, 3, 3]));
        let list = |v: &[i64]| crate::ir::Attr::Ints(v.to_vec());
        let given = attrs([
            ("dilations", list(&[1, 1])),
            ("group", crate::ir::Attr::Int(1)),
            ("kernel_shape", list(&[3, 3])),
            ("pads", list(&[1, 1, 1, 1])),
            ("strides", list(&[1, 1])),
        ]);
        graph.outputs = vec![Builder::new(&mut graph).op("Conv", &[x, w], given).unwrap()];
        graph
    }

    #[test]
    fn small_maps_get_an_alternative_and_large_ones_none() {
        let mut small = convolution(4);
        let ty = small.ty(small.outputs[0]).clone();
        pass::apply_verified(&mut small, &[&Alternatives]).unwrap();
        let node = &small.nodes[0];
        assert!(node.is_of(Domain::Alternative, "Conv") && node.body.is_some());
        assert_eq!((small.ty(small.outputs[0]), &ty.shape[0]), (&ty, &Dim::Known(8)));
        let mut large = convolution(56);
        pass::apply_verified(&mut large, &[&Alternatives]).unwrap();
        assert!(large.nodes[0].is("Conv") && large.nodes[0].body.is_none());
    }
}
