//! Everything that is asked of a fine-tuning, from a model or a bundle on, as one file: what the command line's flags say as well. Every run has its own, with all
//! defaults and with what was decided for the model, and runs again from it.

use super::options::{FinetuneOptions, Training, Validation};
use super::run::{RunRecord, fingerprint};
use crate::bundle::manifest::{BatchNormMode, Manifest};
use crate::bundle::{Bundle, HeadOption, Images, Options, Setting};
use crate::data::{CacheOptions, ImageSet};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::nearest;
use crate::shell::word;
use crate::storage::files::{parent, write_whole};
use crate::storage::presence;
use crate::storage::run_folder::RunFolder;
use crate::storage::sha256;
use crate::storage::toml_file;
use crate::storage::toml_text;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What does not matter for the result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Execution {
    /// Threads that load images; 0 for one per core.
    pub workers: usize,
    /// Write a checkpoint after so many steps. `None`: at the end of an epoch, at most once a minute.
    pub checkpoint_every: Option<u64>,
    /// Keep the optimizer's state of a complete run, which it needs to be continued.
    pub keep_optimizer: bool,
    /// Where decoded images are kept.
    pub cache: CacheOptions,
    /// Note the contents of the images when a run begins, and compare them when it is resumed.
    pub verify_data: bool,
}

impl Default for Execution {
    fn default() -> Self {
        Execution { workers: 0, checkpoint_every: None, keep_optimizer: true, cache: CacheOptions::default(), verify_data: false }
    }
}

/// `config.toml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// What runs are called, with a number behind where there is one of that name; `None`: as the model and the images.
    pub name: Option<String>,
    /// The pretrained model, which is rewritten as `rewriting` says.
    #[serde(with = "crate::storage::path_text")]
    pub model: Option<PathBuf>,
    /// Of the model's file, in hexadecimal; another file is refused.
    pub model_sha256: Option<String>,
    /// A bundle instead of a model.
    #[serde(with = "crate::storage::path_text")]
    pub bundle: Option<PathBuf>,
    /// Of the bundle's `manifest.json` and `init.onnx`; another bundle is refused.
    pub bundle_sha256: Option<String>,
    /// How the model becomes a bundle. A head that is not mentioned is a new one, for the classes of the images.
    #[serde(skip_serializing_if = "is_usual")]
    pub rewriting: Options,
    /// How the bundle is trained.
    pub training: Training,
    /// The runtime.
    pub engine: EngineOptions,
    /// What does not matter for the result.
    pub execution: Execution,
    /// Whether somebody decided what becomes of the head.
    #[serde(skip)]
    pub head_given: bool,
}

/// Of a bundle nothing is said here.
fn is_usual(rewriting: &Options) -> bool {
    *rewriting == Options::default()
}

impl Configuration {
    /// Reads a configuration. Paths in it are as seen from its folder. Fails for what is no option or of the wrong type.
    pub fn read(path: &Path) -> Result<Configuration> {
        let mut found: Configuration = toml_file::read(path)?;
        found.head_given = toml_file::has(path, &["rewriting", "head"])?;
        let folder = parent(path).to_path_buf();
        let folder = std::path::absolute(&folder).map_err(Error::io("cannot find", &folder))?;
        found.each_path(|own| *own = folder.join(&own));
        // The configuration of a run, whose bundle it has itself.
        let kept = RunFolder::new(folder).bundle();
        let missing = |bundle: &PathBuf| !bundle.join(Bundle::MANIFEST).is_file() && kept.join(Bundle::MANIFEST).is_file();
        if found.bundle.as_ref().is_some_and(missing) {
            found.bundle = Some(kept);
        }
        Ok(found)
    }

    /// Of the run in `dir`, for one that goes on: as it was asked for, its length now.
    pub fn of_run(dir: &Path) -> Result<Configuration> {
        let record = RunRecord::read(dir)?;
        let path = RunFolder::new(dir).configuration();
        // Older runs have none.
        let found = if path.is_file() { Configuration::read(&path)? } else { Configuration::default() };
        // Contents are compared when that is asked for.
        let execution = Execution { verify_data: false, ..found.execution };
        Ok(Configuration { training: record.training, engine: record.engine_options, execution, ..found })
    }

