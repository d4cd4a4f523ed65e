//! What an operator's import rule sees of a node in the source model.

use super::{Builder, Rule};
use crate::ir::{Attr, Attrs, Elem, Graph, Tensor, TensorType, ValueId};
use crate::onnx::Attributes;

/// A node on its way into the graph. The rule reads attributes from the source and writes canonical ones.
pub struct Import<'a> {
    /// What has been imported so far; rules may add constants and nodes.
    pub graph: &'a mut Graph,
    /// The name in the source, or a number behind the operator.
    pub name: String,
    /// Opset of ONNX's own domain in the source.
    pub opset: i64,
    /// May be changed to an operator with the same meaning.
    pub op_type: String,
    /// May be changed to those of the canonical node.
    pub inputs: Vec<Option<ValueId>>,
    /// For inputs that are sequences of tensors, which tensors: at such a place `inputs` has nothing.
    pub sequences: Vec<Option<Vec<ValueId>>>,
    /// Set instead of adding a node, where the output is a sequence of tensors.
    pub sequence: Option<Vec<ValueId>>,
    /// Names of the outputs; empty where one is left out.
    pub outputs: Vec<String>,
    /// The source's attributes; reading them marks them as understood.
    pub source: Attributes<'a>,
    /// Canonical attributes, written by the rule.
    pub attrs: Attrs,
    /// Set instead of adding a node: the values of the outputs.
    pub replaced: Option<Vec<ValueId>>,
    /// What the source says for training only, written by the rule: no part of the canonical node, kept for passes.
    pub training: Attrs,
    /// The batch size that the source declares as a number. An exporter that was shown one batch may have written it into shapes.
    pub declared_batch: Option<usize>,
    /// In how many blocks the batch lies within the dimension that depends on it, of the first input with such a one: 17 where `[17, N, …]` became
    /// `[17·N, …]`, 1 where `[N, 17, …]` did. Rules that change it write that of the result.
    pub batch_blocks: usize,
    /// Set where the rule took such a number for the batch.
    pub freed_batch: bool,
    /// Which of several readings the rule takes, where such a number may be the batch in more than one place: 0 for the likeliest.
    pub reading: usize,
    /// Written by the rule: how many readings there are.
    pub readings: usize,
}

impl Import<'_> {
    /// The required input `i`.
    pub fn input(&self, i: usize) -> Rule<ValueId> {
        self.inputs.get(i).copied().flatten().ok_or_else(|| format!("input {i} is missing"))
    }

    /// Whether input `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.inputs.get(i).copied().flatten().is_some()
    }

    /// The type of the required input `i`.
    pub fn ty(&self, i: usize) -> Rule<&TensorType> {
        Ok(self.graph.ty(self.input(i)?))
    }

    /// The constant that enters at `i`.
    pub fn constant(&self, i: usize) -> Option<&Tensor> {
        self.graph.value(self.inputs.get(i).copied().flatten()?).constant.as_ref()
    }

    /// Elements of input `i`, a scalar or a list of integers, each a number or a multiple of the batch size.
    pub fn elems(&self, i: usize) -> Option<Vec<Elem>> {
        let value = self.graph.value(self.inputs.get(i).copied().flatten()?);
        if value.ty.rank() > 1 || value.ty.dtype.is_float() { None } else { value.known_elems() }
    }

    /// The source's integer attribute, or `default`; it becomes a canonical one.
    pub fn int(&mut self, name: &str, default: i64) -> Rule<i64> {
        let v = self.source.int(name).map_err(|e| e.to_string())?.unwrap_or(default);
        self.set(name, Attr::Int(v));
        Ok(v)
    }

    /// The source's float attribute, or `default`; it becomes a canonical one.
    pub fn float(&mut self, name: &str, default: f32) -> Rule<f32> {
        let v = self.source.float(name).map_err(|e| e.to_string())?.unwrap_or(default);
        self.set(name, Attr::Float(v));
        Ok(v)
    }

    /// The source's string attribute, or `default`; it does not become canonical by itself.
    pub fn string(&mut self, name: &str, default: &str) -> Rule<String> {
        Ok(self.source.string(name).map_err(|e| e.to_string())?.unwrap_or(default).to_string())
    }

    /// The source's list of integers, where it has one; it does not become canonical by itself.
    pub fn ints(&mut self, name: &str) -> Rule<Option<Vec<i64>>> {
        Ok(self.source.ints(name).map_err(|e| e.to_string())?.map(<[i64]>::to_vec))
    }

    /// Writes a canonical attribute.
    pub fn set(&mut self, name: &str, value: Attr) {
        self.attrs.insert(name.to_string(), value);
    }

    /// Moves a list of integers between the attribute of older opsets and the input of newer ones: afterwards input `i` is a
    /// constant, where either form was there.
    pub fn ints_to_input(&mut self, name: &str, i: usize) -> Rule<()> {
        if let Some(v) = self.ints(name)? {
            let value = self.add_constant(name, Tensor::from_i64(&[v.len()], &v));
            self.inputs.resize(self.inputs.len().max(i.saturating_add(1)), None);
            self.inputs.splice(i..=i, [Some(value)]);
        }
        Ok(())
    }

    /// The list of integers that is an attribute in older opsets and input `i` in newer ones; the input is removed.
    pub fn ints_from_input(&mut self, name: &str, i: usize) -> Rule<Option<Vec<i64>>> {
        if let Some(v) = self.ints(name)? {
            return Ok(Some(v));
        }
        if !self.has(i) {
            return Ok(None);
        }
        let v = self.constant(i).and_then(|t| t.to_i64().ok());
        self.inputs.truncate(i);
        v.map(Some).ok_or_else(|| format!("`{name}` is computed while the model runs; export the network with constant shapes"))
    }

    /// Adds a constant under the name of the node.
    pub fn add_constant(&mut self, label: &str, tensor: Tensor) -> ValueId {
        let name = format!("{}/{label}", self.name);
        self.graph.constant(&name, tensor)
    }

    /// Says that the node is what was built as `value`, under the name of its output.
    pub fn becomes(&mut self, value: ValueId) {
        self.op_type = "Identity".into();
        self.inputs = vec![Some(value)];
        self.attrs.clear();
    }

    /// A builder on the graph, for rules that put other nodes in this one's place.
    pub fn builder(&mut self) -> Builder<'_> {
        let mut b = Builder::new(self.graph);
        b.scope(self.name.clone());
        b
    }
}
