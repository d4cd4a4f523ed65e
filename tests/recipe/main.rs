//! What a rewriting is: its manifest, its options, and the meanings by which everything is found.

mod manifest;
mod names;
mod numbers;
mod repeat;
#[path = "../shared/mod.rs"]
mod shared;

use shared::fixture;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::Scalar;
use spgraph::bundle::{Bundle, HeadOption, Options, Setting, start_state};
use spgraph::engine::{self, Engine, EngineChoice, EngineOptions, StatePort};
use spgraph::import::BatchSize;
use spgraph::ir::Tensor;
use spgraph::loss;
use spgraph::onnx;
use spgraph::rewrite::head_step;
use spgraph::train::{LocalMean, Scalars, SplitStep, StepResult, TrainingStep};
use tempfile::TempDir;

/// A penalty, regularizers, a new head, clipping, averages, both halves.
fn with_everything() -> Options {
    let mut options = Options {
        penalty: "l2-sp".into(),
        regularizers: vec![loss::find("delta").unwrap(), loss::find("lwf").unwrap()],
        head: HeadOption::Classes(3),
        batch: BatchSize::Fixed(4),
        split: true,
        ..Options::default()
    };
    options.optimizer.clip_norm = Some(0.5);
    options.optimizer.ema = Some(0.9);
    options
}

fn tract() -> Box<dyn Engine> {
    engine::open(&EngineOptions { choice: EngineChoice::Tract, threads: Some(1), ..Default::default() }).unwrap()
}

fn bundle(model: &[u8], options: &Options) -> (TempDir, Bundle) {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("model.onnx");
    std::fs::write(&path, model).unwrap();
    make_bundle(&path, &work.path().join("bundle"), options, false).unwrap();
    let bundle = Bundle::open(&work.path().join("bundle")).unwrap();
    (work, bundle)
}

/// Made-up images and labels, the last one padding.
fn batch(bundle: &Bundle) -> (Tensor, Tensor) {
    let shape: Vec<usize> = bundle.manifest.data.input.shape.iter().map(|&d| d as usize).collect();
    let pixels: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    (Tensor::from_f32(&shape, &pixels), Tensor::from_i64(&[4], &[0, 2, 1, -1]))
}

/// The bundle's own scalars, with a higher learning rate.
fn scalars(bundle: &Bundle) -> Scalars {
    Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 0.05).unwrap()
}

fn bytes(state: &[Tensor]) -> Vec<Vec<u8>> {
    state.iter().map(|t| t.bytes().to_vec()).collect()
}

/// What two steps compute, and the state after them in the manifest's order, to the last bit.
#[derive(PartialEq)]
struct Trained {
    results: Vec<StepResult>,
    state: Vec<Vec<u8>>,
}

/// Outputs of a step of the head alone, and the state that it moves.
type HeadTrained = (Vec<Vec<u8>>, Vec<Vec<u8>>);

impl Trained {
    /// By whole steps.
    fn whole(model: &[u8], options: &Options) -> Trained {
        let (_work, bundle) = bundle(model, options);
        let mut step = TrainingStep::load(tract().as_ref(), &bundle, start_state(&bundle).unwrap()).unwrap();
        let ((data, target), scalars) = (batch(&bundle), scalars(&bundle));
        let results = (0..2).map(|_| step.run(&data, &target, &scalars).unwrap()).collect();
        Trained { results, state: bytes(&step.state().unwrap()) }
    }

    /// By the two halves of a step.
    fn halves(model: &[u8], options: &Options) -> Trained {
        let (_work, bundle) = bundle(model, options);
        let mut step = SplitStep::load(tract().as_ref(), &bundle, start_state(&bundle).unwrap(), LocalMean::default()).unwrap();
        let scalars = scalars(&bundle);
        let results = (0..2).map(|_| step.run(&[batch(&bundle)], &scalars).unwrap()).collect();
        Trained { results, state: bytes(step.state()) }
    }

    /// By a step of the new head alone: its outputs, and the state that it moves.
    fn head(model: &[u8], options: &Options) -> HeadTrained {
        let (work, bundle) = bundle(model, options);
        let (m, start) = (&bundle.manifest, start_state(&bundle).unwrap());
        let (graph, live) = head_step(&bundle, None, &start).unwrap();
        let path = work.path().join("head.onnx");
        onnx::write(&path, &graph).unwrap();
        let live = |at: usize| live[at];
        let ports = m.state.iter().map(|s| StatePort { input: s.input.clone(), output: s.output.clone() });
        let ports: Vec<StatePort> = ports.enumerate().filter(|(at, _)| live(*at)).map(|(_, port)| port).collect();
        let start = start.into_iter().enumerate().filter(|(at, _)| live(*at)).map(|(_, tensor)| tensor).collect();
        let mut stepper = tract().load_step(&path, &ports, start).unwrap();
        let ((data, target), values) = (batch(&bundle), scalars(&bundle));
        let value = |s: &Scalar| Tensor::from_f32(&[], &[values.get(&s.meaning).unwrap() as f32]);
        let numbers: Vec<(&str, Tensor)> = m.scalars.iter().map(|s| (s.name.as_str(), value(s))).collect();
        let mut feeds = vec![(m.data.input.name.as_str(), &data), (m.data.target.name.as_str(), &target)];
        feeds.extend(numbers.iter().map(|(name, tensor)| (*name, tensor)));
        let outputs: Vec<Tensor> = stepper.step(&feeds).unwrap().into_iter().map(|o| o.1).collect();
        (bytes(&outputs), bytes(&stepper.state().unwrap()))
    }
}
