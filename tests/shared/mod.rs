//! What several test programs need. Each uses a part of it.
#![allow(dead_code)]

use spgraph::artifact::make_bundle;
use spgraph::bundle::{Bundle, Options};
use spgraph::engine::{self, Engine, EngineChoice, EngineOptions};
use spgraph::ir::Tensor;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A generator that gives the same numbers everywhere (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform from `lo` to `hi`.
    pub fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn list(&mut self, count: usize, lo: f64, hi: f64) -> Vec<f64> {
        (0..count).map(|_| self.between(lo, hi)).collect()
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// On one thread. ONNX Runtime is found as `spgraph runtime` finds it.
pub fn engine(choice: EngineChoice) -> Box<dyn Engine> {
    engine::open(&EngineOptions { choice, threads: Some(1), ..Default::default() }).unwrap_or_else(|e| {
        panic!("this test needs an ONNX Runtime library: run `spgraph runtime install`, or set ORT_DYLIB_PATH to one.\n{e}")
    })
}

/// A bundle of a fixture, in a folder that lives as long as the first of the two.
pub fn bundle(model: &str, options: &Options) -> (TempDir, Bundle) {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("bundle");
    make_bundle(&fixture(model), &dir, options, false).unwrap();
    let bundle = Bundle::open(&dir).unwrap();
    (work, bundle)
}

/// Why no bundle can be made of a fixture with these options.
pub fn refused(model: &str, options: &Options) -> String {
    let work = tempfile::tempdir().unwrap();
    make_bundle(&fixture(model), &work.path().join("bundle"), options, false).unwrap_err().to_string()
}

pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

/// Norm of the difference over how far `b` moved from the start, for all state as one vector.
pub fn distance(a: &[Tensor], b: &[Tensor], start: &[Tensor]) -> f64 {
    let (mut difference, mut moved) = (0.0, 0.0);
    for ((a, b), s) in a.iter().zip(b).zip(start) {
        for ((a, b), s) in a.to_f64().unwrap().into_iter().zip(b.to_f64().unwrap()).zip(s.to_f64().unwrap()) {
            difference += (a - b) * (a - b);
            moved += (b - s) * (b - s);
        }
    }
    (difference / moved).sqrt()
}