    /// Takes the model or bundle at `path` instead of the one that is named.
    pub fn set_subject(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        if RunFolder::new(path).is_run() {
            return Err(Error::usage(format!(
                "{shown} is a run: `spgraph finetune {} {} {}` goes on with it, and {} is its bundle, to train anew",
                Field::RESUME,
                Field::OUTPUT,
                word(path),
                RunFolder::new(path).bundle().display()
            )));
        }
        let Some(found) = presence::at(path)? else {
            let near = nearest::beside(path);
            return Err(Error::model(format!(
                "{shown} does not exist; give an ONNX model, or a bundle that `spgraph rewrite` wrote{near}"
            )));
        };
        match found.is_dir() {
            true => (self.bundle, self.model) = (Some(path.to_path_buf()), None),
            false => (self.model, self.bundle) = (Some(path.to_path_buf()), None),
        }
        Ok(())
    }

    /// The model, where that is what is trained. Fails where it is not the file that it was.
    pub fn checked_model(&self) -> Result<Option<&Path>> {
        let Some(model) = self.model.as_deref() else { return Ok(None) };
        if let Some(bundle) = &self.bundle {
            let (model, bundle) = (model.display(), bundle.display());
            return Err(Error::usage(format!(
                "the configuration names a model, {model}, and a bundle, {bundle}. Leave out what is not to be trained"
            )));
        }
        let (shown, asked) = (model.display(), self.model_sha256.as_deref());
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
        if !presence::is_file(model)? {
            let which = asked.map_or(String::new(), |hash| format!(" (SHA-256 {}…)", short(hash)));
            return Err(Error::model(format!(
                "the model {shown}{which}, which the configuration names, is not there. Where is it? Give its path as the first argument, before the configuration"
            )));
        }
        if let Some(asked) = asked {
            let found = sha256::of_file(model)?;
            if found != asked {
                return Err(Error::model(format!(
                    "{shown} is not the model that the configuration was made for: its SHA-256 is {}…, not {}…. Give the path of that model, or take \
                     `model_sha256` out of the configuration to train this one",
                    short(&found),
                    short(asked)
                )));
            }
        }
        Ok(Some(model))
    }

    /// The bundle, where that is what is trained. Fails where it is not the one that it was.
    pub fn checked_bundle(&self) -> Result<Option<&Path>> {
        let Some(dir) = self.bundle.as_deref() else { return Ok(None) };
        if let Some(asked) = &self.bundle_sha256
            && fingerprint(&Bundle::open(dir)?)? != *asked
        {
            return Err(Error::model(format!(
                "{} is not the bundle that the configuration was made for. Give the path of that bundle, or take `bundle_sha256` out of the configuration to \
                 train this one",
                dir.display()
            )));
        }
        if self.rewriting != Options::default() {
            let changes = super::changes::between(&Options::default(), &self.rewriting)?;
            let names: Vec<String> = changes.iter().map(|change| super::changes::named(&change.path)).collect();
            return Err(Error::usage(format!(
                "{} is a bundle, whose rewriting is decided: leave {} away, or give the model",
                dir.display(),
                names.join(", ")
            )));
        }
        Ok(Some(dir))
    }

    /// Of the run that `record` describes, with everything that was decided for its bundle.
    pub(super) fn resolved(options: &FinetuneOptions, manifest: &Manifest, record: &RunRecord) -> Result<Configuration> {
        let mut found = Configuration {
            name: options.name.clone(),
            training: record.training.clone(),
            engine: record.engine_options.clone(),
            execution: Execution {
                workers: options.workers,
                checkpoint_every: options.checkpoint_every,
                keep_optimizer: options.keep_optimizer,
                cache: options.cache.clone(),
                verify_data: options.verify_data,
            },
            ..Configuration::default()
        };
        match (&options.model, &manifest.rewriting) {
            (Some(model), Some(rewriting)) => {
                found.model = Some(model.clone());
                found.model_sha256 = Some(manifest.source.sha256.clone());
                found.rewriting = decided(&rewriting.options, manifest);
            }
            _ => {
                found.bundle = Some(record.bundle.absolute.clone());
                found.bundle_sha256 = Some(record.bundle.sha256.clone());
                for scalar in &manifest.scalars {
                    found.training.scalars.entry(scalar.meaning.clone()).or_insert(scalar.default);
                }
            }
        }
        let here = std::env::current_dir().map_err(Error::io("cannot find", "."))?;
        found.each_path(|own| *own = here.join(&own));
        Ok(found)
    }

    /// Writes it into the run's folder.
    pub(super) fn write(&self, folder: &RunFolder) -> Result<()> {
        let head = "# Everything that was asked of this run, defaults included. It runs again, to the same bits on the same engine, with\n\
                    #   spgraph finetune --config config.toml\n\
                    # What is said not to be given follows from the rest; how a bundle was made is in bundle/manifest.json.\n\n";
        write_whole(&folder.configuration(), true, format!("{head}{}", toml_text::text(self)?).as_bytes())
    }

