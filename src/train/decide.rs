//! What the number of images decides: images per step, what becomes of those that fill no batch, how long a run trains and warms up; and what is
//! worth a word about it.

use super::length::Length;
use super::options::{Training, images_per_step};
use super::schedule::Schedule;
use crate::bundle::manifest::{Manifest, Role};
use crate::data::Last;
use crate::error::{Error, Result};
use crate::field::Field;

/// Images per step where neither bundle nor user say.
const BATCH: usize = 32;

/// Fewer steps than these are worth a word.
const FEW_STEPS: u64 = 100;

/// How images become steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub batch: usize,
    pub last: Last,
    pub per_epoch: usize,
}

/// Decides for so many training images what `training` leaves open, and writes it there.
pub(super) fn decide(training: &mut Training, manifest: &Manifest, images: usize, notes: &mut Vec<String>) -> Result<Pace> {
    let pace = pace(training, manifest, images, notes)?;
    let per_epoch = pace.per_epoch as u64;
    if training.length == Length::Auto {
        let epochs = Length::chosen(per_epoch).saturating_add(training.head_first);
        training.length = Length::Epochs(epochs);
        let ((fewest, most), least, steps) = (Length::EPOCHS, Length::STEPS, training.length.steps(pace.per_epoch));
        notes.push(format!(
            "{epochs} epochs, {steps} steps: without {} a training has at least {least} steps, in {fewest} to {most} epochs",
            Field::LENGTH
        ));
    }
    training.check_head_first(manifest)?;
    let steps = training.length.steps(pace.per_epoch);
    let after_head = steps.saturating_sub(training.head_steps(pace.per_epoch));
    let warmup = *training.warmup.get_or_insert_with(|| Schedule::warmup(after_head));
    if warmup > 1 && warmup >= after_head {
        notes.push(format!("a {} of {warmup} steps leaves none of {after_head} to train at the full rate", Field::WARMUP));
    }
    warn(training.length, steps, images, &pace, notes);
    Ok(pace)
}

fn pace(training: &Training, manifest: &Manifest, images: usize, notes: &mut Vec<String>) -> Result<Pace> {
    let open = manifest.data.input.shape.first().is_none_or(|&n| n < 0);
    let asked = images_per_step(manifest, training.batch, BATCH)?;
    let batch = if open { asked.min(images) } else { asked };
    if batch < asked {
        notes.push(format!("{batch} images per step, for there are no more"));
    }
    if images < batch && training.drop_last {
        return Err(Error::option(
            Field::DROP_LAST,
            format!(
                " leaves nothing to train on: {} has {images} images, which do not fill one batch of {batch}. Leave it away, or rewrite the model with {} {images} or less",
                training.data.display(),
                Field::BATCH
            ),
        ));
    }
    // Statistics of a batch would be those of the few images that are left; others of the epoch stand in for what is missing.
    let live = manifest.state.iter().any(|s| s.role == Role::Buffer);
    let last = match training.drop_last {
        true => Last::Drop,
        false if open && !live => Last::Short,
        false => Last::Pad,
    };
    let left = images.checked_rem(batch).unwrap_or(0);
    if images < batch {
        notes.push(format!(
            "{images} images do not fill a batch of {batch}: a step has each of them several times, and each counts once. A bundle for batches of {images} does the same in less time (`spgraph rewrite` with {} {images})",
            Field::BATCH
        ));
    } else if left > 0 && last == Last::Pad && live {
        notes.push(format!(
            "the last batch of an epoch has {left} of {batch} images; others of the epoch fill it up, which count in BatchNorm's statistics and not in the loss"
        ));
    }
    let per_epoch = if last == Last::Drop { images.checked_div(batch).unwrap_or(0) } else { images.div_ceil(batch.max(1)) };
    Ok(Pace { batch, last, per_epoch })
}

/// Says where a run can hardly learn, or does not see all there is.
fn warn(length: Length, steps: u64, images: usize, pace: &Pace, notes: &mut Vec<String>) {
    let seen = steps.saturating_mul(pace.batch as u64).min(images as u64);
    let unseen = (images as u64).saturating_sub(seen);
    if unseen > 0 && steps <= pace.per_epoch as u64 {
        notes.push(format!(
            "{unseen} of {images} images are never seen: an epoch has {} steps of {} images, and the run {steps}{}",
            pace.per_epoch,
            pace.batch,
            if pace.last == Last::Drop { format!(", with {}", Field::DROP_LAST) } else { String::new() }
        ));
    }
    if steps < FEW_STEPS {
        let better = Length::chosen(pace.per_epoch as u64);
        let better = match length {
            Length::Steps(_) => Length::STEPS.to_string(),
            _ => format!("{better} epochs, {} steps", better.saturating_mul(pace.per_epoch as u64)),
        };
        notes.push(format!("{steps} steps are few to learn from; without {} it would be {better}", Field::LENGTH));
    }
}
