//! Regularizers in the training graph: which layers they look at, what of the source network they need, how strong they are.

use super::channel_attention::Attention;
use super::head::{self, Head};
use super::patterns::few;
use super::plan::Plan;
use super::prediction::Prediction;
use super::random;
use super::scalars::declare;
use super::state::failed;
use super::taps::taps;
use crate::bundle::manifest::{self, Role, Scalar};
use crate::bundle::{Options, Setting};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Imported;
use crate::ir::{Dim, Graph, ValueId};
use crate::loss::{self, Activation, Reads, Regularizer, Seen};
use crate::operator::{Builder, Rule};
use crate::pass::SourceBranch;
use std::collections::HashSet;
use std::path::Path;

/// What the regularizers add to the graph.
#[derive(Default)]
pub(super) struct Added {
    /// The inputs with their strengths.
    pub scalars: Vec<(Scalar, ValueId)>,
    /// Cotangents of what the trained network computes.
    pub seeds: Vec<(ValueId, ValueId)>,
    /// Their sum, a scalar.
    pub value: Option<ValueId>,
    pub manifest: Vec<manifest::Regularizer>,
}

/// The two networks, and how far the training graph is.
pub(super) struct Networks<'a> {
    /// The network that is trained, as it was imported into the training graph.
    pub tuned: &'a Imported,
    /// The source network as it was given, with the head that it had.
    pub source: &'a Imported,
    /// SHA-256 of the source's file.
    pub sha256: &'a str,
    /// The logits in the training graph, `[N, K]`.
    pub logits: ValueId,
    pub target: ValueId,
}

/// Appends what `options` ask for to `graph`, which holds the network that is trained up to its logits.
pub(super) fn add(graph: &mut Graph, options: &Options, plan: &Plan, networks: &Networks) -> Result<Added> {
    let mut added = Added::default();
    if options.regularizers.is_empty() {
        return Ok(added);
    }
    let moving: HashSet<&str> = plan.parameters.iter().filter(|p| !p.frozen).map(|p| p.parameter.name.as_str()).collect();
    let source = &networks.source.graph;
    let branch = SourceBranch::new(graph, networks.tuned.input, source, networks.source.input, &moving)?;
    let dtype = graph.ty(networks.logits).dtype;
    let mut b = Builder::new(graph);
    b.scope("regularizer");
    let shares = loss::shares(&mut b, networks.target, plan.loss, dtype).map_err(failed("the regularizers"))?;
    let mut values = vec![];
    for regularizer in &options.regularizers {
        let kind = regularizer.kind();
        let places = places(graph, plan, networks, &branch, regularizer)?;
        let (scalar, strength) = declare(graph, dtype, Setting::Regularizer(kind.into()), regularizer.strength());
        added.manifest.push(manifest::Regularizer {
            kind: kind.into(),
            layers: places.iter().filter_map(|p| p.layer.clone()).collect(),
            attention: matches!(regularizer.reads(), Reads::FeatureMaps { attention: Some(_), .. }),
            settings: regularizer.settings().into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        });
        added.scalars.push((scalar, strength));
        for place in places {
            let Place { tuned, axis, source, attention, .. } = place;
            let seen = Seen { tuned, axis, source, attention, shares, strength };
            let mut b = Builder::new(graph);
            b.scope(match &place.layer {
                Some(layer) => format!("{kind}/{layer}"),
                None => kind.to_string(),
            });
            let term = regularizer.term(&mut b, &seen).map_err(refused(kind))?;
            added.seeds.push((tuned, term.gradient));
            values.push(term.value);
        }
    }
    let mut b = Builder::new(graph);
    b.scope("regularizer");
    added.value = Some(b.op("Sum", &values, Default::default()).map_err(failed("the regularizers"))?);
    Ok(added)
}

/// For `map_err` on a rule: the network is not one that the regularizer can act on.
fn refused(kind: &str) -> impl Fn(String) -> Error {
    move |why| Error::model(format!("{} {kind} cannot be had: {why}", Field::REGULARIZERS))
}

/// Where a regularizer acts.
struct Place {
    layer: Option<String>,
    tuned: ValueId,
    axis: usize,
    source: Option<ValueId>,
    attention: Option<ValueId>,
}

