//! The run folder: what was asked, where the bundle is, and what came out.

use super::distance::Distance;
use super::measures::{Headline, defined};
use super::options::Training;
use super::watch::Rise;
use crate::bundle::Bundle;
use crate::bundle::manifest::Manifest;
use crate::data::ImageSet;
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::files::write_sealed_json;
use crate::storage::pending_outputs::final_name;
use crate::storage::run_folder::{BUNDLE, RECORD, RunFolder};
use crate::storage::sha256::Hasher;
use crate::storage::{presence, regular, seal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Or killed.
    Running,
    /// By its user.
    Interrupted,
    /// By an error.
    Failed,
    /// To its end.
    Complete,
}

/// Where the bundle is, and which one it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleReference {
    /// As seen from the run folder: in it. Older runs only name a bundle elsewhere.
    #[serde(default, with = "crate::storage::path_text")]
    pub relative: Option<PathBuf>,
    /// The full path of the bundle that the run began with.
    #[serde(with = "crate::storage::path_text")]
    pub absolute: PathBuf,
    /// SHA-256 over `manifest.json` and `init.onnx`.
    pub sha256: String,
}

/// The best validation so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The step after which it was.
    pub step: u64,
    /// Share of images told right; of several classes all of them. No number where targets are.
    #[serde(default = "defined::none", skip_serializing_if = "defined::is_none")]
    pub accuracy: f64,
    /// What comes first where that is not the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Headline>,
    /// The mean of the network's own loss.
    pub loss: f64,
}

impl Best {
    /// What comes first.
    pub fn headline(&self) -> Headline {
        self.measure.unwrap_or(Headline::Accuracy(self.accuracy))
    }
}

/// The training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Those that it is trained on.
    pub training: usize,
    /// Those that are held out.
    pub validation: usize,
    /// Images that nothing is chosen by.
    #[serde(default, skip_serializing_if = "is_none")]
    pub test: usize,
    /// Images that could not be read and were left out.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skipped: usize,
    /// SHA-256 over the training images' labels and relative paths.
    pub sha256: String,
    /// BLAKE3 over all images' sizes and times of change; none in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamps: Option<String>,
    /// BLAKE3 over all images' contents, where they were read for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    /// BLAKE3 over the test images' targets and contents, where they were read for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_contents: Option<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Steps done.
    pub steps: u64,
    /// Those of them that left the state as it was, since a gradient of the scaled loss was not finite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Means over the last epoch, or over all steps if there were fewer.
    pub loss: f64,
    /// The mean data loss.
    pub data_loss: f64,
    /// The mean penalty.
    pub penalty: f64,
    /// Share of training images told right in the last epoch. No number where targets are.
    #[serde(default = "defined::none", skip_serializing_if = "defined::is_none")]
    pub accuracy: f64,
    /// The best validation.
    pub best: Option<Best>,
    /// Whether validations that brought nothing better ended the run before its last step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended_early: bool,
    /// Where the loss rose far above its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<Rise>,
    /// Time of the steps, without that of a validation.
    pub seconds: f64,
    /// Over the time of the steps.
    pub images_per_second: f64,
    /// Share of that time spent waiting for images.
    pub wait: f64,
    /// How far the parameters went.
    pub distance: Distance,
}

impl Results {
    /// Behind what is told of the best state, for people: of which one it is, where that is not the last.
    pub fn of_best(&self) -> String {
        let earlier = self.best.as_ref().filter(|best| best.step != self.steps);
        earlier.map_or(String::new(), |best| format!(", after step {}", best.step))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the record.
    pub format: u32,
    /// Version of spgraph that trained.
    pub spgraph: String,
    /// A random number, for its checkpoints; none in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far the run came.
    pub status: Status,
    /// What was trained.
    pub bundle: BundleReference,
    /// For people.
    pub engine: String,
    /// What a resumed run uses again.
    #[serde(default)]
    pub engine_options: EngineOptions,
    /// What was asked.
    pub training: Training,
    /// What it was trained on.
    pub images: Images,
    /// What came out, of a complete run.
    pub results: Option<Results>,
    /// The hashes of a complete run's weights, by file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// `notes.json`: what was assumed, noticed or left out before the first step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Notes {
    /// For people.
    pub notes: Vec<String>,
}

/// What [`crate::train::finetune`] gives back.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// The run's folder.
    pub path: PathBuf,
    /// What came out.
    pub results: Results,
    /// The images that nothing was chosen by.
    pub(super) test: Option<ImageSet>,
}

