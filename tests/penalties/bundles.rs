//! What rewriting makes of the options, seen in the graphs it writes.

use super::shared::{Random, bundle, engine, fixture, refused, strings};
use safetensors::tensor::{Dtype, TensorView};
use spgraph::bundle::manifest::{BatchNormMode, Role};
use spgraph::bundle::{Bundle, ByPattern, HeadOption, Options, Penalize, PenaltyStep, start_state};
use spgraph::engine::EngineChoice;
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx;
use spgraph::optim::{Sgd, UpdateRule};
use spgraph::train::{Scalars, TrainingStep};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Plain SGD, so that a step shows the penalty and nothing else.
fn plain() -> Options {
    let mut options = Options { batch: BatchSize::Fixed(2), split: true, ..Options::default() };
    options.optimizer.rule = UpdateRule::Sgd(Sgd { momentum: 0.0, nesterov: false });
    options
}

/// Strengths by pattern.
fn own(list: &[(&str, f64)]) -> Vec<ByPattern> {
    list.iter().map(|(pattern, value)| ByPattern { pattern: pattern.to_string(), value: *value }).collect()
}

const LR: f64 = 0.5;

/// Of a parameter: alias, role, start, a random place, and where a step without a data gradient leads from there.
type Place = (String, Role, Vec<f64>, Vec<f64>, Vec<f64>);

/// A step of the penalty alone, for each parameter.
fn penalty_alone(bundle: &Bundle, scalars: &[(&str, f64)]) -> Vec<Place> {
    let mut session = engine(EngineChoice::Tract).load(&bundle.dir.join("apply.onnx")).unwrap();
    let (mut random, mut feeds) = (Random::new(5), HashMap::<String, Tensor>::new());
    let mut places = vec![];
    for (s, start) in bundle.manifest.state.iter().zip(start_state(bundle).unwrap()) {
        let start = start.to_f64().unwrap();
        let moves = random.list(start.len(), -0.1, 0.1);
        let now: Vec<f64> = start.iter().zip(moves).map(|(a, b)| (a + b) as f32 as f64).collect();
        feeds.insert(s.input.clone(), Tensor::from_floats(DType::F32, &s.shape, &now));
        if let Some(gradient) = &s.gradient {
            feeds.insert(gradient.clone(), Tensor::zeros(DType::F32, &s.shape));
            places.push((s.clone(), start, now));
        }
    }
    for s in &bundle.manifest.scalars {
        let given = scalars.iter().find(|g| g.0 == s.name).map_or(s.default, |g| g.1);
        let value = if s.name == "lr" { LR } else { given };
        feeds.insert(s.name.clone(), Tensor::from_floats(DType::F32, &[], &[value]));
    }
    let signature = session.signature().clone();
    let (inputs, outputs) = (signature.input_names(), signature.output_names());
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|n| (*n, &feeds[*n])).collect();
    let results = session.run(&given).unwrap();
    let next: HashMap<&str, Tensor> = outputs.into_iter().zip(results).collect();
    places.into_iter().map(|(s, start, now)| (s.alias, s.role, start, now, next[s.output.as_str()].to_f64().unwrap())).collect()
}

/// The strength with which L2-SP pulls each parameter to its start (or a new one to 0), from where the step leads.
fn strengths(bundle: &Bundle, scalars: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let strength = |(alias, role, start, now, next): Place| {
        let towards = |i: usize| if role == Role::New { now[i] } else { now[i] - start[i] };
        let dot: f64 = (0..now.len()).map(|i| towards(i) * (now[i] - next[i])).sum();
        let norm: f64 = (0..now.len()).map(|i| towards(i) * towards(i)).sum();
        let found = dot / norm / LR;
        // All of the step is that pull.
        for i in 0..now.len() {
            assert!((now[i] - next[i] - LR * found * towards(i)).abs() < 1e-6, "{alias}");
        }
        (alias, found)
    };
    penalty_alone(bundle, scalars).into_iter().map(strength).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-4 * expected.abs().max(1e-2), "{what}: {found} instead of {expected}");
}