    /// Every path in it.
    fn each_path(&mut self, change: impl FnMut(&mut PathBuf)) {
        let Configuration { model, bundle, rewriting, training, engine, execution, .. } = self;
        let validation = match &mut training.validation {
            Validation::Folder(folder) => Some(folder),
            _ => None,
        };
        let data = Some(&mut training.data).filter(|data| !data.as_os_str().is_empty() && !ImageSet::is_in_memory(data));
        let cache = execution.cache.folder.as_mut();
        let own = [model.as_mut(), bundle.as_mut(), data, training.test.as_mut(), validation, engine.ort_lib.as_mut(), cache];
        own.into_iter().flatten().chain(rewriting.files_mut()).for_each(change);
    }
}

/// The options with what the manifest, of a bundle that was made with them, says of all that was left to the model or to other options.
pub(super) fn decided(options: &Options, manifest: &Manifest) -> Options {
    let scalar = |meaning| manifest.scalar(&meaning).map(|s| s.default);
    Options {
        penalty: manifest.penalty.kind.as_str().into(),
        alpha: scalar(Setting::Alpha).or(options.alpha),
        beta: scalar(Setting::Beta).or(options.beta),
        lr: scalar(Setting::LearningRate).or(options.lr),
        head: match (options.head.clone(), manifest.class_count) {
            // A single number, which is no class.
            (HeadOption::Classes(1), _) => HeadOption::Classes(1),
            (HeadOption::Classes(_), Some(count)) => HeadOption::Classes(count),
            (head, _) => head,
        },
        batch_norm: Some(manifest.batch_norm).filter(|mode| *mode != BatchNormMode::None),
        preprocessing: Some(Images::from(&manifest.preprocessing)),
        ..options.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Delta, Regularizer};

    /// What the file says of each table: its keys, and what is said not to be given.
    fn said(text: &str) -> Vec<(String, String)> {
        let (mut table, mut found) = (String::new(), vec![]);
        for line in text.lines() {
            if let Some(head) = line.strip_prefix('[') {
                table = head.trim_matches(['[', ']']).into();
                let (above, own) = table.rsplit_once('.').unwrap_or(("", &table));
                found.push((above.to_string(), own.to_string()));
            } else if let Some(names) = line.strip_prefix("# Not given: ") {
                found.extend(names.split(", ").map(|name| (table.clone(), name.to_string())));
            } else if let Some((key, _)) = line.split_once(" = ") {
                found.push((table.clone(), key.to_string()));
            }
        }
        found
    }

    /// Of what the deserializer would take each field is in the file, with its default where nothing was asked, so that no later field is left out.
    #[test]
    fn every_option_is_in_the_file() {
        let rewriting = Options {
            preprocessing: Some(Images::default()),
            regularizers: vec![Regularizer::Delta(Delta::default())],
            ..Options::default()
        };
        let text = toml_text::text(&Configuration { rewriting, ..Configuration::default() }).unwrap();
        let said = said(&text);
        let (mut open, mut seen) = (vec![vec![]], 0);
        while let Some(table) = open.pop() {
            let table: Vec<String> = table;
            // The words of an option are no fields of a table, nor are names of settings, which are whatever the bundle has.
            for field in toml_file::keys::<Configuration>(&table, "unknown field") {
                assert!(said.contains(&(table.join("."), field.clone())), "`{field}` of [{}] is not in the file:\n{text}", table.join("."));
                seen += 1;
                open.push([&table[..], &[field]].concat());
            }
        }
        assert!(seen > 80, "{seen} options");
        // What is read in another way than by its fields.
        for (table, field) in
            [("rewriting.optimizer", "clip_norm"), ("rewriting.optimizer", "momentum"), ("rewriting.regularizers", "attention")]
        {
            assert!(said.contains(&(table.into(), field.into())), "{table}.{field}:\n{text}");
        }
    }

    #[test]
    fn files_of_older_versions_are_read_as_before() {
        let old =
            "[training]\ndata = 'x'\n[rewriting]\npenalty = 'l2'\n[rewriting.optimizer]\nkind = 'sgd'\nmomentum = 0.9\nnesterov = false\n";
        let found: Configuration = toml::from_str(old).unwrap();
        let rewriting = Options { penalty: "l2".into(), ..Options::default() };
        assert_eq!(found, Configuration { rewriting, training: Training::new("x"), ..Configuration::default() });
        let again: Configuration = toml::from_str(&toml_text::text(&found).unwrap()).unwrap();
        assert_eq!(again, found);
    }
}
