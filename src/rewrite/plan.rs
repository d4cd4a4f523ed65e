//! What becomes of each parameter: shared or new, trainable or frozen, penalised or not.

use super::head::{self, Head};
use super::options::{HeadOption, Options, Penalize};
use crate::error::{Error, Result};
use crate::import::{Batch, ImportOptions, Imported, Parameter, ParameterKind, Split, import};
use crate::manifest::{BatchNormMode, Role};
use crate::onnx::SourceModel;
use std::collections::HashSet;
use wildmatch::WildMatch;

/// One parameter of the source model and its part in the training.
#[derive(Debug, Clone)]
pub struct Planned {
    pub parameter: Parameter,
    pub shape: Vec<usize>,
    pub role: Role,
    pub frozen: bool,
    pub penalized: bool,
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

/// Import options for looking at the model: inference form, with a batch size that always works.
pub fn probe_options(options: &Options, batch: Batch) -> ImportOptions {
    ImportOptions {
        batch,
        input_shape: options.input_shape.clone(),
        batch_norm_train: false,
        frozen: HashSet::new(),
        keep_ties: options.keep_ties,
    }
}

/// Decides every role. A replaced head is put into `source`.
pub fn plan(source: &mut SourceModel, options: &Options) -> Result<(Plan, Imported)> {
    let mut imported = import(source, &probe_options(options, options.batch))?;
    let mut head = head::find_head(&imported);
    let mut new_names = vec![];
    if let HeadOption::Classes(classes) = options.head {
        let found = head.as_ref().map_err(|e| Error::model(format!("--classes {classes} cannot be done: {e}")))?;
        new_names = head::replace(source, &imported, found, classes, options.seed)?;
        imported = import(source, &probe_options(options, options.batch))?;
        head = head::find_head(&imported);
    }
    let classes = head::classes(&imported.graph)?;
    if !options.classes.is_empty() && options.classes.len() != classes {
        return Err(Error::usage(format!(
            "{} class names were given, but the network has {classes} classes: replace its head with --classes {}",
            options.classes.len(),
            options.classes.len()
        )));
    }
    let frozen = frozen(&imported, &options.freeze)?;
    let live = imported.parameters.iter().any(|p| p.kind == ParameterKind::Scale);
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
    let frozen_norms =
        imported.parameters.iter().filter(|p| p.kind == ParameterKind::Scale && frozen.contains(&p.name)).map(|p| p.name.clone()).collect();
    let parameters: Vec<Planned> = imported
        .parameters
        .iter()
        .map(|p| Planned {
            shape: imported.graph.ty(p.value).dims().unwrap_or_default(),
            role: match p.kind.is_buffer() {
                true => Role::Buffer,
                false if new_names.contains(&p.name) => Role::New,
                false => Role::Shared,
            },
            frozen: frozen.contains(&p.name),
            penalized: !p.kind.is_buffer()
                && !frozen.contains(&p.name)
                && (options.penalize == Penalize::All || matches!(p.kind, ParameterKind::Kernel { .. })),
            parameter: p.clone(),
        })
        .collect();
    if !parameters.iter().any(|p| !p.frozen && p.role != Role::Buffer) {
        return Err(Error::usage("every parameter is frozen, so there is nothing to train: drop some --freeze pattern"));
    }
    let split = imported.split.clone();
    Ok((Plan { parameters, batch_norm, head: head.ok(), classes, frozen_norms, split }, imported))
}

/// Names of the parameters that some pattern matches, by name or alias.
fn frozen(imported: &Imported, patterns: &[String]) -> Result<HashSet<String>> {
    let mut frozen = HashSet::new();
    for pattern in patterns {
        let glob = WildMatch::new(pattern);
        let before = frozen.len();
        let hits = imported.parameters.iter().filter(|p| glob.matches(&p.name) || glob.matches(&p.alias));
        let mut any = false;
        for p in hits {
            any = true;
            frozen.insert(p.name.clone());
        }
        if !any && frozen.len() == before {
            let known: Vec<&str> = imported.parameters.iter().map(|p| p.alias.as_str()).take(6).collect();
            return Err(Error::usage(format!(
                "--freeze '{pattern}' matches no parameter. Patterns are globs (* and ?) on names such as {}; `spgraph inspect` lists all",
                known.join(", ")
            )));
        }
    }
    Ok(frozen)
}