#[test]
fn weights_have_alpha_and_a_new_head_has_beta() {
    let options = Options { alpha: Some(0.3), beta: Some(0.7), head: HeadOption::Classes(4), ..plain() };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    for (name, found) in strengths(&bundle, &[]) {
        let weight = name.contains("conv") || name.contains("downsample.0");
        near(
            found,
            if weight {
                0.3
            } else if name == "fc.weight" {
                0.7
            } else {
                0.0
            },
            &name,
        );
    }
    let set = strengths(&bundle, &[("alpha", 0.2), ("beta", 0.1)]);
    near(set["conv1.weight"], 0.2, "alpha set");
    near(set["fc.weight"], 0.1, "beta set");
}

#[test]
fn patterns_have_strengths_of_their_own_and_the_last_counts() {
    let own = own(&[("layer4.*", 0.01), ("layer4.1.conv2*", 0.5)]);
    let options = Options { alpha: Some(0.3), strengths: own, sp_exclude: strings(&["layer1.*"]), ..plain() };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    let expected = |name: &str| match name {
        "layer4.1.conv2.weight" => 0.5,
        n if n.starts_with("layer4") => 0.01,
        n if n.starts_with("layer1") => 0.0,
        _ => 0.3,
    };
    for (name, found) in strengths(&bundle, &[]) {
        let weight = name.contains("conv") || name.contains("downsample.0") || name == "fc.weight";
        near(found, if weight { expected(&name) } else { 0.0 }, &name);
    }
    // Each is a scalar input by itself.
    let set = strengths(&bundle, &[("alpha:layer4.*", 0.9)]);
    near(set["layer4.0.conv1.weight"], 0.9, "set");
    near(set["layer4.1.conv2.weight"], 0.5, "another pattern");
    near(set["layer2.0.conv1.weight"], 0.3, "alpha");
}

#[test]
fn depth_weighs_alpha_geometrically_from_the_first_layer_to_the_last() {
    let own = own(&[("layer2.0.conv1.weight", 0.25)]);
    let options = Options { alpha: Some(0.1), alpha_depth: Some(10.0), strengths: own, ..plain() };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    let found = strengths(&bundle, &[]);
    // 21 weights: conv1 is the first, fc the last, layer1.0.conv1 the second.
    near(found["conv1.weight"], 1.0, "first");
    near(found["fc.weight"], 0.1, "last");
    near(found["layer1.0.conv1.weight"], 0.1 * 10f64.powf(19.0 / 20.0), "second");
    near(found["layer2.0.conv1.weight"], 0.25, "a strength of its own");
    near(strengths(&bundle, &[("alpha", 1.0)])["conv1.weight"], 10.0, "alpha set");
}

#[test]
fn patterns_say_what_is_penalised() {
    let options = Options { penalize: Penalize::Patterns(strings(&["layer3.*", "*.bias"])), ..plain() };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    for (name, found) in strengths(&bundle, &[]) {
        near(found, if name.starts_with("layer3") || name.ends_with(".bias") { 0.1 } else { 0.0 }, &name);
    }
    let (_work, bundle) = self::bundle("resnet18.bn.onnx", &Options { penalize: Penalize::All, ..plain() });
    strengths(&bundle, &[]).into_iter().for_each(|(name, found)| near(found, 0.1, &name));
}

