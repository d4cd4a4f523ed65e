//! Values, nodes and names.
//!
//! A graph grows at its end only: a node's inputs exist before it, so the nodes are always in topological order.

use super::{DType, Dim, Tensor, TensorType};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A value of one particular graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

impl ValueId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An attribute in the form that spgraph computes with.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Tensor),
}

pub type Attrs = BTreeMap<String, Attr>;

/// An element of an integer tensor that describes a shape: a number, or a multiple of the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elem {
    Int(i64),
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

#[derive(Debug, Clone)]
pub struct Value {
    pub name: String,
    pub ty: TensorType,
    /// Set for initializers and folded results.
    pub constant: Option<Tensor>,
    /// Elements of an integer tensor computed from shapes, where one of them is the batch size.
    pub elems: Option<Vec<Elem>>,
    /// Index of the node that computes it.
    pub producer: Option<usize>,
}

impl Value {
    /// The elements of an integer constant, or of a tensor computed from shapes.
    pub fn known_elems(&self) -> Option<Vec<Elem>> {
        match &self.constant {
            Some(t) => Some(t.to_i64().ok()?.into_iter().map(Elem::Int).collect()),
            None => self.elems.clone(),
        }
    }
}

/// One operator, or the call of a function of the domain [`FUNCTION_DOMAIN`].
#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    pub op_type: String,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    pub attrs: Attrs,
    /// Of a function's call.
    pub body: Option<Arc<Body>>,
}

/// A function's meaning in standard operators; the graph's inputs and outputs are those of the node that calls it.
#[derive(Debug, Clone)]
pub struct Body {
    pub graph: Graph,
    /// [`FUNCTION_DOMAIN`] or [`FORM_DOMAIN`].
    pub domain: &'static str,
}

/// The domain of the model-local functions that spgraph emits.
pub const FUNCTION_DOMAIN: &str = "ai.spgraph";

/// The domain of those functions that stand for an operator of ONNX with the same name, inputs, outputs and attributes: who has
/// a better kernel for the operator can have that instead.
pub const FORM_DOMAIN: &str = "ai.spgraph.forms";

impl Node {
    /// The integer attribute `name`, or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attrs.get(name) {
            Some(Attr::Int(v)) => *v,
            _ => default,
        }
    }

    /// The float attribute `name`, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attrs.get(name) {
            Some(Attr::Float(v)) => *v,
            _ => default,
        }
    }

    /// The integers under `name`; empty where there are none.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attrs.get(name) {
            Some(Attr::Ints(v)) => v,
            _ => &[],
        }
    }

    pub fn string(&self, name: &str) -> &str {
        match self.attrs.get(name) {
            Some(Attr::String(v)) => v,
            _ => "",
        }
    }

    /// The inputs that are there.
    pub fn used(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().flatten().copied()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub name: String,
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
    names: HashSet<String>,
    /// For each name asked for twice: the number to try next.
    next: HashMap<String, usize>,
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// A name that no value or node has yet: `base`, or `base_2`, `base_3`, …
    pub fn fresh(&mut self, base: &str) -> String {
        if self.names.insert(base.to_string()) {
            return base.to_string();
        }
        let next = self.next.entry(base.to_string()).or_insert(2);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    fn push_value(&mut self, name: &str, ty: TensorType) -> ValueId {
        let name = self.fresh(name);
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name, ty, constant: None, elems: None, producer: None });
        id
    }

    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    pub fn name_of(&self, id: ValueId) -> &str {
        &self.value(id).name
    }

    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(|i| ValueId(i as u32))
    }

    pub fn ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// Declares a graph input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let id = self.push_value(name, ty);
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
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
        let index = self.nodes.len();
        node.outputs = outputs
            .into_iter()
            .map(|(name, ty)| {
                let id = self.push_value(&name, ty);
                self.value_mut(id).producer = Some(index);
                id
            })
            .collect();
        let ids = node.outputs.clone();
        self.nodes.push(node);
        ids
    }

    /// Gives a value a new name, which must be free.
    pub fn rename(&mut self, id: ValueId, name: &str) {
        let name = self.fresh(name);
        self.value_mut(id).name = name;
    }

    /// Makes every node from `from` on read `new` where it read `old`, and the graph's outputs as well.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for input in self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()) {
            if *input == Some(old) {
                *input = Some(new);
            }
        }
        for output in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// The node that computes `id`.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.value(id).producer.map(|i| &self.nodes[i])
    }

    /// Which nodes the outputs need, by index.
    pub fn live_nodes(&self) -> Vec<bool> {
        let mut needed: HashSet<ValueId> = self.outputs.iter().copied().collect();
        let mut live = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if node.outputs.iter().any(|o| needed.contains(o)) {
                live[i] = true;
                needed.extend(node.used());
            }
        }
        live
    }

    /// The element type of the first floating input or constant: the network's precision.
    pub fn float_type(&self) -> DType {
        self.inputs.iter().map(|&i| self.ty(i).dtype).find(|d| d.is_float()).unwrap_or(DType::F32)
    }

    /// Checks that nodes are in order, every value is defined before use, and names are unique and not empty.
    pub fn verify(&self) -> Result<(), String> {
        let mut defined: Vec<bool> = self.values.iter().map(|v| v.constant.is_some()).collect();
        for &i in &self.inputs {
            defined[i.index()] = true;
        }
        for node in &self.nodes {
            for v in node.used() {
                if !defined[v.index()] {
                    return Err(format!("node `{}` reads `{}` before it is computed", node.name, self.name_of(v)));
                }
            }
            for &o in &node.outputs {
                defined[o.index()] = true;
            }
        }
        for &o in &self.outputs {
            if !defined[o.index()] {
                return Err(format!("output `{}` is never computed", self.name_of(o)));
            }
        }
        let mut seen = HashSet::new();
        for v in &self.values {
            if v.name.is_empty() || !seen.insert(&v.name) {
                return Err(format!("two values are named `{}`", v.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_unique() {
        let mut g = Graph::new("g");
        let names: Vec<_> = ["a", "a", "a_2", "a"].iter().map(|n| g.fresh(n)).collect();
        assert_eq!(names, ["a", "a_2", "a_2_2", "a_3"]);
    }
}
