//! A study: which source networks are tuned to which targets, with what methods, and what is varied. Plain data, read from a TOML file.

use super::method::{self, Method};
use crate::bundle::DropoutMode;
use crate::bundle::manifest::BatchNormMode;
use crate::data::synth::Task;
use crate::error::{Error, Result};
use crate::storage::regular;
use crate::train::Schedule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A study as its file has it. Paths are relative to a base folder: that of the file, unless another is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Study {
    /// Heads the report.
    pub title: String,
    /// Source networks by name.
    pub sources: BTreeMap<String, Source>,
    /// Target tasks by name.
    pub targets: BTreeMap<String, Target>,
    /// What is tuned to what, in this order.
    pub pairs: Vec<Pair>,
    /// Methods in groups. A group is selected and run before the next one begins, so that part of a study is a smaller study.
    pub methods: Vec<Vec<String>>,
    /// Strengths to choose from, of methods that shall not have their usual ones.
    #[serde(default)]
    pub strengths: BTreeMap<String, Vec<f64>>,
    /// How every cell trains.
    pub training: TrainingPlan,
    /// How strengths and rates are chosen.
    pub selection: Selection,
    /// What is varied beside the main table, with the settings that were chosen for it.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, rename_all_fields = "kebab-case")]
pub enum Images {
    /// An image folder, or so many images of each of its classes.
    Folder {
        /// One sub-folder for each class.
        folder: PathBuf,
        /// All where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per_class: Option<usize>,
    },
    /// Drawn by spgraph itself.
    Synthetic {
        /// `source`, `target-a` or `target-b`.
        synthetic: String,
        /// Images of each class.
        per_class: usize,
        /// Another seed draws other images.
        seed: u64,
    },
}

/// A source network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// The ONNX file.
    pub model: PathBuf,
    /// Images of its own task, on which it is measured what is left of it.
    pub test: Images,
    /// Images of its own task for the Fisher information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fisher: Option<FisherPlan>,
    /// Sizes of its input after the batch, where it leaves them open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_shape: Option<Vec<usize>>,
}

/// From what the Fisher information is estimated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FisherPlan {
    /// Source images.
    pub images: Images,
    /// So many of them.
    pub samples: u64,
}

/// A target task. Its images are dealt out once, class by class: to the test, to validation, and to the pool that training sets are drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// All of its images.
    pub images: Images,
    /// Images of each class that final cells are tested on.
    pub test_per_class: usize,
    /// Images of each class that settings are chosen on.
    pub validation_per_class: usize,
}

/// A source and a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pair {
    /// The source's name.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// Training images of each class; one row of cells for each.
    pub images: Vec<usize>,
    /// Training images of each class with which settings are chosen, for all of `images`.
    pub select_with: usize,
    /// Steps instead of the study's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// How every cell trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainingPlan {
    /// Steps.
    pub steps: u64,
    /// Images per step.
    pub batch: usize,
    /// The rate over time, as `finetune` takes it.
    #[serde(default = "usual_schedule")]
    pub schedule: String,
    /// Steps at the beginning in which the rate grows.
    #[serde(default)]
    pub warmup: u64,
    /// As `finetune` takes it: `none`, `flip-crop:4`, ….
    #[serde(default = "no_augmentation")]
    pub augment: String,
    /// BatchNorm; the rewriting's own default where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormMode>,
    /// Dropout, as `rewrite` takes it: `"off"`, `"keep"`, or a share before the classifier.
    #[serde(default, skip_serializing_if = "DropoutMode::is_off")]
    pub dropout: DropoutMode,
    /// Seeds of the final cells: of the training images, the new head, the order and the augmentation.
    pub seeds: Vec<u64>,
}

fn usual_schedule() -> String {
    "step".into()
}

fn no_augmentation() -> String {
    "none".into()
}

/// How strengths and rates are chosen: of each method, every combination of these is trained and measured on validation images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Selection {
    /// Learning rates.
    pub rates: Vec<f64>,
    /// Strengths on the new head.
    pub betas: Vec<f64>,
    /// Seeds, none of them one of the final cells'.
    pub seeds: Vec<u64>,
}

/// Cells beside the main table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Comparison {
    /// What is compared: names the cells.
    pub name: String,
    /// For these methods.
    pub methods: Vec<String>,
    /// With so many training images of each class.
    pub images: Vec<usize>,
    /// For these pairs, as `source/target`; all where none is named.
    #[serde(default)]
    pub pairs: Vec<String>,
    /// It comes after this group of methods, counted from 1; after the last where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// The first so many stages stay as they are: one cell for each number.
    #[serde(default)]
    pub freeze_stages: Vec<usize>,
    /// BatchNorm in these modes.
    #[serde(default)]
    pub batch_norm: Vec<BatchNormMode>,
    /// With these augmentations.
    #[serde(default)]
    pub augment: Vec<String>,
}

/// One row of a comparison: what differs from the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The first so many stages are frozen.
    FreezeStages(usize),
    /// `train` or `frozen`.
    BatchNorm(String),
    /// An augmentation.
    Augment(String),
}