/// Momentum does not touch a decoupled penalty, nor is it in what the momentum holds.
#[test]
fn a_decoupled_penalty_is_beside_the_optimizer() {
    let options = Options {
        penalty_step: PenaltyStep::Decoupled,
        head: HeadOption::Classes(4),
        batch: BatchSize::Fixed(2),
        split: true,
        ..Options::default()
    };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    let mut session = engine(EngineChoice::Tract).load(&bundle.dir.join("apply.onnx")).unwrap();
    let signature = session.signature().clone();
    let (inputs, outputs) = (signature.input_names(), signature.output_names());
    let (mut random, start) = (Random::new(8), start_state(&bundle).unwrap());
    let mut feeds: HashMap<String, Vec<f64>> = HashMap::new();
    let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
    for (s, t) in bundle.manifest.state.iter().zip(&start) {
        for name in [Some(&s.input), s.gradient.as_ref()].into_iter().flatten() {
            feeds.insert(name.clone(), random.list(t.count(), -1.0, 1.0).into_iter().map(|v| v as f32 as f64).collect());
            shapes.insert(name.clone(), s.shape.clone());
        }
    }
    for (name, value) in [("lr", 0.1), ("alpha", 0.3), ("beta", 0.6)] {
        feeds.insert(name.into(), vec![value]);
        shapes.insert(name.into(), vec![]);
    }
    let tensors: Vec<(String, Tensor)> =
        inputs.iter().map(|n| (n.to_string(), Tensor::from_floats(DType::F32, &shapes[*n], &feeds[*n]))).collect();
    let results = session.run(&tensors.iter().map(|(n, t)| (n.as_str(), t)).collect::<Vec<_>>()).unwrap();
    let next: HashMap<&str, Vec<f64>> = outputs.into_iter().zip(results.iter().map(|t| t.to_f64().unwrap())).collect();
    let mut penalised = 0;
    for (s, w0) in bundle.manifest.state.iter().zip(&start).filter(|(s, _)| s.gradient.is_some()) {
        let (w, g) = (&feeds[&s.input], &feeds[s.gradient.as_ref().unwrap()]);
        let momentum = bundle.manifest.state.iter().find(|m| m.name == format!("{}.momentum", s.name)).unwrap();
        let (v, w0) = (&feeds[&momentum.input], w0.to_f64().unwrap());
        let strength = if s.role == Role::New { 0.6 } else { 0.3 } * s.penalized as u8 as f64;
        penalised += s.penalized as usize;
        for i in 0..w.len() {
            let moved = 0.9 * v[i] + g[i];
            let from = if s.role == Role::New { w[i] } else { w[i] - w0[i] };
            assert!((next[momentum.output.as_str()][i] - moved).abs() < 1e-5, "{}", momentum.name);
            assert!((next[s.output.as_str()][i] - (w[i] - 0.1 * moved - 0.1 * strength * from)).abs() < 1e-5, "{}", s.name);
        }
    }
    assert_eq!(penalised, 21);
}

/// Runs steps on made-up images; the state after them.
fn train(bundle: &Bundle, steps: usize, scalars: &[(&str, f64)]) -> Vec<Tensor> {
    let m = &bundle.manifest;
    let mut step = TrainingStep::load(engine(EngineChoice::Tract).as_ref(), bundle, start_state(bundle).unwrap()).unwrap();
    let set = |all: Scalars, given: &(&str, f64)| all.with(&given.0.parse().unwrap(), given.1).unwrap();
    let scalars = scalars.iter().fold(Scalars::defaults(m), set);
    let shape: Vec<usize> = m.data.input.shape.iter().map(|&d| d as usize).collect();
    let mut random = Random::new(3);
    for _ in 0..steps {
        let data = Tensor::from_floats(DType::F32, &shape, &random.list(shape.iter().product(), -1.0, 1.0));
        let labels: Vec<i64> = (0..shape[0] as i64).map(|i| i % 3).collect();
        let target = Tensor::from_i64(&[shape[0]], &labels);
        step.run(&data, &target, &scalars).unwrap();
    }
    step.state().unwrap()
}

/// ‖w − w⁰‖ over ‖w⁰‖ of what is penalised.
fn distance(bundle: &Bundle, state: &[Tensor]) -> f64 {
    let (mut moved, mut norm) = (0.0, 0.0);
    for ((s, now), start) in bundle.manifest.state.iter().zip(state).zip(start_state(bundle).unwrap()) {
        if s.penalized {
            for (a, b) in now.to_f64().unwrap().into_iter().zip(start.to_f64().unwrap()) {
                moved += (a - b) * (a - b);
                norm += b * b;
            }
        }
    }
    (moved / norm).sqrt()
}

