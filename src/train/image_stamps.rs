//! Whether images are the ones that a run began with: at once by their sizes and times of change, on request by their contents.

use super::run::Images;
use crate::data::ImageSet;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::regular;
use rayon::prelude::*;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Up to so many bytes the contents of all images are hashed when a run begins, without being asked for.
const CHEAP: u64 = 4 << 30;

fn paths(sets: &[&ImageSet]) -> Vec<PathBuf> {
    sets.iter().flat_map(|set| (0..set.len()).filter_map(|i| set.path(i))).collect()
}

fn found(path: &PathBuf) -> Result<Metadata> {
    std::fs::metadata(path).map_err(Error::io("cannot read the image", path))
}

/// Over sizes and times of change, in the images' order; and the bytes in all.
fn stamps(paths: &[PathBuf]) -> Result<(String, u64)> {
    let found: Vec<Metadata> = paths.par_iter().map(found).collect::<Result<_>>()?;
    let mut hasher = blake3::Hasher::new();
    for file in &found {
        let at = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        hasher.update(&file.len().to_le_bytes());
        hasher.update(&at.as_nanos().to_le_bytes());
    }
    Ok((hasher.finalize().to_hex().to_string(), found.iter().map(Metadata::len).sum()))
}

/// Over the contents, in the images' order.
fn contents(paths: &[PathBuf]) -> Result<String> {
    let one = |path: &PathBuf| Ok(blake3::hash(&regular::read(path).map_err(Error::io("cannot read the image", path))?));
    let hashes: Vec<blake3::Hash> = paths.par_iter().map(one).collect::<Result<_>>()?;
    let mut hasher = blake3::Hasher::new();
    for hash in &hashes {
        hasher.update(hash.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Over targets and contents, in the images' order, whatever the files are called and wherever they lie.
fn whole(images: &ImageSet) -> Result<String> {
    let one = |i: usize| -> Result<blake3::Hash> {
        match (images.path(i), images.content_hash(i)) {
            (Some(path), _) => Ok(blake3::hash(&regular::read(&path).map_err(Error::io("cannot read the image", &path))?)),
            (None, hash) => Ok(hash.map_or_else(|| blake3::hash(&[]), blake3::Hash::from_bytes)),
        }
    };
    let hashes: Vec<blake3::Hash> = (0..images.len()).into_par_iter().map(one).collect::<Result<_>>()?;
    let mut row = vec![0.0; images.target_columns().unwrap_or(0)];
    let mut hasher = blake3::Hasher::new();
    for (i, hash) in hashes.iter().enumerate() {
        images.target_row(i, &mut row);
        row.iter().for_each(|v| {
            hasher.update(&v.to_le_bytes());
        });
        hasher.update(&(images.label(i).unwrap_or(0) as u64).to_le_bytes());
        hasher.update(hash.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Notes what the test images are, for a run that begins; as [`note`] for the others.
pub(super) fn note_test(counts: &mut Images, test: Option<&ImageSet>, verify: bool) -> Result<()> {
    let Some(test) = test else { return Ok(()) };
    if verify || stamps(&paths(&[test]))?.1 <= CHEAP {
        counts.test_contents = Some(whole(test)?);
    }
    Ok(())
}

/// Fails where test images are others than those that the run `before` in `run` began with, where that is to be compared.
pub(super) fn check_test(counts: &mut Images, before: &Images, test: Option<&ImageSet>, compare: bool, run: &Path) -> Result<()> {
    counts.test_contents = before.test_contents.clone();
    let (Some(test), true) = (test, compare) else { return Ok(()) };
    match &before.test_contents {
        Some(known) if whole(test)? == *known => Ok(()),
        Some(_) => Err(Error::data(format!(
            "the run {} cannot be resumed: the test images in {} have other contents than those that it began with. Give these their place again, or evaluate on others \
             with `spgraph eval`",
            run.display(),
            test.root().display()
        ))),
        None => Err(Error::data(format!(
            "the run {} cannot be resumed with test images at another place: it did not note their contents when it began, so they cannot be compared. Give them \
             their place again",
            run.display()
        ))),
    }
}

/// Notes what the images are, for a run that begins. Contents only where there are few or `verify` asks for them.
pub(super) fn note(counts: &mut Images, sets: &[&ImageSet], verify: bool) -> Result<()> {
    let paths = paths(sets);
    let (stamps, bytes) = stamps(&paths)?;
    counts.stamps = Some(stamps);
    if verify || bytes <= CHEAP {
        counts.contents = Some(contents(&paths)?);
    }
    Ok(())
}

/// Fails where an image is another than when the run `before` in `run` began. Notes what they are now.
pub(super) fn check(counts: &mut Images, before: &Images, sets: &[&ImageSet], verify: bool, (run, data): (&Path, &Path)) -> Result<()> {
    let paths = paths(sets);
    counts.stamps = Some(stamps(&paths)?.0);
    counts.contents = before.contents.clone();
    let (run, data) = (run.display(), data.display());
    // Runs of older versions know nothing of it.
    let touched = before.stamps.is_some() && before.stamps != counts.stamps;
    let refused = |what: &str, way: String| {
        Error::data(format!("the run {run} cannot be resumed: {what}. {way}, or start anew with {}", Field::REPLACE))
    };
    match (&before.contents, verify) {
        (Some(known), true) if contents(&paths)? != *known => {
            Err(refused(&format!("images of {data} have other contents than when it began"), "Restore them".into()))
        }
        (Some(_), true) => Ok(()),
        (Some(_), false) if touched => Err(refused(
            &format!("images of {data} were changed or replaced since it began, by their sizes and times"),
            format!("{} goes on if their contents are the same. Restore them otherwise", Field::VERIFY_DATA),
        )),
        (None, _) if touched => Err(refused(
            &format!(
                "images of {data} were changed or replaced since it began, by their sizes and times, and their contents were not noted then"
            ),
            format!("Restore them with their times. A run that begins with {} knows the contents", Field::VERIFY_DATA),
        )),
        (None, true) => Err(Error::option(
            Field::VERIFY_DATA,
            format!(": the run {run} did not note the contents of its images when it began, so they cannot be compared. Leave it away"),
        )),
        _ => Ok(()),
    }
}
