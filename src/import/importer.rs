//! Brings the model's nodes into canonical form, one after the other.

use super::names::is_generated;
use super::options::ImportOptions;
use super::refusals::{Refusals, unknown};
use super::ties::{Split, Ties};
use crate::error::{Error, Result};
use crate::ir::{Attrs, Elem, Graph, Node, ValueId};
use crate::onnx::{Attributes, pb};
use crate::operator::{Import, Known, Operator, Status, View};
use crate::ops::table;
use std::collections::HashMap;

/// The graph so far.
pub(super) struct Importer {
    graph: Graph,
    values: HashMap<String, ValueId>,
    opset: i64,
    training: HashMap<String, Attrs>,
    declared_batch: Option<usize>,
    freed_batch: Vec<String>,
    ties: Ties,
    refusals: Refusals,
}

/// What the nodes of a model come to.
pub(super) struct Parts {
    /// Without outputs.
    pub graph: Graph,
    /// Its values under the names that the model has for them.
    pub values: HashMap<String, ValueId>,
    /// What the model says of nodes for training only.
    pub training: HashMap<String, Attrs>,
    /// Parameters that stood behind one initializer.
    pub split: Vec<Split>,
    /// Nodes into whose shape the model has written the batch.
    pub freed_batch: Vec<String>,
}

/// The name of the node at `index` in the graph; nodes without one are numbered.
pub fn node_name(index: usize, node: &pb::NodeProto) -> String {
    if node.name().is_empty() { format!("{}_{index}", node.op_type()) } else { node.name().to_string() }
}

/// Whether the value is a floating-point constant that somebody has named.
fn is_named_number(graph: &Graph, v: ValueId) -> bool {
    let value = graph.value(v);
    value.initializer().is_some_and(|t| t.dtype().is_float()) && !is_generated(&value.name)
}

impl Importer {
    /// For nodes behind an input of that declared batch, where it is a number.
    pub fn new(graph: Graph, values: HashMap<String, ValueId>, opset: i64, declared_batch: Option<usize>, options: &ImportOptions) -> Self {
        let ties = Ties::new(options.keep_ties);
        let (training, freed_batch) = (HashMap::new(), vec![]);
        Importer { graph, values, opset, training, declared_batch, freed_batch, ties, refusals: Refusals::default() }
    }

    /// What was made. Fails with everything that was refused.
    pub fn finish(self) -> Result<Parts> {
        match self.refusals.list {
            none if none.is_empty() => Ok(Parts {
                graph: self.graph,
                values: self.values,
                training: self.training,
                split: self.ties.split,
                freed_batch: self.freed_batch,
            }),
            refused => Err(Error::Unsupported(refused)),
        }
    }

    /// Imports the node at `index` in the model, or takes note of why not.
    pub fn node(&mut self, index: usize, node: &pb::NodeProto) {
        if !matches!(node.domain(), "" | "ai.onnx") {
            return self.refusals.refuse(node, "only operators of ONNX's own domain are supported");
        }
        let Some(operator) = table::find(node.op_type()) else { return self.refusals.refuse(node, unknown(node.op_type())) };
        if let Status::Refused(reason) = operator.status() {
            return self.refusals.refuse(node, reason);
        }
        if self.refusals.concern(node) {
            return;
        }
        let mut inputs = vec![];
        for name in &node.input {
            match self.values.get(name) {
                Some(&id) => inputs.push(Some(id)),
                None if name.is_empty() => inputs.push(None),
                None => return self.refusals.refuse(node, format!("its input `{name}` is computed nowhere before it")),
            }
        }
        if let Err(reason) = self.place(index, node, operator, inputs) {
            self.refusals.refuse(node, reason);
        }
    }

    fn place(
        &mut self,
        index: usize,
        node: &pb::NodeProto,
        operator: &dyn Operator,
        inputs: Vec<Option<ValueId>>,
    ) -> std::result::Result<(), String> {
        if let Some(constant) = self.ties.untie(&mut self.graph, node, &inputs) {
            self.values.extend(node.output.first().map(|output| (output.clone(), constant)));
            return Ok(());
        }
        let attributes = Attributes::new(node).map_err(|e| e.to_string())?;
        let base = node_name(index, node);
        let inputs = self.ties.own_parameters(&mut self.graph, operator, &base, inputs);
        let mut cx = Import {
            graph: &mut self.graph,
            name: base,
            opset: self.opset,
            op_type: node.op_type().to_string(),
            inputs,
            outputs: node.output.clone(),
            source: attributes,
            attrs: Default::default(),
            replaced: None,
            training: Default::default(),
            declared_batch: self.declared_batch,
            freed_batch: false,
        };
        operator.import(&mut cx)?;
        let unread = cx.source.unread();
        if !unread.is_empty() {
            return Err(format!(
                "its attribute{} {} {} not understood",
                if unread.len() > 1 { "s" } else { "" },
                unread.join(", "),
                if unread.len() > 1 { "are" } else { "is" }
            ));
        }
        let Import { name, op_type, inputs, outputs, attrs, training, replaced, freed_batch, .. } = cx;
        self.freed_batch.extend(freed_batch.then(|| name.clone()));
        if let Some(list) = replaced {
            self.values.extend(outputs.into_iter().filter(|o| !o.is_empty()).zip(list));
            return Ok(());
        }
        let operator = table::find(&op_type).ok_or_else(|| format!("{op_type} is not in the operator table"))?;
        let canonical = Node::new(name, op_type, inputs, attrs);
        let view = View { graph: &self.graph, node: &canonical };
        let types = operator.infer(&view)?;
        // A folded parameter would be lost.
        let folds = !types.first().is_some_and(|t| t.dtype.is_float()) || !canonical.used().any(|v| is_named_number(&self.graph, v));
        if let Some(Known::Tensor(tensor)) = operator.evaluate(&view).filter(|_| folds)
            && let Some(output) = outputs.first()
        {
            let id = self.graph.constant(output, tensor);
            self.values.insert(output.clone(), id);
            return Ok(());
        }
        let elems: Option<Vec<Elem>> = match operator.evaluate(&view) {
            Some(Known::Elems(elems)) => Some(elems),
            _ => None,
        };
        if outputs.len() > types.len() && outputs[types.len()..].iter().any(|o| !o.is_empty()) {
            return Err(format!("its output {} is not supported", types.len()));
        }
        let named = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let name = outputs.get(i).filter(|o| !o.is_empty()).cloned();
                (name.unwrap_or_else(|| format!("{}_output_{i}", canonical.name)), ty)
            })
            .collect();
        let ids = self.graph.node(canonical, named);
        if let Some(node) = self.graph.nodes.last().filter(|_| !training.is_empty()) {
            self.training.insert(node.name.clone(), training);
        }
        if let (Some(elems), Some(&id)) = (elems, ids.first()) {
            self.graph.value_mut(id).elems = Some(elems);
        }
        self.values.extend(outputs.into_iter().zip(ids).filter(|(o, _)| !o.is_empty()));
        Ok(())
    }
}