#[test]
fn a_large_alpha_keeps_the_starting_point() {
    let (_work, bundle) = bundle("basic.bn.onnx", &Options { batch_norm: Some(BatchNormMode::Frozen), ..plain() });
    let free = distance(&bundle, &train(&bundle, 20, &[("lr", 0.01), ("alpha", 0.0)]));
    assert!(free > 0.02, "without a penalty the weights move by {free} only");
    // lr·α = 1: every step leads back to w⁰ but for lr times the last gradient.
    let mut before = free;
    for alpha in [1e3, 1e4, 1e5] {
        let held = distance(&bundle, &train(&bundle, 20, &[("lr", 1.0 / alpha), ("alpha", alpha)]));
        assert!(held < 0.2 * before, "α = {alpha}: {held} after {before}");
        before = held;
    }
    assert!(before < 1e-4 * free.max(1.0), "{before}");
}

#[test]
fn proximal_steps_return_weights_and_channels_exactly() {
    for (penalty, alpha) in [("l1-sp", 0.1), ("gl-sp", 0.03)] {
        let options =
            Options { penalty: penalty.into(), penalty_step: PenaltyStep::Proximal, batch_norm: Some(BatchNormMode::Frozen), ..plain() };
        let (_work, bundle) = bundle("basic.bn.onnx", &options);
        let same = |state: &[Tensor]| {
            let start = start_state(&bundle).unwrap();
            let pairs = bundle.manifest.state.iter().zip(state).zip(&start).filter(|((s, _), _)| s.penalized);
            let (mut same, mut all) = (0, 0);
            for ((_, now), start) in pairs {
                let (now, start) = (now.to_f64().unwrap(), start.to_f64().unwrap());
                same += now.iter().zip(&start).filter(|(a, b)| a == b).count();
                all += now.len();
            }
            same as f64 / all as f64
        };
        let some = same(&train(&bundle, 5, &[("lr", 0.02), ("alpha", alpha)]));
        assert!(0.05 < some && some < 0.95, "{penalty}: {some} of the weights are at their start");
        assert_eq!(same(&train(&bundle, 5, &[("lr", 0.02), ("alpha", 1e4)])), 1.0);
    }
}

/// Name, shape and values of a tensor.
type Named = (String, Vec<usize>, Vec<f32>);

