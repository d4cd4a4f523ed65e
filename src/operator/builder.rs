//! Adds typed nodes to a graph: what gradient rules, losses, penalties and optimizers are written with.

use super::{Function, Rule, View};
use crate::ir::{Attr, Attrs, DType, Dim, Domain, Graph, Node, Tensor, TensorType, ValueId};
use crate::ops::table;
use std::collections::HashMap;
use std::sync::Arc;

/// Appends nodes to a graph under a scope name. Types are inferred at once, so a wrong graph fails where it is built.
pub struct Builder<'g> {
    pub graph: &'g mut Graph,
    /// Prefix of the nodes' names: `/layer1/conv1/Conv.grad`.
    scope: String,
    /// Small constants made so far, by content.
    constants: HashMap<(DType, Vec<usize>, Vec<u8>), ValueId>,
}

/// Shorthand for an attribute list.
pub(crate) fn attrs<const N: usize>(list: [(&str, Attr); N]) -> Attrs {
    list.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
}

impl<'g> Builder<'g> {
    pub fn new(graph: &'g mut Graph) -> Self {
        Builder { graph, scope: String::new(), constants: HashMap::new() }
    }

    /// Sets the prefix of the names of the nodes to come.
    pub fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }

    pub fn dtype(&self, v: ValueId) -> DType {
        self.ty(v).dtype
    }

    pub fn shape(&self, v: ValueId) -> &[Dim] {
        &self.ty(v).shape
    }

    pub fn rank(&self, v: ValueId) -> usize {
        self.ty(v).rank()
    }

    fn path(&self, label: &str) -> String {
        if self.scope.is_empty() { label.to_string() } else { format!("{}/{label}", self.scope) }
    }

    /// Adds a node of a standard operator with any number of outputs.
    pub fn nodes(&mut self, op: &str, inputs: &[Option<ValueId>], attrs: Attrs) -> Rule<Vec<ValueId>> {
        let operator = table::find(op).ok_or_else(|| format!("{op} is not in the operator table"))?;
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

    /// Adds a node of a standard operator with one output.
    pub fn op(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Rule<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.nodes(op, &inputs, attrs)?.first().copied().ok_or_else(|| format!("{op} has no output"))
    }

    /// Calls a function of the domain `ai.spgraph`; `body` builds its meaning from standard operators. Attributes state the
    /// call's meaning for a native kernel that takes the function's place.
    pub fn call(
        &mut self,
        function: &Function,
        inputs: &[ValueId],
        attrs: Attrs,
        body: impl FnOnce(&mut Builder, &[ValueId]) -> Rule<Vec<ValueId>>,
    ) -> Rule<Vec<ValueId>> {
        let (mut inner, arguments) = self.graph.inner(function.name, inputs);
        let results = body(&mut Builder::new(&mut inner), &arguments)?;
        let node = Node::new(self.path(function.name), function.name, inputs.iter().copied().map(Some).collect(), attrs);
        let outputs = results.iter().enumerate().map(|(i, &r)| (format!("{}_output_{i}", node.name), inner.ty(r).clone())).collect();
        inner.outputs = results;
        let node = Node { domain: Domain::Function, body: Some(Arc::new(inner)), ..node };
        Ok(self.graph.node(node, outputs))
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

    pub fn add(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.op("Add", &[a, b], Attrs::new())
    }

    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.op("Sub", &[a, b], Attrs::new())
    }

    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.op("Mul", &[a, b], Attrs::new())
    }

    pub fn div(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.op("Div", &[a, b], Attrs::new())
    }

    pub fn neg(&mut self, a: ValueId) -> Rule<ValueId> {
        self.op("Neg", &[a], Attrs::new())
    }

    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.op("MatMul", &[a, b], Attrs::new())
    }

    pub fn cast(&mut self, a: ValueId, to: DType) -> Rule<ValueId> {
        if self.dtype(a) == to {
            return Ok(a);
        }
        self.op("Cast", &[a], attrs([("to", Attr::Int(to.onnx() as i64))]))
    }

    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> Rule<ValueId> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(a);
        }
        self.op("Transpose", &[a], attrs([("perm", Attr::Ints(perm.iter().map(|&p| p as i64).collect()))]))
    }

    /// Sums over `axes` (counted from 0).
    pub fn sum(&mut self, a: ValueId, axes: &[usize], keep: bool) -> Rule<ValueId> {
        if axes.is_empty() {
            return Ok(a);
        }
        let list = self.ints(&axes.iter().map(|&x| x as i64).collect::<Vec<_>>());
        self.op("ReduceSum", &[a, list], attrs([("keepdims", Attr::Int(keep as i64))]))
    }

    /// The sum of the squares of all elements, a scalar.
    pub fn sum_square(&mut self, a: ValueId) -> Rule<ValueId> {
        self.op("ReduceSumSquare", &[a], attrs([("keepdims", Attr::Int(0))]))
    }

    /// Means over `axes` (counted from 0).
    pub fn mean(&mut self, a: ValueId, axes: &[usize], keep: bool) -> Rule<ValueId> {
        let list = Attr::Ints(axes.iter().map(|&x| x as i64).collect());
        self.op("ReduceMean", &[a], attrs([("axes", list), ("keepdims", Attr::Int(keep as i64))]))
    }

    /// Brings `a` into `shape`, in which one dimension may be a multiple of the batch size.
    pub fn reshape(&mut self, a: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        if self.shape(a) == shape {
            return Ok(a);
        }
        if shape.iter().filter(|d| d.known().is_none()).count() > 1 {
            return Err("two dimensions depend on the batch size; rewrite with a fixed --batch".into());
        }
        let dims: Vec<i64> = shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect();
        let dims = self.ints(&dims);
        let out = self.op("Reshape", &[a, dims], attrs([("allowzero", Attr::Int(0))]))?;
        debug_assert_eq!(self.shape(out), shape);
        Ok(out)
    }

    /// Elements `starts..ends` by `steps` along `axes`.
    pub fn slice(&mut self, a: ValueId, axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Rule<ValueId> {
        let axes: Vec<i64> = axes.iter().map(|&x| x as i64).collect();
        let inputs = [a, self.ints(starts), self.ints(ends), self.ints(&axes), self.ints(steps)];
        self.op("Slice", &inputs, Attrs::new())
    }

    /// Constant padding: `begin` and `end` per axis, negative to crop.
    pub fn pad(&mut self, a: ValueId, begin: &[i64], end: &[i64], value: f64) -> Rule<ValueId> {
        let a = self.crop(a, begin, end)?;
        let pads: Vec<i64> = begin.iter().chain(end).map(|&p| p.max(0)).collect();
        if pads.iter().all(|&p| p == 0) {
            return Ok(a);
        }
        let pads = self.ints(&pads);
        let value = self.constant(Tensor::from_floats(self.dtype(a), &[], &[value]));
        self.op("Pad", &[a, pads, value], attrs([("mode", Attr::String("constant".into()))]))
    }

    /// Takes away what is negative in `begin` and `end`, per axis. Not every runtime knows negative padding.
    pub fn crop(&mut self, a: ValueId, begin: &[i64], end: &[i64]) -> Rule<ValueId> {
        let axes: Vec<usize> = (0..begin.len()).filter(|&i| begin[i] < 0 || end[i] < 0).collect();
        if axes.is_empty() {
            return Ok(a);
        }
        let (mut starts, mut ends) = (vec![], vec![]);
        for &i in &axes {
            let size = self.shape(a)[i].known().ok_or("it crops the batch; rewrite with a fixed --batch")? as i64;
            let (start, stop) = ((-begin[i]).max(0), size + end[i].min(0));
            if start > stop {
                return Err(format!("axis {i} of {size} elements cannot be cut by {} and {}", -begin[i], -end[i]));
            }
            starts.push(start);
            ends.push(stop);
        }
        self.slice(a, &axes, &starts, &ends, &vec![1; axes.len()])
    }

    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Rule<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.op("Concat", parts, attrs([("axis", Attr::Int(axis as i64))])),
        }
    }

    /// A tensor of zeros with known dimensions, made while the model runs.
    pub fn zeros(&mut self, ty: &TensorType) -> Rule<ValueId> {
        let dims: Vec<i64> = super::fixed(ty)?.into_iter().map(|d| d as i64).collect();
        let dims = self.ints(&dims);
        self.op("ConstantOfShape", &[dims], attrs([("value", Attr::Tensor(Tensor::zeros(ty.dtype, &[1])))]))
    }

    /// Adds up cotangents of one value.
    pub fn total(&mut self, parts: &[ValueId]) -> Rule<ValueId> {
        match parts {
            [one] => Ok(*one),
            // ONNX Runtime adds in place.
            [one, two] => self.add(*one, *two),
            _ => self.op("Sum", parts, Attrs::new()),
        }
    }

    /// Undoes broadcasting: sums `dy` over the axes along which a value of type `to` was repeated.
    pub fn unbroadcast(&mut self, dy: ValueId, to: &TensorType) -> Rule<ValueId> {
        let from = self.shape(dy).to_vec();
        let lead = from.len() - to.rank();
        let repeated: Vec<usize> =
            (0..from.len()).filter(|&i| i < lead || (to.shape[i - lead] == Dim::Known(1) && from[i] != Dim::Known(1))).collect();
        let summed = self.sum(dy, &repeated, true)?;
        self.reshape(summed, &to.shape)
    }
}
