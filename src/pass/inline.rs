//! Functions by their bodies, for runtimes that know no functions.

use super::Pass;
use super::kernel::{Kernel, Replaces};
use crate::error::{Error, Result};
use crate::ir::{Attr, Becomes, Domain, Graph, Live, Node, PerValue, Rebuild, ValueId, rebuild};

/// Replaces every node that has a body, functions and alternatives alike, by the body's nodes. What the body computes for itself has
/// the calling node's name in its path (`<node>/<value>`); its constants become nodes.
pub struct Inline;

impl Pass for Inline {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        inline(graph, |_| true)
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        match graph.nodes.iter().find(|n| n.body.is_some()) {
            Some(node) => Err(format!("node `{}` has a body", node.name)),
            None => Ok(()),
        }
    }
}

/// The same for all but the functions that a kernel computes where it gets what it covers. They stay, to be replaced or written out later.
pub struct InlineOthers<'k> {
    /// Native operators.
    pub kernels: &'k [&'static Kernel],
}

impl Pass for InlineOthers<'_> {
    fn name(&self) -> &'static str {
        "inline others"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let known = |node: &Node, k: &Kernel| matches!(k.replaces, Replaces::Function(f) if node.is_of(Domain::Function, f.name));
        inline(graph, |node| !self.kernels.iter().any(|k| known(node, k)))
    }
}

fn inline(graph: &mut Graph, which: impl Fn(&Node) -> bool) -> Result<()> {
    let inlined = rebuild(graph, |r, node| match &node.body {
        Some(body) if which(node) => {
            let call = Call { name: node.name.clone(), inputs: r.mapped(node)?.inputs, outputs: names(r, node) };
            write_out(r, body, &call).map(Becomes::Values)
        }
        _ => Ok(Becomes::Itself),
    });
    *graph = inlined.map_err(Error::internal)?;
    Ok(())
}

/// A node that has a body, in the new graph.
struct Call {
    name: String,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<String>,
}

fn names(r: &Rebuild, node: &Node) -> Vec<String> {
    r.outputs(node).into_iter().map(|(name, _)| name).collect()
}

/// Adds the part of a body that its outputs need; gives what stands for the outputs.
fn write_out(r: &mut Rebuild, body: &Graph, call: &Call) -> Result<Vec<ValueId>, String> {
    let mut place: PerValue<Option<ValueId>> = PerValue::new(body, None);
    // The first output that a node computes takes the caller's name from there.
    let mut named: PerValue<Option<&String>> = PerValue::new(body, None);
    body.outputs.iter().zip(&call.outputs).rev().for_each(|(o, name)| named[*o] = Some(name));
    body.inputs.iter().zip(&call.inputs).for_each(|(i, outer)| place[*i] = *outer);
    let inside = |name: &str| format!("{}/{name}", call.name);
    let name_of = |v: ValueId| named[v].cloned().unwrap_or_else(|| inside(body.name_of(v)));

    let Live { initializers, nodes } = body.live();
    for (v, tensor) in initializers {
        let node = Node::new(inside(body.name_of(v)), "Constant", vec![], [("value".into(), Attr::Tensor(tensor.clone()))].into());
        let made = r.single(node, (name_of(v), tensor.ty()));
        r.graph.value_mut(made).constant = Some(tensor.clone());
        place[v] = Some(made);
    }
    for node in nodes {
        let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|i| i.and_then(|v| place[v])).collect();
        let made = match &node.body {
            Some(nested) => {
                let outputs = node.outputs.iter().map(|&o| name_of(o)).collect();
                write_out(r, nested, &Call { name: inside(&node.name), inputs, outputs })?
            }
            None => {
                let copy = Node { name: inside(&node.name), inputs, outputs: vec![], ..node.clone() };
                r.node(copy, node.outputs.iter().map(|&o| (name_of(o), body.ty(o).clone())).collect())
            }
        };
        for (&o, made) in node.outputs.iter().zip(made) {
            let (from, to) = (body.value(o), r.graph.value_mut(made));
            (to.constant, to.elems) = (from.constant.clone(), from.elems.clone());
            place[o] = Some(made);
        }
    }
    let mut outputs = vec![];
    for (&o, name) in body.outputs.iter().zip(&call.outputs) {
        let made = place[o].ok_or_else(|| format!("the body of node `{}` does not compute `{}`", call.name, body.name_of(o)))?;
        // An input passed through, or one value given twice, has its name from elsewhere.
        outputs.push(match r.graph.name_of(made) == name {
            true => made,
            false => {
                let node = Node::new(inside("Identity"), "Identity", vec![Some(made)], Default::default());
                r.single(node, (name.clone(), body.ty(o).clone()))
            }
        });
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};
    use crate::operator::{Builder, Function};
    use crate::pass::apply_verified;

    const TWICE: Function = Function::new("Twice");

    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let mut b = Builder::new(&mut g);
        b.scope("layer");
        let outputs = b
            .call(&TWICE, [x], Default::default(), |b, [x]| {
                let two = b.number(2.0, x);
                let doubled = b.mul(x, two)?;
                let unused = b.neg(doubled)?;
                b.neg(unused)?;
                Ok([doubled, x, doubled])
            })
            .unwrap();
        g.outputs = outputs.to_vec();
        g
    }

    #[test]
    fn bodies_are_written_out_under_the_call_s_name() {
        let mut g = graph();
        apply_verified(&mut g, &[&Inline]).unwrap();
        let text: Vec<String> = g.nodes.iter().map(|n| format!("{} {} {}", n.op_type, n.name, g.name_of(n.outputs[0]))).collect();
        assert_eq!(
            text,
            [
                "Constant layer/Twice/constant layer/Twice/constant",
                "Mul layer/Twice/Mul layer/Twice_output_0",
                "Identity layer/Twice/Identity layer/Twice_output_1",
                "Identity layer/Twice/Identity_2 layer/Twice_output_2",
            ]
        );
    }

    #[test]
    fn a_body_without_its_output_is_refused() {
        let mut g = graph();
        let mut body = (**g.nodes[0].body.as_ref().unwrap()).clone();
        body.nodes.clear();
        g.nodes[0].body = Some(body.into());
        let error = Inline.run(&mut g).unwrap_err().to_string();
        assert!(error.contains("the body of node `layer/Twice` does not compute `Mul_output`"), "{error}");
    }
}
