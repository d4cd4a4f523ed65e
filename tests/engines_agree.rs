//! Two training steps give the same numbers on tract and on ONNX Runtime with either kernels, and in both dialects.
//!
//! ONNX Runtime is found as `spgraph runtime` finds it; without one these tests fail.

mod shared;

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shared::{distance, fixture};
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{Bundle, ByPattern, Options, start_state};
use spgraph::emit::Dialect;
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels, Precision};
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::loss::{Delta, Lwf, Regularizer};
use spgraph::optim::{AdamW, Optimizer, RULES, Sgd, UpdateRule};
use spgraph::train::{LocalMean, Scalars, SplitStep, TrainingStep};
use std::path::Path;

/// Losses and final state of two steps.
fn two_steps(dir: &Path, choice: EngineChoice, kernels: Kernels) -> (Vec<f64>, Vec<Tensor>) {
    two_steps_with(dir, &EngineOptions { choice, kernels, threads: Some(1), ..Default::default() })
}

fn two_steps_with(dir: &Path, options: &EngineOptions) -> (Vec<f64>, Vec<Tensor>) {
    two_steps_from(dir, options, start_state(&Bundle::open(dir).unwrap()).unwrap())
}

fn two_steps_from(dir: &Path, options: &EngineOptions, start: Vec<Tensor>) -> (Vec<f64>, Vec<Tensor>) {
    let bundle = Bundle::open(dir).unwrap();
    let m = &bundle.manifest;
    let engine = engine::open(options).unwrap();
    let mut training = TrainingStep::load(engine.as_ref(), &bundle, start).unwrap();
    let scalars = Scalars::defaults(m);
    let shape: Vec<usize> = m.data.input.shape.iter().map(|&d| if d < 0 { 3 } else { d as usize }).collect();
    let count: usize = shape.iter().product();
    let mut losses = vec![];
    for step in 0..2 {
        // Noise: where neighbours are nearly equal, as in a wave, rounding decides which one a pooling takes.
        let mut noise = ChaCha8Rng::seed_from_u64(step);
        let pixels: Vec<f32> = (0..count).map(|_| noise.random_range(-1.0..1.0)).collect();
        let labels: Vec<i64> = (0..shape[0] as i64).map(|i| (i + step as i64) % 3).collect();
        let (data, target) = (Tensor::from_f32(&shape, &pixels), Tensor::from_i64(&[shape[0]], &labels));
        let found = training.run(&data, &target, &scalars).unwrap();
        losses.extend([found.loss, found.data_loss, found.penalty, found.correct as f64]);
    }
    (losses, training.state().unwrap())
}

fn agree(name: &str, batch_norm: Option<BatchNormMode>, batch: BatchSize) {
    agree_with(name, Options { batch, batch_norm, ..Options::default() });
}

fn agree_with(name: &str, options: Options) {
    let work = tempfile::tempdir().unwrap();
    let mut results = vec![];
    for dialect in [Dialect::Functions, Dialect::Inlined] {
        let dir = work.path().join(format!("{dialect:?}"));
        let options = Options { dialect, ..options.clone() };
        make_bundle(&fixture(name), &dir, &options, false).unwrap();
        let engines =
            [(EngineChoice::Ort, Kernels::Standard), (EngineChoice::Ort, Kernels::Native), (EngineChoice::Tract, Kernels::Standard)];
        for (engine, kernels) in engines {
            results.push((
                format!("{name} {dialect:?} {engine:?} {kernels:?}"),
                two_steps(&dir, engine, kernels),
                start_state(&Bundle::open(&dir).unwrap()).unwrap(),
            ));
        }
    }
    let (_, (losses, state), start) = &results[0];
    assert!(losses.iter().all(|l| l.is_finite()));
    for (what, (other_losses, other_state), _) in &results[1..] {
        for (a, b) in losses.iter().zip(other_losses) {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1e-3), "{what}: {other_losses:?} instead of {losses:?}");
        }
        let distance = distance(other_state, state, start);
        assert!(distance <= 1e-4, "{what}: the steps differ by {distance:.1e} of their length");
    }
}

macro_rules! cases {
    ($($test:ident: $file:literal, $mode:expr, $batch:expr;)*) => {$(
        #[test]
        fn $test() {
            agree($file, $mode, $batch);
        }
    )*};
}

cases! {
    basic_train: "basic.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    basic_frozen: "basic.bn.onnx", Some(BatchNormMode::Frozen), BatchSize::Fixed(3);
    basic_folded: "basic.onnx", None, BatchSize::Fixed(3);
    basic_dynamic: "basic.bn.onnx", Some(BatchNormMode::Train), BatchSize::Dynamic;
    bottleneck: "bottleneck.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    grouped: "grouped.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    dilated: "dilated.bn.onnx", Some(BatchNormMode::Frozen), BatchSize::Fixed(3);
    mobilenet: "mobilenet.bn.onnx", Some(BatchNormMode::Frozen), BatchSize::Fixed(3);
    inception: "inception.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    pooling: "pool_ceil.onnx", None, BatchSize::Fixed(3);
    average_pooling: "average_pool.onnx", None, BatchSize::Fixed(3);
    shuffle: "shuffle.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(2);
    clipped: "relu6.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    gates: "silu.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    joined: "dense.onnx", None, BatchSize::Fixed(3);
    shuffle_dynamic: "shuffle.symbolic.onnx", None, BatchSize::Dynamic;
    slices: "slices.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    tokens: "tokens.onnx", None, BatchSize::Fixed(3);
    newer_operators: "operators.onnx", None, BatchSize::Fixed(3);
    newer_operators_dynamic: "operators.onnx", None, BatchSize::Dynamic;
    resnet18: "resnet18.bn.onnx", Some(BatchNormMode::Train), BatchSize::Fixed(3);
    resnet50: "resnet50.onnx", None, BatchSize::Fixed(3);
}

