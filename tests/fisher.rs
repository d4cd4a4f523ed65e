//! The Fisher information against PyTorch in float64, one (image, class) pair at a time; and what the command promises.
//!
//! ONNX Runtime is found as `spgraph runtime` finds it; without one these tests fail.

mod shared;

use ndarray::{Array4, ArrayD};
use safetensors::SafeTensors;
use shared::{engine, fixture};
use spgraph::Error;
use spgraph::Field;
use spgraph::data::synth::{SynthOptions, Task, write as write_images};
use spgraph::data::{ArrayDataset, Dataset};
use spgraph::engine::{EngineChoice, EngineOptions};
use spgraph::fisher::{self, BatchLayout, Estimate, EstimatePlan, Estimator, FisherOptions, Mode, Progress, Silent, fisher};
use spgraph::import::Network;
use spgraph::onnx;
use spgraph::storage::seal;
use spgraph::train::Existing;
use spgraph::zoo::{self, Arch};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static GO_ON: AtomicBool = AtomicBool::new(false);
/// All golden files have so many classes.
const CLASSES: usize = 5;

/// Float64 values by name, and the images with their labels.
struct Golden {
    values: HashMap<String, Vec<f64>>,
    images: Arc<ArrayDataset>,
}

fn golden(name: &str) -> Golden {
    let data = std::fs::read(fixture(&format!("fisher/{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&data).unwrap();
    let bytes = |name: &str| file.tensor(name).unwrap().data().to_vec();
    let shape = file.tensor("images").unwrap().shape().to_vec();
    let pixels = bytes("images").chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    let images = ArrayD::from_shape_vec(shape, pixels).unwrap().into_dimensionality().unwrap();
    let labels = bytes("labels").chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap())).collect();
    let values = file
        .names()
        .into_iter()
        .filter(|n| n.contains('/'))
        .map(|n| (n.to_string(), bytes(n).chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect()));
    Golden { values: values.collect(), images: Arc::new(ArrayDataset::new(images, labels).unwrap()) }
}

fn plan(mode: Mode, shape: (usize, usize), samples: u64) -> EstimatePlan {
    let shape = BatchLayout { rows: shape.0, copies: shape.1 };
    EstimatePlan { mode, classes: CLASSES, samples, seed: 1, shape, workers: 1 }
}

fn source(name: &str) -> Network {
    fisher::network(onnx::read(fixture(&format!("{name}.onnx"))).unwrap(), None).unwrap()
}

fn estimate(name: &str, images: &Arc<ArrayDataset>, plan: EstimatePlan, engine: EngineChoice) -> Estimate {
    let images: Arc<dyn Dataset> = images.clone();
    Estimator::new(&source(name), plan, images, shared::engine(engine).as_ref()).unwrap().run(&mut Silent, &GO_ON).unwrap()
}

fn relative<'a>(found: &ArrayD<f64>, expected: impl IntoIterator<Item = &'a f64, IntoIter: ExactSizeIterator + Clone>) -> f64 {
    let expected = expected.into_iter();
    assert_eq!(found.len(), expected.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected.clone()).map(|(a, b)| a - b));
    if difference == 0.0 { 0.0 } else { difference / norm(&mut expected.copied()) }
}

/// Every parameter's values against `kind/<parameter>` of the golden file, norm-relative.
fn compare(what: &str, found: &Estimate, golden: &Golden, kind: &str, tolerance: f64) {
    let expected = golden.values.keys().filter(|n| n.starts_with(&format!("{kind}/"))).count();
    assert_eq!(found.parameters.len(), expected, "{what}: as many parameters as PyTorch has");
    for (p, values) in found.parameters.iter().zip(&found.values) {
        let expected = golden.values.get(&format!("{kind}/{}", p.name)).unwrap_or_else(|| panic!("{what}: PyTorch has no `{}`", p.name));
        assert!(expected.iter().any(|v| *v > 0.0), "{what}: `{}` shows nothing", p.name);
        let error = relative(values, expected);
        if std::env::var_os("SHOW").is_some() {
            eprintln!("ERR {error:.1e} {what} {}", p.name);
        }
        assert!(error <= tolerance, "{what}: `{}` is off by {error:.1e}", p.name);
    }
}

