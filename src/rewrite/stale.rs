//! Outputs that belong to a classifier that is replaced: besides its scores they read what the file holds for each of its classes, such as a table of
//! labels.

use super::plan::LeftOutput;
use super::prediction::Prediction;
use crate::error::Refusal;
use crate::ir::{Graph, Node, ValueId};
use std::collections::HashMap;

/// The network's other outputs that are computed from the prediction's logits and from something of the old classes.
pub fn of_old(graph: &Graph, prediction: &Prediction) -> Vec<LeftOutput> {
    let classes = prediction.tail.scores();
    // What is computed from the logits, with the first node that reads something of the old classes.
    let mut behind: HashMap<ValueId, Option<&Node>> = HashMap::from([(prediction.tail.logits, None)]);
    for node in &graph.nodes {
        let mut read = node.used().filter_map(|v| behind.get(&v)).peekable();
        if read.peek().is_none() {
            continue;
        }
        let first = read.find_map(|&n| n).or_else(|| table(graph, node, classes).map(|_| node));
        behind.extend(node.outputs.iter().map(|&v| (v, first)));
    }
    let others = graph.outputs.iter().enumerate().filter(|(i, _)| *i != prediction.index);
    let stale = others.filter_map(|(_, &o)| {
        let node = behind.get(&o).copied().flatten()?;
        let reason =
            format!("it reads `{}`, which the file has for the {classes} old classes", graph.name_of(table(graph, node, classes)?));
        let refusal = Refusal { node: node.name.clone(), op: node.op_type.clone(), reason };
        Some(LeftOutput { output: graph.name_of(o).into(), refusal, known: true, kept: false })
    });
    stale.collect()
}

/// A constant that the node reads and that has as many entries along an axis as there are classes. Whole numbers behind the first place are axes, shapes
/// and the like.
fn table(graph: &Graph, node: &Node, classes: usize) -> Option<ValueId> {
    let operands = node.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?)));
    let held = operands.filter(|(_, v)| graph.value(*v).constant.is_some());
    held.filter(|(i, v)| *i == 0 || graph.ty(*v).dtype.is_float())
        .find(|(_, v)| classes > 1 && graph.ty(*v).shape.iter().any(|d| d.known() == Some(classes)))
        .map(|(_, v)| v)
}
