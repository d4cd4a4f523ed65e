//! One training step of a bundle on a batch from files, its state to files: for comparisons with other programs.
//!
//!     one_step DIR BATCH float32|bf16 OUT
//!
//! `BATCH/data.f32` and `BATCH/target.i64` are the batch, little-endian, in the bundle's shape. `OUT/state.json` lists the state's tensors as the
//! manifest does; the n-th is `OUT/n.f32`. The rate is 1, so that momentum begins with the gradient.

use spgraph::engine::{EngineChoice, Kernels, Precision};
use spgraph::prelude::*;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, batch, precision, out] = &args[..] else { anyhow::bail!("usage: one_step DIR BATCH float32|bf16 OUT") };
    let precision = if precision == "bf16" { Precision::Bf16 } else { Precision::Float32 };
    let bundle = Bundle::open(Path::new(dir))?;
    let options = EngineOptions { choice: EngineChoice::Ort, kernels: Kernels::Native, precision, threads: Some(2), ..Default::default() };
    let engine = engine::open(&options)?;
    let mut training = TrainingStep::load(engine.as_ref(), &bundle, start_state(&bundle)?)?;
    let shape: Vec<usize> = bundle.manifest.data.input.shape.iter().map(|&d| d.max(0) as usize).collect();
    let floats = std::fs::read(Path::new(batch).join("data.f32"))?;
    let labels = std::fs::read(Path::new(batch).join("target.i64"))?;
    let data: Vec<f32> = floats.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let target: Vec<i64> = labels.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let scalars = Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 1.0)?;
    let found = training.run(&Tensor::from_f32(&shape, &data), &Tensor::from_i64(&shape[..1], &target), &scalars)?;
    println!("{} {}", engine.describe(), found.loss);
    std::fs::create_dir_all(out)?;
    std::fs::write(Path::new(out).join("state.json"), serde_json::to_string(&bundle.manifest.state)?)?;
    for (n, tensor) in training.state()?.iter().enumerate() {
        let values: Vec<u8> = tensor.to_f64()?.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        std::fs::write(Path::new(out).join(format!("{n}.f32")), values)?;
    }
    Ok(())
}
