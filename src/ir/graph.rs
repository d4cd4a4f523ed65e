//! Values, nodes and names.
//!
//! A graph grows at its end only: a node's inputs exist before it, so the nodes are always in topological order. To change what is in
//! the middle, make a new graph of the old one: [`rebuild`](super::rebuild()).

use super::{Attrs, Dim, Domain, Layout, Tensor, TensorType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A value of one particular graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

impl ValueId {
    /// The value's place in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An element of an integer tensor that describes a shape: a number, or a multiple of the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elem {
    /// A number.
    Int(i64),
    /// `factor · N`.
    Batch(usize),
}

impl From<Dim> for Elem {
    fn from(d: Dim) -> Elem {
        match d {
            Dim::Known(n) => Elem::Int(n as i64),
            Dim::Batch(k) => Elem::Batch(k),
        }
    }
}

/// What a node computes, a constant, or a graph input.
#[derive(Debug, Clone)]
pub struct Value {
    /// Unique among the values of the graph.
    pub name: String,
    /// Element type and dimensions.
    pub ty: TensorType,
    /// How its elements lie in memory.
    pub layout: Layout,
    /// Set for initializers and folded results.
    pub constant: Option<Tensor>,
    /// Elements of an integer tensor computed from shapes, where one of them is the batch size.
    pub elems: Option<Vec<Elem>>,
    /// Index of the node that computes it.
    pub producer: Option<usize>,
    /// Whether it depends on an input of the graph; a parameter that becomes an input later does not count as one.
    pub varies: bool,
}

impl Value {
    /// The elements of an integer constant, or of a tensor computed from shapes.
    pub fn known_elems(&self) -> Option<Vec<Elem>> {
        match &self.constant {
            Some(t) => Some(t.to_i64().ok()?.into_iter().map(Elem::Int).collect()),
            None => self.elems.clone(),
        }
    }

    /// The tensor of an initializer: a constant that no node computes.
    pub fn initializer(&self) -> Option<&Tensor> {
        self.constant.as_ref().filter(|_| self.producer.is_none())
    }
}

/// One operator, or the call of a function.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// A path of modules as exporters write it, unique among the nodes of the graph.
    pub name: String,
    /// Whose operator it is.
    pub domain: Domain,
    /// The operator's or function's name.
    pub op_type: String,
    /// What it reads, by position; `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it computes; set when the node enters a graph.
    pub outputs: Vec<ValueId>,
    /// Explicit for every attribute of an operator of the table.
    pub attrs: Attrs,
    /// What a function or an alternative means, in standard operators; its inputs and outputs are those of the node. Calls of one
    /// function may share it.
    pub body: Option<Arc<Graph>>,
}

