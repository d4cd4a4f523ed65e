//! DELTA, BSS and LwF: the terms in the form that is emitted against PyTorch's, and what rewriting makes of the options.

mod bundles;
mod terms;

use spgraph::engine::{self, Engine, EngineChoice, EngineOptions};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// ONNX Runtime is found as `spgraph runtime` finds it.
fn engine(choice: EngineChoice) -> Box<dyn Engine> {
    engine::open(&EngineOptions { choice, threads: Some(1), ..Default::default() }).unwrap()
}
