//! The nodes of a file on their way into the graph: all of them, or those that its outputs need.

use super::branches::has_branches;
use super::importer::{Importer, Readings};
use super::input;
use super::left_out::Unknown;
use super::options::ImportOptions;
use super::readable::Readable;
use super::refusals::refusal;
use crate::error::Result;
use crate::ir::{Graph, ValueId};
use crate::onnx::noise::{self, Quiet};
use crate::onnx::{SourceModel, pb};
use std::collections::{HashMap, HashSet};

/// A file that is going to be read.
pub(super) struct Reading<'a> {
    source: &'a SourceModel,
    proto: &'a pb::GraphProto,
    opset: i64,
    options: &'a ImportOptions,
    readable: Readable,
    quiet: Quiet,
}

impl<'a> Reading<'a> {
    pub fn new(source: &'a SourceModel, opset: i64, options: &'a ImportOptions) -> Result<Self> {
        let proto = source.graph()?;
        Ok(Reading { source, proto, opset, options, readable: Readable::new(proto), quiet: noise::quiet(source) })
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
    pub fn run(&self, readings: &Readings, only: Option<&HashSet<usize>>) -> Result<(Importer, ValueId)> {
        let mut graph = Graph::new(self.proto.name().to_string());
        let mut values = HashMap::new();
        for initializer in self.proto.initializer.iter().filter(|t| self.readable.is_number(t)) {
            let name = initializer.name().to_string();
            let id = graph.constant(&name, self.source.tensor(initializer)?);
            values.insert(name, id);
        }
        let (input, declared_batch) = input::declare(&mut graph, &mut values, self.proto, self.options)?;
        let mut importer = Importer::new((graph, values), self.readable.clone(), self.opset, declared_batch, self.options);
        importer.readings = readings.clone();
        for (index, node) in self.nodes().filter(|(i, _)| only.is_none_or(|only| only.contains(i))) {
            match self.quiet.found.iter().find(|n| n.product == index) {
                None => importer.node(index, node),
                Some(noise) => importer.quiet(index, node, noise, self.options.batch),
            }
        }
        Ok((importer, input))
    }
}