/// A graph of typed values.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The name in a file.
    pub name: String,
    /// Every value, by [`ValueId::index`].
    pub values: Vec<Value>,
    /// In an order in which each finds its inputs computed.
    pub nodes: Vec<Node>,
    /// What a caller feeds, in order.
    pub inputs: Vec<ValueId>,
    /// What a caller gets, in order.
    pub outputs: Vec<ValueId>,
    /// Names that [`Graph::fresh`] does not give again.
    taken: HashSet<String>,
    /// For each name asked for twice: the number to try next.
    next: HashMap<String, usize>,
    /// The values under their present names.
    by_name: HashMap<String, ValueId>,
    node_names: HashSet<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// An empty graph that is to take this one's place: of the same name, and with all names of this one taken, so that what is new in
    /// it is told from what is carried over.
    pub fn successor(&self) -> Graph {
        Graph { name: self.name.clone(), taken: self.taken.clone(), next: self.next.clone(), ..Graph::default() }
    }

    /// A name that no value or node has yet: `base`, or `base_2`, `base_3`, …
    pub fn fresh(&mut self, base: &str) -> String {
        if self.taken.insert(base.to_string()) {
            return base.to_string();
        }
        let next = self.next.entry(base.to_string()).or_insert(2);
        loop {
            let name = format!("{base}_{next}");
            *next = next.saturating_add(1);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// The id of the value that comes next.
    fn next_id(&self) -> ValueId {
        ValueId(self.values.len() as u32)
    }

    /// Adds a value whose name is not in use.
    fn push_value(&mut self, name: String, ty: TensorType) -> ValueId {
        let id = self.next_id();
        self.by_name.insert(name.clone(), id);
        self.values.push(Value { name, ty, layout: Layout::default(), constant: None, elems: None, producer: None, varies: false });
        id
    }

    /// `name`, unless another value has it.
    fn own_value_name(&mut self, name: &str) -> String {
        if self.by_name.contains_key(name) {
            return self.fresh(name);
        }
        self.taken.insert(name.to_string());
        name.to_string()
    }

    /// The value with that id, which is one of this graph's ([`PerValue`](super::PerValue)).
    #[allow(clippy::indexing_slicing)]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value with that id, to change; [`Graph::rename`] changes its name.
    #[allow(clippy::indexing_slicing)]
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    /// A value's type.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    /// A value's name.
    pub fn name_of(&self, id: ValueId) -> &str {
        &self.value(id).name
    }

    /// The value of that name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// Every value's id, in order.
    pub fn ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// Declares a graph input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let name = self.fresh(name);
        self.push_input(name, ty)
    }

    /// Declares a graph input with a name that was taken for it: fresh only where another value has it.
    pub fn input_as(&mut self, name: &str, ty: TensorType) -> ValueId {
        let name = self.own_value_name(name);
        self.push_input(name, ty)
    }

    fn push_input(&mut self, name: String, ty: TensorType) -> ValueId {
        let id = self.push_value(name, ty);
        self.value_mut(id).varies = true;
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh(name);
        let id = self.push_value(name, tensor.ty());
        self.value_mut(id).constant = Some(tensor);
        id
    }

    /// Adds a constant with a name that was taken for it: fresh only where another value has it.
    pub fn constant_as(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.own_value_name(name);
        let id = self.push_value(name, tensor.ty());
        self.value_mut(id).constant = Some(tensor);
        id
    }

    /// An empty graph for a function's body, and its inputs, of the types that these values have here.
    pub fn inner(&self, name: &str, inputs: &[ValueId]) -> (Graph, Vec<ValueId>) {
        let mut inner = Graph::new(name);
        let arguments = inputs.iter().enumerate().map(|(i, &v)| inner.input(&format!("in{i}"), self.ty(v).clone())).collect();
        (inner, arguments)
    }

    /// Makes a constant a graph input: a parameter that becomes state. Gives its tensor back.
    pub fn constant_to_input(&mut self, id: ValueId) -> Option<Tensor> {
        let tensor = self.value_mut(id).constant.take()?;
        self.inputs.push(id);
        Some(tensor)
    }

    /// Appends a node whose outputs have the given names and types.
    pub fn node(&mut self, mut node: Node, outputs: Vec<(String, TensorType)>) -> Vec<ValueId> {
        node.name = self.fresh(&node.name);
        let outputs = outputs.into_iter().map(|(name, ty)| (self.fresh(&name), ty)).collect();
        self.push_node(node, outputs)
    }

    /// Appends a node with names that were taken for it and its outputs: fresh only where another node or value has them.
    pub fn node_as(&mut self, mut node: Node, outputs: Vec<(String, TensorType)>) -> Vec<ValueId> {
        if self.node_names.contains(&node.name) {
            node.name = self.fresh(&node.name);
        }
        self.taken.insert(node.name.clone());
        let mut seen = HashSet::new();
        let outputs = outputs
            .into_iter()
            .map(|(name, ty)| {
                let own = if seen.insert(name.clone()) { self.own_value_name(&name) } else { self.fresh(&name) };
                (own, ty)
            })
            .collect();
        self.push_node(node, outputs)
    }

    /// Appends a node with one output of that name and type; gives the output. Names as for [`Graph::node`].
    pub fn single(&mut self, node: Node, output: (String, TensorType)) -> ValueId {
        let next = self.next_id();
        self.node(node, vec![output]);
        next
    }

    /// Appends a node with one output of that name and type; gives the output. Names as for [`Graph::node_as`].
    pub fn single_as(&mut self, node: Node, output: (String, TensorType)) -> ValueId {
        let next = self.next_id();
        self.node_as(node, vec![output]);
        next
    }

    fn push_node(&mut self, mut node: Node, outputs: Vec<(String, TensorType)>) -> Vec<ValueId> {
        let index = self.nodes.len();
        let varies = node.used().any(|v| self.value(v).varies);
        let ids: Vec<ValueId> = outputs
            .into_iter()
            .map(|(name, ty)| {
                let id = self.push_value(name, ty);
                let value = self.value_mut(id);
                (value.producer, value.varies) = (Some(index), varies);
                id
            })
            .collect();
        node.outputs = ids.clone();
        self.node_names.insert(node.name.clone());
        self.nodes.push(node);
        ids
    }

    /// Gives a value a new name, which must be free.
    pub fn rename(&mut self, id: ValueId, name: &str) {
        let name = self.fresh(name);
        self.set_name(id, name);
    }

    /// Gives a value a name that was taken for it: fresh only where another value has it.
    pub fn rename_as(&mut self, id: ValueId, name: &str) {
        let name = self.own_value_name(name);
        self.set_name(id, name);
    }

    fn set_name(&mut self, id: ValueId, name: String) {
        let before = std::mem::replace(&mut self.value_mut(id).name, name.clone());
        self.by_name.remove(&before);
        self.by_name.insert(name, id);
    }

    /// What depends on a value, itself included.
    pub fn dependents(&self, id: ValueId) -> HashSet<ValueId> {
        let mut found = HashSet::from([id]);
        for node in &self.nodes {
            if node.used().any(|v| found.contains(&v)) {
                found.extend(node.outputs.iter().copied());
            }
        }
        found
    }

    /// The node that computes `id`.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.nodes.get(self.value(id).producer?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    #[test]
    fn names_stay_unique() {
        let mut g = Graph::new("g");
        let names: Vec<_> = ["a", "a", "a_2", "a"].iter().map(|n| g.fresh(n)).collect();
        assert_eq!(names, ["a", "a_2", "a_2_2", "a_3"]);
    }

    #[test]
    fn values_are_found_under_the_names_they_have_now() {
        let mut g = Graph::new("g");
        let x = g.input("x", TensorType::scalar(DType::F32));
        g.rename(x, "y");
        assert_eq!((g.find("x"), g.find("y")), (None, Some(x)));
        let c = g.constant("x", Tensor::zeros(DType::F32, &[]));
        assert_eq!(g.name_of(c), "x_2", "the old name stays taken");
    }

    #[test]
    fn names_of_a_predecessor_are_kept_for_what_is_carried_over() {
        let mut g = Graph::new("g");
        g.input("x", TensorType::scalar(DType::F32));
        let mut next = g.successor();
        let new = next.input("x", TensorType::scalar(DType::F32));
        let old = next.input_as("x", TensorType::scalar(DType::F32));
        assert_eq!((next.name_of(new), next.name_of(old)), ("x_2", "x"));
    }
}
