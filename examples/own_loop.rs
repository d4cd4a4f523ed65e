//! A training loop of one's own: whose data, schedule and end are the program's. The network, its gradients, the penalty and the optimizer are the bundle's step.
//!
//!     cargo run --release --example own_loop -- models/resnet20-source.onnx out/own-loop

use spgraph::prelude::*;

const BATCH: usize = 8;

/// Inputs that are ready, N×3×32×32, and their labels: the left or the right half is bright.
fn batch(number: usize) -> (Tensor, Tensor) {
    let labels: Vec<i64> = (0..BATCH).map(|i| ((number + i) % 2) as i64).collect();
    let value = |i: usize, y: usize, x: usize| {
        let lit = (x < 16) == (labels[i] == 0);
        let noise = ((number * 31 + i * 17 + y * 7 + x * 3) % 13) as f64 / 13.0 - 0.5;
        noise + if lit { 1.0 } else { -1.0 }
    };
    let values: Vec<f64> = (0..BATCH * 3 * 32 * 32).map(|at| value(at / 3072, at % 1024 / 32, at % 32)).collect();
    (Tensor::from_floats(DType::F32, &[BATCH, 3, 32, 32], &values), Tensor::from_i64(&[BATCH], &labels))
}

fn main() -> spgraph::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, out] = &args[..] else {
        return Err(Error::usage("usage: own_loop MODEL OUT"));
    };
    run(model, out).map(|_| ())
}

/// Gives the data losses of the steps.
pub fn run(model: &str, out: &str) -> spgraph::Result<Vec<f64>> {
    let bundle = Rewrite::new()
        .class_names(["left", "right"])
        .penalty(Penalty::L2Sp)
        .batch_norm(BatchNormMode::Frozen)
        .batch(BATCH)
        .replace()
        .write(model, format!("{out}/bundle"))?;

    let engine = engine::open(&EngineOptions::default())?;
    let mut step = TrainingStep::load(engine.as_ref(), &bundle, start_state(&bundle)?)?;
    let scalars = Scalars::defaults(&bundle.manifest);
    let mut rate = 0.01;
    let mut losses = vec![];
    for number in 0..30 {
        let (images, labels) = batch(number);
        let found = step.run(&images, &labels, &scalars.clone().with(&Setting::LearningRate, rate)?)?;
        losses.push(found.data_loss);
        if number % 10 == 9 {
            println!("step {:2}  loss {:.4}  penalty {:.4}  {}/{BATCH} right", number + 1, found.data_loss, found.penalty, found.correct);
            // Any rule will do.
            rate *= 0.5;
        }
        if found.data_loss < 1e-4 {
            break;
        }
    }
    println!("loss from {:.4} to {:.4}", losses.first().copied().unwrap_or(0.0), losses.last().copied().unwrap_or(0.0));

    // The state is the program's, too: it can be saved, averaged, or exported.
    let state = step.state()?;
    let tuned = format!("{out}/tuned.onnx");
    Export::own_state(&bundle, &state, &tuned)?;
    println!("wrote {tuned}");
    Ok(losses)
}
