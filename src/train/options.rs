//! What a user can ask of a fine-tuning run.

use super::changes::{self, Change};
use super::class_balance::{ClassWeights, Sampling};
use super::early_stopping::EarlyStopping;
use super::given_images::GivenImages;
use super::length::{Length, Stretch};
use super::scalars::Scalars;
use super::schedule::{Schedule, Span};
use crate::bundle::Setting;
use crate::bundle::manifest::{Manifest, Role};
use crate::data::{Augment, BadImages, CacheOptions};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::field::Field;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// What becomes of a result that is there already: the folder of a run, or the file of an estimate or its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It is an error, unless a run in it got nowhere.
    #[default]
    Refuse,
    /// It is replaced.
    Replace,
    /// The work goes on from its last checkpoint.
    Resume,
}

/// Options of [`crate::train::finetune`].
#[derive(Debug, Clone)]
pub struct FinetuneOptions {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The run's folder.
    pub output: PathBuf,
    /// What becomes of a run that is there.
    pub existing: Existing,
    /// The runtime.
    pub engine: EngineOptions,
    /// Threads that load images; 0 for one per core.
    pub workers: usize,
    /// Where decoded images are kept; without influence on the result.
    pub cache: CacheOptions,
    /// Write a checkpoint after so many steps. `None`: at the end of an epoch, at most once a minute.
    pub checkpoint_every: Option<u64>,
    /// So much longer than the run that is resumed; `None`: as long as `training` says.
    pub more: Option<Length>,
    /// Keep the optimizer's state of a complete run, which it needs to be continued: as large as the trained weights, for Adam twice.
    pub keep_optimizer: bool,
    /// Note the contents of the images when a run begins, however many they are, and compare them when it is resumed.
    pub verify_data: bool,
    /// The model that the bundle was just made of, where the whole of it is one run: its configuration begins with the model then.
    pub model: Option<PathBuf>,
    /// What the run is called, for its configuration.
    pub name: Option<String>,
    /// Images that are in memory or listed already, in the place of those that `training` names.
    pub images: GivenImages,
    /// What decides the result.
    pub training: Training,
}

impl FinetuneOptions {
    /// Fine-tunes `bundle` on the image folder `data` and writes to `output`.
    pub fn new(bundle: impl Into<PathBuf>, data: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        FinetuneOptions {
            bundle: bundle.into(),
            output: output.into(),
            existing: Existing::Refuse,
            engine: EngineOptions::default(),
            workers: 0,
            cache: CacheOptions::default(),
            checkpoint_every: None,
            more: None,
            keep_optimizer: true,
            verify_data: false,
            model: None,
            name: None,
            images: GivenImages::default(),
            training: Training::new(data),
        }
    }
}

/// Images that the training does not see.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// None are held out, but for those that the training folder has a part of its own for.
    #[default]
    None,
    /// An image folder with (some of) the same classes.
    Folder(#[serde(with = "crate::storage::path_text")] PathBuf),
    /// This fraction of each class's training images.
    Split(f64),
}

/// Everything that decides the result of a run, besides bundle and engine. A run that is resumed must have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    /// The image folder.
    #[serde(with = "crate::storage::path_text")]
    pub data: PathBuf,
    /// Class names by label instead of the bundle's.
    pub classes: Vec<String>,
    /// What becomes of images that cannot be read.
    pub bad_images: BadImages,
    /// Images held out.
    pub validation: Validation,
    /// An image folder with (some of) the same classes, for the evaluation of the finished network and nothing else.
    #[serde(with = "crate::storage::path_text")]
    pub test: Option<PathBuf>,
    /// How long to train.
    pub length: Length,
    /// Where a run that was continued was asked to have another length before, in order.
    pub earlier: Vec<Stretch>,
    /// So many of `length`'s epochs or steps, the first ones, train the new head alone.
    pub head_first: u64,
    /// Images per step where the bundle leaves it open.
    pub batch: Option<usize>,
    /// The images of an epoch that fill no batch are left out of it.
    pub drop_last: bool,
    /// Values for the step's scalar inputs instead of the bundle's defaults.
    #[serde(with = "settings_text")]
    pub scalars: BTreeMap<Setting, f64>,
    /// The learning rate is found by a range test before the first step; where it is found, it is in `scalars` and this is false.
    pub find_lr: bool,
    /// Which images an epoch has.
    pub sampling: Sampling,
    /// What images of each class weigh in the loss.
    pub class_weights: ClassWeights,
    /// The learning rate over time.
    #[serde(with = "schedule_text")]
    pub schedule: Schedule,
    /// So many steps, the first ones in which everything is trained, have a rate that grows to the full one. `None`: by the number of steps.
    pub warmup: Option<u64>,
    /// What the best validation is, and whether it ends the run before its time.
    pub early_stopping: EarlyStopping,
    /// Random changes to images.
    #[serde(with = "augment_text")]
    pub augment: Augment,
    /// Decides the order of the images, the augmentation and the split.
    pub seed: u64,
}

