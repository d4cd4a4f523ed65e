//! The nodes of a file on their way into the graph: all of them, or those that its outputs need.

use super::branches::has_branches;
use super::importer::Importer;
use super::input;
use super::left_out::Unknown;
use super::options::ImportOptions;
use super::place::Readings;
use super::readable::Readable;
use super::refusals::refusal;
use crate::error::Result;
use crate::ir::{Graph, ValueId};
use crate::onnx::noise::{self, Quiet};
use crate::onnx::{SourceModel, pb};
use std::collections::{HashMap, HashSet};

/// A file that is going to be read.
pub(super) struct Reading<'a> {
    proto: &'a pb::GraphProto,
    opset: i64,
    options: &'a ImportOptions,
    readable: Readable,
    quiet: Quiet,
    start: Start,
}

/// What stands before the first node, which every attempt at the nodes begins with.
struct Start {
    /// The constants, and the input for images.
    graph: Graph,
    /// Under the names that the model has for them.
    values: HashMap<String, ValueId>,
    input: ValueId,
    /// The batch size of the input, where it is a number.
    declared_batch: Option<usize>,
}

impl<'a> Reading<'a> {
    pub fn new(source: &'a SourceModel, opset: i64, options: &'a ImportOptions) -> Result<Self> {
        let proto = source.graph()?;
        let (readable, mut graph, mut values) = (Readable::new(proto), Graph::new(proto.name().to_string()), HashMap::new());
        for initializer in proto.initializer.iter().filter(|t| readable.is_number(t)) {
            let id = graph.constant(initializer.name(), source.tensor(initializer)?);
            values.insert(initializer.name().to_string(), id);
        }
        let (input, declared_batch) = input::declare(&mut graph, &mut values, proto, options)?;
        let start = Start { graph, values, input, declared_batch };
        Ok(Reading { proto, opset, options, readable, quiet: noise::quiet(source), start })
    }

    /// The nodes without noise, each with its place in the file.
    fn nodes(&self) -> impl Iterator<Item = (usize, &pb::NodeProto)> {
        self.proto.node.iter().enumerate().filter_map(|(index, node)| match self.quiet.instead.get(&index) {
            None => Some((index, node)),
            Some(other) => Some((index, other.as_ref()?)),
        })
    }

    /// The nodes that cannot be read: of an operator that is not supported, or beside what is no number. Branches are none of them as long as their
    /// condition may turn out to be known.
    pub fn unknown(&self) -> Vec<Unknown> {
        let nodes = self.nodes().filter(|(_, node)| !has_branches(node));
        let refused = nodes.filter_map(|(index, node)| Some((index, node, self.readable.operator(node).err()?)));
        refused.map(|(index, node, reason)| Unknown { index, refusal: refusal(node, reason) }).collect()
    }

    /// Brings the nodes into a graph, or those of `only`, by their places, with these readings of the batch. Gives the input for images, too.
    pub fn run(&self, readings: &Readings, only: Option<&HashSet<usize>>) -> (Importer, ValueId) {
        let Start { graph, values, input, declared_batch } = &self.start;
        let start = (graph.clone(), values.clone());
        let mut importer = Importer::new(start, self.readable.clone(), self.opset, *declared_batch, self.options);
        importer.readings = readings.clone();
        for (index, node) in self.nodes().filter(|(i, _)| only.is_none_or(|only| only.contains(i))) {
            match self.quiet.found.iter().find(|n| n.product == index) {
                None => importer.node(index, node),
                Some(noise) => importer.quiet(index, node, noise, self.options.batch),
            }
        }
        (importer, *input)
    }
}
