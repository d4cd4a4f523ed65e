//! Regularizers in the training graph: which layers they look at, what of the source network they need, how strong they are.

use super::graphs::failed;
use super::head::{self, Head};
use super::options::Options;
use super::patterns::{few, matching};
use super::structure::blocks;
use super::{channel_attention::Attention, plan::Plan};
use crate::bundle::Setting;
use crate::bundle::manifest::{self, Role, Scalar};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{Dim, Graph, Node, TensorType, ValueId};
use crate::loss::{self, Reads, Regularizer, Seen};
use crate::operator::{Builder, Meaning, ParameterKind, Rule, View};
use crate::pass::SourceBranch;
use std::collections::HashSet;

/// A regularizer as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RegularizerRequest {
    pub kind: String,
    /// `None`: the regularizer's default.
    pub strength: Option<f64>,
}

/// What the regularizers add to the graph.
#[derive(Default)]
pub struct Added {
    /// The inputs with their strengths.
    pub scalars: Vec<(Scalar, ValueId)>,
    /// Cotangents of what the trained network computes.
    pub seeds: Vec<(ValueId, ValueId)>,
    /// Their sum, a scalar.
    pub value: Option<ValueId>,
    pub manifest: Vec<manifest::Regularizer>,
}

/// Fails on options that make no sense, before anything is read.
pub(super) fn check(options: &Options) -> Result<()> {
    for (i, wanted) in options.regularizers.iter().enumerate() {
        let kind = loss::find(&wanted.kind)?.kind();
        if let Some(value) = wanted.strength.filter(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(Error::usage(format!("--regularizer {kind}={value} is no strength: it must be 0 or a positive number")));
        }
        if options.regularizers[..i].iter().any(|w| w.kind == kind) {
            return Err(Error::usage(format!("--regularizer {kind} is given twice")));
        }
    }
    let has = |kind: &str| options.regularizers.iter().any(|w| w.kind == kind);
    let usual = loss::Settings::default();
    for (option, given, kind) in [
        ("--delta-layers", !options.delta_layers.is_empty(), "delta"),
        ("--attention", options.attention.is_some(), "delta"),
        ("--temperature", options.regularizer_settings.temperature != usual.temperature, "lwf"),
        ("--bss-k", options.regularizer_settings.singular_values != usual.singular_values, "bss"),
    ] {
        if given && !has(kind) {
            return Err(Error::usage(format!("{option} has no meaning without --regularizer {kind}")));
        }
    }
    let temperature = options.regularizer_settings.temperature;
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(Error::usage(format!("--temperature {temperature} is no positive number; 3 is a good start")));
    }
    if options.regularizer_settings.singular_values == 0 {
        return Err(Error::usage("--bss-k 0 makes no sense: give the number of singular values, 1 or more"));
    }
    Ok(())
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
    let shares = loss::shares(&mut b, networks.target, dtype).map_err(failed("regularizer"))?;
    let mut values = vec![];
    for wanted in &options.regularizers {
        let regularizer = loss::find(&wanted.kind)?;
        let places = places(graph, options, plan, networks, &branch, regularizer)?;
        let default = wanted.strength.unwrap_or_else(|| regularizer.default_strength());
        let strength = graph.input(regularizer.kind(), TensorType::scalar(dtype));
        let name = graph.name_of(strength).to_string();
        let layers: Vec<String> = places.iter().filter_map(|p| p.layer.clone()).collect();
        added.manifest.push(manifest::Regularizer {
            kind: regularizer.kind().into(),
            layers,
            attention: options.attention.is_some() && regularizer.reads() == Reads::FeatureMaps,
            temperature: (regularizer.reads() == Reads::SourceLogits).then_some(options.regularizer_settings.temperature),
            singular_values: (regularizer.reads() == Reads::Features).then_some(options.regularizer_settings.singular_values),
        });
        added.scalars.push((Scalar { name, meaning: Setting::Regularizer(regularizer.kind().into()), default }, strength));
        for place in places {
            let Place { tuned, axis, source, attention, .. } = place;
            let seen = Seen { tuned, axis, source, attention, shares, strength };
            let mut b = Builder::new(graph);
            b.scope(match &place.layer {
                Some(layer) => format!("{}/{layer}", regularizer.kind()),
                None => regularizer.kind().to_string(),
            });
            let term = regularizer.term(&mut b, &seen, &options.regularizer_settings).map_err(failed("regularizer"))?;
            added.seeds.push((tuned, term.gradient));
            values.push(term.value);
        }
    }
    let mut b = Builder::new(graph);
    b.scope("regularizer");
    added.value = Some(b.op("Sum", &values, Default::default()).map_err(failed("regularizer"))?);
    Ok(added)
}

