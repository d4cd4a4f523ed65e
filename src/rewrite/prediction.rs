//! An output of a network that is a classifier's.

use super::tail::{Tail, are_probabilities};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Graph;

/// The output that is a classifier's, in one particular graph.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Its place among the outputs.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What lies between it and the logits.
    pub tail: Tail,
}

impl Prediction {
    /// The output at that place. Fails, with the reason, where it is not numbers for each image.
    pub fn at(graph: &Graph, index: usize) -> Result<Prediction> {
        let value = *graph.outputs.get(index).ok_or_else(|| Error::model("the model has no output"))?;
        let name = graph.name_of(value).to_string();
        let tail = Tail::of(graph, value).map_err(|why| refused(graph, &name, &why))?;
        Ok(Prediction { index, name, tail })
    }

    /// Fails, with the reason, where its logits cannot be told: for those who read the output as scores of classes.
    pub fn has_logits(&self, graph: &Graph) -> Result<()> {
        self.tail.hidden.as_ref().map_or(Ok(()), |why| Err(refused(graph, &self.name, why)))
    }

    /// Fails where what the network gave for some images can only be probabilities, of a network whose nodes do not show that it gives logits.
    pub fn gave_logits(&self, given: &[f64]) -> Result<()> {
        match are_probabilities(given, self.tail.scores()) {
            true => Err(Error::model(format!(
                "the model's output `{}` gives numbers between 0 and 1 that sum to 1 for each image: probabilities in a form that no loss looks \
                 through, and no logits. Export the network up to its logits, or to the softmax itself",
                self.name
            ))),
            false => Ok(()),
        }
    }
}

fn refused(graph: &Graph, name: &str, why: &str) -> Error {
    Error::model(format!("the model's output `{name}` {why}{}", elsewhere(graph)))
}

/// Where else a classifier may be, for who looked at one output.
fn elsewhere(graph: &Graph) -> String {
    match graph.outputs.len() {
        0 | 1 => String::new(),
        _ => format!(". Other outputs are chosen with {} NAME: {}", Field::PREDICTION, names(graph).join(", ")),
    }
}

pub(super) fn names(graph: &Graph) -> Vec<String> {
    graph.outputs.iter().map(|&o| format!("`{}` {}", graph.name_of(o), graph.ty(o))).collect()
}
