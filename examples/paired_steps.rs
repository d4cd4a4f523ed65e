//! Times the training steps of several bundles in turn, one step of each after another, on random data: what a machine that grows slower or
//! faster meanwhile does to one it does to all. `paired_steps ROUNDS THREADS DIR DIR…` prints a JSON list for each bundle: of every step the
//! milliseconds by the clock, and with one thread those of the processor (on Linux), which other work on the machine hardly changes.

use spgraph::bundle::{Bundle, Setting, start_state};
use spgraph::engine::{self, EngineChoice, EngineOptions};
use spgraph::ir::Tensor;
use spgraph::train::{Scalars, TrainingStep, batch_size, random_batch};
use std::path::Path;
use std::time::Instant;

/// A bundle that is ready to step, with everything that it is fed.
struct Runner {
    step: TrainingStep,
    batch: (Tensor, Tensor),
    scalars: Scalars,
}

fn runner(dir: &str, engine: &dyn engine::Engine) -> anyhow::Result<Runner> {
    let bundle = Bundle::open(Path::new(dir))?;
    Ok(Runner {
        step: TrainingStep::load(engine, &bundle, start_state(&bundle)?)?,
        batch: random_batch(&bundle, batch_size(&bundle.manifest, None)?)?,
        // Small steps: the weights are random, and only the time matters.
        scalars: Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 1e-6)?,
    })
}

/// Nanoseconds that the calling thread has computed for; 0 where the system does not say.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0.0)
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, threads, dirs @ ..] = &args[..] else { anyhow::bail!("usage: paired_steps ROUNDS THREADS DIR DIR…") };
    let (rounds, threads): (usize, usize) = (rounds.parse()?, threads.parse()?);
    let engine = engine::open(&EngineOptions { choice: EngineChoice::Ort, threads: Some(threads), ..Default::default() })?;
    let mut runners = dirs.iter().map(|dir| runner(dir, engine.as_ref())).collect::<anyhow::Result<Vec<_>>>()?;
    let mut times = vec![vec![]; runners.len()];
    for round in 0..rounds + 2 {
        for offset in 0..runners.len() {
            let i = (round + offset) % runners.len();
            let Runner { step, batch, scalars } = &mut runners[i];
            let (start, busy) = (Instant::now(), processor_time());
            step.run(&batch.0, &batch.1, scalars)?;
            // The first two warm caches and allocate the second state buffer.
            if round >= 2 {
                let milliseconds = [start.elapsed().as_secs_f64() * 1e3, (processor_time() - busy) / 1e6];
                times[i].push(milliseconds.map(|t| (t * 10.0).round() / 10.0));
            }
        }
    }
    println!("{}", serde_json::json!(times));
    Ok(())
}
