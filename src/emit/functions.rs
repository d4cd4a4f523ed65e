//! Model-local functions: their names in a file, and what they hold.

use super::nodes::{self, constant, opsets};
use crate::ir::{Domain, Graph, Live, Node, ValueId};
use crate::onnx::pb;
use crate::operator::Function;
use prost::Message;
use std::collections::HashMap;

/// The model-local functions so far. Calls of one name with equal bodies and attribute names share one.
#[derive(Default)]
pub(super) struct Functions {
    pub list: Vec<pb::FunctionProto>,
    /// By their content under the operator's own name.
    by_content: HashMap<Vec<u8>, String>,
    count: HashMap<(Domain, String), usize>,
}

impl Functions {
    /// The node as a file has it: one with a body calls what is, from now on, a function.
    pub fn node(&mut self, graph: &Graph, node: &Node) -> pb::NodeProto {
        let mut written = nodes::node(graph, node);
        if let Some(body) = &node.body {
            written.op_type = Some(self.name(node, body));
        }
        written
    }

    /// The name under which the body of `call` is a function.
    fn name(&mut self, call: &Node, body: &Graph) -> String {
        let mut function = self.function(call, body);
        function.name = Some(call.op_type.clone());
        let key = function.encode_to_vec();
        if let Some(name) = self.by_content.get(&key) {
            return name.clone();
        }
        let count = self.count.entry((call.domain, call.op_type.clone())).or_insert(0);
        *count = count.saturating_add(1);
        let name = numbered(&call.op_type, *count);
        function.name = Some(name.clone());
        self.by_content.insert(key, name.clone());
        self.list.push(function);
        name
    }

    fn function(&mut self, call: &Node, body: &Graph) -> pb::FunctionProto {
        let Live { initializers, nodes } = body.live();
        let name_of = |v: ValueId| body.name_of(v).to_string();
        let constants = initializers.into_iter().map(|(v, tensor)| constant(format!("{}.value", name_of(v)), name_of(v), tensor));
        let within: Vec<pb::NodeProto> = nodes.iter().map(|n| self.node(body, n)).collect();
        pb::FunctionProto {
            domain: Some(call.domain.name().into()),
            input: body.inputs.iter().map(|&v| name_of(v)).collect(),
            output: body.outputs.iter().map(|&v| name_of(v)).collect(),
            attribute: call.attrs.keys().cloned().collect(),
            opset_import: opsets(nodes.iter().map(|n| n.domain)),
            node: constants.chain(within).collect(),
            ..Default::default()
        }
    }
}

/// The name of an operator's body number `count`: the operator's own for the first, then `…_2`, `…_3`. An operator whose own name ends
/// like that has a number from the first on, so that [`Function::base_name`] tells every name apart.
fn numbered(op_type: &str, count: usize) -> String {
    if count == 1 && Function::base_name(op_type) == op_type { op_type.to_string() } else { format!("{op_type}_{count}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bodies_lead_back_to_operators() {
        for op in ["Relu", "Fused_Relu", "Block_2", "Block_2_2", "a_", "a_b2"] {
            let names: Vec<String> = (1..4).map(|n| numbered(op, n)).collect();
            assert!(names.iter().all(|n| Function::base_name(n) == op), "{op}: {names:?}");
        }
        assert_eq!([numbered("Relu", 1), numbered("Relu", 2), numbered("Block_2", 1)], ["Relu", "Relu_2", "Block_2_1"]);
    }

    #[test]
    fn equal_bodies_of_two_operators_are_two_functions() {
        let call = |op: &str| Node { domain: Domain::Function, ..Node::new("n", op, vec![], Default::default()) };
        let mut functions = Functions::default();
        let body = Graph::new("body");
        let names = [functions.name(&call("A"), &body), functions.name(&call("B"), &body), functions.name(&call("A"), &body)];
        assert_eq!(names, ["A", "B", "A"]);
    }
}
