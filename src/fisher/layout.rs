//! How a call is laid out: how many images, and how many classes of each.

use super::mode::Mode;
use super::subject::FisherSubject;
use crate::error::{Error, Result};
use crate::field::Field;

/// How many images enter a call, and with how many classes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLayout {
    /// Images.
    pub rows: usize,
    /// 1 except in exact mode.
    pub copies: usize,
}

/// What a call may take, roughly.
const MEMORY: usize = 1 << 30;
/// More pairs than this per call gain nothing.
const MOST_PAIRS: usize = 32;

/// Images and classes per call: whole images where their classes fit, else one image with an even part of its classes.
pub(super) fn choose(subject: &FisherSubject, mode: Mode, pairs: Option<usize>, samples: u64) -> Result<BatchLayout> {
    let per_image = mode.pairs(subject.classes);
    let pairs = match pairs {
        Some(0) => {
            return Err(Error::option(Field::PAIRS, " 0 makes no sense: give the number of (image, class) pairs per call, 1 or more"));
        }
        Some(pairs) => pairs,
        // A pair's share: its own gradients of the largest layer and their squares, and half of its cotangents at once.
        None => {
            let pair = subject.largest.saturating_mul(2).saturating_add(subject.activations / 2);
            let pair = pair.saturating_add(subject.activations.checked_div(per_image.min(MOST_PAIRS)).unwrap_or(0));
            MEMORY.checked_div(pair).unwrap_or(MEMORY).clamp(1, MOST_PAIRS)
        }
    };
    let calls = per_image.div_ceil(pairs);
    let copies = per_image.div_ceil(calls.max(1));
    let rows = pairs.checked_div(copies).unwrap_or(1).clamp(1, usize::try_from(samples).unwrap_or(usize::MAX).max(1));
    Ok(BatchLayout { rows, copies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};

    #[test]
    fn calls_hold_whole_images_or_even_parts_of_one() {
        let subject = |classes: usize| FisherSubject {
            input: TensorType::new(DType::F32, [1usize, 3, 32, 32]),
            input_name: "input".into(),
            own: None,
            classes,
            output: "output".into(),
            activations: 1 << 20,
            largest: 1 << 16,
        };
        let found = |classes, mode, pairs, samples| {
            let s = choose(&subject(classes), mode, pairs, samples).unwrap();
            (s.rows, s.copies)
        };
        assert_eq!(found(10, Mode::Exact, Some(64), 1000), (6, 10));
        assert_eq!(found(10, Mode::Exact, Some(8), 1000), (1, 5));
        assert_eq!(found(10, Mode::Exact, Some(1), 1000), (1, 1));
        assert_eq!(found(1000, Mode::Sampled, Some(64), 1000), (64, 1));
        assert_eq!(found(1000, Mode::Sampled, None, 5), (5, 1));
        assert!(choose(&subject(10), Mode::Exact, Some(0), 1).is_err());
    }
}
