//! An output of a network that is a classifier's.

use super::tail::Tail;
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
    /// The output at that place. Fails, with the reason, where it is no classifier's.
    pub fn at(graph: &Graph, index: usize) -> Result<Prediction> {
        let value = *graph.outputs.get(index).ok_or_else(|| Error::model("the model has no output"))?;
        let name = graph.name_of(value).to_string();
        let tail = Tail::of(graph, value).map_err(|why| Error::model(format!("the model's output `{name}` {why}{}", elsewhere(graph))))?;
        Ok(Prediction { index, name, tail })
    }
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
