//! Random ends behind the logits: the step is the plain network's, number by number, or the network is refused.

use super::models::{CLASSES, Net, images, int, ints, list, step};
use super::shared::{Random, engine};
use spgraph::bundle::Options;
use spgraph::engine::EngineChoice;
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::train::{Classifier, ClassifierOptions, Subject};

fn options(batch: BatchSize, loss: Option<&str>) -> Options {
    Options { batch, loss: loss.map(String::from), lr: Some(0.5), ..Options::default() }
}

fn plain() -> Net {
    let mut net = Net::new();
    net.output("z", &[0, CLASSES as i64]);
    net
}

/// A value with its shape; 0 is the batch.
struct At {
    name: String,
    shape: Vec<i64>,
}

fn pick(random: &mut Random, below: usize) -> usize {
    (random.between(0.0, below as f64) as usize).min(below - 1)
}

/// A node that keeps every number, and images in front.
fn view(net: &mut Net, random: &mut Random, at: At) -> At {
    let (name, mut shape) = (at.name.as_str(), at.shape.clone());
    let rank = shape.len();
    let long = shape.iter().position(|&d| d == CLASSES as i64).unwrap();
    let name = match pick(random, 7) {
        0 => net.then(name, "Identity", vec![], &[]),
        1 => {
            let there = net.then(name, "Cast", vec![int("to", 11)], &[]);
            net.then(&there, "Cast", vec![int("to", 1)], &[])
        }
        2 if rank < 5 => {
            let axis = 1 + pick(random, rank);
            shape.insert(axis, 1);
            net.then(name, "Unsqueeze", vec![], &[list(&[axis as i64])])
        }
        3 if rank > 2 => {
            let axis = (1..rank).find(|&a| a != long).unwrap();
            shape.remove(axis);
            net.then(name, "Squeeze", vec![], &[list(&[axis as i64])])
        }
        4 => {
            shape = [vec![0], vec![1; pick(random, 3)], vec![CLASSES as i64], vec![1; pick(random, 2)]].concat();
            let mut spelt = shape.clone();
            spelt[0] = [0, -1][pick(random, 2)];
            net.then(name, "Reshape", vec![], &[list(&spelt)])
        }
        5 if rank > 2 => {
            let mut order: Vec<i64> = (1..rank as i64).collect();
            let turn = pick(random, order.len());
            order.rotate_left(turn);
            order.insert(0, 0);
            shape = order.iter().map(|&a| at.shape[a as usize]).collect();
            net.then(name, "Transpose", vec![ints("perm", &order)], &[])
        }
        6 if rank > 1 => {
            shape = vec![0, CLASSES as i64];
            net.then(name, "Flatten", vec![int("axis", 1)], &[])
        }
        _ => at.name.clone(),
    };
    At { name, shape }
}

/// A softmax or sigmoid in one of its spellings, over the classes.
fn activation(net: &mut Net, form: usize, at: &At) -> String {
    let z = at.name.as_str();
    let axis = at.shape.iter().position(|&d| d == CLASSES as i64).unwrap() as i64;
    let sum = |net: &mut Net, e: &str, keep: bool| {
        let sum = net.then(e, "ReduceSum", vec![int("keepdims", keep as i64)], &[list(&[axis])]);
        if keep { sum } else { net.then(&sum, "Unsqueeze", vec![], &[list(&[axis])]) }
    };
    let shifted = |net: &mut Net| {
        let most = net.then(z, "ReduceMax", vec![ints("axes", &[axis])], &[]);
        net.both("Sub", z, &most)
    };
    match form {
        0 => net.then(z, "Softmax", vec![int("axis", axis)], &[]),
        1 => net.then(z, "LogSoftmax", vec![int("axis", axis - at.shape.len() as i64)], &[]),
        2 => {
            let p = net.then(z, "Softmax", vec![int("axis", axis)], &[]);
            net.then(&p, "Log", vec![], &[])
        }
        3 | 4 => {
            let e = net.then(z, "Exp", vec![], &[]);
            let sum = sum(net, &e, form == 3);
            net.both("Div", &e, &sum)
        }
        5 => {
            let u = shifted(net);
            let e = net.then(&u, "Exp", vec![], &[]);
            let sum = sum(net, &e, true);
            net.both("Div", &e, &sum)
        }
        6 => {
            let u = shifted(net);
            let e = net.then(&u, "Exp", vec![], &[]);
            let sum = sum(net, &e, true);
            let log = net.then(&sum, "Log", vec![], &[]);
            net.both("Sub", &u, &log)
        }
        7 => {
            let e = net.then(z, "Exp", vec![], &[]);
            let sum = sum(net, &e, true);
            let p = net.both("Div", &e, &sum);
            net.then(&p, "Log", vec![], &[])
        }
        8 => net.then(z, "Sigmoid", vec![], &[]),
        _ => z.to_string(),
    }
}

