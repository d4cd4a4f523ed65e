//! How many images a step can have on this machine.

use super::memory::plan_emitted;
use crate::bundle::{HeadOption, Options};
use crate::emit::{self, Dialect};
use crate::engine::Computing;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::BatchSize;
use crate::onnx::{ExternalData, ModelFile};
use crate::rewrite::rewrite;
use crate::storage::machine;
use std::path::Path;

/// Images per step where memory is no question.
const MOST: usize = 32;

/// 32, or the largest half of it whose step is predicted to fit into four fifths of the free memory. A head for classes that are not counted yet is taken to be small.
pub fn fitting_batch(model: &Path, options: &Options, computing: Computing) -> Result<usize> {
    match machine::memory_available() {
        Some(free) => fitting(model, options, computing, free),
        None => Ok(MOST),
    }
}

fn fitting(model: &Path, options: &Options, computing: Computing, free: u64) -> Result<usize> {
    let room = free.saturating_sub(free / 5);
    let mut needed = 0;
    for batch in std::iter::successors(Some(MOST), |batch| Some(batch / 2).filter(|half| *half > 0)) {
        needed = peak(model, options, computing, batch)?;
        if needed <= room {
            return Ok(batch);
        }
    }
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(Error::option(
        Field::BATCH,
        format!(
            " auto: a step with one image alone would take about {:.2} GiB, and {:.2} GiB are free. Close other programs, freeze more of the network, or give a number to try all the same",
            gib(needed),
            gib(free)
        ),
    ))
}

/// The predicted peak of a step.
fn peak(model: &Path, options: &Options, computing: Computing, batch: usize) -> Result<u64> {
    let head = match options.head {
        HeadOption::Classes(0) => HeadOption::Classes(options.classes.len().max(2)),
        ref other => other.clone(),
    };
    let product = rewrite(model, &Options { batch: BatchSize::Fixed(batch), head, ..options.clone() })?;
    let proto = emit::model(&product.step.graph, Dialect::Functions)?;
    let step = ModelFile { proto, path: model.into(), external: ExternalData::new(model.parent().unwrap_or(Path::new("."))) };
    Ok(plan_emitted(&step, &product.manifest, None, computing)?.peak_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_taken() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.bn.onnx");
        let options = Options { head: HeadOption::Classes(0), ..Options::default() };
        let of = |free| fitting(&model, &options, Computing::STANDARD, free);
        let needs = |batch| peak(&model, &options, Computing::STANDARD, batch).unwrap();
        assert_eq!(of(u64::MAX).unwrap(), 32);
        for batch in [16, 4, 1] {
            assert!(needs(batch) < needs(2 * batch));
            // As much as this one needs, and a byte less than the next does.
            assert_eq!(of(needs(batch) / 4 * 5 + 5).unwrap(), batch, "{batch}");
            assert_eq!(of((needs(2 * batch) - 1) / 4 * 5).unwrap(), batch, "{batch}");
        }
        let why = of(needs(1) / 2).unwrap_err().to_string();
        assert!(why.contains("auto") && why.contains("are free"), "{why}");
    }
}
