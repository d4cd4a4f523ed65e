//! Native operators in the place of nodes, where they leave all tensors as they lie.

use super::Pass;
use super::kernel::Kernel;
use crate::error::{Error, Result};
use crate::ir::{Attr, Becomes, DType, Domain, Graph, Node, Rebuild, TensorType, ValueId, rebuild};
use crate::operator::View;

/// Puts a kernel in the place of what it replaces: of the kernels that do, the one for the type that all floats among the node's inputs have. It gives that type;
/// where the node gave another, a conversion follows.
pub struct PlaceKernels<'k> {
    /// Kernels without images, each for tensors of one type.
    pub kernels: &'k [(DType, &'k Kernel)],
}

impl Pass for PlaceKernels<'_> {
    fn name(&self) -> &'static str {
        "place kernels"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let placed = rebuild(graph, |r, node| {
            let view = View { graph: r.source(), node };
            match self.kernel(&view) {
                Some((ty, kernel)) => put(r, node, ty, kernel).map(Becomes::Values),
                None => Ok(Becomes::Itself),
            }
        });
        *graph = placed.map_err(Error::internal)?;
        Ok(())
    }
}

impl PlaceKernels<'_> {
    fn kernel(&self, n: &View) -> Option<(DType, &Kernel)> {
        let mut floats = n.node.used().map(|v| n.graph.ty(v).dtype).filter(|ty| ty.is_float());
        let ty = floats.next().filter(|first| floats.all(|ty| ty == *first))?;
        let fits = |kernel: &Kernel| kernel.inputs.len() >= n.node.inputs.len() && kernel.outputs.len() >= n.node.outputs.len();
        self.kernels.iter().copied().find(|(of, kernel)| *of == ty && fits(kernel) && kernel.computes(n, ty))
    }
}

fn put(r: &mut Rebuild, node: &Node, ty: DType, kernel: &Kernel) -> std::result::Result<Vec<ValueId>, String> {
    let inputs = r.mapped(node)?.inputs;
    let outputs = r.outputs(node);
    let own = |(name, of): &(String, TensorType)| match of.dtype == ty {
        true => (name.clone(), of.clone()),
        false => (format!("{name}/{ty}"), TensorType { dtype: ty, ..of.clone() }),
    };
    let made = Node { domain: Domain::Native, ..Node::new(node.name.clone(), kernel.name, inputs, node.attrs.clone()) };
    let made = r.node(made, outputs.iter().map(own).collect());
    let mut results = vec![];
    for (value, (name, of)) in made.into_iter().zip(outputs) {
        results.push(match of.dtype == ty {
            true => value,
            false => {
                let to = ("to".to_string(), Attr::Int(i64::from(of.dtype.onnx())));
                r.single(Node::new(format!("{}/{}", node.name, of.dtype), "Cast", vec![Some(value)], [to].into()), (name, of))
            }
        });
    }
    Ok(results)
}
