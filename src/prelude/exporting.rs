//! From a run to a file for an application.

use crate::bundle::{Bundle, Deployment};
use crate::error::Result;
use crate::ir::Tensor;
use crate::train::{Agreement, Exported, RunState, Subject, export_deployed, export_state};
use std::path::{Path, PathBuf};

/// An inference model with tuned weights.
///
/// ```no_run
/// # fn main() -> spgraph::Result<()> {
/// use spgraph::prelude::*;
/// Export::of("runs/birds").preprocess().softmax().top(3).labels().write("birds.onnx")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `write`"]
pub struct Export {
    subject: PathBuf,
    state: RunState,
    asked: Deployment,
    replace: bool,
}

impl Export {
    /// Of a run, or of a bundle as it starts.
    pub fn of(subject: impl AsRef<Path>) -> Export {
        Export { subject: subject.as_ref().into(), state: RunState::Usual, asked: Deployment::default(), replace: false }
    }

    /// Which state of a run.
    pub fn state(mut self, state: RunState) -> Export {
        self.state = state;
        self
    }

    /// The file takes decoded images: resizing and normalisation are in the graph.
    pub fn preprocess(mut self) -> Export {
        self.asked.preprocess = true;
        self
    }

    /// The scores are probabilities.
    pub fn softmax(mut self) -> Export {
        self.asked.softmax = true;
        self
    }

    /// Two more outputs with the likeliest so many classes.
    pub fn top(mut self, count: usize) -> Export {
        self.asked.top = Some(count);
        self
    }

    /// Class names as others read them.
    pub fn labels(mut self) -> Export {
        self.asked.labels = true;
        self
    }

    /// A file that is there is replaced.
    pub fn replace(mut self) -> Export {
        self.replace = true;
        self
    }

    /// Writes it, once it was run beside the run's own network.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<Exported> {
        export_deployed(&Subject::open(&self.subject)?, self.state, &self.asked, path.as_ref(), self.replace)
    }

    /// Writes a state of one's own, in the order of the bundle's manifest, such as [`crate::train::TrainingStep::state`] gives.
    pub fn own_state(bundle: &Bundle, state: &[Tensor], path: impl AsRef<Path>) -> Result<Agreement> {
        export_state(bundle, state, path.as_ref(), true)
    }
}