/// A schedule is stored as people write it, with all of its numbers: what is usual may be otherwise in a later version.
mod schedule_text {
    use super::{FromStr, Schedule};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(schedule: &Schedule, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{schedule:#}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Schedule, D::Error> {
        let text = String::deserialize(from)?;
        Schedule::from_str(&text).map_err(serde::de::Error::custom)
    }
}

/// An augmentation is stored as people write it, with all of its parameters.
mod augment_text {
    use super::{Augment, FromStr};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(augment: &Augment, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{augment:#}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Augment, D::Error> {
        let text = String::deserialize(from)?;
        Augment::from_str(&text).map_err(serde::de::Error::custom)
    }
}

/// Settings are stored as people write them: `lr`, `alpha:layer4.*`.
mod settings_text {
    use super::{BTreeMap, Setting};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(settings: &BTreeMap<Setting, f64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(settings.iter().map(|(setting, value)| (setting.to_string(), value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Setting, f64>, D::Error> {
        let texts = BTreeMap::<String, f64>::deserialize(from)?;
        texts.into_iter().map(|(text, value)| Ok((text.parse().map_err(serde::de::Error::custom)?, value))).collect()
    }
}

impl Default for Training {
    /// Without images, which have to be named.
    fn default() -> Self {
        Training::new("")
    }
}

impl Training {
    /// On `data` as long as its number of images asks for, with the bundle's scalars, the paper's schedule and no augmentation.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Training {
            data: data.into(),
            classes: vec![],
            bad_images: BadImages::Refuse,
            validation: Validation::None,
            test: None,
            length: Length::Auto,
            earlier: vec![],
            head_first: 0,
            batch: None,
            drop_last: false,
            scalars: BTreeMap::new(),
            find_lr: false,
            sampling: Sampling::Shuffle,
            class_weights: ClassWeights::None,
            schedule: Schedule::default(),
            warmup: None,
            early_stopping: EarlyStopping::default(),
            augment: Augment::NONE,
            seed: 0,
        }
    }

    /// The value of each of the manifest's scalars. Fails for a value that makes no sense and a scalar that the bundle lacks.
    pub fn scalars(&self, manifest: &Manifest) -> Result<Scalars> {
        for (setting, &value) in &self.scalars {
            let (field, shown) = match setting {
                Setting::LearningRate => (Field::LR, format!(" {value}")),
                Setting::Alpha => (Field::ALPHA, format!(" {value}")),
                Setting::Beta => (Field::BETA, format!(" {value}")),
                Setting::AlphaOf(pattern) => (Field::STRENGTHS, format!(" '{pattern}={value}'")),
                Setting::Regularizer(kind) => (Field::REGULARIZERS, format!(" {kind}={value}")),
            };
            if manifest.scalar(setting).is_none() {
                let why = match setting {
                    Setting::AlphaOf(_) => {
                        let known: Vec<&str> = manifest.scalars.iter().filter_map(|s| pattern_of(&s.meaning)).collect();
                        let known = if known.is_empty() { "nor for any other".into() } else { format!("only for {}", known.join(", ")) };
                        format!("the bundle has no strength of its own for this pattern, {known}. Patterns are fixed by `spgraph rewrite`")
                    }
                    Setting::Regularizer(kind) => {
                        format!("the bundle has no {kind}. Leave it away, or rewrite the model with {field} {kind}")
                    }
                    _ => format!(
                        "it has no meaning for this bundle, whose penalty is {}. Leave it away, or rewrite the model with another {}",
                        manifest.penalty.kind,
                        Field::PENALTY
                    ),
                };
                return Err(Error::option(field, format!("{shown}: {why}")));
            }
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::option(field, format!("{shown} must be 0 or a positive number")));
            }
        }
        if matches!(self.length, Length::Epochs(0) | Length::Steps(0)) {
            return Err(Error::usage(format!("0 steps of training make no sense: give {} of at least 1", Field::LENGTH)));
        }
        let mut scalars = Scalars::defaults(manifest);
        self.scalars.iter().try_for_each(|(setting, &value)| scalars.set(setting, value))?;
        Ok(scalars)
    }

    /// The number of steps that train the head alone, with so many in an epoch.
    pub fn head_steps(&self, per_epoch: usize) -> u64 {
        match self.length {
            Length::Auto | Length::Epochs(_) => Length::Epochs(self.head_first).steps(per_epoch),
            Length::Steps(_) => self.head_first,
        }
    }

