//! Training on mixed images: what it needs, that it depends on nothing but its options, and that the mixed targets reach the step.

use spgraph::artifact::make_bundle;
use spgraph::bundle::{HeadOption, Options};
use spgraph::data::synth::{SynthOptions, Task, write};
use spgraph::engine::{EngineChoice, EngineOptions};
use spgraph::import::BatchSize;
use spgraph::train::{Existing, FinetuneOptions, Length, Progress, StepRecord, finetune};
use spgraph::{onnx, zoo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// A small model, 5 classes of 7 images each, and a bundle for batches of 4, so that epochs end within a batch.
    fn new(soft_targets: bool, loss: Option<&str>) -> Lab {
        let lab = Lab { dir: tempfile::tempdir().unwrap() };
        let arch = "resnet20".parse().unwrap();
        onnx::write(lab.at("m.onnx"), &zoo::build(arch, 3, [3, 16, 16], 0).unwrap()).unwrap();
        write(&SynthOptions { size: 16, ..SynthOptions::new("target-b".parse::<Task>().unwrap(), 7, 0) }, &lab.at("images")).unwrap();
        let options = Options {
            head: HeadOption::Classes(5),
            batch: BatchSize::Fixed(4),
            soft_targets,
            loss: loss.map(str::to_string),
            label_smoothing: 0.1,
            ..Options::default()
        };
        make_bundle(&lab.at("m.onnx"), &lab.at("bundle"), &options, false).unwrap();
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, run: &str, augment: &str, workers: usize) -> FinetuneOptions {
        let mut options = FinetuneOptions::new(self.at("bundle"), self.at("images"), self.at(run));
        options.engine = EngineOptions { choice: EngineChoice::Tract, ..options.engine };
        options.workers = workers;
        options.training.length = Length::Steps(14);
        options.training.augment = augment.parse().unwrap();
        options
    }

    fn train(&self, run: &str, augment: &str, workers: usize) -> Vec<f64> {
        let mut seen = Seen::default();
        finetune(&self.options(run, augment, workers), &mut seen, &AtomicBool::new(false)).unwrap();
        seen.losses
    }

    fn state(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.at(run).join("state.safetensors")).unwrap()
    }
}

/// Remembers losses, and stops after a step.
#[derive(Default)]
struct Seen<'a> {
    losses: Vec<f64>,
    stop: Option<(u64, &'a AtomicBool)>,
}

impl Progress for Seen<'_> {
    fn step(&mut self, record: &StepRecord) {
        self.losses.push(record.data_loss);
        if let Some((at, stop)) = self.stop.filter(|(at, _)| record.step >= *at) {
            assert!(record.step == at || stop.load(Ordering::Relaxed));
            stop.store(true, Ordering::Relaxed);
        }
    }
}

const RECIPE: &str = "flip-crop:2+erase:0.5,fill=random+mixup:1+cutmix:1";

#[test]
fn mixing_depends_on_seed_and_epoch_alone_and_goes_on_in_mid_epoch() {
    let lab = Lab::new(true, None);
    let losses = lab.train("one", RECIPE, 1);
    assert!(losses.iter().all(|l| l.is_finite()));
    assert_eq!(losses, lab.train("four", RECIPE, 4));
    assert!(lab.state("one") == lab.state("four"), "the number of threads changes the weights");
    assert_ne!(losses, lab.train("plain", "flip-crop:2+erase:0.5,fill=random", 1));

    let stop = AtomicBool::new(false);
    let mut options = lab.options("stopped", RECIPE, 2);
    let error = finetune(&options, &mut Seen { stop: Some((5, &stop)), ..Seen::default() }, &stop).unwrap_err();
    assert!(error.to_string().contains("stopped after step 5"), "{error}");
    options.existing = Existing::Resume;
    finetune(&options, &mut Seen::default(), &AtomicBool::new(false)).unwrap();
    assert!(lab.state("one") == lab.state("stopped"), "a resumed run ends with other weights");
}

/// A step with soft targets that is fed labels does what one with labels does.
#[test]
fn labels_as_soft_targets_train_alike() {
    for loss in [None, Some("bce"), Some("mse")] {
        let (soft, hard) = (Lab::new(true, loss), Lab::new(false, loss));
        let (a, b) = (soft.train("run", "flip-crop:2", 1), hard.train("run", "flip-crop:2", 1));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-4 * b.abs(), "{loss:?}: {a} and {b}");
        }
    }
}

#[test]
fn a_bundle_with_labels_refuses_to_mix() {
    let lab = Lab::new(false, None);
    let before = names(lab.dir.path());
    for (recipe, named) in [("mixup", "mixup mixes"), ("flip-crop+cutmix:0.5+mixup", "mixup+cutmix mixes")] {
        let error = finetune(&lab.options("run", recipe, 1), &mut Seen::default(), &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("a single label") && error.contains("leave it out"), "{error}");
    }
    assert_eq!(names(lab.dir.path()), before);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