/// Float32 networks of every kind of layer, on both engines, whole images and single pairs per call.
fn equals_brute_force(name: &str) {
    let golden = golden(name);
    for (engine, shape) in [(EngineChoice::Ort, (2, 5)), (EngineChoice::Tract, (3, 5)), (EngineChoice::Ort, (1, 2))] {
        let exact = estimate(name, &golden.images, plan(Mode::Exact, shape, 3), engine);
        compare(&format!("{name} {engine:?} {shape:?}"), &exact, &golden, "exact", 1e-5);
        assert_eq!((exact.samples, exact.pairs), (3, 15));
        check_errors(name, &exact, &golden);
    }
    for rows in [1, 2] {
        let empirical = estimate(name, &golden.images, plan(Mode::Empirical, (rows, 1), 3), EngineChoice::Ort);
        compare(&format!("{name} empirical, {rows} per call"), &empirical, &golden, "empirical", 1e-5);
    }
}

/// The standard errors of the layers, from PyTorch's own sums by image.
fn check_errors(name: &str, found: &Estimate, golden: &Golden) {
    for (layer, mass, error) in &found.layers {
        let of_layer = |alias: &str| ["", ".weight", ".bias"].iter().any(|suffix| alias == format!("{layer}{suffix}"));
        let mut traces = [0.0; 3];
        for p in found.parameters.iter().filter(|p| of_layer(&p.alias)) {
            traces.iter_mut().zip(&golden.values[&format!("trace/{}", p.name)]).for_each(|(a, b)| *a += b);
        }
        let mean = traces.iter().sum::<f64>() / 3.0;
        let expected = (traces.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 2.0 / 3.0).sqrt();
        assert!((mass - mean).abs() <= 1e-5 * mean, "{name} {layer}: mass {mass}, not {mean}");
        assert!((error - expected).abs() <= 1e-4 * expected + 1e-6 * mean, "{name} {layer}: error {error}, not {expected}");
    }
}

macro_rules! brute_force {
    ($($test:ident: $file:literal;)*) => {$(
        #[test]
        fn $test() {
            equals_brute_force($file);
        }
    )*};
}

brute_force! {
    grouped_convolutions: "grouped.bn";
    dilated_convolutions: "dilated.bn";
    asymmetric_pads: "asymmetric.bn";
    depthwise_and_gates: "mobilenet.bn";
    biases_and_gemm: "vgg";
    convolution_as_head: "conv_head";
    parameters_stored_together: "shared.bn";
    preactivation: "preactivation";
    matmul_over_tokens: "tokens";
    symbolic_batch: "shuffle.symbolic";
}

/// In float64 nothing hides behind rounding. ONNX Runtime's convolution knows float32 only, so this is tract's.
#[test]
fn exact_equals_brute_force_in_double_precision() {
    let golden = golden("float64.bn");
    for shape in [(2, 5), (1, 2), (1, 1)] {
        let exact = estimate("float64.bn", &golden.images, plan(Mode::Exact, shape, 3), EngineChoice::Tract);
        compare(&format!("float64 {shape:?}"), &exact, &golden, "exact", 1e-10);
    }
}

#[test]
fn pairs_per_call_change_nothing() {
    let golden = golden("grouped.bn");
    for (mode, shapes) in [(Mode::Exact, [(1, 1), (1, 3), (3, 5)]), (Mode::Sampled, [(1, 1), (2, 1), (3, 1)])] {
        let found: Vec<Estimate> =
            shapes.iter().map(|&s| estimate("grouped.bn", &golden.images, plan(mode, s, 3), EngineChoice::Ort)).collect();
        for other in &found[1..] {
            for ((p, a), b) in found[0].parameters.iter().zip(&found[0].values).zip(&other.values) {
                assert!(relative(b, a) <= 1e-5, "{mode} `{}`", p.name);
            }
        }
    }
}