impl RunRecord {
    pub(super) fn new(bundle: BundleReference, engine: String, engine_options: EngineOptions, training: Training, images: Images) -> Self {
        let spgraph = env!("CARGO_PKG_VERSION").into();
        let id = Some(format!("{:032x}", rand::random::<u128>()));
        let status = Status::Running;
        RunRecord {
            format: FORMAT,
            spgraph,
            id,
            status,
            bundle,
            engine,
            engine_options,
            training,
            images,
            results: None,
            files: BTreeMap::new(),
        }
    }

    /// Reads `run.json` of a run folder.
    pub fn read(dir: &Path) -> Result<RunRecord> {
        let path = RunFolder::new(dir).record();
        if !presence::is_file(&path)? {
            let why = if presence::at(dir)?.is_some() { format!("is no run: it holds no {RECORD}") } else { "does not exist".into() };
            return Err(Error::model(format!("{} {why}. Give a folder that `spgraph finetune` wrote", dir.display())));
        }
        let damaged =
            |why: String| Error::model(format!("{} is damaged: {why}. Start the run anew with {}", path.display(), Field::REPLACE));
        let opened = seal::read_json(&path, "cannot read", damaged)?;
        let record: RunRecord = serde_json::from_str(&opened.text).map_err(|e| damaged(e.to_string()))?;
        if record.format != FORMAT {
            return Err(Error::model(format!(
                "{} has format {}, this spgraph reads format {FORMAT}. Use the spgraph that wrote it",
                path.display(),
                record.format
            )));
        }
        Ok(record)
    }

    /// Whether it was trained elsewhere, on images that nobody here knows.
    pub fn is_imported(&self) -> bool {
        self.images.training == 0 && self.images.sha256.is_empty()
    }

    pub(super) fn write(&self, folder: &RunFolder) -> Result<()> {
        write_sealed_json(&folder.record(), true, self)
    }
}

/// A run on disk, with its bundle.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its files.
    pub folder: RunFolder,
    /// What was asked, and what came out.
    pub record: RunRecord,
    /// The bundle with the run's manifest, which knows the classes.
    pub bundle: Bundle,
}

impl Run {
    /// Opens a run folder and finds its bundle. Fails where the bundle was moved or is another one.
    pub fn open(dir: &Path) -> Result<Run> {
        let (folder, record) = (RunFolder::new(dir), RunRecord::read(dir)?);
        let mut bundle = Bundle::open(&locate(dir, &record.bundle)?)?;
        if fingerprint(&bundle)? != record.bundle.sha256 {
            return Err(Error::model(format!(
                "the bundle {} is not the one that the run {} was made with: it was rewritten since. Rewrite the model with the old options, or train again",
                bundle.dir.display(),
                dir.display()
            )));
        }
        bundle.manifest = Manifest::read(&folder.manifest())?;
        Ok(Run { folder, record, bundle })
    }

    /// The bundle at `path`, or that of the run there.
    pub fn bundle_at(path: &Path) -> Result<Bundle> {
        if RunFolder::new(path).is_run() { Ok(Run::open(path)?.bundle) } else { Bundle::open(path) }
    }
}

fn locate(run: &Path, reference: &BundleReference) -> Result<PathBuf> {
    let named = reference.relative.iter().map(|r| run.join(r)).chain([reference.absolute.clone()]);
    let places: Vec<PathBuf> = [run.join(BUNDLE)].into_iter().chain(named).collect();
    places.iter().find(|p| p.join("manifest.json").is_file()).cloned().ok_or_else(|| {
        Error::model(format!(
            "the run {} needs its bundle, which is not where it was: {}. Bring it back, or put a copy of it into the run as {}",
            run.display(),
            reference.absolute.display(),
            run.join(BUNDLE).display()
        ))
    })
}

impl BundleReference {
    /// For a bundle that the run's folder gets.
    pub(super) fn to(bundle: &Bundle) -> Result<BundleReference> {
        // A bundle that was made for this run alone has no other name than the one in it.
        let named = final_name(&bundle.dir);
        let absolute = match named == bundle.dir {
            true => named.canonicalize(),
            false => std::path::absolute(&named),
        };
        let absolute = absolute.map_err(Error::io("cannot find the bundle", &bundle.dir))?;
        Ok(BundleReference { relative: Some(BUNDLE.into()), absolute, sha256: fingerprint(bundle)? })
    }
}

/// SHA-256 over the files that make a bundle what it is: what it computes, and from where it starts. A manifest with hashes stands for all of them.
pub(super) fn fingerprint(bundle: &Bundle) -> Result<String> {
    let mut hash = Hasher::default();
    let manifest = bundle.dir.join(Bundle::MANIFEST);
    hash.add(regular::read(&manifest).map_err(Error::io("cannot read", &manifest))?);
    if bundle.manifest.files.is_empty() {
        hash.add(regular::read(&bundle.init()).map_err(Error::io("cannot read", bundle.init()))?);
    }
    Ok(hash.text())
}
