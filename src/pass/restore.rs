//! Operators in the place of their alternatives, for runtimes that have better kernels for them.

use super::Pass;
use crate::error::Result;
use crate::ir::{Domain, Graph};

/// Takes the bodies of the domain [`Domain::Alternative`] away: their nodes are operators of ONNX as they are.
pub struct RestoreOperators;

impl Pass for RestoreOperators {
    fn name(&self) -> &'static str {
        "restore operators"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        for node in graph.nodes.iter_mut().filter(|n| n.domain == Domain::Alternative) {
            (node.domain, node.body) = (Domain::Onnx, None);
        }
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        match graph.nodes.iter().find(|n| n.domain == Domain::Alternative) {
            Some(node) => Err(format!("node `{}` is an alternative", node.name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Node, TensorType};
    use crate::pass::apply_verified;

    #[test]
    fn alternatives_go_and_functions_stay() {
        let ty = TensorType::scalar(DType::F32);
        let mut graph = Graph::new("g");
        let mut v = graph.input("x", ty.clone());
        for domain in [Domain::Alternative, Domain::Function, Domain::Onnx] {
            let (mut body, arguments) = graph.inner("body", &[v]);
            body.outputs = arguments;
            let body = (domain != Domain::Onnx).then(|| body.into());
            let node = Node { domain, body, ..Node::new("n", "Relu", vec![Some(v)], Default::default()) };
            v = graph.node(node, vec![("y".into(), ty.clone())])[0];
        }
        graph.outputs = vec![v];
        assert_eq!(RestoreOperators.ensures(&graph), Err("node `n` is an alternative".into()));
        apply_verified(&mut graph, &[&RestoreOperators]).unwrap();
        let left: Vec<_> = graph.nodes.iter().map(|n| (n.domain, n.body.is_some())).collect();
        assert_eq!(left, [(Domain::Onnx, false), (Domain::Function, true), (Domain::Onnx, false)]);
    }
}