/// The steps from `start` to `state`, one number after the other.
fn moved(state: &[Tensor], start: &[Tensor]) -> Vec<f64> {
    let both = state.iter().zip(start).filter(|(s, _)| s.dtype().is_float());
    both.flat_map(|(a, b)| a.to_f64().unwrap().into_iter().zip(b.to_f64().unwrap()).map(|(a, b)| a - b).collect::<Vec<_>>()).collect()
}

/// Images of bfloat16 between native kernels. How far a step may be from float32's depends on the network: batch statistics of three images amplify
/// any rounding. So the yardstick is what the float32 kernels do where nothing but the weights is rounded to bfloat16.
#[test]
fn bfloat16() {
    let cases = [
        ("basic.bn.onnx", Some(BatchNormMode::Train)),
        ("basic.bn.onnx", Some(BatchNormMode::Frozen)),
        ("basic.onnx", None),
        ("bottleneck.bn.onnx", Some(BatchNormMode::Train)),
        ("grouped.bn.onnx", Some(BatchNormMode::Train)),
        ("dilated.bn.onnx", Some(BatchNormMode::Frozen)),
        ("mobilenet.bn.onnx", Some(BatchNormMode::Frozen)),
        ("inception.bn.onnx", Some(BatchNormMode::Train)),
        ("pool_ceil.onnx", None),
        ("average_pool.onnx", None),
        ("shuffle.bn.onnx", Some(BatchNormMode::Train)),
        ("slices.bn.onnx", Some(BatchNormMode::Train)),
        ("tokens.onnx", None),
        ("operators.onnx", None),
        ("resnet18.bn.onnx", Some(BatchNormMode::Frozen)),
        ("resnet50.onnx", None),
    ];
    let work = tempfile::tempdir().unwrap();
    for (name, batch_norm) in cases {
        let dir = work.path().join(name);
        let options = Options { batch: BatchSize::Fixed(3), batch_norm, ..Options::default() };
        make_bundle(&fixture(name), &dir, &options, true).unwrap();
        let with = |precision| EngineOptions { choice: EngineChoice::Ort, precision, threads: Some(1), ..Default::default() };
        let (losses, state) = two_steps_with(&dir, &with(Precision::Float32));
        let (half_losses, half_state) = two_steps_with(&dir, &with(Precision::Bf16));
        let start = start_state(&Bundle::open(&dir).unwrap()).unwrap();
        let rounded: Vec<Tensor> = start
            .iter()
            .map(|t| match t.shape().len() {
                4 => Tensor::from_f32(t.shape(), &t.to_f64().unwrap().iter().map(|&v| bf16::from_f64(v).to_f32()).collect::<Vec<_>>()),
                _ => t.clone(),
            })
            .collect();
        let (_, nearby) = two_steps_from(&dir, &with(Precision::Float32), rounded.clone());
        let (step, half_step, nearby) = (moved(&state, &start), moved(&half_state, &start), moved(&nearby, &rounded));
        let length = step.iter().map(|v| v * v).sum::<f64>().sqrt();
        let off = |other: &[f64]| other.iter().zip(&step).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() / length;
        let (distance, yardstick) = (off(&half_step), off(&nearby));
        println!(
            "{name} {batch_norm:?}: {distance:.1e} of the step, {yardstick:.1e} with rounded weights, losses {half_losses:?} for {losses:?}"
        );
        // Images are rounded after each of a network's operators, weights once: √30 for the longest chain here.
        assert!(distance < 6.0 * yardstick.max(1.0 / 256.0), "{name}: the steps differ by {distance:.1e} of their length, {yardstick:.1e}");
        for (a, b) in losses.iter().zip(&half_losses) {
            assert!((a - b).abs() <= 0.02 * a.abs().max(0.05), "{name}: {half_losses:?} instead of {losses:?}");
        }
    }
}

/// Weights behind nodes that read constants alone. These networks are small and their gradients too: with a larger step the rounding of the
/// weights vanishes beside it.
#[test]
fn weights_behind_other_nodes() {
    for name in ["chains3.onnx", "chains11.onnx"] {
        agree_with(name, Options { batch: BatchSize::Fixed(3), lr: Some(1.0), ..Options::default() });
    }
}

