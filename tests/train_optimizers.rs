//! Runs in which the optimizer has phases or keeps averages: the head first, resuming at the border, the state `ema`.
//!
//! ONNX Runtime is found as `spgraph runtime` finds it; without one these tests fail.

use spgraph::Field;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::Role;
use spgraph::bundle::{Bundle, HeadOption, Options, start_state};
use spgraph::data::synth::{SynthOptions, Task, write};
use spgraph::data::{Augment, ImageDataset, ImageFolder, Loader, LoaderOptions, Recipe};
use spgraph::engine::{self, EngineChoice, EngineOptions};
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx;
use spgraph::optim::{AdamW, Optimizer, UpdateRule};
use spgraph::train::{
    EarlyStopping, Existing, FinetuneOptions, Length, Progress, Run, RunState, Scalars, Schedule, Silent, StepRecord, Subject,
    TrainingStep, Validation, export_tuned, finetune,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CLASSES: usize = 6;

struct Lab {
    work: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let work = tempfile::tempdir().unwrap();
        write(&SynthOptions { size: 24, ..SynthOptions::new(Task::TargetA, 4, 1) }, &work.path().join("images")).unwrap();
        Lab { work }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn bundle(&self, name: &str, source: &str, freeze: &[String]) -> Bundle {
        let optimizer = Optimizer { clip_norm: Some(0.5), ema: Some(0.8), spd: Some(1.0), ..UpdateRule::AdamW(AdamW::default()).into() };
        let options = Options {
            head: HeadOption::Classes(CLASSES),
            batch: BatchSize::Fixed(3),
            lr: Some(0.01),
            optimizer,
            freeze: freeze.to_vec(),
            ..Options::default()
        };
        make_bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(source), &self.path(name), &options, false).unwrap();
        Bundle::open(&self.path(name)).unwrap()
    }

    fn options(&self, bundle: &Bundle, run: &str, steps: u64, head_first: u64) -> FinetuneOptions {
        let mut options = FinetuneOptions::new(&bundle.dir, self.path("images"), self.path(run));
        options.engine = engine_options();
        options.training.length = Length::Steps(steps);
        options.training.head_first = head_first;
        options.training.schedule = Schedule::Constant;
        options
    }

    fn run(&self, bundle: &Bundle, run: &str, steps: u64, head_first: u64) -> Vec<Tensor> {
        finetune(&self.options(bundle, run, steps, head_first), &mut Silent, &AtomicBool::new(false)).unwrap();
        self.state(run, RunState::Final)
    }

    fn state(&self, run: &str, which: RunState) -> Vec<Tensor> {
        Subject::open(&self.path(run)).unwrap().state(which).unwrap()
    }
}

fn engine_options() -> EngineOptions {
    EngineOptions { choice: EngineChoice::Ort, threads: Some(1), ..Default::default() }
}

/// The tensors of a role, by name.
fn of_role<'a>(bundle: &'a Bundle, state: &'a [Tensor], role: Role) -> Vec<(&'a str, &'a Tensor)> {
    bundle.manifest.state.iter().zip(state).filter(|(s, _)| s.role == role).map(|(s, t)| (s.name.as_str(), t)).collect()
}

fn same_bits(a: &[(&str, &Tensor)], b: &[(&str, &Tensor)]) {
    assert!(!a.is_empty() && a.len() == b.len());
    for ((name, a), (other, b)) in a.iter().zip(b) {
        assert!(name == other && a.bytes() == b.bytes(), "{name} differs from {other}");
    }
}

