//! In which precision a training computes: a matter of the engine's kernels, or of the graphs that the model is rewritten to.

use crate::cli::choice::choice;
use serde::Deserialize;
use spgraph::bundle::GraphPrecision;
use spgraph::engine::Precision;
use spgraph::train::Configuration;

#[derive(clap::Args)]
pub struct PrecisionArgs {
    /// bf16: native kernels keep images between them so; products are summed in float32, and statistics, loss, weights and their gradients
    /// stay float32. mixed-f16 and mixed-bf16 are other graphs, of a model that is rewritten here, with half precision in products and images and
    /// a scaled loss for float16; rounded-... compute the same numbers where a runtime lacks the type. auto is float32, or what a bundle has
    /// [default: auto]
    #[arg(
        long,
        value_parser = choice::<Asked>(&["auto", "float32", "bf16", "mixed-f16", "mixed-bf16", "rounded-f16", "rounded-bf16"]),
        help_heading = "Engine"
    )]
    precision: Option<Asked>,
}

/// What one flag asks for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Asked {
    Engine(Precision),
    Graphs(GraphPrecision),
}

impl PrecisionArgs {
    /// What is not given stays as it is; what is given takes the place of both.
    pub fn set(&self, configuration: &mut Configuration) {
        let graphs = &mut configuration.rewriting.precision;
        match self.precision {
            Some(Asked::Engine(precision)) => (configuration.engine.precision, *graphs) = (precision, GraphPrecision::Float32),
            Some(Asked::Graphs(precision)) => (configuration.engine.precision, *graphs) = (Precision::Auto, precision),
            None => {}
        }
    }
}
