//! Times the training steps of several bundles in turn, one step of each after another, on random data: what a machine that grows slower or
//! faster meanwhile does to one it does to all. `paired_steps ROUNDS THREADS DIR DIR…` prints a JSON list for each bundle: of every step the
//! milliseconds by the clock, and with one thread those of the processor (on Linux), which other work on the machine hardly changes.

use rand::{RngExt, SeedableRng};
use spgraph::bundle::{Bundle, Setting, start_state};
use spgraph::engine::{self, EngineChoice, EngineOptions, StatePort, Stepper};
use spgraph::ir::Tensor;
use std::path::Path;
use std::time::Instant;

/// A bundle that is ready to step, with everything that it is fed.
struct Runner {
    stepper: Box<dyn Stepper>,
    feeds: Vec<(String, Tensor)>,
}

fn runner(dir: &str, engine: &dyn engine::Engine) -> anyhow::Result<Runner> {
    let bundle = Bundle::open(Path::new(dir))?;
    let m = &bundle.manifest;
    let ports: Vec<StatePort> = m.state.iter().map(|s| StatePort { input: s.input.clone(), output: s.output.clone() }).collect();
    let stepper = engine.load_step(&bundle.step(), &ports, start_state(&bundle)?)?;
    let shape: Vec<usize> = m.data.input.shape.iter().map(|&d| if d < 0 { 16 } else { d as usize }).collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let labels: Vec<i64> = (0..shape[0]).map(|_| rng.random_range(0..10)).collect();
    let mut feeds = vec![
        (m.data.input.name.clone(), Tensor::from_f32(&shape, &pixels)),
        (m.data.target.name.clone(), Tensor::from_i64(&[shape[0]], &labels)),
    ];
    // Small steps: the weights are random, and only the time matters.
    let scalar = |s: &spgraph::bundle::manifest::Scalar| if s.meaning == Setting::LearningRate { 1e-6 } else { s.default as f32 };
    feeds.extend(m.scalars.iter().map(|s| (s.name.clone(), Tensor::from_f32(&[], &[scalar(s)]))));
    Ok(Runner { stepper, feeds })
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
            let Runner { stepper, feeds } = &mut runners[i];
            let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
            let (start, busy) = (Instant::now(), processor_time());
            stepper.step(&feeds)?;
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