#[test]
fn the_first_phase_is_a_run_with_everything_else_frozen() {
    let lab = Lab::new();
    let whole = lab.bundle("whole", "basic.onnx", &[]);
    let body: Vec<String> = whole.manifest.state.iter().filter(|s| s.role == Role::Shared).map(|s| s.name.clone()).collect();
    let frozen = lab.bundle("frozen", "basic.onnx", &body);
    let probed = lab.run(&whole, "probed", 3, 3);
    let reference = lab.run(&frozen, "reference", 3, 0);
    let start = start_state(&whole).unwrap();
    same_bits(&of_role(&whole, &probed, Role::Shared), &of_role(&whole, &start, Role::Shared));
    let (head, expected) = (of_role(&whole, &probed, Role::New), of_role(&frozen, &reference, Role::New));
    assert_eq!(head.len(), 2);
    for ((name, found), (_, expected)) in head.iter().zip(&expected) {
        let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-6, "{name} is {worst:.1e} from that of a frozen network");
    }
    let moved = of_role(&whole, &start, Role::New).iter().zip(&head).all(|(a, b)| a.1.bytes() != b.1.bytes());
    assert!(moved, "the head did not move");
}

#[test]
fn the_second_phase_is_a_new_run_from_the_probed_head() {
    let lab = Lab::new();
    let bundle = lab.bundle("bundle", "basic.bn.onnx", &[]);
    let tuned = lab.run(&bundle, "tuned", 5, 2);
    // By hand: the end of the first phase with a fresh optimizer, then the remaining batches.
    let mut state = lab.run(&bundle, "probed", 2, 2);
    let m = &bundle.manifest;
    for (at, s) in m.state.iter().enumerate() {
        match s.role {
            Role::Optimizer => state[at] = Tensor::zeros(DType::F32, &s.shape),
            Role::Ema => state[at] = state[m.state.iter().position(|p| s.of.as_ref() == Some(&p.name)).unwrap()].clone(),
            _ => {}
        }
    }
    let mut step = TrainingStep::load(engine::open(&engine_options()).unwrap().as_ref(), &bundle, state).unwrap();
    let recipe = Recipe::new(&m.preprocessing, &m.data.input.shape).unwrap();
    let images = ImageFolder::open(&lab.path("images"), None).unwrap();
    let dataset = ImageDataset::new(images, recipe, Augment::NONE, 0);
    let loader = Loader::new(Arc::new(dataset), LoaderOptions::training(3, 0)).unwrap();
    assert_eq!(loader.batches_per_epoch(), 8);
    for batch in loader.stream(0, 2, None).unwrap().take(3) {
        let batch = batch.unwrap();
        step.run(&batch.data, &batch.target, &Scalars::defaults(m)).unwrap();
    }
    let expected = step.state().unwrap();
    for role in [Role::Shared, Role::New, Role::Buffer, Role::Ema] {
        same_bits(&of_role(&bundle, &tuned, role), &of_role(&bundle, &expected, role));
    }
}

/// Stops a run after so many steps.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Progress for StopAfter<'_> {
    fn step(&mut self, record: &StepRecord) {
        self.1.store(record.step >= self.0, Ordering::Relaxed);
    }
}

#[test]
fn a_run_resumes_in_either_phase_and_between_them() {
    let lab = Lab::new();
    let bundle = lab.bundle("bundle", "basic.bn.onnx", &[]);
    let expected = lab.run(&bundle, "whole", 5, 2);
    for after in 1..5 {
        let name = format!("stopped{after}");
        let stop = AtomicBool::new(false);
        let mut options = lab.options(&bundle, &name, 5, 2);
        finetune(&options, &mut StopAfter(after, &stop), &stop).unwrap_err();
        options.existing = Existing::Resume;
        finetune(&options, &mut Silent, &AtomicBool::new(false)).unwrap();
        let found = lab.state(&name, RunState::Final);
        for role in [Role::Shared, Role::New, Role::Buffer, Role::Ema] {
            same_bits(&of_role(&bundle, &found, role), &of_role(&bundle, &expected, role));
        }
    }
}

