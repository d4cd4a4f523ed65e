//! Decides what becomes of each parameter, from the network and the options.

use super::add_head::{self, Extended};
use super::head::Head;
use super::patterns::is_match;
use super::plan::{LeftOutput, Plan, Planned};
use super::prediction::Prediction;
use super::resolve::Recipe;
use super::{alike, freezing, head, head_map, outputs, random, shapes, stale, strengths};
use crate::bundle::manifest::{BatchNormMode, Role};
use crate::bundle::{HeadOption, Options, prepares_images};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{FixedConstant, ImportOptions, Imported, LeftOut, Network, Parameter};
use crate::ir::{DType, Graph};
use crate::loss::{self, DataLoss};
use crate::onnx::SourceModel;
use crate::operator::{Normalization, ParameterKind, View};

/// The source network, as the options want it read.
pub(super) fn network(source: SourceModel, options: &Options) -> Result<Network> {
    if prepares_images(&source.proto) {
        return Err(Error::model(format!(
            "{} is an export of spgraph that prepares its images itself ({}): it takes them as they are decoded, of any size, to be used and not to be trained. Start from an export of the same run without that, or from the run or bundle itself",
            source.path.display(),
            Field::PREPROCESS
        )));
    }
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
    let Headed { mut imported, prediction, head, new_names, replaced, stale, pooled } =
        if options.add_head { added(original, options)? } else { found(original, options)? };
    take_up(&mut imported, options);
    let loss = data_loss(options, &prediction)?;
    let classes = loss::class_count(prediction.tail.scores());
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
        if !frozen.contains_key(&p.name) {
            finite(&imported.graph, p)?;
        }
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
    if parameters.iter().all(|p| p.role == Role::Buffer) {
        let listed = if imported.fixed.is_empty() { "" } else { "; what it holds is no parameter, see `spgraph inspect`" };
        return Err(Error::model(format!("the network has no weights that its results depend on, so there is nothing to train{listed}")));
    }
    if !parameters.iter().any(|p| !p.frozen && p.role != Role::Buffer) {
        return Err(Error::usage(format!(
            "every parameter is frozen, so there is nothing to train: freeze less, or give {} what is to be trained",
            Field::TRAIN
        )));
    }
    strengths::decide(&mut parameters, recipe)?;
    let (split, freed_batch) = (imported.split.clone(), imported.freed_batch.clone());
    let mut alike = alike::alike(&imported, &split);
    // Two that stay as they are stay alike.
    let stays = |name: &str| parameters.iter().any(|p| p.parameter.name == name && p.frozen);
    alike.retain(|(first, second)| !(stays(first) && stays(second)));
    let graph = &imported.graph;
    let others = graph.outputs.iter().enumerate().filter(|(i, _)| *i != prediction.index).map(|(_, &o)| graph.name_of(o).into()).collect();
    let head = head.ok();
    let file = replaced.as_ref().unwrap_or(original).source().graph()?;
    let left = |l: &LeftOut| LeftOutput {
        output: l.output.clone(),
        refusal: l.refusal.clone(),
        known: false,
        kept: file.output.iter().any(|o| o.name() == l.output),
    };
    let left_out = original.base().left_out.iter().map(left).chain(stale).collect();
    let fixed = imported.fixed.clone();
    let dropout = random::dropouts(&imported);
    let plan = Plan {
        parameters,
        fixed,
        batch_norm,
        dropout,
        head,
        pooled,
        prediction,
        others,
        left_out,
        loss,
        classes,
        frozen_norms,
        split,
        alike,
        freed_batch,
    };
    Ok(Decided { plan, replaced, imported })
}

