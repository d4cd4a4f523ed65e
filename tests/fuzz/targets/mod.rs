//! The kinds of files, each with sound members and its reader.

mod bundles;
mod images;
mod models;
mod texts;

use super::mutate::{self, Random};
use std::path::{Path, PathBuf};

/// How much memory reading may take.
#[derive(Clone, Copy)]
pub struct Memory {
    /// For each byte of the input.
    times: usize,
    /// On top.
    megabytes: usize,
}

impl Memory {
    pub fn bound(self, input: usize) -> usize {
        self.times * input + (self.megabytes << 20)
    }
}

/// The input's own size and 64 MB.
const SMALL: Memory = Memory { times: 1, megabytes: 64 };

/// A kind of file.
pub struct Target {
    pub name: &'static str,
    /// Files that are read without an error.
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub mutate: fn(&[u8], &mut Random) -> Vec<u8>,
    /// Reads such a file as the commands do, with an empty folder to work in; the message of a refusal.
    pub read: fn(&[u8], &Path) -> Result<(), String>,
    pub memory: Memory,
}

pub fn all() -> Vec<Target> {
    let rewriting = Memory { times: 64, megabytes: 256 };
    // An image is decoded as the size in its header says, up to the limit on pixels.
    let decoded = Memory { times: 1, megabytes: 640 };
    vec![
        Target { name: "model", seeds: models::models, mutate: mutate::model, read: models::inspect, memory: SMALL },
        Target { name: "rewriting", seeds: models::models, mutate: mutate::model, read: models::rewrite, memory: rewriting },
        Target { name: "external", seeds: models::outside, mutate: mutate::model, read: models::read_outside, memory: SMALL },
        Target { name: "bundle", seeds: bundles::manifests, mutate: mutate::json, read: bundles::open, memory: SMALL },
        Target { name: "emitted", seeds: bundles::graphs, mutate: mutate::model, read: bundles::read_graph, memory: rewriting },
        Target { name: "state", seeds: bundles::states, mutate: mutate::with_header, read: bundles::read_state, memory: SMALL },
        Target { name: "fisher", seeds: bundles::fishers, mutate: mutate::with_header, read: bundles::read_fisher, memory: SMALL },
        Target { name: "image", seeds: images::images, mutate: mutate::image, read: images::decode, memory: decoded },
        Target { name: "list", seeds: images::lists, mutate: mutate::text, read: images::read_list, memory: SMALL },
        Target { name: "arrays", seeds: images::arrays, mutate: images::mutate_arrays, read: images::read_arrays, memory: SMALL },
        Target { name: "class_names", seeds: texts::names, mutate: mutate::json, read: texts::read_names, memory: SMALL },
        Target { name: "run_record", seeds: texts::records, mutate: mutate::json, read: texts::read_record, memory: SMALL },
        Target {
            name: "configuration",
            seeds: texts::configurations,
            mutate: mutate::text,
            read: texts::read_configuration,
            memory: SMALL,
        },
        Target { name: "study", seeds: texts::studies, mutate: mutate::text, read: texts::read_study, memory: SMALL },
    ]
}

/// What was once at fault, by target.
pub fn corpus(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The fixtures below `folder` that end so and are not too large, in the order of their names.
fn small_fixtures(folder: &str, endings: &[&str], most: u64) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(fixtures().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| endings.iter().any(|e| p.to_string_lossy().ends_with(e)) && p.metadata().unwrap().len() <= most);
    paths.sort();
    assert!(!paths.is_empty(), "no fixtures in {folder}");
    paths.into_iter().map(read_file).collect()
}

fn read_file(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn written(bytes: &[u8], path: PathBuf) -> PathBuf {
    std::fs::write(&path, bytes).unwrap();
    path
}

fn words(error: spgraph::Error) -> String {
    error.to_string()
}
