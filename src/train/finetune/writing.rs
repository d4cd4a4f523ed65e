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
    /// From so many bytes on a training gains by going on meanwhile.
    pub const WORTH: usize = 16 << 20;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::read_state;

    fn state() -> State {
        serde_json::from_value(serde_json::json!({
            "name": "w", "role": "shared", "dtype": "float32", "shape": [4], "input": "w", "output": "w.next", "alias": "w"
        }))
        .unwrap()
    }

    #[test]
    fn what_was_begun_is_whole_when_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path());
        let begin = |step: u64| {
            let values = Tensor::from_f32(&[4], &[step as f32; 4]);
            Writing::begin(&folder, &Checkpoint::new(step, 1, 0), &[state()], vec![values]).unwrap()
        };
        let found = |path: &std::path::Path| read_state(path, [state()].iter()).unwrap().1.remove(0).to_f64().unwrap();
        begin(3).end().unwrap();
        assert_eq!(found(&folder.checkpoint()), [3.0; 4]);
        let second = begin(5);
        assert_eq!(second.step, 5);
        drop(second);
        assert_eq!((found(&folder.checkpoint()), found(&folder.previous_checkpoint())), (vec![5.0; 4], vec![3.0; 4]));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("gone"));
        let values = Tensor::from_f32(&[4], &[1.0; 4]);
        let begun = Writing::begin(&folder, &Checkpoint::new(1, 1, 0), &[state()], vec![values]).unwrap();
        assert!(begun.end().is_err());
    }
}