#[test]
fn the_average_takes_the_weights_place() {
    let lab = Lab::new();
    let bundle = lab.bundle("bundle", "basic.bn.onnx", &[]);
    let last = lab.run(&bundle, "run", 4, 0);
    let averaged = lab.state("run", RunState::Ema);
    let m = &bundle.manifest;
    let mut compared = 0;
    for (at, s) in m.state.iter().enumerate() {
        let average = m.state.iter().position(|e| e.role == Role::Ema && e.of.as_ref() == Some(&s.name));
        match s.role {
            Role::Shared | Role::New => {
                assert!(averaged[at].bytes() == last[average.unwrap()].bytes() && averaged[at].bytes() != last[at].bytes(), "{}", s.name);
                compared += 1;
            }
            _ => assert!(averaged[at].bytes() == last[at].bytes(), "{}", s.name),
        }
    }
    assert!(compared > 10);
    // And into the exported model.
    let (subject, out) = (Subject::open(&lab.path("run")).unwrap(), lab.path("ema.onnx"));
    export_tuned(&subject, RunState::Ema, &out, false).unwrap();
    let exported = onnx::read(&out).unwrap();
    let graph = exported.graph().unwrap();
    let mut found = 0;
    for (s, tensor) in m.state.iter().zip(&averaged).filter(|(s, _)| s.role == Role::Shared) {
        if let Some(stored) = graph.initializer.iter().find(|t| t.name() == s.name) {
            assert!(exported.tensor(stored).unwrap().bytes() == tensor.bytes(), "{}", s.name);
            found += 1;
        }
    }
    assert!(found > 10);
    assert!(!graph.initializer.iter().any(|t| t.name().ends_with(".ema")));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let lab = Lab::new();
    let bundle = lab.bundle("bundle", "basic.bn.onnx", &[]);
    let message = |options: &FinetuneOptions| finetune(options, &mut Silent, &AtomicBool::new(false)).unwrap_err().to_string();
    assert!(message(&lab.options(&bundle, "long", 3, 4)).contains(&format!("{} 4 is more than the 3 steps", Field::HEAD_FIRST)));
    let path = lab.path("kept");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.bn.onnx");
    make_bundle(&source, &path, &Options { batch: BatchSize::Fixed(3), ..Options::default() }, false).unwrap();
    let kept = Bundle::open(&path).unwrap();
    assert!(message(&lab.options(&kept, "kept-run", 3, 1)).contains(&format!("rewrite the model with {}", Field::CLASSES)));
    assert!(!lab.path("long").exists() && !lab.path("kept-run").exists());
    let error = Subject::open(&path).unwrap().state(RunState::Ema).unwrap_err().to_string();
    assert!(error.contains(&Field::EMA.to_string()), "{error}");
    assert!(Run::open(&path).is_err());
}

#[test]
fn patience_is_kept_by_a_run_that_resumes() {
    let lab = Lab::new();
    let bundle = lab.bundle("bundle", "basic.bn.onnx", &[]);
    let options = |run: &str| {
        let mut options = lab.options(&bundle, run, 0, 0);
        options.training.length = Length::Epochs(30);
        options.training.validation = Validation::Split(0.5);
        // Nothing gains that much, so the first validation and three more are the run.
        options.training.early_stopping = EarlyStopping { patience: Some(3), min_delta: 0.9, ..EarlyStopping::default() };
        options
    };
    let whole = finetune(&options("whole"), &mut Silent, &AtomicBool::new(false)).unwrap();
    assert_eq!((whole.results.steps, whole.results.ended_early), (16, true));
    for after in [3, 8, 13] {
        let (mut options, stop) = (options(&format!("stopped{after}")), AtomicBool::new(false));
        finetune(&options, &mut StopAfter(after, &stop), &stop).unwrap_err();
        options.existing = Existing::Resume;
        let found = finetune(&options, &mut Silent, &AtomicBool::new(false)).unwrap();
        assert_eq!((found.results.steps, found.results.ended_early), (16, true), "stopped after {after}");
    }
}
