//! Conversions to a wider type where they are read.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Attr, Becomes, DType, Graph, Node, ValueId, rebuild};

/// Gives every reader of a half-precision value that is converted to float32 a conversion of its own, so that an expression that reads it reads half of the bytes.
pub struct RepeatWidening;

/// What the value is before it is widened.
fn narrow(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let cast = graph.producer(v).filter(|n| n.is("Cast") && graph.ty(v).dtype == DType::F32)?;
    cast.input(0).filter(|&x| graph.ty(x).dtype.is_half())
}

impl Pass for RepeatWidening {
    fn name(&self) -> &'static str {
        "repeat widening"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let readers = graph.readers();
        let repeated = |v: ValueId| narrow(graph, v).filter(|_| readers.of(v).len() > 1);
        let made = rebuild(graph, |r, node| {
            if let [output] = *node.outputs
                && repeated(output).is_some()
                && !readers.is_output(output)
            {
                return Ok(Becomes::Nothing);
            }
            if !node.used().any(|v| repeated(v).is_some()) {
                return Ok(Becomes::Itself);
            }
            let mut inputs = vec![];
            for (at, input) in node.inputs.iter().enumerate() {
                inputs.push(match *input {
                    None => None,
                    Some(v) => match repeated(v) {
                        None => Some(r.get(v)?),
                        Some(x) => {
                            let name = format!("{}/{}/{at}", node.name, r.source().name_of(v));
                            let to = ("to".to_string(), Attr::Int(i64::from(DType::F32.onnx())));
                            let (x, ty) = (r.get(x)?, r.source().ty(v).clone());
                            let cast = Node::new(name.clone(), "Cast", vec![Some(x)], [to].into());
                            r.node(cast, vec![(name, ty)]).first().copied()
                        }
                    },
                });
            }
            let outputs = r.outputs(node);
            let own = Node { inputs, outputs: vec![], ..node.clone() };
            Ok(Becomes::Values(r.node(own, outputs)))
        });
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }
}
