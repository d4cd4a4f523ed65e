//! A graph of a training, with the meaning of its inputs and outputs.

use crate::bundle::Meaning;
use crate::bundle::manifest::Output;
use crate::error::{Error, Result};
use crate::ir::Graph;

/// A graph of a training, with the meaning of its inputs and outputs.
#[derive(Debug, Clone)]
pub struct TrainingGraph {
    /// In standard operators and functions.
    pub graph: Graph,
    /// In the order of the graph's.
    pub inputs: Vec<Meaning>,
    /// In the order of the graph's.
    pub outputs: Vec<Meaning>,
}

impl TrainingGraph {
    /// Fails on a graph that does not hold together.
    pub(super) fn new(graph: Graph, inputs: Vec<Meaning>, outputs: Vec<Meaning>) -> Result<TrainingGraph> {
        let whole = graph.verify().and_then(|()| match (graph.inputs.len() == inputs.len(), graph.outputs.len() == outputs.len()) {
            (true, true) => Ok(()),
            _ => Err("an input or output has no meaning".into()),
        });
        whole.map_err(|why| Error::internal(format!("the graph `{}` is malformed: {why}", graph.name)))?;
        Ok(TrainingGraph { graph, inputs, outputs })
    }

    /// The name of the input with that meaning.
    pub fn input(&self, meaning: &Meaning) -> Option<&str> {
        let at = self.inputs.iter().position(|m| m == meaning)?;
        Some(self.graph.name_of(*self.graph.inputs.get(at)?))
    }

    /// The name of the output with that meaning.
    pub fn output(&self, meaning: &Meaning) -> Option<&str> {
        let at = self.outputs.iter().position(|m| m == meaning)?;
        Some(self.graph.name_of(*self.graph.outputs.get(at)?))
    }

    /// The scalar outputs, for the manifest.
    pub(super) fn measures(&self) -> Vec<Output> {
        let named = self.outputs.iter().zip(&self.graph.outputs);
        named
            .filter_map(|(meaning, &value)| match meaning {
                Meaning::Measure(meaning) => Some(Output { name: self.graph.name_of(value).to_string(), meaning: *meaning }),
                _ => None,
            })
            .collect()
    }
}