fn logits() -> At {
    At { name: "z".into(), shape: vec![0, CLASSES as i64] }
}

#[test]
fn what_keeps_the_numbers_is_looked_through() {
    let fixed = BatchSize::Fixed(4);
    let expected = [step(&plain(), &options(fixed, None)).unwrap(), step(&plain(), &options(fixed, Some("bce"))).unwrap()];
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (mut net, mut at, form) = (Net::new(), logits(), seed as usize % 10);
        for _ in 0..pick(&mut random, 3) {
            at = view(&mut net, &mut random, at);
        }
        at.name = activation(&mut net, form, &at);
        for _ in 0..pick(&mut random, 5) {
            at = view(&mut net, &mut random, at);
        }
        net.output(&at.name, &at.shape);
        let what: Vec<&str> = net.nodes[4..].iter().map(|n| n.op_type()).collect();
        let found = step(&net, &options(fixed, None)).unwrap_or_else(|e| panic!("{what:?}: {e}"));
        assert_eq!(found, expected[(form == 8) as usize], "{what:?}");
    }
}

#[test]
fn axes_that_change_places_are_put_back() {
    let fixed = BatchSize::Fixed(4);
    let expected = step(&plain(), &options(fixed, None)).unwrap();
    let turned = |net: &mut Net, from: &str| net.then(from, "Transpose", vec![ints("perm", &[1, 0])], &[]);
    let mut net = Net::new();
    let there = turned(&mut net, "z");
    let p = net.then(&there, "Softmax", vec![int("axis", 0)], &[]);
    let back = turned(&mut net, &p);
    net.output(&back, &[0, CLASSES as i64]);
    assert_eq!(step(&net, &options(fixed, None)).unwrap(), expected);
}

/// Each end with what the refusal says. None of them may be trained as if it were something else.
#[test]
fn what_cannot_be_looked_through_is_refused() {
    type End = fn(&mut Net) -> (String, Vec<i64>);
    let ends: &[(&str, End, &str)] = &[
        (
            "scaled",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                (net.then(&p, "Mul", vec![], &[Tensor::from_f32(&[], &[100.0])]), vec![0, CLASSES as i64])
            },
            "hides the logits",
        ),
        (
            "moved away from 0",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                let p = net.then(&p, "Add", vec![], &[Tensor::from_f32(&[], &[1e-6])]);
                (net.then(&p, "Log", vec![], &[]), vec![0, CLASSES as i64])
            },
            "hides the logits",
        ),
        (
            "clipped",
            |net| {
                let p = net.then("z", "Sigmoid", vec![], &[]);
                (net.then(&p, "Clip", vec![], &[Tensor::from_f32(&[], &[0.01]), Tensor::from_f32(&[], &[0.99])]), vec![0, CLASSES as i64])
            },
            "hides the logits",
        ),
        ("over the images", |net| (net.then("z", "Softmax", vec![int("axis", 0)], &[]), vec![0, CLASSES as i64]), "over all classes"),
        (
            "over nothing",
            |net| {
                let z = net.then("z", "Unsqueeze", vec![], &[list(&[2])]);
                (net.then(&z, "Softmax", vec![int("axis", 2)], &[]), vec![0, CLASSES as i64, 1])
            },
            "over all classes",
        ),
        (
            "twice",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                (net.then(&p, "Softmax", vec![int("axis", 1)], &[]), vec![0, CLASSES as i64])
            },
            "hides the logits",
        ),
        ("exponentials", |net| (net.then("z", "Exp", vec![], &[]), vec![0, CLASSES as i64]), "hides the logits"),
        (
            "a product of two",
            |net| {
                let (a, b) = (net.then("z", "Sigmoid", vec![], &[]), net.then("features", "Sigmoid", vec![], &[]));
                (net.both("Mul", &a, &b), vec![0, CLASSES as i64])
            },
            "hides the logits",
        ),
        (
            "both classes of one score",
            |net| {
                net.linear("features", "one", CLASSES, 1, 5);
                let p = net.then("one", "Sigmoid", vec![], &[]);
                let q = net.then(&p, "Neg", vec![], &[]);
                let q = net.then(&q, "Add", vec![], &[Tensor::from_f32(&[], &[1.0])]);
                net.node("Concat", &[&q, &p], "pair", vec![int("axis", 1)]);
                ("pair".into(), vec![0, 2])
            },
            "hides the logits",
        ),
        (
            "classes in front",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                (net.then(&p, "Transpose", vec![ints("perm", &[1, 0])], &[]), vec![CLASSES as i64, 0])
            },
            "a classifier's is [N, classes]",
        ),
        (
            "mixed",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                let p = net.then(&p, "Reshape", vec![], &[list(&[CLASSES as i64, -1])]);
                (net.then(&p, "Transpose", vec![ints("perm", &[1, 0])], &[]), vec![0, CLASSES as i64])
            },
            "mix images and classes",
        ),
        (
            "all in one",
            |net| {
                let p = net.then("z", "Softmax", vec![int("axis", 1)], &[]);
                (net.then(&p, "Flatten", vec![int("axis", 0)], &[]), vec![1, 0])
            },
            "a classifier's is [N, classes]",
        ),
        (
            "one of one",
            |net| {
                net.linear("features", "one", CLASSES, 1, 5);
                (net.then("one", "Softmax", vec![int("axis", 1)], &[]), vec![0, 1])
            },
            "a single number",
        ),
    ];
    for (what, end, why) in ends {
        let mut net = Net::new();
        let (name, shape) = end(&mut net);
        net.output(&name, &shape);
        // With as many images as classes their axes cannot be told apart by length.
        for batch in [BatchSize::Fixed(4), BatchSize::Fixed(CLASSES), BatchSize::Fixed(1), BatchSize::Dynamic] {
            let refusal = step(&net, &options(batch, None)).expect_err(what);
            assert!(refusal.contains(why), "{what} with {batch}: {refusal}");
        }
        // Numbers to come near to need no logits; images may not meet, and something has to depend on them.
        let numbers = step(&net, &options(BatchSize::Fixed(4), Some("mse")));
        let impossible = ["logarithm", "a classifier's is", "a single number"].iter().any(|w| why.contains(w));
        match ["over the images", "mixed", "over nothing"].contains(what) || impossible {
            true => drop(numbers.expect_err(what)),
            false => drop(numbers.expect(what)),
        }
    }
}

