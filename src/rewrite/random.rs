//! Dropout's masks in a step: a seed and the number of the step as state, which the step itself moves on.

use super::head::Head;
use super::patterns::few;
use super::plan::{FoundDropout, Plan};
use super::spelling::facts;
use super::state::StateTensor;
use crate::bundle::manifest::Role;
use crate::bundle::{DropoutMode, Options, StateMeaning};
use crate::error::{Error, Refusal, Result};
use crate::field::Field;
use crate::import::{Imported, node_name};
use crate::ir::{Attr, Graph, ValueId};
use crate::onnx::{SourceModel, noise};
use crate::ops::dropout::{self, AXES, RATIO, UNKNOWN_RATIO};
use crate::pass::{self, Drops};
use std::collections::HashMap;

/// What it is called among the state.
const KIND: &str = "dropout";

/// Every Dropout that import has left in the network, in its order.
pub fn dropouts(imported: &Imported) -> Vec<FoundDropout> {
    let found = |node: &str| {
        let attrs = imported.training.get(node)?;
        let ratio = match attrs.get(RATIO) {
            Some(Attr::Float(ratio)) => Some(*ratio),
            _ => return attrs.contains_key(UNKNOWN_RATIO).then_some((None, None)),
        };
        let axes = match attrs.get(AXES) {
            Some(Attr::Ints(axes)) => Some(axes.iter().filter_map(|&a| usize::try_from(a).ok()).collect()),
            _ => None,
        };
        Some((ratio, axes))
    };
    let nodes = imported.graph.nodes.iter();
    nodes.filter_map(|n| found(&n.name).map(|(ratio, axes)| FoundDropout { node: n.name.clone(), ratio, axes })).collect()
}

/// Has the network drop what `options` ask for, and gives the state that its masks are made of. Fails where there is no Dropout that could be kept, and where one
/// cannot have a mask.
pub(super) fn drop_elements(graph: &mut Graph, source: &SourceModel, options: &Options, plan: &Plan) -> Result<Option<StateTensor>> {
    let nodes = match options.dropout {
        DropoutMode::Off => return Ok(None),
        DropoutMode::Keep => kept(source, &plan.dropout)?,
        DropoutMode::Classifier(share) => HashMap::from([(classifier(plan)?.node.clone(), Drops::Before(share as f32))]),
    };
    let Some(masks) = pass::drop_elements(graph, &format!("optimizer.{KIND}"), &nodes)? else { return Ok(None) };
    let state = StateTensor::at(graph, masks.state, None, Role::Optimizer, KIND);
    Ok(Some(StateTensor { meaning: Some(StateMeaning::Random), start: Some(dropout::start(options.seed)), next: masks.next, ..state }))
}

/// The features themselves, of a value that is those with some of them dropped: what looks at them looks at what the network knows.
pub(super) fn before_masks(graph: &Graph, features: ValueId) -> ValueId {
    let mut at = features;
    while let Some((node, Some(before))) = graph.producer(at).map(|node| (node, node.used().next())) {
        if node.op_type == dropout::TRAIN.name {
            return before_masks(graph, before);
        }
        if !facts(graph, node).view {
            break;
        }
        at = before;
    }
    features
}

fn classifier(plan: &Plan) -> Result<&Head> {
    let none =
        || Error::option(Field::DROPOUT, " has no place: no classifier was found that it could stand before. Leave it out, or take keep");
    plan.head.as_ref().ok_or_else(none)
}

/// The network's own, by node.
fn kept(source: &SourceModel, found: &[FoundDropout]) -> Result<HashMap<String, Drops>> {
    let quiet = noise::quiet(source);
    let own = source.graph()?.node.iter().enumerate().filter_map(|(i, n)| match quiet.found.iter().any(|f| f.product == i) {
        true => quiet.instead.get(&i).cloned().flatten().map(|n| node_name(i, &n)),
        false => (n.op_type() == "Dropout").then(|| node_name(i, n)),
    });
    let own: Vec<String> = own.collect();
    if own.is_empty() {
        let why = " keep has nothing to keep: the file has no Dropout. PyTorch's exporters leave it out where it is in evaluation mode; put the \
                   torch.nn.Dropout modules alone into training mode and export again, or give the share that is dropped before the classifier, such as 0.2";
        return Err(Error::option(Field::DROPOUT, why));
    }
    if found.len() < own.len() {
        let lost = own.iter().map(String::as_str).filter(|name| !found.iter().any(|f| f.node == *name));
        let why = format!(" keep is not possible: what {} drops from is known before the network runs", few(lost));
        return Err(Error::option(Field::DROPOUT, why));
    }
    let unknown = found.iter().filter(|f| f.ratio.is_none());
    let reason = "how much it drops (input 1) is computed while the model runs, so it cannot be kept in training: export the network with a constant";
    let refused: Vec<Refusal> = unknown.map(|f| Refusal { node: f.node.clone(), op: "Dropout".into(), reason: reason.into() }).collect();
    match refused.is_empty() {
        true => Ok(found.iter().filter_map(|f| Some((f.node.clone(), Drops::Instead(f.ratio?, f.axes.clone())))).collect()),
        false => Err(Error::Unsupported(refused)),
    }
}
