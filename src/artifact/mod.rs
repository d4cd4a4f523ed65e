//! Artifacts: what is made of a training on disk. One file each; the table lists them.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod batch_check;
mod bundle;
mod files;
mod flatbuffer;
mod init;
mod models;
mod native;
mod noise;
mod ort_checkpoint;
mod ort_optimizer;
mod ort_training;
mod single;
mod training_info;

pub(crate) use batch_check::check_scores;
pub use bundle::BundleArtifact;
pub use models::Models;
pub use native::NativeArtifact;
pub(crate) use noise::noise;
pub use ort_checkpoint::{Moments, OrtCheckpoint};
pub use ort_optimizer::{Trained, state_of};
pub use ort_training::OrtTrainingArtifact;
pub use single::SingleArtifact;
pub use training_info::TrainingInfoArtifact;

use crate::bundle::manifest::Manifest;
use crate::bundle::{Bundle, Options, Rewriting};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::nearest::hint;
use crate::rewrite::{Product, rewrite};
use crate::storage::files::OutputFile;
use crate::storage::folders::OutputDir;
use crate::storage::inputs::Inputs;
use crate::storage::temporaries::Scratch;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The options with what the network decided, for the record.
pub type Decided<'a> = &'a dyn Fn(&Manifest) -> Option<Options>;

/// A kind of output: a folder, or where all of it is one model, a file.
pub trait Artifact: Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// The file by which such a folder is recognised, so that nothing else is ever replaced: one that spgraph wrote, and that says so.
    fn marker(&self) -> &'static str;

    /// The file that is all of it; `None` where it has several.
    fn file(&self) -> Option<&'static str> {
        None
    }

    /// What who trains with it has to know, as sentences.
    fn notes(&self, _: &Manifest) -> Vec<String> {
        vec![]
    }

    /// Writes it into the empty folder `dir`; gives the names of its files.
    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>>;
}

/// Every artifact.
pub static ARTIFACTS: &[&dyn Artifact] = &[
    &BundleArtifact,
    &SingleArtifact,
    &TrainingInfoArtifact,
    &OrtTrainingArtifact,
    &NativeArtifact { half: false },
    &NativeArtifact { half: true },
];

/// The artifact of that name.
pub fn find(name: &str) -> Result<&'static dyn Artifact> {
    let names: Vec<&str> = ARTIFACTS.iter().map(|a| a.name()).collect();
    let found = ARTIFACTS.iter().find(|a| a.name() == name).copied();
    found.ok_or_else(|| Error::usage(format!("there is no artifact `{name}`; choose one of {}{}", names.join(", "), hint(name, &names))))
}

/// An artifact that was made.
#[derive(Debug)]
pub struct Made {
    /// What it was made of.
    pub product: Product,
    /// Its folder, or its file.
    pub path: PathBuf,
    /// The files written, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

/// Rewrites the model at `model` and makes the artifact: in the new folder `output`, or where all of it is one model and `output` ends with `.onnx`, as that
/// file. What is there is replaced only with `force`.
///
/// What import had to assume of the model is checked before anything is written, by running it.
pub fn make(artifact: &dyn Artifact, model: &Path, output: &Path, options: &Options, force: bool) -> Result<Made> {
    make_decided(artifact, model, output, (options, &|_| None), force)
}

/// As [`make`]. The manifest records what `decided` makes of the options once the network is known; that must lead to the same product.
fn make_decided(
    artifact: &dyn Artifact,
    model: &Path,
    output: &Path,
    (options, decided): (&Options, Decided),
    force: bool,
) -> Result<Made> {
    let reads = Inputs::new(std::iter::once(model).chain(options.files()));
    let place = Place::take(artifact, output, &reads, force)?;
    let mut product = rewrite(model, options)?;
    if let Some(options) = decided(&product.manifest) {
        product.manifest.rewriting = Some(Rewriting::of(&options)?);
    }
    // Where the model's weights lie is only known now.
    place.check(output, &Inputs::new(product.source.external.paths()))?;
    batch_check::check(&product)?;
    let models = Models::of(&product)?;
    let (path, files) = place.fill(artifact, &models)?;
    Ok(Made { files, product, path })
}

/// Makes the artifact of a bundle, with `state` in the manifest's order, as [`make`] does of a model. `reads` is where both come from. Gives its path
/// and its files with their sizes.
pub fn convert(
    artifact: &dyn Artifact,
    bundle: &Bundle,
    state: Vec<Tensor>,
    reads: &Inputs,
    output: &Path,
    force: bool,
) -> Result<(PathBuf, Vec<(String, u64)>)> {
    let place = Place::take(artifact, output, reads, force)?;
    let models = Models::open(bundle, state)?;
    if artifact.name() == BundleArtifact.name() && models.manifest.rewriting.is_none() && !models.starts.is_empty() {
        return Err(Error::usage(
            "the starting point of this bundle is an input, whose first value is where the bundle starts: a bundle that starts elsewhere would lose it. \
             Take another artifact",
        ));
    }
    place.fill(artifact, &models)
}

/// Where an artifact goes.
enum Place {
    Folder(OutputDir),
    /// With the folder in which it is made.
    File(Box<OutputFile>, Scratch),
}

impl Place {
    fn take(artifact: &dyn Artifact, output: &Path, reads: &Inputs, force: bool) -> Result<Place> {
        let file = artifact.file().is_some() && output.extension().is_some_and(|e| e == "onnx") && !output.is_dir();
        if file {
            reads.check_file(output)?;
            return Ok(Place::File(Box::new(OutputFile::create(output, force)?), Scratch::new()?));
        }
        reads.check_folder(output)?;
        Ok(Place::Folder(OutputDir::create_marked(output, force, artifact.marker())?))
    }

