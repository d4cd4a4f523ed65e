//! Brings the model's nodes into canonical form, one after the other.

use super::computed::Computed;
use super::names::{is_generated, node_name};
use super::options::ImportOptions;
use super::place::{Place, Readings};
use super::readable::Readable;
use super::refusals::{FROM_CONSTANTS, Refusals};
use super::signature;
use super::ties::{Split, Ties};
use crate::error::{Error, Result};
use crate::ir::{Attrs, Dim, Graph, Node, ValueId};
use crate::onnx::{Attributes, pb};
use crate::operator::{Import, Known, Operator, View, fold};
use crate::ops::table;
use std::collections::{HashMap, HashSet};

/// The graph so far.
pub(super) struct Importer {
    pub(super) graph: Graph,
    pub(super) values: HashMap<String, ValueId>,
    /// Sequences of tensors, by the names that the model has for them.
    pub(super) sequences: HashMap<String, Vec<ValueId>>,
    opset: i64,
    pub(super) training: HashMap<String, Attrs>,
    pub(super) declared_batch: Option<usize>,
    freed_batch: Vec<String>,
    /// In how many blocks the batch lies, where that is not one.
    batch_blocks: HashMap<ValueId, usize>,
    ties: Ties,
    pub(super) refusals: Refusals,
    /// What was computed ahead.
    computed: Computed,
    /// What nodes compute from constants alone, while the network runs.
    fixed: HashSet<ValueId>,
    readable: Readable,
    /// Results that nodes do not have in inference, by name, with the node.
    absent: HashMap<String, String>,
    /// For each node of the graph, the place in the file of that which it was made of.
    pub(super) places: Vec<Place>,
    /// Which reading nodes take that have several; the likeliest where nothing is said.
    pub(super) readings: Readings,
    /// The nodes that have several, each with how many.
    pub(super) unclear: Vec<(Place, usize)>,
}

/// Integers that a network may compute from constants while it runs.
const TABLE: usize = 1 << 24;

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
    /// Floating-point constants that were computed of one other, by name.
    pub computed: HashMap<String, String>,
}

/// Whether the value is a floating-point constant that somebody has named.
fn is_named_number(graph: &Graph, v: ValueId) -> bool {
    let value = graph.value(v);
    value.initializer().is_some_and(|t| t.dtype().is_float()) && !is_generated(&value.name)
}

impl Importer {
    /// For nodes behind an input of that declared batch, where it is a number.
    pub fn new(
        (graph, values): (Graph, HashMap<String, ValueId>),
        readable: Readable,
        opset: i64,
        declared_batch: Option<usize>,
        options: &ImportOptions,
    ) -> Self {
        let ties = Ties::new(options.keep_ties);
        let (training, freed_batch, batch_blocks) = (HashMap::new(), vec![], HashMap::new());
        let refusals = Refusals::default();
        Importer {
            graph,
            values,
            sequences: HashMap::new(),
            opset,
            training,
            declared_batch,
            freed_batch,
            batch_blocks,
            ties,
            refusals,
            computed: Computed::default(),
            fixed: HashSet::new(),
            readable,
            absent: HashMap::new(),
            places: vec![],
            readings: Readings::new(),
            unclear: vec![],
        }
    }

    /// Whether scores of classes may be the value of that name: some numbers for each image.
    pub fn may_be_scores(&self, name: &str) -> bool {
        let found = self.values.get(name).map(|&v| (self.graph.value(v).varies, self.graph.ty(v)));
        found.is_some_and(|(varies, ty)| varies && ty.dtype.is_float() && ty.rank() > 1)
    }

