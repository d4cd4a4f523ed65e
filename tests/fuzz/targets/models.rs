//! Models: looked at, rewritten, and read with their weights elsewhere.

use super::{fixtures, read_file, small_fixtures, words, written};
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{HeadOption, Options};
use spgraph::emit::{self, Dialect};
use spgraph::import::BatchSize;
use spgraph::rewrite::Product;
use spgraph::{onnx, report};
use std::path::Path;

/// Small networks of every kind. Those that are refused have their place as well, but not here.
pub fn models() -> Vec<Vec<u8>> {
    let mut found = small_fixtures("", &[".onnx"], 12_000);
    found.extend(small_fixtures("conventions", &[".onnx"], 20_000));
    found.retain(|bytes| spgraph::onnx::pb::ModelProto::decode_from(bytes).is_some_and(|m| is_whole(&m)));
    found
}

/// Whether its weights are in it.
fn is_whole(model: &onnx::pb::ModelProto) -> bool {
    model.graph.as_ref().is_some_and(|g| g.initializer.iter().all(|t| t.external_data.is_empty()) && g.input.len() == 1)
}

trait Decoded: Sized {
    fn decode_from(bytes: &[u8]) -> Option<Self>;
}

impl<T: prost::Message + Default> Decoded for T {
    fn decode_from(bytes: &[u8]) -> Option<Self> {
        T::decode(bytes).ok()
    }
}

pub fn inspect(bytes: &[u8], work: &Path) -> Result<(), String> {
    let path = written(bytes, work.join("m.onnx"));
    let found = report::inspect(&path, None).map_err(words)?;
    serde_json::to_string(&found).map_err(|e| format!("the inspection is no JSON: {e}"))?;
    Ok(())
}

/// Everything that a bundle's files are written from.
fn emitted(product: &Product) -> Result<(), String> {
    for graph in [&product.step.graph, &product.evaluation.graph, &product.gradients.graph, &product.update.graph] {
        for dialect in [Dialect::Functions, Dialect::Inlined] {
            emit::model(graph, dialect).map_err(words)?;
        }
    }
    Ok(())
}

pub fn rewrite(bytes: &[u8], work: &Path) -> Result<(), String> {
    let path = written(bytes, work.join("m.onnx"));
    let usual = Options { batch: BatchSize::Fixed(4), split: true, ..Options::default() };
    let product = spgraph::rewrite::rewrite(&path, &usual).map_err(words)?;
    emitted(&product)?;
    // What may be refused where the first is taken.
    let other = Options {
        head: HeadOption::Classes(7),
        batch: BatchSize::Dynamic,
        batch_norm: Some(BatchNormMode::Train),
        dialect: Dialect::Inlined,
        ..Options::default()
    };
    match spgraph::rewrite::rewrite(&path, &other) {
        Ok(product) => emitted(&product),
        Err(error @ spgraph::Error::Internal(_)) => Err(words(error)),
        Err(_) => Ok(()),
    }
}

pub fn outside() -> Vec<Vec<u8>> {
    vec![read_file(fixtures().join("external.onnx"))]
}

pub fn read_outside(bytes: &[u8], work: &Path) -> Result<(), String> {
    written(&read_file(fixtures().join("external.weights")), work.join("external.weights"));
    let model = onnx::read(written(bytes, work.join("m.onnx"))).map_err(words)?;
    let graph = model.graph().map_err(words)?;
    graph.initializer.iter().try_for_each(|tensor| model.tensor(tensor).map(drop)).map_err(words)
}
