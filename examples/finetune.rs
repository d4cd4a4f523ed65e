//! The command line's main path as library calls: rewrite, fine-tune, evaluate, export.
//!
//!     cargo run --release --example finetune -- MODEL TRAIN_FOLDER TEST_FOLDER OUT_FOLDER

use spgraph::prelude::*;
use std::path::Path;

/// Prints the loss now and then.
struct Log;

impl Progress for Log {
    fn step(&mut self, record: &StepRecord) {
        if record.step.is_multiple_of(50) {
            println!("step {:4}  loss {:.4}", record.step, record.loss);
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, train, test, out] = &args[..] else {
        anyhow::bail!("usage: finetune MODEL TRAIN_FOLDER TEST_FOLDER OUT_FOLDER");
    };
    let out = Path::new(out);
    let (bundle, run, tuned) = (out.join("bundle"), out.join("run"), out.join("tuned.onnx"));
    std::fs::create_dir_all(out)?;

    // A new classifier for the folder's classes; everything else is penalised for leaving its starting point.
    let classes = ImageSet::open(Path::new(train), None)?.classes().to_vec();
    let made = Rewrite::new().class_names(classes).penalty(Penalty::L2Sp).replace().write(model, &bundle)?;
    println!("{} state tensors, {} scalars", made.manifest.state.len(), made.manifest.scalars.len());

    let result = Finetune::bundle(&bundle, train.as_str()).steps(100).output(&run).replace().watched(&mut Log)?;
    println!("moved {:.3} away from the starting point", result.run.results.distance.total);
    println!("{}", Evaluate::of(&run).on(test.as_str())?.headline());
    Export::of(&run).replace().write(&tuned)?;
    println!("wrote {}", tuned.display());
    Ok(())
}