    /// Fails where a first phase for the head was asked for and cannot be had.
    pub fn check_head_first(&self, manifest: &Manifest) -> Result<()> {
        let (all, unit) = match self.length {
            Length::Auto => (u64::MAX, "epochs"),
            Length::Epochs(n) => (n, "epochs"),
            Length::Steps(n) => (n, "steps"),
        };
        if self.head_first > all {
            let why = format!(" {} is more than the {all} {unit} of the whole training", self.head_first);
            return Err(Error::option(Field::HEAD_FIRST, why));
        }
        if self.head_first > 0 && !manifest.state.iter().any(|s| s.role == Role::New) {
            let why = " needs a head that is new, and this bundle keeps the model's own: rewrite the model with";
            return Err(Error::option(Field::HEAD_FIRST, format!("{why} {}", Field::CLASSES)));
        }
        Ok(())
    }

    /// The factor on the learning rate in step `step` (from 0) of `total`, with so many steps in an epoch. The steps that train the head alone have
    /// the full rate; the schedule begins behind them.
    pub fn lr_factor(&self, step: u64, total: u64, per_epoch: usize) -> f64 {
        let head = self.head_steps(per_epoch);
        let steps = total.saturating_sub(head);
        let warmup = self.warmup.unwrap_or_else(|| Schedule::warmup(steps)).min(steps);
        match step.checked_sub(head) {
            Some(step) => self.schedule.factor(step, Span { steps, warmup, per_epoch: per_epoch as u64 }),
            None => 1.0,
        }
    }

    /// Images per step: the bundle's number, or where it is open the one asked for, or 32.
    pub fn batch(&self, manifest: &Manifest) -> Result<usize> {
        images_per_step(manifest, self.batch, 32)
    }

    /// The length in steps that the learning rate of step `step` (from 0) follows, with so many in an epoch.
    pub fn total_at(&self, step: u64, per_epoch: usize) -> u64 {
        let stretch = self.earlier.iter().find(|stretch| step < stretch.until);
        stretch.map_or(self.length, |stretch| stretch.length).steps(per_epoch)
    }

    /// Whether a run of these options came to its end after so many steps before it was continued.
    pub(super) fn ended_at(&self, step: u64, per_epoch: usize) -> bool {
        self.earlier.iter().any(|stretch| stretch.until == step && stretch.length.steps(per_epoch) == step)
    }

    /// What differs in `now`, but the length.
    pub(super) fn changes(&self, now: &Training) -> Result<Vec<Change>> {
        changes::between(self, &Training { length: self.length, earlier: self.earlier.clone(), ..now.clone() })
    }
}

/// Images per step: the bundle's own number, or where it takes any the one asked for, or `otherwise`.
pub(super) fn images_per_step(manifest: &Manifest, asked: Option<usize>, otherwise: usize) -> Result<usize> {
    let fixed = manifest.data.input.shape.first().and_then(|&n| usize::try_from(n).ok());
    let field = Field::BATCH;
    match (fixed, asked) {
        (_, Some(0)) => Err(Error::option(field, " 0 makes no sense: give the number of images per step")),
        (Some(n), Some(asked)) if n != asked => Err(Error::option(
            field,
            format!(
                " {asked} does not fit the bundle, which was rewritten for batches of {n} images per step. Leave it out, or rewrite the model with {field} {asked}"
            ),
        )),
        (fixed, asked) => Ok(fixed.or(asked).unwrap_or(otherwise)),
    }
}

/// Sizes of an image: those of the input after the batch. Fails where the bundle leaves one open.
pub(super) fn image_shape(manifest: &Manifest) -> Result<Vec<usize>> {
    let input = &manifest.data.input;
    let open = |_| Error::model(format!("the bundle does not say how large its input `{}` is", input.name));
    input.shape.iter().skip(1).map(|&d| usize::try_from(d).map_err(open)).collect()
}

/// The pattern that a strength is for.
fn pattern_of(setting: &Setting) -> Option<&str> {
    match setting {
        Setting::AlphaOf(pattern) => Some(pattern),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_counts_from_the_second_phase() {
        let training = Training { length: Length::Steps(13), head_first: 4, warmup: Some(0), ..Training::new("/data") };
        let rates: Vec<f64> = (0..13).map(|s| training.lr_factor(s, 13, 5)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
        let training = Training { warmup: Some(2), ..training };
        assert_eq!((3..7).map(|s| training.lr_factor(s, 13, 5)).collect::<Vec<_>>(), [1.0, 0.5, 1.0, 1.0]);
        assert_eq!(Training { length: Length::Epochs(9), ..training }.head_steps(5), 20);
    }

    #[test]
    fn options_survive_json_and_name_their_differences() {
        let mut training = Training::new("/data");
        training.augment = "flip-crop:4+color:0.2".parse().unwrap();
        training.scalars.insert(Setting::LearningRate, 0.02);
        let text = serde_json::to_string(&training).unwrap();
        let back: Training = serde_json::from_str(&text).unwrap();
        assert_eq!(back, training);
        let other = Training { seed: 3, ..training.clone() };
        let changes: Vec<String> = training.changes(&other).unwrap().iter().map(Change::to_string).collect();
        assert_eq!(changes, ["option `seed`: 0 before, 3 now"]);
    }
}
