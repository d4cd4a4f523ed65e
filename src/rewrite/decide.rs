//! Decides what becomes of each parameter, from the network and the options.

use super::patterns::is_match;
use super::plan::{Plan, Planned};
use super::resolve::Recipe;
use super::{freezing, head, head_map, strengths};
use crate::bundle::manifest::{BatchNormMode, Role};
use crate::bundle::{HeadOption, Options};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{FixedConstant, ImportOptions, Imported, Network, Parameter};
use crate::onnx::SourceModel;
use crate::operator::{Normalization, ParameterKind, View};

/// The source network, as the options want it read.
pub(super) fn network(source: SourceModel, options: &Options) -> Result<Network> {
    let import = ImportOptions { batch: options.batch, input_shape: options.input_shape.clone(), keep_ties: options.keep_ties };
    Network::open(source, import)
}

/// What was decided.
pub(super) struct Decided {
    pub plan: Plan,
    /// The network with another head, where that is asked for.
    pub replaced: Option<Network>,
    /// The graph that is trained, in the form for inference.
    pub imported: Imported,
}

/// Decides every role.
pub(super) fn decide(original: &Network, recipe: &Recipe) -> Result<Decided> {
    let options = recipe.options;
    let mut imported = original.at(options.batch)?;
    let mut head = head::find_head(&imported);
    let (mut new_names, mut replaced) = (vec![], None);
    if let HeadOption::Classes(classes) = options.head {
        let found = head.as_ref().map_err(|e| Error::model(format!("{} {classes} cannot be done: {e}", Field::CLASSES)))?;
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
    take_up(&mut imported, options);
    let classes = head::classes(&imported.graph)?;
    if !options.classes.is_empty() && options.classes.len() != classes {
        return Err(Error::usage(format!(
            "{} class names were given, but the network has {classes} classes: replace its head with {} {}",
            options.classes.len(),
            Field::CLASSES,
            options.classes.len()
        )));
    }
    let frozen = freezing::decide(&imported, &new_names, options)?;
    let scales = batch_norm_scales(&imported);
    let live = !scales.is_empty();
    let batch_norm = match (live, options.batch_norm) {
        (false, Some(BatchNormMode::Train)) => {
            return Err(Error::option(
                Field::BATCH_NORM,
                " train has no meaning here: the network has no live BatchNormalization (it is folded into the convolutions, or there is none)",
            ));
        }
        (false, _) => BatchNormMode::None,
        (true, Some(BatchNormMode::None)) => {
            return Err(Error::option(
                Field::BATCH_NORM,
                " none has no meaning here: the network has live BatchNormalization. Take train or frozen",
            ));
        }
        (true, None) => BatchNormMode::Train,
        (true, Some(mode)) => mode,
    };
    let frozen_norms = scales.into_iter().filter(|name| frozen.contains_key(*name)).map(str::to_string).collect();
    let planned = |p: &Parameter| -> Result<Planned> {
        let ty = imported.graph.ty(p.value);
        Ok(Planned {
            shape: ty.dims().ok_or_else(|| Error::internal(format!("the parameter `{}` is a constant of type {ty}", p.name)))?,
            role: match p.kind.is_buffer() {
                true => Role::Buffer,
                false if new_names.contains(&p.name) => Role::New,
                false => Role::Shared,
            },
            frozen: frozen.contains_key(&p.name),
            why_frozen: frozen.get(&p.name).cloned().unwrap_or_default(),
            strength: None,
            why_penalized: String::new(),
            parameter: p.clone(),
        })
    };
    let mut parameters: Vec<Planned> = imported.parameters.iter().map(planned).collect::<Result<_>>()?;
    if !parameters.iter().any(|p| !p.frozen && p.role != Role::Buffer) {
        return Err(Error::usage(format!(
            "every parameter is frozen, so there is nothing to train: freeze less, or give {} what is to be trained",
            Field::TRAIN
        )));
    }
    strengths::decide(&mut parameters, recipe)?;
    let (split, freed_batch) = (imported.split.clone(), imported.freed_batch.clone());
    Ok(Decided {
        plan: Plan { parameters, fixed: imported.fixed.clone(), batch_norm, head: head.ok(), classes, frozen_norms, split, freed_batch },
        replaced,
        imported,
    })
}

/// Makes parameters of those constants that the options want trained by name, though nothing else speaks for it. A pattern that matches
/// everything means all parameters.
fn take_up(imported: &mut Imported, options: &Options) {
    let named: Vec<&str> = options.train.iter().map(|p| p.as_str()).filter(|p| p.chars().any(|c| c != '*')).collect();
    let (taken, left) =
        imported.fixed.drain(..).partition(|f: &FixedConstant| f.why.can_be_trained() && named.iter().any(|p| is_match(p, &f.parameter)));
    imported.fixed = left;
    imported.parameters.extend(Vec::into_iter(taken).map(|f| f.parameter));
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