/// Every optimizer, with everything that can be added to one.
#[test]
fn optimizers() {
    let further =
        [UpdateRule::Sgd(Sgd { momentum: 0.0, nesterov: false }), UpdateRule::AdamW(AdamW { weight_decay: 0.01, ..AdamW::default() })];
    for rule in RULES.iter().map(|usual| usual()).chain(further) {
        let optimizer = Optimizer { rule, clip_norm: Some(0.5), spd: Some(1.0), ema: Some(0.9) };
        let lr_mult = vec![ByPattern { pattern: "*.bias".into(), value: 0.5 }];
        agree_with("basic.bn.onnx", Options { batch: BatchSize::Fixed(3), optimizer, lr_mult, ..Options::default() });
    }
}

/// Halves of a step on two parts of a batch, one of them with padding, do what the whole step does on the batch at once; twice in a row.
#[test]
fn a_batch_in_parts_is_the_batch() {
    let work = tempfile::tempdir().unwrap();
    let optimizer = Optimizer { clip_norm: Some(0.5), ema: Some(0.9), ..UpdateRule::AdamW(AdamW::default()).into() };
    let delta = Regularizer::Delta(Delta { strength: 0.3, ..Delta::default() });
    let regularizers = vec![delta, Regularizer::Lwf(Lwf { strength: 0.3, ..Lwf::default() })];
    for (name, regularizers) in [("basic.onnx", regularizers), ("basic.bn.onnx", vec![])] {
        let dir = work.path().join(name);
        let batch_norm = name.contains("bn").then_some(BatchNormMode::Frozen);
        let options = Options { batch: BatchSize::Dynamic, split: true, batch_norm, optimizer, regularizers, ..Options::default() };
        make_bundle(&fixture(name), &dir, &options, false).unwrap();
        let bundle = Bundle::open(&dir).unwrap();
        let start = start_state(&bundle).unwrap();
        let engine = engine::open(&EngineOptions { choice: EngineChoice::Tract, threads: Some(1), ..Default::default() }).unwrap();
        let mut whole = TrainingStep::load(engine.as_ref(), &bundle, start.clone()).unwrap();
        let mut halves = SplitStep::load(engine.as_ref(), &bundle, start.clone(), LocalMean::default()).unwrap();
        let scalars = Scalars::defaults(&bundle.manifest);
        for step in 0..2 {
            let image: Vec<usize> = bundle.manifest.data.input.shape.iter().skip(1).map(|&d| d as usize).collect();
            let count: usize = image.iter().product();
            let mut noise = ChaCha8Rng::seed_from_u64(step);
            let pixels: Vec<f32> = (0..5 * count).map(|_| noise.random_range(-1.0..1.0)).collect();
            let labels = [0, 2, 1, -1, 0];
            let part = |from: usize, to: usize| {
                let shape: Vec<usize> = [to - from].into_iter().chain(image.iter().copied()).collect();
                (Tensor::from_f32(&shape, &pixels[from * count..to * count]), Tensor::from_i64(&[to - from], &labels[from..to]))
            };
            let (data, target) = part(0, 5);
            let expected = whole.run(&data, &target, &scalars).unwrap();
            let found = halves.run(&[part(0, 3), part(3, 5)], &scalars).unwrap();
            assert_eq!(found.correct, expected.correct, "{name}");
            for (a, b) in [(found.loss, expected.loss), (found.data_loss, expected.data_loss), (found.penalty, expected.penalty)] {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{name}: {found:?} instead of {expected:?}");
            }
            for ((s, a), b) in bundle.manifest.state.iter().zip(halves.state()).zip(whole.state().unwrap()) {
                let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
                let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max);
                assert!(worst <= 1e-6, "{name}, step {step}: `{}` differs by {worst:.1e}", s.name);
            }
        }
        let padding =
            halves.grad(&Tensor::zeros(DType::F32, &[1, 3, 8, 8]), &Tensor::from_i64(&[1], &[-1]), &scalars).unwrap_err().to_string();
        assert!(padding.contains("nothing but padding"), "{padding}");
    }
    let dir = work.path().join("whole");
    make_bundle(&fixture("basic.onnx"), &dir, &Options::default(), false).unwrap();
    let bundle = Bundle::open(&dir).unwrap();
    let engine = engine::open(&EngineOptions { choice: EngineChoice::Tract, ..Default::default() }).unwrap();
    let refused = SplitStep::load(engine.as_ref(), &bundle, start_state(&bundle).unwrap(), LocalMean::default()).err().unwrap().to_string();
    assert!(refused.contains("no halves of a step"), "{refused}");
}

/// Same engine, same threads, same start: the same bits.
#[test]
fn runs_repeat_bit_for_bit() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("bundle");
    make_bundle(&fixture("basic.bn.onnx"), &dir, &Options { batch: BatchSize::Fixed(3), ..Options::default() }, false).unwrap();
    for engine in [EngineChoice::Ort, EngineChoice::Tract] {
        let (first, second) = (two_steps(&dir, engine, Kernels::Auto), two_steps(&dir, engine, Kernels::Auto));
        assert_eq!(first.0, second.0);
        assert!(first.1.iter().zip(&second.1).all(|(a, b)| a.bytes() == b.bytes()), "{engine:?}");
    }
}