/// A Fisher file.
fn fisher_file(dir: &Path, sha256: Option<&str>, tensors: &[Named]) -> PathBuf {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(t, data)| (t.0.clone(), TensorView::new(Dtype::F32, t.1.clone(), data).unwrap()));
    let about = sha256.map(|s| HashMap::from([("spgraph".to_string(), format!(r#"{{"format":1,"source":{{"sha256":"{s}"}}}}"#))]));
    let path = dir.join("fisher.safetensors");
    std::fs::write(&path, safetensors::serialize(views, about).unwrap()).unwrap();
    path
}

fn ones(model: &str) -> (String, Vec<Named>) {
    let (_work, bundle) = bundle(model, &plain());
    let parameters = bundle.manifest.state.iter().filter(|s| s.role == Role::Shared);
    let tensors = parameters.map(|s| (s.name.clone(), s.shape.clone(), vec![1.0; s.shape.iter().product()])).collect();
    (onnx::read(fixture(model)).unwrap().sha256, tensors)
}

#[test]
fn a_fisher_file_of_ones_gives_the_penalty_without_fisher() {
    let work = tempfile::tempdir().unwrap();
    let (sha256, tensors) = ones("basic.bn.onnx");
    let path = fisher_file(work.path(), Some(&sha256), &tensors);
    for (with, without) in [("l2-sp-fisher", "l2-sp"), ("gl-sp-fisher", "gl-sp")] {
        let common = Options { alpha: Some(0.4), ..plain() };
        let (_a, with) = bundle("basic.bn.onnx", &Options { penalty: with.into(), fisher: Some(path.clone()), ..common.clone() });
        let (_b, without) = bundle("basic.bn.onnx", &Options { penalty: without.into(), ..common });
        for (a, b) in penalty_alone(&with, &[]).into_iter().zip(penalty_alone(&without, &[])) {
            let difference = a.4.iter().zip(&b.4).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(difference < 1e-6, "{}: {difference}", a.0);
        }
    }
}

#[test]
fn a_fisher_file_that_does_not_fit_is_refused_with_the_reason() {
    let work = tempfile::tempdir().unwrap();
    let (sha256, tensors) = ones("basic.bn.onnx");
    let refused = |sha256: Option<&str>, tensors: &[Named]| {
        let path = fisher_file(work.path(), sha256, tensors);
        refused("basic.bn.onnx", &Options { penalty: "l2-sp-fisher".into(), fisher: Some(path), ..plain() })
    };
    let spoiled = |change: &dyn Fn(&mut Vec<Named>)| {
        let mut own = tensors.clone();
        change(&mut own);
        refused(Some(&sha256), &own)
    };
    let first = tensors.iter().find(|t| t.1.len() == 4).unwrap().0.clone();
    let at = |list: &[Named]| list.iter().position(|t| t.0 == first).unwrap();
    for (found, expected) in [
        (refused(Some("00ff00ff00ff00ff"), &tensors), "it is of another model (SHA-256 00ff00ff00ff…"),
        (refused(None, &tensors), "it has no metadata"),
        (spoiled(&|t| drop(t.remove(at(t)))), "it lacks"),
        (spoiled(&|t| t.push(("stranger".into(), vec![1], vec![1.0]))), "no parameter stranger"),
        (spoiled(&|t| t[at(&tensors)].1.reverse()), "has the shape"),
        (spoiled(&|t| t[at(&tensors)].2[3] = -1.0), "1 of the"),
        (spoiled(&|t| t[at(&tensors)].2[0] = f32::NAN), "negative or no numbers (the first is NaN)"),
    ] {
        assert!(found.contains(expected) && found.contains("fisher.safetensors"), "{found}\ndoes not say: {expected}");
    }
    let path = work.path().join("none.safetensors");
    let missing = Options { penalty: "l2-sp-fisher".into(), fisher: Some(path.clone()), ..plain() };
    assert!(self::refused("basic.bn.onnx", &missing).contains("cannot read the Fisher file"));
    std::fs::write(&path, b"not a file of tensors").unwrap();
    assert!(self::refused("basic.bn.onnx", &missing).contains("no safetensors file"));
}

/// Names of the nodes of `step.onnx`.
fn nodes(bundle: &Bundle) -> Vec<(String, String)> {
    let model = onnx::open(bundle.step()).unwrap();
    model.graph().unwrap().node.iter().map(|n| (n.name().to_string(), n.op_type().to_string())).collect()
}

#[test]
fn nothing_is_differentiated_above_the_lowest_trained_layer() {
    let under = |name: &str, frozen: &[&str]| frozen.iter().any(|f| name.starts_with(&format!("/{f}/")));
    let mut before = usize::MAX;
    let stages = ["conv1", "layer1", "layer2", "layer3", "layer4"];
    for count in 0..=5 {
        let (_work, bundle) = bundle("resnet18.bn.onnx", &Options { freeze_stages: count, ..plain() });
        let mut frozen = stages[..count].to_vec();
        if count > 0 {
            frozen.push("bn1");
        }
        let nodes = nodes(&bundle);
        let gradients = nodes.iter().filter(|(n, _)| n.contains(".grad")).count();
        assert!(gradients < before, "{count} stages: {gradients} gradient nodes, {before} with one less");
        before = gradients;
        let wrong: Vec<_> = nodes.iter().filter(|(n, _)| n.contains(".grad") && under(n, &frozen)).collect();
        assert!(wrong.is_empty(), "{count} stages: {wrong:?}");
        // Moving statistics, which stay as they are.
        let training = nodes.iter().filter(|(n, op)| op.contains("BatchNormTrain") && under(n, &frozen)).count();
        assert_eq!(training, 0, "{count} stages");
        let state: HashSet<&str> = bundle.manifest.state.iter().filter_map(|s| s.alias.split('.').next()).collect();
        assert!(frozen.iter().all(|f| !state.contains(f)), "{count} stages: {state:?}");
        assert_eq!(state.contains("layer4"), count < 5);
    }
    let live = self::bundle("resnet18.bn.onnx", &plain());
    assert!(nodes(&live.1).iter().any(|(n, op)| op.contains("BatchNormTrain") && under(n, &["layer1"])), "the check above sees nothing");
}

fn trained(model: &str, options: &Options) -> Vec<String> {
    let (_work, bundle) = bundle(model, options);
    bundle.manifest.state.iter().filter(|s| s.role != Role::Optimizer).map(|s| s.alias.clone()).collect()
}

#[test]
fn units_are_counted_from_the_first_layer() {
    let model = "resnet50.bn.onnx";
    let by_units = |n| trained(model, &Options { freeze_units: n, ..plain() });
    assert_eq!(by_units(1), trained(model, &Options { freeze: strings(&["conv1.*", "bn1.*"]), ..plain() }));
    let patterns = strings(&["conv1.*", "bn1.*", "layer1.0.*", "layer1.1.*"]);
    assert_eq!(by_units(3), trained(model, &Options { freeze: patterns, ..plain() }));
    // 3 + 4 + 6 + 3 units and conv1: the head is left.
    assert_eq!(by_units(17), ["fc.weight", "fc.bias"]);
    assert_eq!(by_units(4), trained(model, &Options { freeze_stages: 2, ..plain() }));
}

#[test]
fn training_patterns_are_the_opposite_of_freezing_ones() {
    let model = "resnet18.bn.onnx";
    let some = trained(model, &Options { train: strings(&["layer4.*", "fc.*"]), ..plain() });
    assert_eq!(some, trained(model, &Options { freeze: strings(&["conv1*", "bn1*", "layer1*", "layer2*", "layer3*"]), ..plain() }));
    // A new head is trained in any case.
    let head = Options { train: strings(&["layer4.1.conv2.weight"]), head: HeadOption::Classes(4), ..plain() };
    assert_eq!(trained(model, &head), ["layer4.1.conv2.weight", "fc.weight", "fc.bias"]);
}

#[test]
fn rows_of_the_old_head_start_the_new_one() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("map.txt");
    std::fs::write(&path, "boat = 3\n2 = 1\n").unwrap();
    for (model, axis, names) in
        [("resnet18.bn.onnx", 0, ["fc.weight", "fc.bias"]), ("tokens.onnx", 1, ["", ""]), ("conv_head.onnx", 0, ["", ""])]
    {
        let (_a, old) = bundle(model, &plain());
        let options =
            Options { head: HeadOption::Classes(3), head_map: Some(path.clone()), classes: strings(&["cat", "boat", "dog"]), ..plain() };
        let (_b, new) = bundle(model, &options);
        let old: HashMap<String, Vec<f64>> =
            old.manifest.state.iter().zip(start_state(&old).unwrap()).map(|(s, t)| (s.name.clone(), t.to_f64().unwrap())).collect();
        let fresh: Vec<_> = new.manifest.state.iter().zip(start_state(&new).unwrap()).filter(|(s, _)| s.role == Role::New).collect();
        assert_eq!(fresh.len(), 2, "{model}");
        for (s, t) in fresh {
            assert!(names[0].is_empty() || names.contains(&s.name.as_str()));
            let (t, old) = (t.to_f64().unwrap(), &old[&s.name]);
            let old_classes = old.len() * 3 / t.len();
            // Classes lie along the last axis of a MatMul's weight and of every bias, along the first one otherwise.
            let last = s.shape.len() == 1 || axis == 1;
            let row = |v: &[f64], classes: usize, label: usize| -> Vec<f64> {
                let inner = v.len() / classes;
                (0..inner).map(|i| if last { v[i * classes + label] } else { v[label * inner + i] }).collect()
            };
            assert_eq!(row(&t, 3, 1), row(old, old_classes, 3), "{model} {}", s.name);
            assert_eq!(row(&t, 3, 2), row(old, old_classes, 1), "{model} {}", s.name);
            assert!((0..old_classes).all(|c| row(&t, 3, 0) != row(old, old_classes, c)), "{model} {}", s.name);
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_the_reason() {
    let model = "resnet18.bn.onnx";
    let cases: Vec<(Options, &str)> = vec![
        (Options { strengths: own(&[("nothing*", 0.1)]), ..plain() }, "option `strengths` 'nothing*' matches no parameter"),
        (Options { sp_exclude: strings(&["nothing*"]), ..plain() }, "option `sp_exclude` 'nothing*' matches no parameter"),
        (Options { penalize: Penalize::Patterns(strings(&["nothing*"])), ..plain() }, "option `penalize` 'nothing*' matches no parameter"),
        (Options { freeze: strings(&["nothing*"]), ..plain() }, "option `freeze` 'nothing*' matches no parameter"),
        (Options { train: strings(&["nothing*"]), ..plain() }, "option `train` 'nothing*' matches no parameter"),
        (Options { freeze: strings(&["*running_mean"]), ..plain() }, "statistics only"),
        (Options { strengths: own(&[("layer1.*", -0.1)]), ..plain() }, "'layer1.*=-0.1' is no strength"),
        (Options { strengths: own(&[("layer1.*", f64::INFINITY)]), ..plain() }, "'layer1.*=inf' is no strength"),
        (Options { strengths: own(&[("layer1.*", f64::NAN)]), ..plain() }, "'layer1.*=NaN' is no strength"),
        (Options { strengths: own(&[("conv1.*", 0.1), ("conv1.*", 0.2)]), ..plain() }, "two strengths"),
        (Options { strengths: own(&[("conv1.*", 0.1), ("*", 0.2)]), ..plain() }, "has no effect"),
        (Options { alpha: Some(-1.0), ..plain() }, "option `alpha` -1 is no strength"),
        (Options { beta: Some(f64::NAN), ..plain() }, "option `beta` NaN is no strength"),
        (Options { alpha_depth: Some(0.0), ..plain() }, "option `alpha_depth` 0 is no positive number"),
        (
            Options { strengths: own(&[("layer1.*", 0.1)]), freeze: strings(&["layer1.0.*"]), ..plain() },
            "gives a strength to what is frozen: layer1.0.conv1.weight, layer1.0.conv2.weight",
        ),
        (Options { strengths: own(&[("*.bn1.*", 0.1)]), ..plain() }, "which the penalty leaves out"),
        (Options { strengths: own(&[("fc.*", 0.1)]), head: HeadOption::Classes(4), ..plain() }, "their strength is option `beta`"),
        (Options { freeze: strings(&["*"]), ..plain() }, "every parameter is frozen"),
        (Options { freeze_stages: 6, ..plain() }, "option `freeze_stages` 6: the network has 5"),
        (Options { freeze_units: 10, ..plain() }, "option `freeze_units` 10: the network has 9"),
        (Options { penalize: Penalize::Patterns(strings(&["conv1.*"])), freeze_stages: 1, ..plain() }, "only what is not trained"),
        (Options { penalty: "none".into(), strengths: own(&[("*", 0.1)]), ..plain() }, "no meaning with option `penalty` none"),
        (
            Options { penalty: "none".into(), penalty_step: PenaltyStep::Proximal, ..plain() },
            "option `penalty_step = proximal` has no meaning",
        ),
        (Options { penalty_step: PenaltyStep::Proximal, ..plain() }, "l2-sp has no option `penalty_step = proximal`: it is smooth"),
        (Options { penalty: "gl-sp".into(), penalty_step: PenaltyStep::Decoupled, ..plain() }, "gl-sp is none"),
        (Options { penalty: "l2-sp-fisher".into(), ..plain() }, "needs option `fisher` FILE"),
        (Options { fisher: Some("f".into()), ..plain() }, "does not read it"),
        (Options { head_map: Some("map".into()), ..plain() }, "no meaning without a new head"),
    ];
    for (options, expected) in cases {
        let found = refused(model, &options);
        assert!(found.contains(expected), "{found}\ndoes not say: {expected}");
    }
    let prox = Options { penalty: "gl-sp-fisher".into(), penalty_step: PenaltyStep::Proximal, ..plain() };
    assert!(refused(model, &prox).contains("no closed form"));
    assert!(refused("vgg.onnx", &Options { freeze_stages: 1, ..plain() }).contains("no residual units"));
}
