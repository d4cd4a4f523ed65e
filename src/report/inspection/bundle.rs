//! What a bundle is, how it was made, and whether it is whole.

use super::files::{FileState, differences, problems};
use super::precision::{StepPrecision, step_precision};
use super::verdict::Verdict;
use crate::bundle::manifest::BatchNormMode;
use crate::bundle::manifest::{Manifest, Penalty, Port, Preprocessing, Role, Source};
use crate::bundle::{Bundle, Options, Setting, start_state};
use crate::engine::Computing;
use crate::error::Result;
use crate::onnx;
use crate::optim::Optimizer;
use crate::report::plan_memory;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything that `spgraph inspect` shows of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BundleInspection {
    /// The folder.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// The version of spgraph that made it.
    pub spgraph: String,
    /// The model that it was made of.
    pub source: Source,
    /// How the options of the rewriting differ from the usual ones; none where the bundle does not say.
    pub options: Option<serde_json::Map<String, serde_json::Value>>,
    /// Where images enter.
    pub input: Port,
    /// How many classes it tells apart.
    pub class_count: Option<usize>,
    /// Their names by label, where they are known.
    pub classes: Vec<String>,
    /// What is done to images.
    pub preprocessing: Preprocessing,
    /// What holds the parameters.
    pub penalty: Penalty,
    /// Kinds of losses on what the network computes.
    pub regularizers: Vec<String>,
    /// The scalars of a step with their defaults: learning rate and strengths.
    pub scalars: BTreeMap<String, f64>,
    /// What turns gradients into next values.
    pub optimizer: Optimizer,
    /// What BatchNorm normalizes with.
    pub batch_norm: BatchNormMode,
    /// In which precision a step computes; none in float32.
    pub precision: Option<StepPrecision>,
    /// Tensors and elements of the state, by role.
    pub state: BTreeMap<String, StateCount>,
    /// The files.
    pub files: Vec<FileState>,
    /// Whether it can be trained.
    pub verdict: Verdict,
}

/// How much state there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StateCount {
    /// Tensors.
    pub tensors: usize,
    /// Their elements.
    pub elements: usize,
}

/// Looks at the bundle in `path`. Fails where there is none, or its manifest cannot be read; damaged files are described.
pub fn inspect_bundle(path: &Path) -> Result<BundleInspection> {
    let manifest = Manifest::read(&path.join(Bundle::MANIFEST))?;
    let bundle = Bundle { dir: path.to_path_buf(), manifest };
    let model = |path: &Path| onnx::open(path).and_then(|m| m.graph().map(drop));
    let mut files = vec![
        FileState::of(&bundle.dir.join(Bundle::MANIFEST), |_| Ok(())),
        FileState::of(&bundle.init(), |_| start_state(&bundle).map(drop)),
    ];
    files.extend([bundle.step(), bundle.eval(), bundle.template()].iter().map(|path| FileState::of(path, model)));
    let extra = [bundle.grad(), bundle.apply()];
    files.extend(extra.iter().filter(|path| bundle.manifest.split.is_some() || path.is_file()).map(|path| FileState::of(path, model)));
    let weights = bundle.dir.join(Bundle::WEIGHTS);
    if weights.is_file() {
        // What it holds is read with the graphs that name it.
        files.push(FileState::of(&weights, |_| Ok(())));
    }
    let verdict = verdict(&bundle, &files);
    // A damaged step is described already.
    let precision = step_precision(&bundle).unwrap_or_default();
    let Manifest { spgraph, source, data, state, penalty, regularizers, scalars, optimizer, batch_norm, .. } = bundle.manifest.clone();
    let mut counts: BTreeMap<String, StateCount> = BTreeMap::new();
    for s in &state {
        let role = match s.role {
            Role::Shared => "shared",
            Role::New => "new",
            Role::Buffer => "buffer",
            Role::Optimizer => "optimizer",
            Role::Ema => "ema",
        };
        let count = counts.entry(role.into()).or_default();
        count.tensors = count.tensors.saturating_add(1);
        count.elements = count.elements.saturating_add(s.shape.iter().fold(1, |a: usize, &b| a.saturating_mul(b)));
    }
    Ok(BundleInspection {
        path: path.to_path_buf(),
        spgraph,
        source,
        options: bundle.manifest.rewriting.as_ref().map(|r| differences(&r.options, &Options::default())),
        input: data.input,
        class_count: bundle.class_count().unwrap_or(None),
        classes: bundle.manifest.classes.clone(),
        preprocessing: bundle.manifest.preprocessing.clone(),
        penalty,
        regularizers: regularizers.into_iter().map(|r| r.kind).collect(),
        scalars: scalars.into_iter().map(|s| (setting(&s.meaning), s.default)).collect(),
        optimizer,
        batch_norm,
        precision,
        state: counts,
        files,
        verdict,
    })
}

fn setting(meaning: &Setting) -> String {
    meaning.to_string()
}

/// Whole where every file is.
fn verdict(bundle: &Bundle, files: &[FileState]) -> Verdict {
    let damaged = problems(files);
    if !damaged.is_empty() {
        return Verdict::no(damaged);
    }
    match Bundle::open(&bundle.dir).and_then(|whole| plan_memory(&whole, None, Computing::default())) {
        Ok(plan) => Verdict { memory: Some(plan.into()), ..Verdict::yes() },
        Err(why) => Verdict::no(vec![why.to_string()]),
    }
}
