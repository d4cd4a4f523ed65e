//! What spgraph itself wrote: a bundle's files, weights and estimates. Mutants have no hashes, which would refuse all of them at once.

use super::{fixtures, read_file, words, written};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use spgraph::artifact::make_bundle;
use spgraph::bundle::{self, Bundle, Options, start_state};
use spgraph::ir::Tensor;
use spgraph::storage::{seal, tensor_file};
use spgraph::{emit, fisher, onnx, report, train};
use std::path::Path;
use std::sync::OnceLock;

/// Made once.
pub fn a_bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<(tempfile::TempDir, Bundle)> = OnceLock::new();
    let made = BUNDLE.get_or_init(|| {
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("bundle");
        make_bundle(&fixtures().join("basic.bn.onnx"), &dir, &Options { split: true, ..Options::default() }, false).unwrap();
        let bundle = Bundle::open(&dir).unwrap();
        (work, bundle)
    });
    &made.1
}

/// A sealed JSON file without its hash.
pub fn unsealed(path: &Path) -> Value {
    let text = String::from_utf8(read_file(path)).unwrap();
    seal::from_json(&text).unwrap().value
}

/// The manifest without any hash.
fn manifest() -> Value {
    let mut found = unsealed(&a_bundle().dir.join(Bundle::MANIFEST));
    found.as_object_mut().unwrap().remove("files");
    found
}

pub fn manifests() -> Vec<Vec<u8>> {
    vec![serde_json::to_vec_pretty(&manifest()).unwrap()]
}

/// The bundle, with one file of another content.
fn with_file(name: &str, bytes: &[u8], work: &Path) {
    for entry in std::fs::read_dir(&a_bundle().dir).unwrap() {
        let path = entry.unwrap().path();
        // Nothing writes into them.
        std::os::unix::fs::symlink(&path, work.join(path.file_name().unwrap())).unwrap();
    }
    let _ = std::fs::remove_file(work.join(Bundle::MANIFEST));
    written(&serde_json::to_vec_pretty(&manifest()).unwrap(), work.join(Bundle::MANIFEST));
    let _ = std::fs::remove_file(work.join(name));
    written(bytes, work.join(name));
}

/// All that is done with a bundle before a runtime sees it.
fn used(work: &Path) -> Result<(), String> {
    let bundle = Bundle::open(work).map_err(words)?;
    report::inspect_bundle(work).map_err(words)?;
    bundle.class_count().map_err(words)?;
    let state = start_state(&bundle).map_err(words)?;
    bundle::tuned(&bundle, &state).map_err(words)?;
    Ok(())
}

pub fn open(bytes: &[u8], work: &Path) -> Result<(), String> {
    with_file(Bundle::MANIFEST, bytes, work);
    used(work)
}

pub fn graphs() -> Vec<Vec<u8>> {
    let bundle = a_bundle();
    [bundle.init(), bundle.step(), bundle.eval(), bundle.template(), bundle.grad(), bundle.apply()].iter().map(read_file).collect()
}

/// Which of the bundle's files this is a mutant of, by the name of its graph and its ports.
fn file_of(bytes: &[u8]) -> &'static str {
    let Ok(model) = <onnx::pb::ModelProto as prost::Message>::decode(bytes) else { return Bundle::STEP };
    let graph = model.graph.unwrap_or_default();
    match (graph.name(), graph.input.len()) {
        ("init", _) => Bundle::INIT,
        (_, 0 | 1) => Bundle::TEMPLATE,
        ("eval" | "evaluation", _) => Bundle::EVAL,
        _ => Bundle::STEP,
    }
}

pub fn read_graph(bytes: &[u8], work: &Path) -> Result<(), String> {
    let name = file_of(bytes);
    with_file(name, bytes, work);
    if name != Bundle::TEMPLATE {
        let file = onnx::open(work.join(name)).map_err(words)?;
        emit::read(&file, Some(2)).map_err(words)?;
    }
    used(work)
}

/// A file of tensors without its hash.
fn unsealed_tensors(bytes: &[u8]) -> Vec<u8> {
    let (length, _) = SafeTensors::read_metadata(bytes).unwrap();
    let mut value: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let inner = value["__metadata__"]["spgraph"].as_str().unwrap();
    let mut own: Value = serde_json::from_str(inner).unwrap();
    for field in [seal::HASH, seal::SEALED] {
        own.as_object_mut().unwrap().remove(field);
    }
    value["__metadata__"]["spgraph"] = own.to_string().into();
    let text = value.to_string();
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes[8 + length..]].concat()
}

pub fn states() -> Vec<Vec<u8>> {
    let bundle = a_bundle();
    let header = json!({"format": 1, "step": 7, "epoch": 2, "seed": 0, "validated": 5, "best": {"step": 5, "loss": 0.5, "accuracy": 0.25}});
    let state = start_state(bundle).unwrap();
    let named = bundle.manifest.state.iter().zip(&state).map(|(s, t)| (s.name.as_str(), t));
    vec![unsealed_tensors(&tensor_file::sealed(Path::new("x"), &header, named).unwrap())]
}

pub fn read_state(bytes: &[u8], work: &Path) -> Result<(), String> {
    let path = written(bytes, work.join("state.safetensors"));
    train::read_state(&path, a_bundle().manifest.kept_state()).map(drop).map_err(words)
}

pub fn fishers() -> Vec<Vec<u8>> {
    let state = start_state(a_bundle()).unwrap();
    let tensors = a_bundle().manifest.state.iter().zip(&state).filter(|(s, _)| s.penalized);
    let squares: Vec<(String, Tensor)> = tensors
        .map(|(s, t)| {
            let squares: Vec<f32> = t.elements::<f32>().unwrap().iter().map(|v| v * v).collect();
            (s.name.clone(), Tensor::from_f32(t.shape(), &squares))
        })
        .collect();
    let info =
        json!({"format": fisher::FORMAT, "source": {"sha256": "0".repeat(64)}, "mode": "exact", "samples": 4, "classes": 5, "seed": 1});
    let named = squares.iter().map(|(n, t)| (n.as_str(), t));
    vec![unsealed_tensors(&tensor_file::sealed(Path::new("x"), &info, named).unwrap())]
}

pub fn read_fisher(bytes: &[u8], work: &Path) -> Result<(), String> {
    fisher::read(&written(bytes, work.join("f.safetensors"))).map(drop).map_err(words)
}
