//! Reading every image once, before anything depends on them.

use super::animated;
use super::decode::short;
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
    let (mut kept, mut reasons) = (vec![], vec![]);
    read_all(&folder, threads, stop, done, |index, result| match result {
        Ok(_) => {
            kept.push(index);
            Ok(())
        }
        Err(error) if bad.is_refuse() => {
            Err(Error::data(format!("{error}. To leave out all images that cannot be read: {} skip", Field::BAD_IMAGES)))
        }
        Err(error) => {
            reasons.push(short(&error.to_string()).to_string());
            Ok(())
        }
    })?;
    if reasons.is_empty() {
        let several = animated::note(&folder);
        return Ok((folder, several.into_iter().collect()));
    }
    let (before, all) = (folder.class_counts(), folder.len());
    let left = folder.subset(&kept)?;
    let counts = folder.classes().iter().zip(before).zip(left.class_counts());
    if let Some(((class, before), _)) = counts.into_iter().find(|((_, before), after)| *before > 0 && *after == 0) {
        return Err(Error::data(format!(
            "none of the {before} images of the class `{class}` in {} can be read; the first: {}",
            folder.root().display(),
            reasons.first().map_or("", String::as_str)
        )));
    }
    let are = if reasons.len() == 1 { "is" } else { "are" };
    let root = folder.root().display();
    let note = format!("{} of the {all} images of {root} cannot be read and {are} left out: {}", reasons.len(), few(&reasons));
    let several = animated::note(&left);
    Ok((left, std::iter::once(note).chain(several).collect()))
}

/// Reads every image with `threads` threads, and gives `seen` its number with its columns and rows, or why it cannot be read; in order.
pub(super) fn read_all(
    images: &ImageSet,
    threads: usize,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize, usize),
    mut seen: impl FnMut(usize, Result<(u32, u32)>) -> Result<()>,
) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::data(format!("cannot start {threads} threads for checking images: {e}")))?;
    for start in (0..images.len()).step_by(CHUNK) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("stopped while the images were checked; nothing was written".into()));
        }
        let end = images.len().min(start.saturating_add(CHUNK));
        let results: Vec<Result<(u32, u32)>> = pool.install(|| (start..end).into_par_iter().map(|i| readable(images, i)).collect());
        results.into_iter().enumerate().try_for_each(|(i, result)| seen(start.saturating_add(i), result))?;
        done(end, images.len());
    }
    Ok(())
}

/// A decoder that panics on a damaged file has not read it.
fn readable(images: &ImageSet, index: usize) -> Result<(u32, u32)> {
    if let Some(values) = images.values(index) {
        let (_, height, width) = values.dim();
        return Ok((width as u32, height as u32));
    }
    let crashed = |_| Err(Error::data(format!("the decoder crashed on {}. Convert or remove it", images.name(index))));
    catch_unwind(AssertUnwindSafe(|| images.load(index).map(|image| image.dimensions()))).unwrap_or_else(crashed)
}
