//! Every penalty in the form that is emitted, and the options around them: strengths, the Fisher file, freezing, heads.

mod bundles;
mod commands;
mod terms;

use spgraph::engine::{self, Engine, EngineChoice, EngineOptions};

/// A generator that gives the same numbers everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn list(&mut self, count: usize, lo: f64, hi: f64) -> Vec<f64> {
        (0..count).map(|_| self.between(lo, hi)).collect()
    }
}

/// ONNX Runtime is found as `spgraph runtime` finds it.
fn engine(choice: EngineChoice) -> Box<dyn Engine> {
    engine::open(&EngineOptions { choice, threads: Some(1), ..Default::default() }).unwrap()
}
