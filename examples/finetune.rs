//! The command line's main path as library calls: rewrite, fine-tune, evaluate, export.
//!
//!     cargo run --release --example finetune -- MODEL TRAIN_FOLDER TEST_FOLDER OUT_FOLDER

use spgraph::artifact::make_bundle;
use spgraph::bundle::{HeadOption, Options};
use spgraph::data::ImageFolder;
use spgraph::engine::{self, EngineOptions};
use spgraph::train::{
    Classifier, ClassifierOptions, EvaluationOptions, FinetuneOptions, Length, Progress, RunState, StepRecord, Subject, evaluate_folder,
    export_tuned, finetune,
};
use std::path::Path;
use std::sync::atomic::AtomicBool;

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
    let classes = ImageFolder::open(Path::new(train), None)?.classes().to_vec();
    let options = Options { penalty: "l2-sp".into(), head: HeadOption::Classes(classes.len()), classes, ..Options::default() };
    let report = make_bundle(Path::new(model), &bundle, &options, true)?;
    println!("{} state tensors, {} scalars", report.product.manifest.state.len(), report.product.manifest.scalars.len());

    let mut options = FinetuneOptions::new(&bundle, train, &run);
    options.existing = spgraph::train::Existing::Replace;
    options.training.length = Length::Steps(100);
    let stop = AtomicBool::new(false);
    let result = finetune(&options, &mut Log, &stop)?;
    println!("moved {:.3} away from the starting point", result.results.distance.total);

    let subject = Subject::open(&run)?;
    let engine = engine::open(&EngineOptions::default())?;
    let mut classifier = Classifier::open(&subject, &ClassifierOptions::default(), engine.as_ref())?;
    let found =
        evaluate_folder(&mut classifier, &EvaluationOptions::new(test), &stop, &mut |text| eprintln!("note: {text}"), &mut |_, _| {})?;
    println!("accuracy {:.1} %", 100.0 * found.accuracy);

    export_tuned(&subject, RunState::Final, &tuned, true)?;
    println!("wrote {}", tuned.display());
    Ok(())
}
