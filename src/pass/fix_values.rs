//! Values that are given as constants, and outputs that are given up.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Becomes, Graph, Rebuild, Tensor};
use std::collections::HashSet;

/// Makes inputs and computed values constants, and takes outputs away. What computed nothing else goes with them.
pub struct FixValues {
    /// By name. Of a node either all outputs are fixed or none.
    pub values: Vec<(String, Tensor)>,
    /// Names of outputs that the graph no longer gives.
    pub dropped: HashSet<String>,
}

impl Pass for FixValues {
    fn name(&self) -> &'static str {
        "fix values"
    }

    fn keeps_ports(&self) -> bool {
        false
    }

    fn requires(&self, graph: &Graph) -> Result<(), String> {
        for (name, tensor) in &self.values {
            let value = graph.find(name).ok_or_else(|| format!("there is no value `{name}`"))?;
            if tensor.ty() != *graph.ty(value) {
                return Err(format!("`{name}` is {}, and {} is to stand for it", graph.ty(value), tensor.ty()));
            }
        }
        match self.dropped.iter().find(|name| !graph.outputs.iter().any(|&o| graph.name_of(o) == *name)) {
            Some(name) => Err(format!("there is no output `{name}`")),
            None => Ok(()),
        }
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        graph.outputs = graph.outputs.iter().copied().filter(|&o| !self.dropped.contains(graph.name_of(o))).collect();
        let mut next = graph.successor();
        let mut copy = Rebuild::new(graph, &mut next);
        for (name, tensor) in &self.values {
            let value = graph.find(name).ok_or_else(|| Error::internal(format!("there is no value `{name}`")))?;
            copy.constant(value, tensor.clone());
        }
        // A value that has a place before its node comes is fixed.
        let copied = copy.run(|r, node| match node.outputs.iter().filter(|&&o| r.at(o).is_some()).count() {
            0 => Ok(Becomes::Itself),
            n if n == node.outputs.len() => Ok(Becomes::Nothing),
            _ => Err(format!("node `{}` has outputs that are fixed and others that are not", node.name)),
        });
        copied.and_then(|()| copy.ports()).map_err(Error::internal)?;
        *graph = next;
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        let constant = |name: &str| graph.find(name).is_some_and(|v| graph.value(v).initializer().is_some());
        match self.values.iter().find(|(name, _)| !constant(name)) {
            Some((name, _)) => Err(format!("`{name}` is no constant")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Node, TensorType};
    use crate::pass::apply_verified;

    /// `y = -x`, `z = y + w`.
    fn graph() -> Graph {
        let ty = || TensorType::scalar(DType::F32);
        let mut g = Graph::new("g");
        let (x, w) = (g.input("x", ty()), g.input("w", ty()));
        let y = g.node(Node::new("neg", "Neg", vec![Some(x)], Default::default()), vec![("y".into(), ty())])[0];
        let z = g.node(Node::new("add", "Add", vec![Some(y), Some(w)], Default::default()), vec![("z".into(), ty())])[0];
        g.outputs = vec![z, y];
        g
    }

    fn one() -> Tensor {
        Tensor::from_f32(&[], &[1.0])
    }

    #[test]
    fn nodes_behind_what_is_fixed_go() {
        let mut g = graph();
        let pass = FixValues { values: vec![("y".into(), one()), ("w".into(), one())], dropped: ["y".to_string()].into() };
        apply_verified(&mut g, &[&pass]).unwrap();
        let names = |list: &[crate::ir::ValueId]| list.iter().map(|&v| g.name_of(v).to_string()).collect::<Vec<_>>();
        assert_eq!((names(&g.inputs), names(&g.outputs)), (vec!["x".to_string()], vec!["z".to_string()]));
        assert_eq!(g.nodes.iter().map(|n| n.op_type.as_str()).collect::<Vec<_>>(), ["Add"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |values: Vec<(String, Tensor)>, dropped: &[&str]| {
            let pass = FixValues { values, dropped: dropped.iter().map(|s| s.to_string()).collect() };
            apply_verified(&mut graph(), &[&pass]).unwrap_err().to_string()
        };
        let error = refused(vec![("w".into(), Tensor::from_f32(&[1], &[1.0]))], &[]);
        assert!(error.contains("`w` is float32[], and float32[1] is to stand for it"), "{error}");
        assert!(refused(vec![], &["x"]).contains("there is no output `x`"));
    }
}
