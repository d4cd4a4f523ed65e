//! Times the training step of a bundle on random data: `step_time DIR [STEPS] [THREADS] [tract|native|standard]`, by default with the
//! kernels that ONNX Runtime gets on this processor.
//! Prints one line of JSON with milliseconds per step, from the launch to the end of the first step (`first_ms`), and the peak memory of
//! the process.

use spgraph::bundle::{Bundle, Setting, start_state};
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels, Precision};
use spgraph::train::{Scalars, TrainingStep, batch_size, random_batch};
use std::path::Path;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let began = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or_else(|| anyhow::anyhow!("usage: step_time DIR [STEPS] [THREADS] [tract|native|standard]"))?;
    let steps: usize = args.get(1).map_or(Ok(5), |s| s.parse())?;
    let threads: usize = args.get(2).map_or(Ok(2), |s| s.parse())?;
    let precision = if args.get(3).is_some_and(|a| a == "bf16") { Precision::Bf16 } else { Precision::Float32 };
    let (choice, kernels) = match args.get(3).map(String::as_str) {
        Some("tract") => (EngineChoice::Tract, Kernels::Auto),
        Some("native" | "bf16") => (EngineChoice::Ort, Kernels::Native),
        Some("standard") => (EngineChoice::Ort, Kernels::Standard),
        None | Some("ort") => (EngineChoice::Ort, Kernels::Auto),
        Some(other) => anyhow::bail!("`{other}` is none of tract, native, standard"),
    };

    let bundle = Bundle::open(Path::new(dir))?;
    let engine = engine::open(&EngineOptions { choice, kernels, precision, threads: Some(threads), ..Default::default() })?;
    let launched = Instant::now();
    let mut training = TrainingStep::load(engine.as_ref(), &bundle, start_state(&bundle)?)?;
    let load = launched.elapsed();

    let batch = batch_size(&bundle.manifest, None)?;
    let (data, target) = random_batch(&bundle, batch)?;
    // Small steps: the weights are random, and only the time matters.
    let scalars = Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 1e-6)?;

    let mut times = vec![];
    let mut losses = vec![];
    let mut first = began.elapsed();
    for step in 0..steps + 2 {
        let start = Instant::now();
        let found = training.run(&data, &target, &scalars)?;
        if step == 0 {
            first = began.elapsed();
        }
        // The first two warm caches and allocate the second state buffer.
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        losses.push(found.loss);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{}",
        serde_json::json!({
            "bundle": dir, "engine": engine.describe(), "batch": batch, "threads": threads, "steps": steps,
            "load_ms": (load.as_secs_f64() * 1e3).round(), "first_ms": (first.as_secs_f64() * 1e3).round(),
            "ms_median": times[times.len() / 2].round(), "ms_min": times[0].round(),
            "ms_max": times[times.len() - 1].round(), "rss_gb": peak_memory_gb(), "loss_first": losses[0], "loss_last": losses[losses.len() - 1],
        })
    );
    Ok(())
}

/// The process's largest resident set so far, in 10⁹ bytes.
fn peak_memory_gb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or(f64::NAN);
    (kib * 1024.0 / 1e7).round() / 100.0
}
