//! Dropout's masks in a step: a seed and the number of the step as state, which the step itself moves on.

use super::patterns::few;
use super::state::StateTensor;
use crate::bundle::StateMeaning;
use crate::bundle::manifest::Role;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{Imported, node_name};
use crate::ir::{Attr, Graph};
use crate::onnx::SourceModel;
use crate::ops::dropout::{self, RATIO};
use crate::pass;

/// What it is called among the state.
const KIND: &str = "dropout";

/// A Dropout of the source.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDropout {
    /// Its node.
    pub node: String,
    /// How much it drops; `None` where that is computed while the model runs.
    pub ratio: Option<f32>,
}

/// Every Dropout that import has left in the network, in its order.
pub(super) fn found(imported: &Imported) -> Vec<FoundDropout> {
    let ratio = |node: &str| {
        let attrs = imported.training.get(node)?;
        match attrs.get(RATIO) {
            Some(Attr::Float(ratio)) => Some(Some(*ratio)),
            _ => attrs.contains_key(dropout::UNKNOWN_RATIO).then_some(None),
        }
    };
    let nodes = imported.graph.nodes.iter();
    nodes.filter_map(|n| Some(FoundDropout { node: n.name.clone(), ratio: ratio(&n.name)? })).collect()
}

/// Gives the network's Dropout masks that follow from `seed`, and the state that they are made of. Fails where there is none, or where one cannot have a mask.
pub(super) fn keep_dropout(graph: &mut Graph, imported: &Imported, source: &SourceModel, seed: u64) -> Result<Option<StateTensor>> {
    let found = found(imported);
    let own = source.graph()?.node.iter().enumerate().filter(|(_, n)| n.op_type() == "Dropout").map(|(i, n)| node_name(i, n));
    let own: Vec<String> = own.collect();
    if own.is_empty() {
        let why = " keep has nothing to keep: the file has no Dropout. Exporters leave it out of a network in evaluation mode; PyTorch's writes it with \
                   `training=torch.onnx.TrainingMode.PRESERVE` and `do_constant_folding=False`, of a network whose dropout is in training mode";
        return Err(Error::option(Field::DROPOUT, why));
    }
    if found.len() < own.len() {
        let lost: Vec<&str> = own.iter().map(String::as_str).filter(|name| !found.iter().any(|f| f.node == *name)).collect();
        let why = format!(" keep is not possible: what {} drops from is computed from constants alone", few(lost.into_iter()));
        return Err(Error::option(Field::DROPOUT, why));
    }
    let Some(masks) = pass::keep_dropout(graph, &format!("optimizer.{KIND}"), &imported.training)? else { return Ok(None) };
    let state = StateTensor::at(graph, masks.state, None, Role::Optimizer, KIND);
    Ok(Some(StateTensor { meaning: Some(StateMeaning::Random), start: Some(dropout::start(seed)), next: masks.next, ..state }))
}