    /// Whether the value is the same for every image.
    fn is_fixed(&self, value: ValueId) -> bool {
        self.graph.value(value).constant.is_some() || self.fixed.contains(&value)
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
                computed: self.computed.of_one,
            }),
            refused => Err(Error::Unsupported(refused)),
        }
    }

    /// Imports the node at `index` in the model, or takes note of why not.
    pub fn node(&mut self, index: usize, node: &pb::NodeProto) {
        match self.branch(node) {
            Some(branch) => self.inline(index, node, branch),
            None => self.node_at(Place::from(index), node),
        }
    }

    /// The same of a node that is no branch.
    pub(super) fn node_at(&mut self, at: Place, node: &pb::NodeProto) {
        self.refusals.at = at;
        let index = at.node;
        let operator = match self.readable.operator(node) {
            Ok(operator) => operator,
            Err(reason) => return self.refusals.refuse_unknown(index, node, reason),
        };
        if self.refusals.concern(node) {
            return;
        }
        let (mut inputs, mut sequences) = (vec![], vec![]);
        for name in &node.input {
            let list = self.sequences.get(name).cloned();
            match self.values.get(name) {
                Some(&id) => inputs.push(Some(id)),
                None if name.is_empty() || list.is_some() && operator.takes_sequences() => inputs.push(None),
                None if list.is_some() => {
                    return self.refusals.refuse(node, format!("its input `{name}` is a sequence of tensors, which it does not take"));
                }
                None => {
                    let why = self.absent.get(name).map_or("is computed nowhere before it".into(), |of| {
                        format!(
                            "is a further result of {of}, which it has in training only; export the network in evaluation mode, without it"
                        )
                    });
                    return self.refusals.refuse(node, format!("its input `{name}` {why}"));
                }
            }
            sequences.push(list);
        }
        let valid = signature::check(node, self.opset, &self.graph, &inputs);
        if let Err(reason) = valid.and_then(|()| self.place(at, node, operator, (inputs, sequences))) {
            return self.refusals.refuse(node, reason);
        }
        self.places.resize(self.graph.nodes.len(), at);
        let known = |o: &&String| o.is_empty() || self.values.contains_key(*o) || self.sequences.contains_key(*o);
        let absent = node.output.iter().filter(|o| !known(o)).cloned();
        let label = || format!("{} (node `{}`)", node.op_type(), node_name(index, node));
        let absent: Vec<(String, String)> = absent.map(|o| (o, label())).collect();
        self.absent.extend(absent);
    }

    /// Takes what `lower` makes of a node that is in no table, or takes note of why not.
    pub fn preview(
        &mut self,
        index: usize,
        node: &pb::NodeProto,
        lower: impl Fn(&mut Graph, &HashMap<String, ValueId>, usize, &pb::NodeProto) -> std::result::Result<Vec<ValueId>, String>,
    ) {
        if self.refusals.concern(node) {
            return;
        }
        match lower(&mut self.graph, &self.values, index, node) {
            Ok(results) => self.values.extend(node.output.iter().cloned().zip(results).filter(|(name, _)| !name.is_empty())),
            Err(reason) => self.refusals.refuse(node, reason),
        }
    }

    fn place(
        &mut self,
        at: Place,
        node: &pb::NodeProto,
        operator: &dyn Operator,
        (inputs, sequences): (Vec<Option<ValueId>>, Vec<Option<Vec<ValueId>>>),
    ) -> std::result::Result<(), String> {
        if let Some(constant) = self.ties.untie(&mut self.graph, node, &inputs) {
            self.values.extend(node.output.first().map(|output| (output.clone(), constant)));
            return Ok(());
        }
        let attributes = Attributes::new(node).map_err(|e| e.to_string())?;
        let base = node_name(at.node, node);
        let inputs = self.ties.own_parameters(&mut self.graph, operator, &base, inputs);
        let batch_blocks = inputs.iter().flatten().find_map(|v| self.batch_blocks.get(v).copied()).unwrap_or(1);
        let mut cx = Import {
            graph: &mut self.graph,
            name: base,
            opset: self.opset,
            op_type: node.op_type().to_string(),
            inputs,
            sequences,
            sequence: None,
            outputs: node.output.clone(),
            source: attributes,
            attrs: Default::default(),
            replaced: None,
            training: Default::default(),
            declared_batch: self.declared_batch,
            batch_blocks,
            freed_batch: false,
            reading: self.readings.get(&at).copied().unwrap_or(0),
            readings: 1,
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
        let Import { name, op_type, inputs, outputs, attrs, training, replaced, sequence, freed_batch, batch_blocks, readings, .. } = cx;
        self.unclear.extend((readings > 1).then_some((at, readings)));
        self.freed_batch.extend(freed_batch.then(|| name.clone()));
        if let Some(list) = sequence {
            self.keep_blocks(&list, batch_blocks);
            self.sequences.extend(outputs.into_iter().next().map(|output| (output, list)));
            return Ok(());
        }
        if let Some(list) = replaced {
            self.keep_blocks(&list, batch_blocks);
            self.values.extend(outputs.into_iter().filter(|o| !o.is_empty()).zip(list));
            return Ok(());
        }
        let operator = table::find(&op_type).ok_or_else(|| format!("{op_type} is not in the operator table"))?;
        let canonical = Node::new(name, op_type, inputs, attrs);
        let view = View { graph: &self.graph, node: &canonical };
        let types = operator.infer(&view)?;
        fold::possible(&types)?;
        // A folded parameter would be lost.
        let folds = self.computed.goes_on()
            && (!types.first().is_some_and(|t| t.dtype.is_float()) || !canonical.used().any(|v| is_named_number(&self.graph, v)));
        let known = if folds { fold::evaluate(operator, &view, &types) } else { None };
        if let (Some(Known::Tensor(tensor)), Some(output)) = (&known, outputs.first()) {
            let first = canonical.inputs.first().copied().flatten();
            let kept = self.computed.keep(&mut self.graph, output, tensor.clone(), first);
            self.values.insert(output.clone(), kept);
            return Ok(());
        }
        let from_constants = canonical.inputs.iter().flatten().all(|v| self.is_fixed(*v));
        if from_constants
            && let Some(ty) = types.iter().find(|ty| !ty.dtype.is_float() && !matches!(ty.count(), Some(Dim::Known(0..=TABLE))))
        {
            return Err(format!("its result {ty} {FROM_CONSTANTS}; export the network with constants folded"));
        }
        if outputs.iter().skip(types.len()).any(|o| !o.is_empty()) {
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
        if from_constants {
            self.fixed.extend(&ids);
        }
        if let (Some(Known::Elems(elems)), Some(&id)) = (known, ids.first()) {
            self.computed.spend(elems.len());
            self.graph.value_mut(id).elems = Some(elems);
        }
        self.keep_blocks(&ids, batch_blocks);
        self.values.extend(outputs.into_iter().zip(ids).filter(|(o, _)| !o.is_empty()));
        Ok(())
    }
    /// Takes note of the blocks in which the batch lies in a node's results.
    fn keep_blocks(&mut self, results: &[ValueId], blocks: usize) {
        let apart = |d: &Dim| matches!(d, Dim::Batch(k) if blocks > 1 && k.is_multiple_of(blocks));
        let kept = results.iter().filter(|&&v| self.graph.ty(v).shape.iter().any(apart));
        self.batch_blocks.extend(kept.map(|&v| (v, blocks)));
    }
}
