//! Cells: the smallest pieces of a study, each a training with its measurements, and what decides their result.

use super::method::Method;
use super::study::{FisherPlan, Pair, Source, Study, Target, Variant};
use crate::error::{Error, Result};
use crate::storage::sha256;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Strengths and rates are chosen by it, on validation images.
    Selection,
    /// It is measured on test images, with what was chosen.
    Final,
}

/// Rate and strengths of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The learning rate.
    pub rate: f64,
    /// Strength on the new head.
    pub beta: f64,
    /// The method's own strength, where it has one.
    pub strength: Option<f64>,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lr{}-beta{}", self.rate, self.beta)?;
        self.strength.map_or(Ok(()), |s| write!(f, "-strength{s}"))
    }
}

/// Which cell of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Selection or final.
    pub phase: Phase,
    /// The source's name.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// Training images of each class.
    pub images: usize,
    /// The method's name.
    pub method: String,
    /// What differs from the main table.
    pub variant: Option<Variant>,
    /// What is tried, in a cell of the selection; a final cell has what was chosen.
    pub settings: Option<Settings>,
    /// Decides the training images, the new head, their order and their changes.
    pub seed: u64,
}

impl Cell {
    /// `final.resnet20.signs.10.l2-sp.seed0`, which is also a file's name.
    pub fn name(&self) -> String {
        let phase = match self.phase {
            Phase::Selection => "selection",
            Phase::Final => "final",
        };
        let variant = self.variant.as_ref().map_or(String::new(), |v| format!(".{}", v.name()));
        let settings = self.settings.map_or(String::new(), |s| format!(".{s}"));
        let Cell { source, target, images, method, seed, .. } = self;
        format!("{phase}.{source}.{target}.{images}.{method}{variant}{settings}.seed{seed}")
    }
}

/// A cell with everything that decides its result, besides the files that it reads and the program itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request<'a> {
    /// Which cell.
    pub cell: Cell,
    /// Its source.
    pub source: &'a Source,
    /// Its target.
    pub target: &'a Target,
    /// Its pair: images, and with how many settings are chosen.
    pub select_with: usize,
    /// Steps.
    pub steps: u64,
    /// Images per step.
    pub batch: usize,
    /// The rate over time.
    pub schedule: &'a str,
    /// Steps at the beginning in which the rate grows.
    #[serde(skip_serializing_if = "is_zero")]
    pub warmup: u64,
    /// Changes to images.
    pub augment: &'a str,
    /// BatchNorm.
    pub batch_norm: Option<crate::bundle::manifest::BatchNormMode>,
    /// Dropout.
    #[serde(skip_serializing_if = "crate::bundle::DropoutMode::is_off")]
    pub dropout: crate::bundle::DropoutMode,
    /// What a final cell's settings are chosen from; nothing for a cell of the selection.
    pub candidates: Vec<Settings>,
    /// Seeds of that selection.
    pub selection_seeds: &'a [u64],
    #[serde(skip)]
    pub(super) fisher: Option<&'a FisherPlan>,
    #[serde(skip)]
    pub(super) method: Method,
}

impl<'a> Request<'a> {
    /// Fails where the study has no such source, target or method.
    pub fn new(study: &'a Study, pair: &Pair, method: &Method, cell: Cell) -> Result<Request<'a>> {
        let missing = || Error::usage(format!("the study has no such cell: {}", cell.name()));
        let source = study.sources.get(&pair.source).ok_or_else(missing)?;
        let target = study.targets.get(&pair.target).ok_or_else(missing)?;
        let training = &study.training;
        // What is tried does not depend on what else is tried: a larger grid keeps the cells of the smaller one.
        let selected = cell.phase == Phase::Final;
        Ok(Request {
            source,
            target,
            select_with: if selected { pair.select_with } else { cell.images },
            steps: pair.steps.unwrap_or(training.steps),
            batch: training.batch,
            schedule: &training.schedule,
            warmup: training.warmup,
            augment: &training.augment,
            batch_norm: training.batch_norm,
            dropout: training.dropout,
            candidates: if selected { candidates(study, method) } else { vec![] },
            selection_seeds: if selected { &study.selection.seeds } else { &[] },
            fisher: source.fisher.as_ref(),
            method: method.clone(),
            cell,
        })
    }

    /// The file with its result: the name, and a mark that changes with everything that decides the result.
    pub fn file(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        let mark = sha256::mark(&text, 4);
        format!("{}.{mark}.json", self.cell.name())
    }

    /// The cells that its settings are chosen by: none for a cell of the selection itself.
    pub fn chosen_by(&self) -> Vec<Request<'a>> {
        if self.cell.phase == Phase::Selection {
            return vec![];
        }
        let one = |settings: Settings, seed: u64| {
            let cell = Cell {
                phase: Phase::Selection,
                images: self.select_with,
                variant: None,
                settings: Some(settings),
                seed,
                ..self.cell.clone()
            };
            Request { cell, candidates: vec![], selection_seeds: &[], ..self.clone() }
        };
        self.candidates.iter().flat_map(|&s| self.selection_seeds.iter().map(move |&seed| one(s, seed))).collect()
    }
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

/// What is tried for a method, the weakest first.
pub fn candidates(study: &Study, method: &Method) -> Vec<Settings> {
    let strengths: Vec<Option<f64>> =
        if method.strengths.is_empty() { vec![None] } else { method.strengths.iter().map(|&s| Some(s)).collect() };
    // β acts on nothing where new parameters have no penalty.
    let betas = if method.has_beta() { &study.selection.betas[..] } else { &[0.0] };
    let rates = &study.selection.rates;
    let with = |rate: f64, strength: Option<f64>| betas.iter().map(move |&beta| Settings { rate, beta, strength });
    strengths.iter().flat_map(|&s| rates.iter().flat_map(move |&r| with(r, s))).collect()
}
