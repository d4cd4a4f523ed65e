//! The checked-in network of models/: it is the one that the hash names, it knows its task, and it learns a related one.

use sha2::{Digest, Sha256};
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{HeadOption, Options};
use spgraph::data::synth::{SynthOptions, Task, write};
use spgraph::engine::{self, EngineOptions};
use spgraph::import::BatchSize;
use spgraph::train::{
    Classifier, ClassifierOptions, EvaluationOptions, FinetuneOptions, Length, Silent, Subject, evaluate_folder, finetune,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn source() -> PathBuf {
    models().join("resnet20-source.onnx")
}

fn accuracy(subject: &Path, folder: &Path) -> f64 {
    let engine = engine::open(&EngineOptions::default()).unwrap();
    let subject = Subject::open(subject).unwrap();
    let mut classifier = Classifier::open(&subject, &ClassifierOptions::default(), engine.as_ref()).unwrap();
    evaluate_folder(&mut classifier, &EvaluationOptions::new(folder), &AtomicBool::new(false), &mut |_| {}, &mut |_, _| {})
        .unwrap()
        .accuracy
}

#[test]
fn the_file_is_the_one_that_was_made() {
    let data = std::fs::read(source()).unwrap();
    assert!(data.len() < 3_000_000);
    let hash: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
    let sums = std::fs::read_to_string(models().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.trim(), format!("{hash}  resnet20-source.onnx"));
}

#[test]
fn it_knows_its_task_and_learns_another() {
    let work = tempfile::tempdir().unwrap();
    let images = |task, per_class, seed| {
        let dir = work.path().join(format!("{task:?}-{seed}"));
        write(&SynthOptions::new(task, per_class, seed), &dir).unwrap();
        dir
    };
    let (own, train, test) = (images(Task::Source, 20, 7), images(Task::TargetA, 10, 8), images(Task::TargetA, 20, 9));
    let known = accuracy(&source(), &own);
    assert!(known > 0.95, "accuracy {known} on its own task");

    let mut moved = vec![];
    for penalty in ["l2-sp", "l2"] {
        let (bundle, run) = (work.path().join(format!("{penalty}.spgraph")), work.path().join(penalty));
        let options = Options {
            penalty: penalty.into(),
            head: HeadOption::Classes(6),
            batch: BatchSize::Fixed(20),
            batch_norm: Some(BatchNormMode::Frozen),
            ..Options::default()
        };
        make_bundle(&source(), &bundle, &options, false).unwrap();
        let mut options = FinetuneOptions::new(&bundle, &train, &run);
        options.training.length = Length::Steps(80);
        // Eighty steps are too few to begin slowly.
        options.training.warmup = Some(0);
        let result = finetune(&options, &mut Silent, &AtomicBool::new(false)).unwrap();
        let learnt = accuracy(&run, &test);
        // One in six by chance.
        assert!(learnt > 0.6, "{penalty}: accuracy {learnt} on the new task");
        moved.push(result.results.distance.total);
    }
    assert!(moved[0] < 0.9 * moved[1], "L2-SP moved {} from the start, L2 {}", moved[0], moved[1]);
}
