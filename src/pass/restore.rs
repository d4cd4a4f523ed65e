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