fn places(graph: &mut Graph, plan: &Plan, networks: &Networks, branch: &SourceBranch, regularizer: &Regularizer) -> Result<Vec<Place>> {
    let kind = regularizer.kind();
    let needs = |e: Error| Error::model(format!("{} {kind} needs the classifier: {e}", Field::REGULARIZERS));
    match regularizer.reads() {
        Reads::FeatureMaps { layers, attention } => maps(graph, layers, attention, networks, branch),
        Reads::Features => {
            let found = head_of(networks.tuned, plan).map_err(needs)?;
            let input = input_of(&networks.tuned.graph, &found).ok_or_else(|| Error::model("the classifier has no input"))?;
            let tuned = vectors(graph, random::before_masks(graph, input)).map_err(refused(kind))?;
            Ok(vec![Place { layer: None, tuned, source: None, attention: None, axis: 1 }])
        }
        Reads::SourceLogits => {
            let source = &networks.source.graph;
            let prediction = Prediction::at(source, plan.prediction.index)?;
            prediction.has_logits(source)?;
            if prediction.tail.activation == Activation::Sigmoid || plan.loss.kind() == "bce" {
                return Err(refused(kind)(
                    "it compares probabilities that sum to 1, and the network's classes don't exclude each other".into(),
                ));
            }
            if prediction.tail.reorders(source) {
                return Err(refused(kind)("the output has its scores in another order than the classifier".into()));
            }
            let own = prediction.tail.logits;
            let before = branch.at(own).ok_or_else(|| Error::model("the source network has no logits"))?;
            let flat = |graph: &mut Graph, v: ValueId| flat(graph, v, prediction.tail.scores()).map_err(refused(kind));
            let before = flat(graph, before)?;
            let new = plan.parameters.iter().any(|p| p.role == Role::New);
            // A head that is kept is the old one, and it is trained.
            let tuned = if new {
                let (old, now) = (head_of(networks.source, plan).map_err(needs)?, head_of(networks.tuned, plan).map_err(needs)?);
                let from = input_of(source, &old).ok_or_else(|| Error::model("the classifier has no input"))?;
                let instead = input_of(&networks.tuned.graph, &now).ok_or_else(|| Error::model("the classifier has no input"))?;
                let after = branch.continued(graph, from, instead, own)?;
                flat(graph, after)?
            } else {
                networks.logits
            };
            Ok(vec![Place { layer: None, tuned, source: Some(before), attention: None, axis: 1 }])
        }
    }
}

/// What the classifier computes its logits from.
pub(super) fn input_of(graph: &Graph, head: &Head) -> Option<ValueId> {
    let node = graph.nodes.iter().find(|n| n.name == head.node)?;
    node.used().find(|&v| graph.value(v).varies)
}

/// The classifier before the output that is trained.
fn head_of(imported: &Imported, plan: &Plan) -> Result<Head> {
    head::head_behind(imported, &Prediction::at(&imported.graph, plan.prediction.index)?)
}

/// `[N, K, 1, 1]` as `[N, K]`.
fn flat(graph: &mut Graph, logits: ValueId, classes: usize) -> Rule<ValueId> {
    let images = graph.ty(logits).shape.first().copied().ok_or("the logits have no axis of images")?;
    let mut b = Builder::new(graph);
    b.scope("logits");
    b.reshape(logits, &[images, classes.into()])
}

/// One vector for each image: feature maps by their mean over the pixels, as the pooling before or behind a 1×1 convolution does it.
fn vectors(graph: &mut Graph, features: ValueId) -> Rule<ValueId> {
    let shape = graph.ty(features).shape.clone();
    let mut b = Builder::new(graph);
    b.scope("features");
    match *shape {
        [_, _] => Ok(features),
        [images, width, Dim::Known(1), Dim::Known(1)] => b.reshape(features, &[images, width]),
        [_, _, _, _] => b.mean(features, &[2, 3], false),
        _ => Err(format!("it needs one vector of features for each image, and the classifier reads {}", b.ty(features))),
    }
}

/// The outputs of the layers that the patterns match, and the source network's.
fn maps(
    graph: &mut Graph,
    patterns: &[String],
    attention: Option<&Path>,
    networks: &Networks,
    branch: &SourceBranch,
) -> Result<Vec<Place>> {
    let layers = taps(networks.tuned, patterns)?;
    let there = taps(networks.source, patterns)?;
    let mut weights = match attention {
        Some(path) => Some(Attention::read(path, networks.sha256)?),
        None => None,
    };
    let mut places = vec![];
    for tap in &layers {
        // A new head's weight computes something else than the old one's.
        let own = there.iter().find(|t| t.weight == tap.weight).and_then(|t| branch.at(t.value));
        let Some(source) = own.filter(|&v| graph.ty(v) == graph.ty(tap.value)) else {
            let why = format!(": the source network has nothing to compare the output of {} with, which is new", tap.alias);
            return Err(Error::option(Field::LAYERS, why));
        };
        let attention = match &mut weights {
            Some(weights) => Some(weights.of(graph, tap)?),
            None => None,
        };
        // What no trained layer stands before never moves.
        if source != tap.value {
            places.push(Place { layer: Some(tap.alias.clone()), tuned: tap.value, axis: tap.axis, source: Some(source), attention });
        }
    }
    if places.is_empty() {
        let why = format!(
            " delta has nothing to do: no trained layer stands before {}. Freeze less, or name other layers with {}",
            few(layers.iter().map(|t| t.alias.as_str())),
            Field::LAYERS
        );
        return Err(Error::option(Field::REGULARIZERS, why));
    }
    Ok(places)
}
