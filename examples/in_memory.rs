//! Fine-tunes on images that a program has in memory, evaluates and predicts, with no image folder anywhere.
//!
//!     cargo run --release --example in_memory -- models/resnet20-source.onnx out/in-memory

use ndarray::{Array4, s};
use spgraph::prelude::*;

const CLASSES: [&str; 3] = ["across", "down", "dots"];

/// Patterns of three kinds, in colours that say nothing: N×32×32×3 bytes.
fn images(count: usize, from: usize) -> (Array4<u8>, Vec<usize>) {
    let labels: Vec<usize> = (0..count).map(|i| i % CLASSES.len()).collect();
    let pixels = Array4::from_shape_fn((count, 32, 32, 3), |(i, y, x, c)| {
        let (seed, wide) = (i + from, 3 + (i + from) % 4);
        let lit = match labels[i] {
            0 => (y / wide).is_multiple_of(2),
            1 => (x / wide).is_multiple_of(2),
            _ => (x / wide).is_multiple_of(2) && (y / wide).is_multiple_of(2),
        };
        let colour = (40 + (seed * 37 + c * 71) % 120) as u8;
        if lit { colour.saturating_add(90) } else { colour }
    });
    (pixels, labels)
}

fn main() -> spgraph::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, out] = &args[..] else {
        return Err(Error::usage("usage: in_memory MODEL OUT"));
    };
    run(model, out).map(|_| ())
}

/// Gives the accuracy on the test images.
pub fn run(model: &str, out: &str) -> spgraph::Result<f64> {
    let (pixels, labels) = images(60, 0);
    let training = ImageSet::labelled(pixels.view(), &labels, &CLASSES)?;
    let (pixels, labels) = images(30, 1000);
    let test = ImageSet::labelled(pixels.view(), &labels, &CLASSES)?;

    let result = Finetune::model(model, training)
        .rewriting(Rewrite::new().penalty(Penalty::L2Sp).batch_norm(BatchNormMode::Frozen).batch(20))
        .validation_split(0.2)
        .test(test.clone())
        .augment(Augment::NONE.with(HorizontalFlip::default()))
        .epochs(8)
        .output(format!("{out}/run"))
        .replace()
        .run()?;
    let tuned = result.exported.ok_or_else(|| Error::usage("nothing was exported"))?.path;
    println!("{} steps, exported to {}", result.run.results.steps, tuned.display());

    // The exported file is a network as any other.
    let found = Evaluate::of(&tuned).on(test)?;
    println!("on test images: {}", found.headline());
    let one = ImageSet::labelled(pixels.slice(s![..1, .., .., ..]), &[0], &CLASSES)?;
    for guess in Predict::of(&tuned).top(2).images(&one)?.iter().flat_map(|answer| &answer.guesses) {
        println!("{} {:.3}", guess.class, guess.probability);
    }
    Ok(found.accuracy)
}
