//! Weights between the starting point and a run's: `(1 − a)·w⁰ + a·w`, after Wortsman et al., *Robust fine-tuning of zero-shot
//! models* (WiSE-FT, CVPR 2022).

use super::export_check::Agreement;
use super::run_state::RunState;
use super::tuned::{Subject, export, place};
use crate::bundle::manifest::Role;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use std::path::Path;

/// Writes the inference model with the weights at `to`, from 0 for the starting point to 1 for the tuned ones. BatchNorm's statistics
/// go along; a new head has no starting point and stays as it was trained.
pub fn export_interpolated(subject: &Subject, which: RunState, to: f64, path: &Path, force: bool) -> Result<Agreement> {
    let out = place(&subject.inputs(), path, force)?;
    let state = interpolated(subject, which, to)?;
    let bundle = subject.bundle().ok_or_else(|| Error::internal("weights between those of a run and its start, without a run"))?;
    export(bundle, &state, out)
}

/// The state with the weights at `to`, in the manifest's order.
pub fn interpolated(subject: &Subject, which: RunState, to: f64) -> Result<Vec<Tensor>> {
    if !(0.0..=1.0).contains(&to) {
        return Err(Error::option(Field::TO, format!(" {to} is not between 0 (the starting point) and 1 (the tuned weights)")));
    }
    let (Subject::Run(_) | Subject::Trained(_), Some(bundle)) = (subject, subject.bundle()) else {
        return Err(Error::usage("only a run of `spgraph finetune` has weights away from its starting point: give its folder"));
    };
    let (start, tuned) = (subject.state(RunState::Start)?, subject.state(which)?);
    let states = bundle.manifest.state.iter().zip(start.iter().zip(&tuned));
    let between = states.map(|(s, (start, tuned))| match s.role {
        Role::Shared | Role::Buffer => between(start, tuned, to),
        _ => Ok(tuned.clone()),
    });
    between.collect()
}

/// `(1 − a)·start + a·tuned`; exactly one of the two at the ends.
fn between(start: &Tensor, tuned: &Tensor, a: f64) -> Result<Tensor> {
    if a == 0.0 {
        return Ok(start.clone());
    }
    if a == 1.0 {
        return Ok(tuned.clone());
    }
    let values: Vec<f64> = start.to_f64()?.iter().zip(tuned.to_f64()?).map(|(s, t)| (1.0 - a) * s + a * t).collect();
    Ok(Tensor::from_floats(start.dtype(), start.shape(), &values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_exact_and_the_middle_is_the_mean() {
        let (start, tuned) = (Tensor::from_f32(&[3], &[0.1, -0.0, 3.0]), Tensor::from_f32(&[3], &[0.7, 2.0, -1.0]));
        assert_eq!(between(&start, &tuned, 0.0).unwrap().bytes(), start.bytes());
        assert_eq!(between(&start, &tuned, 1.0).unwrap().bytes(), tuned.bytes());
        assert_eq!(between(&start, &tuned, 0.5).unwrap().to_f32().unwrap(), [0.4, 1.0, 1.0]);
        assert_eq!(between(&start, &tuned, 0.25).unwrap().to_f32().unwrap(), [0.25, 0.5, 2.0]);
    }
}