/// Many draws come as close to the exact values as their standard error says. The labels would not: `empirical` is far off.
#[test]
fn sampled_is_unbiased() {
    let golden = golden("conv_head");
    let sampled = estimate("conv_head", &golden.images, plan(Mode::Sampled, (3, 1), 9000), EngineChoice::Ort);
    let exact = estimate("conv_head", &golden.images, plan(Mode::Exact, (3, 5), 3), EngineChoice::Ort);
    let labels = estimate("conv_head", &golden.images, plan(Mode::Empirical, (3, 1), 3), EngineChoice::Ort);
    let mut caught = 0;
    for ((sampled, exact), labels) in sampled.layers.iter().zip(&exact.layers).zip(&labels.layers) {
        let (name, mass, error) = sampled;
        assert!(*error > 0.0 && *error < 0.05 * exact.1, "{name}: {mass} ± {error} says little");
        assert!((mass - exact.1).abs() <= 4.0 * error, "{name}: {mass} ± {error} for {}", exact.1);
        caught += ((labels.1 - exact.1).abs() > 4.0 * error) as usize;
    }
    assert_eq!(caught, exact.layers.len(), "a biased estimator would be noticed in every layer");
    // Element by element: 9000 draws, so a few per cent.
    for ((p, a), b) in exact.parameters.iter().zip(&exact.values).zip(&sampled.values) {
        assert!(relative(b, a) <= 0.1, "`{}` is off by {:.3}", p.name, relative(b, a));
    }
}

#[test]
fn seeds_decide_the_draws() {
    let golden = golden("vgg");
    let run = |seed| estimate("vgg", &golden.images, EstimatePlan { seed, ..plan(Mode::Sampled, (2, 1), 40) }, EngineChoice::Ort);
    let (first, second, other) = (run(1), run(1), run(2));
    assert_eq!(first.values, second.values);
    assert_ne!(first.values, other.values);
}

#[test]
fn numbers_that_are_none_are_refused() {
    let mut pixels = Array4::from_elem([2, 3, 16, 16], 0.5);
    pixels[[1, 0, 8, 4]] = f32::NAN;
    let images: Arc<dyn Dataset> = Arc::new(ArrayDataset::new(pixels, vec![0, 1]).unwrap());
    let mut estimator = Estimator::new(&source("vgg"), plan(Mode::Exact, (2, 5), 2), images, engine(EngineChoice::Ort).as_ref()).unwrap();
    let error = estimator.run(&mut Silent, &GO_ON).unwrap_err().to_string();
    assert!(error.contains("not finite for sample 1"), "{error}");
}

/// A small network and images for it.
struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    fn new() -> Work {
        let dir = tempfile::tempdir().unwrap();
        let work = Work { dir };
        onnx::write(work.path("model.onnx"), &zoo::build(Arch::ResNet20, 5, [3, 16, 16], 3).unwrap()).unwrap();
        write_images(&SynthOptions { size: 16, ..SynthOptions::new(Task::TargetB, 3, 1) }, &work.path("images")).unwrap();
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, output: &str) -> FisherOptions {
        let engine = EngineOptions { choice: EngineChoice::Ort, threads: Some(1), ..Default::default() };
        FisherOptions { engine, pairs: Some(10), ..FisherOptions::new(self.path("model.onnx"), self.path("images"), self.path(output)) }
    }

    fn run(&self, options: &FisherOptions) -> spgraph::Result<fisher::FisherResult> {
        fisher(options, &mut Silent, &GO_ON)
    }

    fn refused(&self, options: FisherOptions) -> Error {
        let error = self.run(&options).unwrap_err();
        assert!(!options.output.exists(), "nothing is written");
        error
    }
}

/// Stops after so many calls.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Progress for StopAfter<'_> {
    fn call(&mut self, _: u64, _: u64, _: f64) {
        self.0 -= 1;
        self.1.store(self.0 == 0, Ordering::Relaxed);
    }
}

