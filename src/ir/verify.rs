//! What holds of every graph.

use super::{Domain, Graph, Node, PerValue};
use std::collections::HashSet;
use std::sync::Arc;

impl Graph {
    /// Checks that nodes are in order, every value is defined before use and by one node at most, names are unique and not empty, and
    /// bodies fit the nodes that have them. Bodies are checked as well.
    pub fn verify(&self) -> Result<(), String> {
        self.verify_with(&mut HashSet::new())
    }

    fn verify_with(&self, bodies: &mut HashSet<*const Graph>) -> Result<(), String> {
        let mut defined = PerValue::new(self, false);
        self.ids().for_each(|v| defined[v] = self.value(v).initializer().is_some());
        for &i in &self.inputs {
            if std::mem::replace(&mut defined[i], true) {
                return Err(format!("`{}` is an input twice, or an input and a constant", self.name_of(i)));
            }
        }
        let mut names = HashSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.name.is_empty() || !names.insert(&node.name) {
                return Err(format!("two nodes are named `{}`", node.name));
            }
            if let Some(v) = node.used().find(|&v| !defined[v]) {
                return Err(format!("node `{}` reads `{}` before it is computed", node.name, self.name_of(v)));
            }
            for &o in &node.outputs {
                if self.value(o).producer != Some(index) || std::mem::replace(&mut defined[o], true) {
                    return Err(format!("node `{}` gives `{}`, which comes from elsewhere", node.name, self.name_of(o)));
                }
            }
            self.verify_body(node)?;
            if let Some(body) = node.body.as_ref().filter(|b| bodies.insert(Arc::as_ptr(b))) {
                body.verify_with(bodies).map_err(|e| format!("in the body of node `{}`: {e}", node.name))?;
            }
        }
        if let Some(&o) = self.outputs.iter().find(|&&o| !defined[o]) {
            return Err(format!("output `{}` is never computed", self.name_of(o)));
        }
        for id in self.ids() {
            if self.name_of(id).is_empty() || self.find(self.name_of(id)) != Some(id) {
                return Err(format!("two values are named `{}`", self.name_of(id)));
            }
        }
        Ok(())
    }

    /// That functions have bodies, operators have none, and a body takes and gives what its node does.
    fn verify_body(&self, node: &Node) -> Result<(), String> {
        let wrong = |why: String| Err(format!("the body of node `{}` {why}", node.name));
        let Some(body) = &node.body else {
            return match node.domain {
                Domain::Onnx | Domain::Native => Ok(()),
                Domain::Function | Domain::Alternative => wrong("is missing".into()),
            };
        };
        if matches!(node.domain, Domain::Onnx | Domain::Native) {
            return wrong("has no place at an operator".into());
        }
        if (body.inputs.len(), body.outputs.len()) != (node.inputs.len(), node.outputs.len()) {
            return wrong("has another number of inputs or outputs".into());
        }
        let ports = body.inputs.iter().zip(&node.inputs).filter_map(|(&i, o)| Some((i, (*o)?)));
        for (inner, outer) in ports.chain(body.outputs.iter().copied().zip(node.outputs.iter().copied())) {
            let (within, without) = (body.ty(inner), self.ty(outer));
            if within != without {
                return wrong(format!("has `{}` as {within}, which is `{}` {without} outside", body.name_of(inner), self.name_of(outer)));
            }
        }
        Ok(())
    }
}
