//! Adds typed nodes to a graph: what gradient rules, losses, penalties and optimizers are written with.

use super::{Function, Operator, Rule, View};
use crate::ir::{Attr, Attrs, DType, Dim, Domain, Graph, Node, Tensor, TensorType, ValueId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Appends nodes to a graph under a scope name. Types are inferred at once, so a wrong graph fails where it is built.
pub struct Builder<'g> {
    /// What nodes are added to.
    pub graph: &'g mut Graph,
    /// Prefix of the nodes' names: `/layer1/conv1/Conv.grad`.
    scope: String,
    /// Small constants made so far, by content.
    constants: HashMap<(DType, Vec<usize>, Vec<u8>), ValueId>,
}

/// Gives every result of a body a node of its own: runtimes load no function whose output is one of its inputs, or another output.
fn apart(body: &mut Graph, results: &mut [ValueId]) {
    let mut given = HashSet::new();
    for result in results {
        if body.value(*result).producer.is_none() || given.contains(result) {
            let ty = body.ty(*result).clone();
            let copy =
                body.node(Node::new("Identity", "Identity", vec![Some(*result)], Attrs::new()), vec![("Identity_output".into(), ty)]);
            *result = copy.first().copied().unwrap_or(*result);
        }
        given.insert(*result);
    }
}

/// Shorthand for an attribute list.
pub(crate) fn attrs<const N: usize>(list: [(&str, Attr); N]) -> Attrs {
    list.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
}

impl<'g> Builder<'g> {
    /// On a graph, with no scope.
    pub fn new(graph: &'g mut Graph) -> Self {
        Builder { graph, scope: String::new(), constants: HashMap::new() }
    }

    /// Sets the prefix of the names of the nodes to come.
    pub fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }

    /// The element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.ty(v).dtype
    }

    /// The dimensions of a value.
    pub fn shape(&self, v: ValueId) -> &[Dim] {
        &self.ty(v).shape
    }

    /// How many axes a value has.
    pub fn rank(&self, v: ValueId) -> usize {
        self.ty(v).rank()
    }

    fn path(&self, label: &str) -> String {
        if self.scope.is_empty() { label.to_string() } else { format!("{}/{label}", self.scope) }
    }

    /// Adds a node of an operator with any number of outputs.
    pub fn apply_to(&mut self, operator: &dyn Operator, inputs: &[Option<ValueId>], attrs: Attrs) -> Rule<Vec<ValueId>> {
        let op = operator.op_type();
        let mut node = Node::new(self.path(op), op, inputs.to_vec(), attrs);
        while node.inputs.last() == Some(&None) {
            node.inputs.pop();
        }
        let types = operator.infer(&View { graph: self.graph, node: &node }).map_err(|e| format!("while building {}: {e}", node.name))?;
        let many = types.len() > 1;
        let outputs = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| (if many { format!("{}_output_{i}", node.name) } else { format!("{}_output", node.name) }, ty))
            .collect();
        Ok(self.graph.node(node, outputs))
    }

    /// Adds a node of an operator with one output.
    pub fn apply(&mut self, operator: &dyn Operator, inputs: &[ValueId], attrs: Attrs) -> Rule<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.apply_to(operator, &inputs, attrs)?.first().copied().ok_or_else(|| format!("{} has no output", operator.op_type()))
    }

    /// Calls a function of the domain `ai.spgraph`; `body` builds its meaning from standard operators. Attributes state the
    /// call's meaning for a native kernel that takes the function's place.
    pub fn call<const I: usize, const O: usize>(
        &mut self,
        function: &Function,
        inputs: [ValueId; I],
        attrs: Attrs,
        body: impl FnOnce(&mut Builder, [ValueId; I]) -> Rule<[ValueId; O]>,
    ) -> Rule<[ValueId; O]> {
        let outputs = self.call_list(function, &inputs, attrs, |b, inputs| {
            let inputs = inputs.try_into().map_err(|_| "a function has other inputs than its call")?;
            Ok(body(b, inputs)?.to_vec())
        })?;
        outputs.try_into().map_err(|_| "a function has other outputs than its call".into())
    }

    /// Calls a function whose numbers of inputs and outputs depend on the case at hand.
    pub fn call_list(
        &mut self,
        function: &Function,
        inputs: &[ValueId],
        attrs: Attrs,
        body: impl FnOnce(&mut Builder, &[ValueId]) -> Rule<Vec<ValueId>>,
    ) -> Rule<Vec<ValueId>> {
        let (mut inner, arguments) = self.graph.inner(function.name, inputs);
        let mut results = body(&mut Builder::new(&mut inner), &arguments)?;
        apart(&mut inner, &mut results);
        Ok(self.call_of(function, inputs, attrs, inner, results))
    }

    /// The call of a function whose meaning `inner` is.
    fn call_of(&mut self, function: &Function, inputs: &[ValueId], attrs: Attrs, mut inner: Graph, results: Vec<ValueId>) -> Vec<ValueId> {
        let node = Node::new(self.path(function.name), function.name, inputs.iter().copied().map(Some).collect(), attrs);
        let outputs = results.iter().enumerate().map(|(i, &r)| (format!("{}_output_{i}", node.name), inner.ty(r).clone())).collect();
        inner.outputs = results;
        let node = Node { domain: Domain::Function, body: Some(Arc::new(inner)), ..node };
        self.graph.node(node, outputs)
    }

    /// A constant; equal small ones are shared.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = self.path("constant");
        if tensor.count() > 64 {
            return self.graph.constant(&name, tensor);
        }
        let key = (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes().to_vec());
        if let Some(&v) = self.constants.get(&key) {
            return v;
        }
        let v = self.graph.constant(&name, tensor);
        self.constants.insert(key, v);
        v
    }

    /// A rank-1 int64 constant.
    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::from_i64(&[values.len()], values))
    }

    /// A number in the type of `like`, with as many axes of length 1 as `like` has: a rank-0 operand is an order of
    /// magnitude slower in ONNX Runtime's broadcasting.
    pub fn number(&mut self, value: f64, like: ValueId) -> ValueId {
        let shape = vec![1; self.rank(like)];
        self.constant(Tensor::from_floats(self.dtype(like), &shape, &[value]))
    }
}
