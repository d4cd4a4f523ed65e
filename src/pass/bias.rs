//! Biases of convolutions as additions of their own, which go into expressions with what follows them.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Attrs, Becomes, Dim, Graph, Node, Rebuild, Tensor, TensorType, rebuild};

/// Writes `Conv(x, w, bias)` on images as `Conv(x, w) + bias`.
pub struct ApartBias;

impl Pass for ApartBias {
    fn name(&self) -> &'static str {
        "bias apart"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let made = rebuild(graph, |r, node| {
            let ([x, w, Some(bias)], [y]) = (&node.inputs[..], &node.outputs[..]) else { return Ok(Becomes::Itself) };
            let (source, ty) = (r.source(), r.source().ty(*y).clone());
            let &[Dim::Known(features)] = &source.ty(*bias).shape[..] else { return Ok(Becomes::Itself) };
            let (true, Ok(size)) = (node.is("Conv") && ty.rank() == 4, i64::try_from(features)) else { return Ok(Becomes::Itself) };
            let inputs = [x, w].into_iter().map(|v| v.map(|v| r.get(v)).transpose()).collect::<Result<Vec<_>, _>>()?;
            let (bias, of) = (r.get(*bias)?, TensorType::new(source.ty(*bias).dtype, [features, 1, 1]));
            let name = |r: &mut Rebuild, what: &str| r.graph.fresh(&format!("{}/{what}", node.name));
            let sizes = name(r, "bias_shape");
            let sizes = r.graph.constant_as(&sizes, Tensor::from_i64(&[3], &[size, 1, 1]));
            let shaped = name(r, "bias");
            let shaped = r.single(Node::new(shaped.clone(), "Reshape", vec![Some(bias), Some(sizes)], Attrs::new()), (shaped, of));
            let product = name(r, "product");
            let product = r.single(Node { inputs, outputs: vec![], ..node.clone() }, (product, ty.clone()));
            let (sum, named) = (name(r, "Add"), source.name_of(*y).to_string());
            Ok(Becomes::Values(vec![r.single(Node::new(sum, "Add", vec![Some(product), Some(shaped)], Attrs::new()), (named, ty))]))
        });
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }
}
