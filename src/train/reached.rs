//! The whole state that a run has reached, with the optimizer's part where the run kept it.

use super::checkpoint::read_state;
use super::continuation::standing;
use super::run_state::RunState;
use super::tuned::Subject;
use crate::bundle::manifest::{Manifest, Role};
use crate::error::Result;
use crate::ir::Tensor;

/// The state that a run has reached, or that a bundle starts from.
#[derive(Debug, Clone)]
pub struct Reached {
    /// In the manifest's order.
    pub state: Vec<Tensor>,
    /// Whether the optimizer's part is known; else it is zero.
    pub optimizer: bool,
}

/// The state after the last step or of the last checkpoint, whichever is later; or the one that is asked for.
pub fn reached(subject: &Subject, which: Option<RunState>) -> Result<Reached> {
    let known = |state| Ok(Reached { state, optimizer: true });
    let run = match subject {
        Subject::Run(run) => run,
        Subject::Trained(trained) => {
            let optimizer = !has_optimizer(&trained.bundle.manifest);
            return Ok(Reached { state: subject.state(which.unwrap_or_default())?, optimizer });
        }
        _ => return known(subject.state(which.unwrap_or_default())?),
    };
    let manifest = &run.bundle.manifest;
    match which {
        Some(RunState::Start) => return known(subject.state(RunState::Start)?),
        Some(RunState::Checkpoint) if run.folder.checkpoint().is_file() => {
            let (at, state) = read_state(&run.folder.checkpoint(), manifest.state.iter())?;
            at.check_owner(&run.folder.checkpoint(), &run.record)?;
            return known(state);
        }
        None | Some(RunState::Final) => {
            let last = standing(&run.folder, &run.record, manifest)?;
            if let Some(last) = last.filter(|_| which.is_none() || run.folder.state().is_file()) {
                return known(last.state);
            }
        }
        _ => {}
    }
    // Without a state the refusal says what there is.
    let state = subject.state(which.unwrap_or(RunState::Final))?;
    Ok(Reached { state, optimizer: !has_optimizer(manifest) })
}

/// Whether the optimizer has a state of its own.
fn has_optimizer(manifest: &Manifest) -> bool {
    manifest.state.iter().any(|s| s.role == Role::Optimizer)
}
