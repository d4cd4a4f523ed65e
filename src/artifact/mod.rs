//! Artifacts: what is made of a rewriting's product on disk. One file each; the table lists them.

mod batch_check;
mod bundle;
mod noise;

pub use bundle::BundleArtifact;
pub(crate) use noise::noise;

use crate::bundle::Options;
use crate::error::Result;
use crate::rewrite::{Product, rewrite};
use crate::storage::folders::OutputDir;
use crate::storage::inputs::Inputs;
use std::path::{Path, PathBuf};

/// A kind of output folder.
pub trait Artifact: Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// The file by which such a folder is recognised, so that nothing else is ever replaced.
    fn marker(&self) -> &'static str;

    /// Writes it into the empty folder `dir`; gives the names of its files.
    fn write(&self, product: &Product, dir: &Path) -> Result<Vec<String>>;
}

/// Every artifact.
pub static ARTIFACTS: &[&dyn Artifact] = &[&BundleArtifact];

/// An artifact that was made.
#[derive(Debug)]
pub struct Made {
    /// What it was made of.
    pub product: Product,
    /// Its folder.
    pub path: PathBuf,
    /// The files written, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

/// Rewrites the model at `model` and makes the artifact in the new folder `output`; one that is there is replaced only with `force`.
///
/// What import had to assume of the model is checked before anything is written, by running it.
pub fn make(artifact: &dyn Artifact, model: &Path, output: &Path, options: &Options, force: bool) -> Result<Made> {
    Inputs::new(std::iter::once(model).chain(options.files())).check_folder(output)?;
    let out = OutputDir::create_marked(output, force, artifact.marker())?;
    let product = rewrite(model, options)?;
    // Where the model's weights lie is only known now.
    Inputs::new(product.source.external.paths()).check_folder(output)?;
    batch_check::check(&product)?;
    let names = artifact.write(&product, out.path())?;
    let path = out.commit()?;
    let files = names.into_iter().map(|name| {
        let size = std::fs::metadata(path.join(&name)).map(|m| m.len()).unwrap_or(0);
        (name, size)
    });
    Ok(Made { files: files.collect(), product, path })
}

/// Checks what import had to assume of the model, by running it, as [`make`] does before it writes anything.
pub fn check(product: &Product) -> Result<()> {
    batch_check::check(product)
}

/// [`make`] for the bundle.
pub fn make_bundle(model: &Path, output: &Path, options: &Options, force: bool) -> Result<Made> {
    make(&BundleArtifact, model, output, options, force)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_artifact_names_its_files_and_is_known_by_its_marker() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.onnx");
        let work = tempfile::tempdir().unwrap();
        let options = Options { split: true, ..Options::default() };
        for artifact in ARTIFACTS {
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
}