    /// Fails where it would replace one of these.
    fn check(&self, output: &Path, reads: &Inputs) -> Result<()> {
        match self {
            Place::Folder(_) => reads.check_folder(output),
            Place::File(..) => reads.check_file(output),
        }
    }

    fn fill(self, artifact: &dyn Artifact, models: &Models) -> Result<(PathBuf, Vec<(String, u64)>)> {
        let size = |path: &Path| std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
        match self {
            Place::Folder(out) => {
                let names = artifact.write(models, out.path())?;
                let path = out.commit()?;
                let files = names.into_iter().map(|name| {
                    let size = size(&path.join(&name));
                    (name, size)
                });
                Ok((path.clone(), files.collect()))
            }
            Place::File(mut out, scratch) => {
                let path = out.path().to_path_buf();
                let [name] = &artifact.write(models, scratch.path())?[..] else {
                    return Err(Error::usage(format!(
                        "{} cannot be one file, since its weights are in a file of their own: give a folder, a name without `.onnx`",
                        path.display()
                    )));
                };
                let failed = |e| Error::io("cannot write", &path)(e);
                let mut from = File::open(scratch.path().join(name)).map_err(failed)?;
                std::io::copy(&mut from, &mut out).map_err(failed)?;
                out.commit()?;
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let size = size(&path);
                Ok((path, vec![(name, size)]))
            }
        }
    }
}

/// Checks what import had to assume of the model, by running it, as [`make`] does before it writes anything.
pub fn check(product: &Product) -> Result<()> {
    batch_check::check(product)
}

/// [`make`] for the bundle.
pub fn make_bundle(model: &Path, output: &Path, options: &Options, force: bool) -> Result<Made> {
    make(&BundleArtifact, model, output, options, force)
}

/// [`make_bundle`], with a record of what `decided` makes of the options once the network is known; that must lead to the same product.
pub fn make_decided_bundle(model: &Path, output: &Path, options: &Options, decided: Decided) -> Result<Made> {
    make_decided(&BundleArtifact, model, output, (options, decided), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Options that the artifact can be made with.
    fn options_of(_: &dyn Artifact) -> Options {
        Options { split: true, ..Options::default() }
    }

    #[test]
    fn every_artifact_names_its_files_and_is_known_by_its_marker() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.onnx");
        let work = tempfile::tempdir().unwrap();
        for artifact in ARTIFACTS {
            let options = options_of(*artifact);
            let path = work.path().join(artifact.name());
            // The second time it replaces what it made.
            for force in [false, true] {
                let made = make(*artifact, &model, &path, &options, force).unwrap();
                let named: HashSet<String> = made.files.iter().map(|f| f.0.clone()).collect();
                let there = std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
                assert_eq!(named, there, "{}", artifact.name());
                assert!(named.contains(artifact.marker()), "{}", artifact.name());
            }
            assert!(make(*artifact, &model, &path, &options, false).is_err(), "{} is replaced unasked", artifact.name());
        }
        let markers: HashSet<&str> = ARTIFACTS.iter().map(|a| a.marker()).collect();
        assert_eq!(markers.len(), ARTIFACTS.len(), "two artifacts are recognised by one file");
    }

    #[test]
    fn a_model_that_is_all_of_it_can_be_a_file_and_a_bundle_is_no_place_for_it() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.onnx");
        let work = tempfile::tempdir().unwrap();
        let bundle = make_bundle(&model, &work.path().join("bundle"), &Options::default(), false).unwrap().path;
        for artifact in ARTIFACTS.iter().filter(|a| a.file().is_some()) {
            let path = work.path().join(format!("{}.onnx", artifact.name()));
            for force in [false, true] {
                let made = make(*artifact, &model, &path, &options_of(*artifact), force).unwrap();
                assert_eq!((made.files.len(), made.path.is_file()), (1, true), "{}", artifact.name());
            }
            assert!(make(*artifact, &model, &path, &options_of(*artifact), false).is_err(), "{} is replaced unasked", artifact.name());
            let refused = make(*artifact, &model, &bundle, &options_of(*artifact), true).unwrap_err().to_string();
            assert!(refused.contains("bundle"), "{refused}");
        }
        Bundle::open(&bundle).unwrap();
    }
}
