//! The training loop against PyTorch (`tests/generate/training_loop.py`): learning rates of its schedulers, and a step whose batch was filled up.
//!
//! ONNX Runtime is found as `spgraph runtime` finds it; without one these tests fail.

use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::Role;
use spgraph::bundle::{Bundle, HeadOption, Options, PenaltyOption, Setting, start_state};
use spgraph::data::{ArrayDataset, Last, Loader, LoaderOptions};
use spgraph::engine::{self, EngineChoice, EngineOptions};
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::optim::{Sgd, UpdateRule};
use spgraph::train::{Length, Scalars, Schedule, Span, Training, TrainingStep};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden() -> Vec<u8> {
    std::fs::read(fixtures().join("training_loop.safetensors")).unwrap()
}

fn tensor(data: &[u8], name: &str) -> Tensor {
    let file = SafeTensors::deserialize(data).unwrap();
    let view = file.tensor(name).unwrap();
    let dtype = match view.dtype() {
        Dtype::I64 => DType::I64,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        other => panic!("{other:?}"),
    };
    Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec()).unwrap()
}

#[derive(Deserialize)]
struct Case {
    schedule: String,
    steps: u64,
    warmup: u64,
    per_epoch: u64,
}

#[test]
fn schedules_are_those_of_pytorch() {
    let data = golden();
    let (_, header) = SafeTensors::read_metadata(&data).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&header.metadata().as_ref().unwrap()["schedules"]).unwrap();
    assert!(cases.len() >= 10);
    for (n, case) in cases.iter().enumerate() {
        let expected = tensor(&data, &format!("schedule/{n}")).to_f64().unwrap();
        let schedule: Schedule = case.schedule.parse().unwrap();
        let span = Span { steps: case.steps, warmup: case.warmup, per_epoch: case.per_epoch };
        assert_eq!(expected.len() as u64, case.steps);
        let training =
            Training { schedule: schedule.clone(), warmup: Some(case.warmup), length: Length::Steps(case.steps), ..Training::new("/") };
        for (step, &right) in expected.iter().enumerate() {
            let found = schedule.factor(step as u64, span);
            assert!(
                (found - right).abs() < 1e-12,
                "{} with {} of warm-up: {found} in step {step}, not {right}",
                case.schedule,
                case.warmup
            );
            assert_eq!(training.lr_factor(step as u64, case.steps, case.per_epoch as usize), found);
        }
    }
}

#[test]
fn a_batch_that_was_filled_up_counts_once() {
    let work = tempfile::tempdir().unwrap();
    let data = golden();
    let (input, target) = (tensor(&data, "filled/input"), tensor(&data, "filled/target"));
    let options = Options {
        head: HeadOption::Keep,
        batch: BatchSize::Fixed(input.shape()[0]),
        penalty: PenaltyOption::None,
        optimizer: UpdateRule::Sgd(Sgd { momentum: 0.0, nesterov: false }).into(),
        ..Options::default()
    };
    make_bundle(&fixtures().join("basic.bn.onnx"), &work.path().join("bundle"), &options, false).unwrap();
    let bundle = Bundle::open(&work.path().join("bundle")).unwrap();
    let engine = engine::open(&EngineOptions { choice: EngineChoice::Ort, threads: Some(1), ..Default::default() }).unwrap();
    let mut step = TrainingStep::load(engine.as_ref(), &bundle, start_state(&bundle).unwrap()).unwrap();
    let scalars = Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 0.1).unwrap();
    let found = step.run(&input, &target, &scalars).unwrap();
    let number = |name: &str| tensor(&data, name).to_f64().unwrap()[0];
    assert!((found.loss - number("filled/loss")).abs() < 1e-5, "{found:?}");
    assert_eq!(found.correct as f64, number("filled/correct"));
    let state = step.state().unwrap();
    let mut compared = 0;
    for (slot, value) in bundle.manifest.state.iter().zip(&state).filter(|(s, _)| s.role != Role::Optimizer) {
        let (found, right) = (value.to_f64().unwrap(), tensor(&data, &format!("filled/final/{}", slot.name)).to_f64().unwrap());
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let off = norm(&mut found.iter().zip(&right).map(|(a, b)| a - b)) / norm(&mut right.iter().copied());
        assert!(off < 1e-5, "{} is {off:.1e} from PyTorch's", slot.name);
        compared += usize::from(slot.role == Role::Buffer);
    }
    assert!(compared >= 2, "the statistics of the batch are those with the image that fills it up");
}

fn array(count: usize, classes: usize) -> Arc<ArrayDataset> {
    Arc::new(ArrayDataset::new(ndarray::Array4::zeros((count, 1, 1, 1)), (0..count).map(|i| (i % classes) as i64).collect()).unwrap())
}

#[test]
fn every_image_counts_once_in_an_epoch() {
    for (count, batch) in [(50, 32), (5, 32), (33, 32), (64, 32), (1, 4), (31, 32)] {
        let options = LoaderOptions { last: Last::Pad, ignore_padding: true, threads: 1, ..LoaderOptions::training(batch, 7) };
        let loader = Loader::new(array(count, 3), options).unwrap();
        let mut seen = vec![0; count];
        for batch in loader.start(2, 0).unwrap() {
            let batch = batch.unwrap();
            let labels = batch.target.to_i64().unwrap();
            assert_eq!(labels.iter().filter(|l| **l >= 0).count(), batch.valid);
            assert!(labels[batch.valid..].iter().all(|l| *l == -1));
            batch.indices[..batch.valid].iter().for_each(|&i| seen[i] += 1);
        }
        assert!(seen.iter().all(|&n| n == 1), "{count} images in batches of {batch}: {seen:?}");
    }
}

#[test]
fn a_balanced_epoch_goes_on_in_its_middle() {
    let options = LoaderOptions { balanced: true, threads: 1, ..LoaderOptions::training(4, 7) };
    let loader = Loader::new(array(30, 3), options.clone()).unwrap();
    let whole: Vec<Vec<usize>> = loader.stream(0, 0, Some(3)).unwrap().map(|b| b.unwrap().indices).collect();
    let rest: Vec<Vec<usize>> = loader.stream(1, 2, Some(2)).unwrap().map(|b| b.unwrap().indices).collect();
    assert_eq!(whole[loader.batches_per_epoch() + 2..], rest);
    let threads = Loader::new(array(30, 3), LoaderOptions { threads: 3, ..options }).unwrap();
    assert_eq!(whole, threads.stream(0, 0, Some(3)).unwrap().map(|b| b.unwrap().indices).collect::<Vec<_>>());
}