impl Variant {
    /// For names of cells: `freeze2`, `bn-frozen`, `augment-none`.
    pub fn name(&self) -> String {
        match self {
            Variant::FreezeStages(n) => format!("freeze{n}"),
            Variant::BatchNorm(mode) => format!("bn-{mode}"),
            Variant::Augment(text) => format!("augment-{}", text.replace([':', '+'], "-")),
        }
    }
}

impl Comparison {
    /// Its rows.
    pub fn variants(&self) -> Vec<Variant> {
        let frozen = self.freeze_stages.iter().map(|&n| Variant::FreezeStages(n));
        let modes = self.batch_norm.iter().map(|&m| Variant::BatchNorm(mode_name(m).into()));
        frozen.chain(modes).chain(self.augment.iter().cloned().map(Variant::Augment)).collect()
    }
}

/// As files have it.
pub(super) fn mode_name(mode: BatchNormMode) -> &'static str {
    match mode {
        BatchNormMode::None => "none",
        BatchNormMode::Train => "train",
        BatchNormMode::Frozen => "frozen",
    }
}

impl Study {
    /// Reads and checks a study. Fails, naming the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Study> {
        let text = regular::read_text(path, "cannot read the study")?;
        let wrong = |why: &str| Error::usage(format!("the study {} makes no sense: {why}", path.display()));
        let study: Study = toml::from_str(&text).map_err(|e| wrong(e.to_string().trim_end()))?;
        study.check().map_err(|why| wrong(&why))?;
        Ok(study)
    }

    /// The methods of all groups, with the study's strengths.
    pub fn methods(&self) -> Result<Vec<Vec<Method>>> {
        let one = |name: &String| {
            let mut found = method::find(name)?;
            if let Some(own) = self.strengths.get(name) {
                found.strengths = own.clone();
            }
            Ok(found)
        };
        self.methods.iter().map(|group| group.iter().map(one).collect()).collect()
    }

    fn check(&self) -> Result<(), String> {
        let names = self.sources.keys().chain(self.targets.keys()).chain(self.comparisons.iter().map(|c| &c.name));
        if let Some(bad) = names.into_iter().find(|n| !is_name(n)) {
            return Err(format!("`{bad}` names files and targets of make; use letters, digits, `-` and `_`"));
        }
        let known = |what: &str, name: &str, there: bool, from: Vec<&String>| match there {
            true => Ok(()),
            false => Err(format!("there is no {what} `{name}`, only {}", list(&from))),
        };
        for pair in &self.pairs {
            known("source", &pair.source, self.sources.contains_key(&pair.source), self.sources.keys().collect())?;
            known("target", &pair.target, self.targets.contains_key(&pair.target), self.targets.keys().collect())?;
        }
        let listed: Vec<&String> = self.methods.iter().flatten().collect();
        for name in &listed {
            method::find(name).map_err(|e| e.to_string())?;
        }
        if let Some(twice) = listed.iter().enumerate().find(|(i, n)| listed.iter().take(*i).any(|before| before == *n)) {
            return Err(format!("the method `{}` is there twice", twice.1));
        }
        for name in self.strengths.keys().chain(self.comparisons.iter().flat_map(|c| &c.methods)) {
            known("method", name, listed.contains(&name), listed.clone())?;
        }
        let pairs: Vec<String> = self.pairs.iter().map(|p| format!("{}/{}", p.source, p.target)).collect();
        for name in self.comparisons.iter().flat_map(|c| &c.pairs) {
            known("pair", name, pairs.contains(name), pairs.iter().collect())?;
        }
        if let Some(seed) = self.selection.seeds.iter().find(|s| self.training.seeds.contains(s)) {
            return Err(format!("seed {seed} is both for selection and for final cells; settings would be chosen on what is measured"));
        }
        for (what, empty) in [
            ("pairs", self.pairs.is_empty()),
            ("methods", listed.is_empty()),
            ("training.seeds", self.training.seeds.is_empty()),
            ("selection.seeds", self.selection.seeds.is_empty()),
            ("selection.rates", self.selection.rates.is_empty()),
            ("selection.betas", self.selection.betas.is_empty()),
        ] {
            if empty {
                return Err(format!("`{what}` is empty"));
            }
        }
        if self.training.steps == 0 || self.training.batch == 0 {
            return Err("`training.steps` and `training.batch` must be at least 1".into());
        }
        let numbers = self.strengths.values().flatten().chain(&self.selection.rates).chain(&self.selection.betas);
        if let Some(bad) = numbers.into_iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            return Err(format!("{bad} is no strength or rate"));
        }
        self.check_images()
    }

    fn check_images(&self) -> Result<(), String> {
        let of_sources = self.sources.values().flat_map(|s| [Some(&s.test), s.fisher.as_ref().map(|f| &f.images)]).flatten();
        for images in of_sources.chain(self.targets.values().map(|t| &t.images)) {
            if let Images::Synthetic { synthetic, .. } = images {
                synthetic.parse::<Task>().map_err(|e| e.to_string())?;
            }
        }
        self.training.schedule.parse::<Schedule>().map_err(|e| e.to_string())?;
        let augment = self.comparisons.iter().flat_map(|c| &c.augment).chain([&self.training.augment]);
        for text in augment {
            text.parse::<crate::data::Augment>().map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn list(names: &[&String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
