//! What becomes of each parameter: shared or new, trainable or frozen, penalised or not.

use super::head::{self, Head};
use super::options::{HeadOption, Options};
use super::strengths::{self, OwnStrength};
use super::{freezing, head_map};
use crate::bundle::manifest::{BatchNormMode, Role};
use crate::error::{Error, Result};
use crate::import::{ImportOptions, Imported, Network, Parameter, Split};
use crate::onnx::SourceModel;
use crate::operator::{Normalization, ParameterKind, View};
use std::collections::HashSet;

/// One parameter of the source model and its part in the training.
#[derive(Debug, Clone)]
pub struct Planned {
    pub parameter: Parameter,
    pub shape: Vec<usize>,
    pub role: Role,
    pub frozen: bool,
    /// Why it is frozen; empty where it is not.
    pub why_frozen: String,
    pub penalized: bool,
    pub strength: Option<OwnStrength>,
    /// Why the penalty acts on it, or not; empty without a penalty.
    pub why_penalized: String,
}

/// The roles of all parameters.
#[derive(Debug)]
pub struct Plan {
    pub parameters: Vec<Planned>,
    pub batch_norm: BatchNormMode,
    pub head: Option<Head>,
    pub classes: usize,
    /// Names of the scales of frozen BatchNorms: these use moving statistics.
    pub frozen_norms: HashSet<String>,
    /// Parameters that had shared an initializer.
    pub split: Vec<Split>,
}

impl Plan {
    /// The axis along which the output channels of the weight of that name lie; `None` for what is no weight.
    pub fn channel_axis(&self, name: &str) -> Option<usize> {
        match self.parameters.iter().find(|p| p.parameter.name == name)?.parameter.kind {
            ParameterKind::Kernel { axis } => Some(axis),
            _ => None,
        }
    }
}

/// The source network, as the options want it read.
pub fn network(source: SourceModel, options: &Options) -> Result<Network> {
    let import = ImportOptions { batch: options.batch, input_shape: options.input_shape.clone(), keep_ties: options.keep_ties };
    Network::open(source, import)
}

/// Decides every role. Also gives the network with another head, where that is asked for, and the graph that is trained, in the form for
/// inference.
pub fn plan(original: &Network, options: &Options) -> Result<(Plan, Option<Network>, Imported)> {
    let mut imported = original.at(options.batch)?;
    let mut head = head::find_head(&imported);
    let (mut new_names, mut replaced) = (vec![], None);
    if let HeadOption::Classes(classes) = options.head {
        let found = head.as_ref().map_err(|e| Error::model(format!("--classes {classes} cannot be done: {e}")))?;
        let mut source = original.source().clone();
        let copies = match &options.head_map {
            Some(path) => head_map::read(path, &source, &options.classes, classes, found.classes)?,
            None => vec![],
        };
        let tensors = head::replace(&mut source, &imported, found, classes, options.seed, &copies)?;
        let other = match head::spliced(original, &source, &tensors, classes) {
            Some(network) => network,
            None => network(source, options)?,
        };
        imported = other.at(options.batch)?;
        head = head::find_head(&imported);
        new_names = tensors.into_iter().map(|(name, _)| name).collect();
        replaced = Some(other);
    }
    let classes = head::classes(&imported.graph)?;
    if !options.classes.is_empty() && options.classes.len() != classes {
        return Err(Error::usage(format!(
            "{} class names were given, but the network has {classes} classes: replace its head with --classes {}",
            options.classes.len(),
            options.classes.len()
        )));
    }
    let frozen = freezing::decide(&imported, &new_names, options)?;
    let scales = batch_norm_scales(&imported);
    let live = !scales.is_empty();
    let batch_norm = match (live, options.batch_norm) {
        (false, Some(BatchNormMode::Train)) => {
            return Err(Error::usage(
                "--batch-norm train has no meaning here: the network has no live BatchNormalization (it is folded into the convolutions, or there is none)",
            ));
        }
        (false, _) => BatchNormMode::None,
        (true, None) => BatchNormMode::Train,
        (true, Some(mode)) => mode,
    };
    let frozen_norms = scales.into_iter().filter(|name| frozen.contains_key(*name)).map(str::to_string).collect();
    let mut parameters: Vec<Planned> = imported
        .parameters
        .iter()
        .map(|p| Planned {
            shape: imported.graph.ty(p.value).dims().unwrap_or_default(),
            role: match p.kind.is_buffer() {
                true => Role::Buffer,
                false if new_names.contains(&p.name) => Role::New,
                false => Role::Shared,
            },
            frozen: frozen.contains_key(&p.name),
            why_frozen: frozen.get(&p.name).cloned().unwrap_or_default(),
            penalized: false,
            strength: None,
            why_penalized: String::new(),
            parameter: p.clone(),
        })
        .collect();
    if !parameters.iter().any(|p| !p.frozen && p.role != Role::Buffer) {
        return Err(Error::usage(
            "every parameter is frozen, so there is nothing to train: freeze less, or give --train what is to be trained",
        ));
    }
    strengths::decide(&mut parameters, options)?;
    let split = imported.split.clone();
    Ok((Plan { parameters, batch_norm, head: head.ok(), classes, frozen_norms, split }, replaced, imported))
}

/// Names of the scales of live BatchNorms.
fn batch_norm_scales(imported: &Imported) -> Vec<&str> {
    let graph = &imported.graph;
    let batch_norm = |index: usize| {
        let operator = View { graph, node: &graph.nodes[index] }.operator();
        operator.is_some_and(|o| o.facts().normalization == Some(Normalization::Batch))
    };
    let scales = imported.parameters.iter().filter(|p| p.kind == ParameterKind::Scale && batch_norm(p.node));
    scales.map(|p| p.name.as_str()).collect()
}
