//! A checkpoint that is written while the training goes on.

use crate::bundle::manifest::State;
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::storage::run_folder::RunFolder;
use crate::train::checkpoint::{self, Checkpoint};
use std::thread::JoinHandle;

/// One that may not be whole yet. Nobody lets go of it before its thread has ended: the run's lock would be free while something is still written into the folder.
pub(super) struct Writing {
    pub step: u64,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writing {
    /// Begins to write `state`, which is a copy of its own, as the run's checkpoint.
    pub fn begin(folder: &RunFolder, at: &Checkpoint, states: &[State], state: Vec<Tensor>) -> Result<Writing> {
        let (folder, at, states, step) = (folder.clone(), at.clone(), states.to_vec(), at.step);
        let write = move || checkpoint::write_last(&folder, &at, states.iter().zip(&state));
        let thread = std::thread::Builder::new().name("spgraph-checkpoint".into()).spawn(write);
        let thread = thread.map_err(|e| Error::training(format!("a checkpoint cannot be written, for no thread can be started: {e}")))?;
        Ok(Writing { step, thread: Some(thread) })
    }

    /// Whether it need not be waited for.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is whole.
    pub fn end(mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(written)) => written,
            Some(Err(_)) => Err(Error::internal("the thread that wrote a checkpoint ended early")),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // What went wrong there comes after an error that is told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
