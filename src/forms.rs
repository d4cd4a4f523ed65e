//! Operators by cheaper ones of the same meaning. Knows no operator by name.

use crate::error::Refusal;
use crate::ir::{Body, FORM_DOMAIN, Graph};
use crate::operator::{Builder, View};
use crate::ops::table;
use std::sync::Arc;

/// Turns nodes into functions of the same name (in the domain [`FORM_DOMAIN`]), wherever [`Operator::cheaper`](crate::operator::Operator::cheaper) knows such a form.
/// Values keep their names and types. Functions have no gradient rule, so this comes after differentiation.
pub fn choose(graph: &mut Graph) -> Result<(), Vec<Refusal>> {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(operator) = table::find(&node.op_type).filter(|_| node.body.is_none()) else { continue };
        let Some(inputs) = node.inputs.iter().copied().collect::<Option<Vec<_>>>() else { continue };
        let (mut body, arguments) = graph.inner(&node.op_type, &inputs);
        let found = operator.cheaper(&mut Builder::new(&mut body), &View { graph, node }, &arguments);
        let refusal = |reason| vec![Refusal { node: node.name.clone(), op: node.op_type.clone(), reason }];
        if let Some(outputs) = found.map_err(refusal)? {
            let fits = outputs.len() == node.outputs.len() && outputs.iter().zip(&node.outputs).all(|(&a, &b)| body.ty(a) == graph.ty(b));
            if !fits {
                return Err(refusal("its cheaper form has outputs of other types".into()));
            }
            body.outputs = outputs;
            graph.nodes[index].body = Some(Arc::new(Body { graph: body, domain: FORM_DOMAIN }));
        }
    }
    Ok(())
}
