//! Operators by others of the same meaning, where those are faster. Knows no operator by name.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Domain, Graph};
use crate::operator::{Builder, View};
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
        for index in 0..graph.nodes.len() {
            let node = &graph.nodes[index];
            let Some(operator) = table::find(&node.op_type).filter(|_| node.domain == Domain::Onnx) else { continue };
            let Some(inputs) = node.inputs.iter().copied().collect::<Option<Vec<_>>>() else { continue };
            let (mut body, arguments) = graph.inner(&node.op_type, &inputs);
            let found = operator.alternative(&mut Builder::new(&mut body), &View { graph, node }, &arguments);
            let found =
                found.map_err(|why| Error::internal(format!("the alternative of node `{}` ({}): {why}", node.name, node.op_type)))?;
            if let Some(outputs) = found {
                body.outputs = outputs;
                let node = &mut graph.nodes[index];
                (node.domain, node.body) = (Domain::Alternative, Some(Arc::new(body)));
            }
        }
        Ok(())
    }
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
