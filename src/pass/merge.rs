//! Equal nodes by one of them.

use super::Pass;
use super::equal::EqualNodes;
use crate::error::{Error, Result};
use crate::ir::{Becomes, DType, Domain, Graph, Rebuild, ValueId};
use std::collections::{HashMap, HashSet};

/// Initializers up to this many bytes are compared: axes, shapes and single numbers.
const SMALL: usize = 256;

/// Lets every value be computed once: readers of an equal node, of an equal small initializer and of an `Identity` read the first.
/// Graph outputs keep their nodes.
pub struct MergeEqual;

impl Pass for MergeEqual {
    fn name(&self) -> &'static str {
        "merge equal"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let outputs: HashSet<ValueId> = graph.outputs.iter().copied().collect();
        let mut next = graph.successor();
        let mut copy = Rebuild::new(graph, &mut next);
        merge_constants(&mut copy, &outputs);
        let mut known = EqualNodes::default();
        let result = copy.run(|r, node| {
            if node.outputs.iter().any(|o| outputs.contains(o)) {
                return Ok(Becomes::Itself);
            }
            let mapped = r.mapped(node)?;
            if let ("Identity", Domain::Onnx, [Some(input)]) = (mapped.op_type.as_str(), mapped.domain, &mapped.inputs[..]) {
                return Ok(Becomes::Values(vec![*input]));
            }
            if let Some(found) = known.find(r.graph, &mapped, node.outputs.len()) {
                return Ok(Becomes::Values(found));
            }
            let made = r.copy(node)?;
            known.add_last(r.graph);
            Ok(Becomes::Values(made))
        });
        result.and_then(|()| copy.ports()).map_err(Error::internal)?;
        *graph = next;
        Ok(())
    }
}

/// Lets the first of equal small initializers stand for all.
fn merge_constants(copy: &mut Rebuild, outputs: &HashSet<ValueId>) {
    let source = copy.source();
    let mut first: HashMap<(DType, &[usize], &[u8]), ValueId> = HashMap::new();
    for v in source.ids().filter(|v| !outputs.contains(v)) {
        let Some(tensor) = source.value(v).initializer().filter(|t| t.bytes().len() <= SMALL) else { continue };
        match first.get(&(tensor.dtype(), tensor.shape(), &tensor.bytes()[..])) {
            Some(&here) => copy.put(v, here),
            None => {
                let here = copy.constant(v, tensor.clone());
                first.insert((tensor.dtype(), tensor.shape(), tensor.bytes()), here);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attr, Graph, Node, Tensor, TensorType};
    use crate::operator::attrs;
    use crate::pass::apply_verified;

    struct Test(Graph);

    impl Test {
        fn new() -> (Test, ValueId, ValueId) {
            let mut g = Graph::new("g");
            let ty = TensorType::new(DType::F32, [2]);
            let ports = (g.input("g", ty.clone()), g.input("f", ty));
            (Test(g), ports.0, ports.1)
        }

        fn node(&mut self, op: &str, inputs: &[ValueId], output: &str, given: &[(&str, Attr)]) -> ValueId {
            let given = given.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
            let node = Node::new(format!("node of {output}"), op, inputs.iter().copied().map(Some).collect(), given);
            self.0.node(node, vec![(output.into(), TensorType::new(DType::F32, [2]))])[0]
        }

        fn merged(mut self, outputs: &[ValueId]) -> Vec<String> {
            self.0.outputs = outputs.to_vec();
            apply_verified(&mut self.0, &[&MergeEqual]).unwrap();
            let g = self.0;
            let text = |n: &Node| format!("{}({})", n.op_type, n.used().map(|v| g.name_of(v)).collect::<Vec<_>>().join(","));
            g.nodes.iter().map(text).collect()
        }
    }

    #[test]
    fn equal_nodes_become_one_through_copies() {
        let (mut t, g, f) = Test::new();
        let h = t.node("Identity", &[g], "h", &[]);
        let a = t.node("Mul", &[g, f], "a", &[]);
        let b = t.node("Mul", &[h, f], "b", &[]);
        let c = t.node("Mul", &[f, g], "c", &[]);
        let d = t.node("Add", &[a, b], "d", &[]);
        let e = t.node("Sub", &[d, c], "e", &[]);
        assert_eq!(t.merged(&[e]), ["Mul(g,f)", "Mul(f,g)", "Add(a,a)", "Sub(d,c)"]);
    }

    #[test]
    fn outputs_keep_their_nodes() {
        let (mut t, g, _) = Test::new();
        let outputs = [t.node("Neg", &[g], "a", &[]), t.node("Neg", &[g], "b", &[]), t.node("Identity", &[g], "c", &[])];
        assert_eq!(t.merged(&outputs), ["Neg(g)", "Neg(g)", "Identity(g)"]);
    }

    #[test]
    fn attributes_and_constants_tell_nodes_apart() {
        let (mut t, g, _) = Test::new();
        let [one, same, two] = [1.0, 1.0, 2.0].map(|v| t.0.constant("k", Tensor::from_f32(&[2], &[v, v])));
        let slope = |v| [("alpha", Attr::Float(v))];
        assert_eq!(attrs(slope(0.5)).len(), 1);
        let a = t.node("LeakyRelu", &[g], "a", &slope(0.5));
        let b = t.node("LeakyRelu", &[g], "b", &slope(0.25));
        let c = t.node("LeakyRelu", &[g], "c", &slope(0.5));
        let sums = [one, same, two].map(|k| t.node("Add", &[a, k], "sum", &[]));
        let d = t.node("Sum", &[b, c, sums[0], sums[1], sums[2]], "d", &[]);
        let expected = ["LeakyRelu(g)", "LeakyRelu(g)", "Add(a,k)", "Add(a,k_3)", "Sum(b,a,sum,sum,sum_3)"];
        assert_eq!(t.merged(&[d]), expected);
    }
}