#[test]
fn a_resumed_estimation_ends_with_the_same_bits() {
    let work = Work::new();
    for mode in [Mode::Exact, Mode::Sampled] {
        // Exact: three calls for each image, stopped within the second. Sampled: several passes, stopped in the third.
        let (samples, pairs, calls) = if mode == Mode::Sampled { (44, 10, 5) } else { (9, 2, 5) };
        let common = || FisherOptions { mode: Some(mode), samples: Some(samples), pairs: Some(pairs), ..work.options("") };
        let with = |output: &str, existing| FisherOptions { output: work.path(output), existing, ..common() };
        work.run(&with("whole", Existing::Replace)).unwrap();
        work.run(&with("again", Existing::Replace)).unwrap();
        let stop = AtomicBool::new(false);
        let options = with("resumed", Existing::Replace);
        let error = fisher(&options, &mut StopAfter(calls, &stop), &stop).unwrap_err();
        assert!(
            matches!(error, Error::Interrupted(_)) && error.exit_code() == 130 && error.to_string().contains(&Field::RESUME.to_string()),
            "{error}"
        );
        assert!(options.checkpoint().is_file());
        // What was there before is there still; without it, the checkpoint is what a fresh start would lose.
        if mode == Mode::Sampled {
            assert!(options.output.is_file());
            std::fs::rename(&options.output, work.path("before")).unwrap();
        }
        let refused = work.run(&with("resumed", Existing::Refuse)).unwrap_err();
        assert!(refused.to_string().contains(&format!("{} continues it", Field::RESUME)), "{refused}");
        let refused = work.run(&FisherOptions { seed: 5, ..with("resumed", Existing::Resume) }).unwrap_err();
        assert!(matches!(refused, Error::Usage(_)) && refused.to_string().contains(&format!("{} was 0, now 5", Field::SEED)), "{refused}");

        if mode == Mode::Sampled {
            std::fs::rename(work.path("before"), &options.output).unwrap();
        }
        work.run(&with("resumed", Existing::Resume)).unwrap();
        assert!(!options.checkpoint().exists(), "it is removed in the end");
        let bytes = |name: &str| std::fs::read(work.path(name)).unwrap();
        assert!(bytes("whole") == bytes("again") && bytes("whole") == bytes("resumed"), "{mode}");
    }
}

