//! Steps that are made of a bundle's step for one run.

use super::step::{TrainingStep, state_ports};
use crate::bundle::Bundle;
use crate::engine::{Engine, StatePort, Stepper};
use crate::error::Result;
use crate::ir::Tensor;
use crate::onnx::{self, ExternalWriter, INLINE_LIMIT, pb};
use crate::rewrite::weighted_step;
use crate::storage::temporaries::Scratch;

/// Loads a model that is on no disk.
pub(super) fn load_made(
    engine: &dyn Engine,
    mut model: pb::ModelProto,
    ports: &[StatePort],
    state: Vec<Tensor>,
) -> Result<Box<dyn Stepper>> {
    let folder = Scratch::new()?;
    let path = folder.path().join("made_step.onnx");
    // A protobuf file cannot be larger than 2 GB.
    let bytes: usize = model.graph.iter().flat_map(|g| &g.initializer).map(|t| t.raw_data.as_ref().map_or(0, |d| d.len())).sum();
    if bytes as u64 > INLINE_LIMIT {
        let mut weights = ExternalWriter::create(folder.path().join("weights.bin"))?;
        onnx::write_external(&path, &mut model, &mut weights)?;
        weights.finish()?;
    } else {
        onnx::write(&path, &model)?;
    }
    drop(model);
    engine.load_step(&path, ports, state)
}

/// Loads the step of a run: the bundle's, or where classes have weights one that is made of it.
pub(super) fn load(engine: &dyn Engine, bundle: &Bundle, weights: Option<&[f64]>, state: Vec<Tensor>) -> Result<TrainingStep> {
    let Some(weights) = weights else { return TrainingStep::load(engine, bundle, state) };
    let stepper = load_made(engine, weighted_step(bundle, weights)?, &state_ports(&bundle.manifest.state), state)?;
    TrainingStep::of(stepper, bundle)
}
