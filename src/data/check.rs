//! Reading every image once, before anything depends on them.

use super::image_set::ImageSet;
use super::listing::few;
use crate::error::{Error, Result};
use crate::field::Field;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// What becomes of images that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadImages {
    /// The first one is an error.
    #[default]
    Refuse,
    /// They are left out and counted.
    Skip,
}

impl BadImages {
    /// Whether it is the usual choice.
    pub fn is_refuse(&self) -> bool {
        *self == BadImages::Refuse
    }
}

/// Images between two reports.
const CHUNK: usize = 64;

/// Decodes every image of `folder` with `threads` threads, 0 for one per core. Gives the folder with the images that can be read, and what to
/// tell of the others. `done` hears of how many images it has seen. Fails for the first bad image where those are refused, where a class is left without
/// images, and when `stop` is set.
pub fn check_images(
    folder: ImageSet,
    bad: BadImages,
    threads: usize,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize, usize),
) -> Result<(ImageSet, Vec<String>)> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::data(format!("cannot start {threads} threads for checking images: {e}")))?;
    let (mut kept, mut reasons) = (vec![], vec![]);
    for start in (0..folder.len()).step_by(CHUNK) {
        let end = folder.len().min(start + CHUNK);
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("stopped while the images were checked; nothing was written".into()));
        }
        let results: Vec<Result<()>> = pool.install(|| (start..end).into_par_iter().map(|i| readable(&folder, i)).collect());
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => kept.push(start + i),
                Err(error) if bad.is_refuse() => {
                    return Err(Error::data(format!("{error}. To leave out all images that cannot be read: {} skip", Field::BAD_IMAGES)));
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        done(end, folder.len());
    }
    if reasons.is_empty() {
        return Ok((folder, vec![]));
    }
    let (before, all) = (folder.class_counts(), folder.len());
    let left = folder.subset(&kept)?;
    if let Some(empty) = before.iter().zip(left.class_counts()).position(|(&before, after)| before > 0 && after == 0) {
        return Err(Error::data(format!(
            "none of the {} images of the class `{}` in {} can be read; the first: {}",
            before[empty],
            folder.classes()[empty],
            folder.root().display(),
            reasons[0]
        )));
    }
    let note =
        format!("{} of the {all} images of {} cannot be read and are left out: {}", reasons.len(), folder.root().display(), few(&reasons));
    Ok((left, vec![note]))
}

/// A decoder that panics on a damaged file has not read it.
fn readable(images: &ImageSet, index: usize) -> Result<()> {
    if images.is_ready() {
        return Ok(());
    }
    let crashed = |_| Err(Error::data(format!("the decoder crashed on {}. Convert or remove it", images.name(index))));
    catch_unwind(AssertUnwindSafe(|| images.load(index).map(drop))).unwrap_or_else(crashed)
}