/// The squared error of what a network gives, whatever it ends with: against numbers computed from the plain scores in float64.
#[test]
fn outputs_that_hide_logits_are_trained_towards_numbers() {
    let z = {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("plain.onnx");
        plain().write(&path);
        engine(EngineChoice::Tract).load(&path).unwrap().run(&[("x", &images(4))]).unwrap()[0].to_f64().unwrap()
    };
    type End = (fn(&mut Net) -> String, fn(f64) -> f64);
    let ends: [End; 4] = [
        (|net| net.then("z", "Clip", vec![], &[Tensor::from_f32(&[], &[0.0]), Tensor::from_f32(&[], &[1.0])]), |z| z.clamp(0.0, 1.0)),
        (|net| net.then("z", "HardSigmoid", vec![], &[]), |z| (0.2 * z + 0.5).clamp(0.0, 1.0)),
        (|net| net.then("z", "Exp", vec![], &[]), f64::exp),
        (
            |net| {
                let low = net.then("z", "Max", vec![], &[Tensor::from_f32(&[], &[0.0])]);
                net.then(&low, "Min", vec![], &[Tensor::from_f32(&[], &[1.0])])
            },
            |z| z.clamp(0.0, 1.0),
        ),
    ];
    for (end, f) in ends {
        let mut net = Net::new();
        let name = end(&mut net);
        net.output(&name, &[0, CLASSES as i64]);
        let refusal = step(&net, &options(BatchSize::Fixed(4), None)).unwrap_err();
        assert!(refusal.contains("mse"), "{refusal}");
        let found = step(&net, &options(BatchSize::Fixed(4), Some("mse"))).unwrap();
        let found = found.iter().find(|(name, _)| name == "data_loss").unwrap().1[0];
        let rows = [(0, 0), (1, 1), (3, 1)];
        let gap = |image: usize, k: usize, label: usize| (f(z[image * CLASSES + k]) - f64::from(u8::from(k == label))).powi(2);
        let sum: f64 = rows.iter().map(|&(image, label)| (0..CLASSES).map(|k| gap(image, k, label)).sum::<f64>()).sum();
        let expected = sum / (rows.len() * CLASSES) as f64;
        assert!((found - expected).abs() < 1e-5 * expected.max(1.0), "{found}, {expected}");
    }
}

/// Gates are no probabilities: networks end with them.
#[test]
fn a_gate_on_scores_is_trained() {
    let mut net = Net::new();
    let gate = net.then("z", "Sigmoid", vec![], &[]);
    let gated = net.both("Mul", "z", &gate);
    net.output(&gated, &[0, CLASSES as i64]);
    assert!(step(&net, &options(BatchSize::Fixed(4), None)).is_ok());
}

#[test]
fn a_temperature_is_part_of_the_loss() {
    let fixed = BatchSize::Fixed(4);
    let scaled = |net: &mut Net| net.then("z", "Mul", vec![], &[Tensor::from_f32(&[], &[0.25])]);
    let mut bare = Net::new();
    let z = scaled(&mut bare);
    bare.output(&z, &[0, CLASSES as i64]);
    let mut net = Net::new();
    let z = scaled(&mut net);
    let p = net.then(&z, "Softmax", vec![int("axis", 1)], &[]);
    net.output(&p, &[0, CLASSES as i64]);
    let found = step(&net, &options(fixed, None)).unwrap();
    assert_eq!(found, step(&bare, &options(fixed, None)).unwrap());
    assert_ne!(found, step(&plain(), &options(fixed, None)).unwrap());
}