/// Where a regularizer acts.
struct Place {
    layer: Option<String>,
    tuned: ValueId,
    axis: usize,
    source: Option<ValueId>,
    attention: Option<ValueId>,
}

fn places(
    graph: &mut Graph,
    options: &Options,
    plan: &Plan,
    networks: &Networks,
    branch: &SourceBranch,
    regularizer: &dyn Regularizer,
) -> Result<Vec<Place>> {
    let kind = regularizer.kind();
    let needs = |e: Error| Error::model(format!("--regularizer {kind} needs the classifier: {e}"));
    match regularizer.reads() {
        Reads::FeatureMaps => maps(graph, options, networks, branch),
        Reads::Features => {
            let found = head::find_head(networks.tuned).map_err(needs)?;
            let input = input_of(&networks.tuned.graph, &found).ok_or_else(|| Error::model("the classifier has no input"))?;
            let tuned = vectors(graph, input).map_err(failed("bss"))?;
            Ok(vec![Place { layer: None, tuned, source: None, attention: None, axis: 1 }])
        }
        Reads::SourceLogits => {
            let source = &networks.source.graph;
            let own = head::logits(source)?;
            let before = branch.at(own).ok_or_else(|| Error::model("the source network has no logits"))?;
            let before = flat(graph, before).map_err(failed("lwf"))?;
            let new = plan.parameters.iter().any(|p| p.role == Role::New);
            // A head that is kept is the old one, and it is trained.
            let tuned = if new {
                let (old, now) = (head::find_head(networks.source).map_err(needs)?, head::find_head(networks.tuned).map_err(needs)?);
                let from = input_of(source, &old).ok_or_else(|| Error::model("the classifier has no input"))?;
                let instead = input_of(&networks.tuned.graph, &now).ok_or_else(|| Error::model("the classifier has no input"))?;
                let after = branch.continued(graph, from, instead, own)?;
                flat(graph, after).map_err(failed("lwf"))?
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
    node.used().find(|&v| graph.value(v).constant.is_none())
}

/// `[N, K, 1, 1]` as `[N, K]`.
pub(super) fn flat(graph: &mut Graph, logits: ValueId) -> Rule<ValueId> {
    let shape: Vec<Dim> = graph.ty(logits).shape.iter().copied().take(2).collect();
    let mut b = Builder::new(graph);
    b.scope("logits");
    b.reshape(logits, &shape)
}

/// One vector for each image: feature maps by their mean over the pixels, as the pooling before or behind a 1×1 convolution does it.
fn vectors(graph: &mut Graph, features: ValueId) -> Rule<ValueId> {
    let shape = graph.ty(features).shape.clone();
    let mut b = Builder::new(graph);
    b.scope("features");
    match shape.len() {
        2 => Ok(features),
        4 if shape[2..].iter().all(|d| *d == Dim::Known(1)) => b.reshape(features, &shape[..2]),
        4 => b.mean(features, &[2, 3], false),
        _ => Err(format!("bss needs one vector of features for each image, and the classifier reads {}", b.ty(features))),
    }
}

/// A layer whose output DELTA compares.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The name of its weight in the model.
    pub weight: String,
    pub alias: String,
    /// The output.
    pub value: ValueId,
    /// The axis of the output's channels.
    pub axis: usize,
}

/// The layers that DELTA compares: those whose weights match, or with no pattern the last convolution of each residual stage.
pub fn taps(imported: &Imported, patterns: &[String]) -> Result<Vec<Tap>> {
    let indices = if patterns.is_empty() { last_of_stages(imported)? } else { matched(imported, patterns)? };
    let tap = |i: usize| {
        let parameter = &imported.parameters[i];
        let node = &imported.graph.nodes[parameter.node];
        let value = node.outputs[0];
        let view = View { graph: &imported.graph, node };
        let channels = view.operator().and_then(|o| o.output_channels(&view));
        let axis = channels.map(|c| c.axis).ok_or_else(|| Error::model(format!("`{}` has no output channels", node.name)))?;
        Ok(Tap { weight: parameter.name.clone(), alias: parameter.alias.clone(), value, axis })
    };
    indices.into_iter().map(tap).collect()
}

fn matched(imported: &Imported, patterns: &[String]) -> Result<Vec<usize>> {
    let mut found: Vec<usize> = vec![];
    for pattern in patterns {
        let all = matching("--delta-layers", pattern, imported.parameters.iter())?;
        let weights: Vec<usize> =
            all.iter().copied().filter(|&i| matches!(imported.parameters[i].kind, ParameterKind::Kernel { .. })).collect();
        if weights.is_empty() {
            return Err(Error::usage(format!(
                "--delta-layers '{pattern}' matches no weight of a layer ({}); name layers by their weights",
                few(all.iter().map(|&i| imported.parameters[i].alias.as_str()))
            )));
        }
        found.extend(weights);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Of each residual stage the last convolution of its last unit, the one that depends on the most others.
fn last_of_stages(imported: &Imported) -> Result<Vec<usize>> {
    let units = blocks(imported).map_err(|e| Error::usage(format!("--regularizer delta: {e}, and layers with --delta-layers PATTERN")))?;
    let graph = &imported.graph;
    let depth = depths(graph);
    let mut found = vec![];
    for (i, unit) in units.iter().enumerate() {
        if unit.stage == 0 || units.get(i + 1).is_some_and(|next| next.stage == unit.stage) {
            continue;
        }
        let node = |p: usize| &graph.nodes[imported.parameters[p].node];
        let convolution =
            |p: &usize| matches!(imported.parameters[*p].kind, ParameterKind::Kernel { .. }) && is_convolution(graph, node(*p));
        // Attention branches within a unit work on maps of one pixel.
        let is_map = |p: &usize| graph.ty(node(*p).outputs[0]).shape.iter().skip(2).any(|d| *d != Dim::Known(1));
        let all: Vec<usize> = unit.parameters.iter().copied().filter(convolution).collect();
        let maps: Vec<usize> = all.iter().copied().filter(is_map).collect();
        let of = if maps.is_empty() { all } else { maps };
        found.extend(of.into_iter().max_by_key(|&p| depth[imported.parameters[p].node]));
    }
    Ok(found)
}

fn is_convolution(graph: &Graph, node: &Node) -> bool {
    View { graph, node }.operator().is_some_and(|o| o.facts().meaning == Meaning::Convolution)
}

/// For each node the largest number of convolutions on a way to it.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depth: Vec<usize> = vec![];
    for node in &graph.nodes {
        let before = node.used().filter_map(|v| graph.value(v).producer).filter_map(|i| depth.get(i).copied()).max().unwrap_or(0);
        depth.push(before + is_convolution(graph, node) as usize);
    }
    depth
}

fn maps(graph: &mut Graph, options: &Options, networks: &Networks, branch: &SourceBranch) -> Result<Vec<Place>> {
    let layers = taps(networks.tuned, &options.delta_layers)?;
    let there = taps(networks.source, &options.delta_layers)?;
    let mut weights = match &options.attention {
        Some(path) => Some(Attention::read(path, networks.sha256)?),
        None => None,
    };
    let mut places = vec![];
    for tap in &layers {
        // A new head's weight computes something else than the old one's.
        let own = there.iter().find(|t| t.weight == tap.weight).and_then(|t| branch.at(t.value));
        let Some(source) = own.filter(|&v| graph.ty(v) == graph.ty(tap.value)) else {
            return Err(Error::usage(format!(
                "--delta-layers: the source network has nothing to compare the output of {} with, which is new",
                tap.alias
            )));
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
        return Err(Error::usage(format!(
            "--regularizer delta has nothing to do: no trained layer stands before {}. Freeze less, or name other layers with --delta-layers",
            few(layers.iter().map(|t| t.alias.as_str()))
        )));
    }
    Ok(places)
}
