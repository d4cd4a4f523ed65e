//! Types from inputs and constants on, for those that want the same network in other sizes.

use super::Pass;
use crate::error::{Error, Refusal, Result};
use crate::ir::{Becomes, Graph, Node, Rebuild, rebuild};
use crate::operator::{Known, Rule, View, fold};
use crate::ops::table;

/// Infers the types of all computed values again, after inputs or constants were given others, and folds what follows from them: the
/// graph is then what import makes of the same model in these sizes.
pub struct InferTypes;

impl Pass for InferTypes {
    fn name(&self) -> &'static str {
        "types"
    }

    /// Every node is an operator of the table in canonical form: the graph is as import made it.
    fn requires(&self, graph: &Graph) -> Result<(), String> {
        match graph.nodes.iter().find(|n| n.body.is_some()) {
            Some(node) => Err(format!("node `{}` is the call of a function", node.name)),
            None => Ok(()),
        }
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut refused = None;
        let made = rebuild(graph, |r, node| {
            again(r, node).inspect_err(|reason| {
                refused = Some(Refusal::of(&node.name, &node.op_type, reason.clone()));
            })
        });
        *graph = match (made, refused) {
            (Ok(made), _) => made,
            (Err(_), Some(refusal)) => return Err(Error::Unsupported(vec![refusal?])),
            (Err(reason), None) => return Err(Error::internal(reason)),
        };
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        for node in &graph.nodes {
            let operator = table::find(&node.op_type).ok_or_else(|| format!("{} is not in the operator table", node.op_type))?;
            let types = operator.infer(&View { graph, node })?;
            if let Some((&o, ty)) = node.outputs.iter().zip(types).find(|(o, ty)| graph.ty(**o) != ty) {
                return Err(format!("`{}` is {}, and its operator gives {ty}", graph.name_of(o), graph.ty(o)));
            }
        }
        Ok(())
    }

    fn keeps_ports(&self) -> bool {
        false
    }
}

/// The node over inputs of other types; a constant where it has become one.
fn again(r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
    let operator = table::find(&node.op_type).ok_or_else(|| format!("{} is not in the operator table", node.op_type))?;
    let mut here = r.mapped(node)?;
    if let Some(shape) = operator.shape_operand(&View { graph: r.graph, node: &here })? {
        let source = r.source();
        let own = node.input(1).filter(|&v| source.value(v).initializer().is_some());
        match own.and_then(|v| r.at(v)) {
            Some(own) => {
                let value = r.graph.value_mut(own);
                value.ty = shape.ty();
                value.constant = Some(shape);
            }
            None => {
                let shape = r.graph.constant(&format!("{}/shape", node.name), shape);
                here.inputs.truncate(1);
                here.inputs.push(Some(shape));
            }
        }
    }
    let view = View { graph: r.graph, node: &here };
    let types = operator.infer(&view)?;
    fold::possible(&types)?;
    let known = fold::evaluate(operator, &view, &types);
    if let (Some(Known::Tensor(tensor)), Some(&output)) = (&known, node.outputs.first()) {
        r.constant(output, tensor.clone());
        return Ok(Becomes::Nothing);
    }
    if types.len() < node.outputs.len() {
        return Err(format!("it has {} outputs where {} were", types.len(), node.outputs.len()));
    }
    let names = r.outputs(node).into_iter().map(|(name, _)| name);
    let made = r.node(here, names.zip(types).collect());
    if let (Some(Known::Elems(elems)), Some(&first)) = (known, made.first()) {
        r.graph.value_mut(first).elems = Some(elems);
    }
    Ok(Becomes::Values(made))
}