#[test]
fn losses_that_do_not_fit_are_refused_with_those_that_do() {
    let mut ends = vec![];
    for (form, refused, fits) in [(0, "bce", "cross-entropy or mse"), (1, "mse", "cross-entropy"), (8, "cross-entropy", "bce or mse")] {
        let mut net = Net::new();
        let name = activation(&mut net, form, &logits());
        net.output(&name, &[0, CLASSES as i64]);
        ends.push((net, refused, fits));
    }
    let mut single = Net::new();
    single.linear("features", "one", CLASSES, 1, 5);
    single.output("one", &[0, 1]);
    ends.push((single, "cross-entropy", "bce or mse"));
    for (net, refused, fits) in ends {
        let refusal = step(&net, &options(BatchSize::Fixed(4), Some(refused))).unwrap_err();
        assert!(refusal.contains(&format!("Take {fits}")), "{refusal}");
        for loss in fits.split(" or ") {
            step(&net, &options(BatchSize::Fixed(4), Some(loss))).unwrap();
        }
    }
}

/// What is shown for an image is what the network says, however it says it.
#[test]
fn probabilities_are_the_network_s_own() {
    let work = tempfile::tempdir().unwrap();
    let tract = engine(EngineChoice::Tract);
    let open = |net: &Net| {
        let path = work.path().join("net.onnx");
        net.write(&path);
        Classifier::open(&Subject::open(&path).unwrap(), &ClassifierOptions::default(), tract.as_ref()).unwrap()
    };
    let z = {
        let path = work.path().join("plain.onnx");
        plain().write(&path);
        tract.load(&path).unwrap().run(&[("x", &images(3))]).unwrap()[0].cast(DType::F64).unwrap().to_f64().unwrap()
    };
    let expected = |form: usize, row: &[f64]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| if form == 8 { 1.0 / (1.0 + (-v).exp()) } else { v.exp() / sum }).collect()
    };
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let (mut net, mut at, form) = (Net::new(), logits(), seed as usize % 10);
        at.name = activation(&mut net, form, &at);
        for _ in 0..pick(&mut random, 4) {
            at = view(&mut net, &mut random, at);
        }
        net.output(&at.name, &at.shape);
        let mut classifier = open(&net);
        let scores = classifier.scores(&images(3)).unwrap();
        for (image, row) in z.chunks(CLASSES).enumerate() {
            let (found, expected) = (scores.probabilities(image), expected(form, row));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "form {form}: {found:?}, {expected:?}");
            let loss = |label: usize| match form {
                8 => expected.iter().enumerate().map(|(k, p)| -(if k == label { *p } else { 1.0 - p }).ln()).sum::<f64>() / CLASSES as f64,
                _ => -expected[label].ln(),
            };
            assert!((scores.loss(image, 2) - loss(2)).abs() < 1e-5, "form {form}");
        }
    }
    // One score is about two classes.
    let mut net = Net::new();
    net.linear("features", "one", CLASSES, 1, 5);
    let p = net.then("one", "Sigmoid", vec![], &[]);
    let p = net.then(&p, "Squeeze", vec![], &[list(&[1])]);
    net.output(&p, &[0]);
    let mut classifier = open(&net);
    assert_eq!(classifier.outputs(), Some(2));
    let scores = classifier.scores(&images(3)).unwrap();
    let p = scores.probabilities(1);
    assert!(p.len() == 2 && (p[0] + p[1] - 1.0).abs() < 1e-12 && (scores.loss(1, 0) + p[0].ln()).abs() < 1e-6, "{p:?}");
}

/// Bounds are followed however far behind an output they stand, and each value once, however many nodes use it.
#[test]
fn numbers_between_0_and_1_are_seen_through_many_nodes() {
    let mut net = Net::new();
    let low = net.then("z", "Max", vec![], &[Tensor::from_f32(&[], &[0.0])]);
    let mut at = net.then(&low, "Min", vec![], &[Tensor::from_f32(&[], &[1.0])]);
    for _ in 0..60 {
        let sum = net.both("Add", &at, &at);
        at = net.then(&sum, "Mul", vec![], &[Tensor::from_f32(&[], &[0.5])]);
    }
    net.output(&at, &[0, CLASSES as i64]);
    let refusal = step(&net, &options(BatchSize::Fixed(4), None)).unwrap_err();
    assert!(refusal.contains("can only give numbers between 0 and 1"), "{refusal}");
}