#[test]
fn the_file_says_what_it_is() {
    let work = Work::new();
    let result = work.run(&work.options("f.safetensors")).unwrap();
    let file = fisher::read(&work.path("f.safetensors")).unwrap();
    assert_eq!(file.info, result.info);
    let source = onnx::read(work.path("model.onnx")).unwrap();
    assert_eq!(file.info.source.sha256, source.sha256);
    assert_eq!((file.info.mode.as_str(), file.info.samples, file.info.classes), ("exact", 15, 5));
    let weights: HashMap<&str, &Vec<i64>> = source.graph().unwrap().initializer.iter().map(|t| (t.name(), &t.dims)).collect();
    for (name, tensor) in &file.tensors {
        assert_eq!(tensor.shape().iter().map(|&d| d as i64).collect::<Vec<_>>(), *weights[name.as_str()], "{name}");
    }
    // 20 convolutions and 2 projections, each with BatchNorm (2), and the classifier (2).
    assert_eq!(file.tensors.len(), 21 * 3 + 2);
    let total: f64 = file.tensors.values().flat_map(|t| t.to_f64().unwrap()).sum();
    let s = &result.summary;
    assert!((total - s.mass).abs() < 1e-5 * total && (s.layers.iter().map(|l| l.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert_eq!(s.zeros, file.tensors.values().flat_map(|t| t.to_f64().unwrap()).filter(|v| *v == 0.0).count());
    assert!(result.pairs == 75 && result.pairs_per_second > 0.0);
}

#[test]
fn bad_requests_are_refused() {
    let work = Work::new();
    let usage = |options: FisherOptions, expected: &str| {
        let error = work.refused(options);
        assert!(error.exit_code() == 2 && error.to_string().contains(expected), "{error}");
    };
    let plain = || work.options("f.safetensors");
    usage(FisherOptions { samples: Some(0), ..plain() }, &format!("{} 0", Field::SAMPLES));
    usage(FisherOptions { samples: Some(16), ..plain() }, "has 15 images");
    usage(FisherOptions { pairs: Some(0), ..plain() }, &format!("{} 0", Field::PAIRS));
    let other = |options: FisherOptions, expected: &str| {
        let error = work.refused(options).to_string();
        assert!(error.contains(expected), "{error}");
    };
    std::fs::create_dir_all(work.path("empty/class")).unwrap();
    other(FisherOptions { data: work.path("empty"), ..plain() }, "without images");
    other(FisherOptions { data: work.path("missing"), ..plain() }, "does not exist");
    other(FisherOptions { output: work.path("missing/f"), ..plain() }, "missing");
    // The labels matter in empirical mode only.
    write_images(&SynthOptions { size: 16, ..SynthOptions::new(Task::TargetA, 1, 1) }, &work.path("six")).unwrap();
    let six = |mode| FisherOptions { data: work.path("six"), mode: Some(mode), ..plain() };
    other(six(Mode::Empirical), "6 class folders, but the network has 5 classes");
    work.run(&FisherOptions { output: work.path("six.safetensors"), ..six(Mode::Sampled) }).unwrap();
    // A second run does not overwrite the first.
    let error = work.run(&FisherOptions { output: work.path("six.safetensors"), ..six(Mode::Sampled) }).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("exists already"), "{error}");
}

/// Hears notes.
#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn note(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

#[test]
fn with_many_classes_one_is_drawn_and_that_is_said() {
    let work = Work::new();
    for (classes, mode) in [(64, "exact"), (65, "sampled")] {
        let model = work.path(&format!("{classes}.onnx"));
        onnx::write(&model, &zoo::build(Arch::ResNet20, classes, [3, 8, 8], 3).unwrap()).unwrap();
        let options = FisherOptions { model, samples: Some(2), pairs: None, ..work.options(&format!("{classes}")) };
        let mut notes = Notes::default();
        let result = fisher(&options, &mut notes, &GO_ON).unwrap();
        assert_eq!(result.info.mode, mode);
        assert_eq!(
            notes.0.iter().any(|n| n.contains("sampled") && n.contains(&format!("{} exact", Field::MODE))),
            mode == "sampled",
            "{:?}",
            notes.0
        );
    }
}

#[test]
fn a_model_without_classifier_is_refused() {
    let work = Work::new();
    let mut model = onnx::read(work.path("model.onnx")).unwrap().proto;
    let graph = model.graph.as_mut().unwrap();
    let features = graph.node.iter().find(|n| n.op_type() == "Relu").unwrap().output[0].clone();
    graph.output[0].name = Some(features);
    graph.output[0].r#type = None;
    onnx::write(work.path("features.onnx"), &model).unwrap();
    let error = work.refused(FisherOptions { model: work.path("features.onnx"), ..work.options("f") }).to_string();
    assert!(error.contains("a classifier's is [N, classes]"), "{error}");
}

#[test]
fn damaged_files_are_refused() {
    let work = Work::new();
    let path = work.path("f.safetensors");
    work.run(&work.options("f.safetensors")).unwrap();
    let good = std::fs::read(&path).unwrap();
    let reason = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        fisher::read(&path).unwrap_err().to_string()
    };
    assert!(reason(&good[..good.len() / 2]).contains("damaged"));
    for (value, shown) in [(f32::NAN, "NaN"), (-1.0, "-1")] {
        let mut bytes = good.clone();
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&value.to_le_bytes());
        assert!(reason(&bytes).contains("hash"));
        // With a hash that fits.
        let mark = br#"blake3\":\""#;
        let at = bytes.windows(mark.len()).position(|w| w == mark).unwrap() + mark.len();
        bytes[at..at + seal::DIGITS].copy_from_slice(&seal::ZEROS);
        assert!(seal::set(&mut bytes, at));
        let message = reason(&bytes);
        assert!(message.contains(&format!("the first is {shown}")), "{message}");
    }
    let plain = safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView)>::new(), None).unwrap();
    assert!(reason(&plain).contains("no metadata"));
}