/// Fails where a parameter starts with what is no number: nothing could be learnt from there.
fn finite(graph: &Graph, p: &Parameter) -> Result<()> {
    let Some(tensor) = graph.value(p.value).constant.as_ref() else { return Ok(()) };
    // All ones in the exponent.
    let ones = |high: u16, mask: u16| high & mask == mask;
    let high = |number: &[u8]| number.last_chunk().map_or(0, |&pair| u16::from_le_bytes(pair));
    let count = match tensor.dtype() {
        DType::F32 => tensor.bytes().chunks_exact(4).filter(|n| ones(high(n), 0x7f80)).count(),
        DType::F64 => tensor.bytes().chunks_exact(8).filter(|n| ones(high(n), 0x7ff0)).count(),
        _ => 0,
    };
    if count == 0 {
        return Ok(());
    }
    Err(Error::model(format!(
        "{count} of the {} numbers of the parameter `{}` are not finite (NaN or infinity): the file is damaged, or its training diverged. Take \
         another checkpoint, or freeze it if that is meant ({} {})",
        tensor.count(),
        p.name,
        Field::FREEZE,
        p.name
    )))
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

/// The network with the classifier that is trained.
struct Headed {
    imported: Imported,
    prediction: Prediction,
    head: Result<Head>,
    /// Parameters of a new classifier.
    new_names: Vec<String>,
    /// The network, where it is another than the one that was given.
    replaced: Option<Network>,
    /// Outputs of the classifier that was replaced.
    stale: Vec<LeftOutput>,
    /// What enters a classifier that was put behind features, where that is no output of the file, for people.
    pooled: Option<String>,
}

/// With a classifier behind its features.
fn added(original: &Network, options: &Options) -> Result<Headed> {
    let HeadOption::Classes(classes) = options.head else {
        return Err(Error::option(Field::ADD_HEAD, format!(" needs to know for how many classes: {} N", Field::CLASSES)));
    };
    let Extended { source, index, parameters, pooled } =
        add_head::extended(original, options.prediction.as_deref(), classes, options.seed)?;
    let mut other = network(source, options)?;
    other.declare_outputs(shapes::declare);
    let imported = other.at(options.batch)?;
    let prediction = Prediction::at(&imported.graph, index)?;
    let head = head::head_behind(&imported, &prediction);
    Ok(Headed { imported, prediction, head, new_names: parameters, replaced: Some(other), stale: vec![], pooled })
}

/// With the classifier that it has, or another one in its place.
fn found(original: &Network, options: &Options) -> Result<Headed> {
    let mut imported = original.at(options.batch)?;
    // For any number of images the two axes of an output are told apart even where they have one length.
    let chosen = outputs::choose(original.base(), options.prediction.as_deref())?;
    has_what_is_read(&original.base().graph, options, &chosen)?;
    let mut prediction = Prediction::at(&imported.graph, chosen.index)?;
    let mut head = head::head_behind(&imported, &prediction);
    let (mut new_names, mut replaced, mut stale) = (vec![], None, vec![]);
    if let HeadOption::Classes(classes) = options.head {
        let cannot = |why: String| Error::model(format!("{} {classes} cannot be done: {why}", Field::CLASSES));
        let found = head.as_ref().map_err(|e| cannot(e.to_string()))?;
        head::replaceable(&imported, &prediction, found).map_err(|e| cannot(e.to_string()))?;
        // What speaks against the new classifier is no fault of the network.
        let behind = |error: Error| match error {
            Error::Unsupported(refused) => cannot(format!(
                "with another classifier in the place of `{}` the network does not fit together any more: {}. Keep the head with {}, or put a new one \
                 behind the output with {}",
                found.node,
                refused.first().map(|r| r.to_string()).unwrap_or_default(),
                Field::KEEP_HEAD,
                Field::ADD_HEAD
            )),
            other => other,
        };
        let mut source = original.source().clone();
        // What decides between the old classes would go on to do so.
        let of_old = |l: &&LeftOut| l.depends_on(&found.scores);
        let unknown = original.base().left_out.iter().filter(of_old).map(|l| l.output.as_str());
        stale = stale::of_old(&original.base().graph, &chosen);
        let gone: Vec<&str> = unknown.chain(stale.iter().map(|s| s.output.as_str())).collect();
        original.base().give_up(&mut source.proto, &gone);
        let copies = match &options.head_map {
            Some(path) => head_map::read(path, (original.source(), &chosen.name), &options.classes, classes, found.classes)?,
            None => vec![],
        };
        let tensors = head::replace(&mut source, &imported, found, classes, options.seed, &copies)?;
        let mut other = match head::spliced(original, &prediction, &source, &tensors, classes).filter(|_| stale.is_empty()) {
            Some(network) => network,
            None => network(source, options).map_err(behind)?,
        };
        other.declare_outputs(shapes::declare);
        imported = other.at(options.batch).map_err(behind)?;
        // Outputs before it may be gone.
        let graph = &imported.graph;
        let index = graph.outputs.iter().position(|&o| graph.name_of(o) == prediction.name).unwrap_or(prediction.index);
        prediction = Prediction::at(graph, index)?;
        if prediction.tail.scores() != classes {
            return Err(Error::model(format!(
                "{} {classes} cannot be done: behind the classifier `{}` the model has its number of classes written down in a way that gives {} scores \
                 then. Export it with shapes that are computed",
                Field::CLASSES,
                found.node,
                prediction.tail.scores()
            )));
        }
        head = head::head_behind(&imported, &prediction);
        new_names = tensors.into_iter().map(|(name, _)| name).collect();
        replaced = Some(other);
    }
    Ok(Headed { imported, prediction, head, new_names, replaced, stale, pooled: None })
}

/// Fails where the loss reads logits and the output hides them.
fn has_what_is_read(graph: &Graph, options: &Options, prediction: &Prediction) -> Result<()> {
    let asked = options.loss.as_deref().map(loss::data_loss).transpose()?;
    if asked.is_some_and(|l| l.reads_output()) {
        return Ok(());
    }
    let direct: Vec<&str> = loss::LOSSES.iter().filter(|l| l.reads_output()).map(|l| l.kind()).collect();
    let way = format!("Where it is trained towards numbers and no classes, take {} {}", Field::LOSS, direct.join(" or "));
    prediction.has_logits(graph).map_err(|e| Error::model(format!("{e}. {way}")))
}

/// The loss that is asked for, or that fits the network's last activation.
fn data_loss(options: &Options, prediction: &Prediction) -> Result<&'static dyn DataLoss> {
    let (activation, scores) = (prediction.tail.activation, prediction.tail.scores());
    let loss = match &options.loss {
        Some(kind) => loss::data_loss(kind)?,
        None => loss::usual(activation),
    };
    let Some(why) = loss.refusal(activation, scores) else { return Ok(loss) };
    let fit = loss::LOSSES.iter().filter(|l| l.refusal(activation, scores).is_none()).map(|l| l.kind()).collect::<Vec<_>>();
    Err(Error::option(
        Field::LOSS,
        format!(" {} does not fit the output `{}`: {why}. Take {}", loss.kind(), prediction.name, fit.join(" or ")),
    ))
}

/// Names of the scales of live BatchNorms.
fn batch_norm_scales(imported: &Imported) -> Vec<&str> {
    let graph = &imported.graph;
    let batch_norm = |index: usize| {
        let operator = graph.nodes.get(index).and_then(|node| View { graph, node }.operator());
        operator.is_some_and(|o| o.facts().normalization == Some(Normalization::Batch))
    };
    let scales = imported.parameters.iter().filter(|p| p.kind == ParameterKind::Scale && batch_norm(p.node));
    scales.map(|p| p.name.as_str()).collect()
}
