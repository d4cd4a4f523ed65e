//! Emitted models read back: every file of a bundle is, as a typed graph, what it was, and is written the same again to the last bit.

mod shared;

use prost::Message;
use shared::fixture;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{Bundle, GraphPrecision, HeadOption, Options, start_state};
use spgraph::emit::{self, Dialect};
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels};
use spgraph::import::BatchSize;
use spgraph::ir::{Domain, Graph, Tensor};
use spgraph::onnx::{self, ModelFile, pb};
use spgraph::optim::{AdamW, Optimizer, UpdateRule};
use spgraph::pass::{self, Inline, MergeEqual, Pass, RestoreOperators};
use std::collections::HashSet;
use std::path::Path;

/// What emitting the graph again writes; functions stay calls, and what is written out stays written out.
fn again(graph: &Graph, read: &pb::ModelProto) -> pb::ModelProto {
    let mut model = emit::model(graph, Dialect::Functions).unwrap();
    // What the graph does not hold: the manifest.
    model.metadata_props = read.metadata_props.clone();
    model
}

/// Reads every emitted file of a bundle and writes it again; gives the names of those that hold functions.
fn round_trip(dir: &Path) -> Vec<String> {
    let mut called = vec![];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if !name.ends_with(".onnx") || name == "template.onnx" {
            continue;
        }
        let file = onnx::open(&path).unwrap();
        assert!(emit::is_emitted(&file.proto), "{name}");
        let graph = emit::read(&file, None).unwrap();
        graph.verify().unwrap();
        let mut written = again(&graph, &file.proto);
        file.external.refer(&mut written);
        assert!(written.encode_to_vec() == std::fs::read(&path).unwrap(), "{} is written differently", path.display());
        if graph.nodes.iter().any(|n| n.domain == Domain::Function) {
            called.push(name);
        }
    }
    called.sort();
    called
}

fn bundle(name: &str, options: Options) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    make_bundle(&fixture(name), &dir.path().join("bundle"), &options, false).unwrap();
    dir
}

#[test]
fn bundles_are_the_same_after_a_round_trip() {
    let defaults = || Options { batch: BatchSize::Fixed(3), ..Options::default() };
    let adamw = Optimizer { rule: UpdateRule::AdamW(AdamW::default()), ..Optimizer::default() };
    let cases = [
        ("basic.bn.onnx", Options { split: true, ..defaults() }),
        ("basic.bn.onnx", Options { batch: BatchSize::Dynamic, split: true, head: HeadOption::Classes(4), ..defaults() }),
        ("basic.bn.onnx", Options { dialect: Dialect::Inlined, split: true, external_data: true, ..defaults() }),
        ("grouped.bn.onnx", Options { batch_norm: Some(BatchNormMode::Frozen), ..defaults() }),
        ("mobilenet.bn.onnx", Options { external_data: true, split: true, optimizer: adamw, ..defaults() }),
        ("shuffle.symbolic.onnx", Options { batch: BatchSize::Dynamic, ..defaults() }),
        ("slices.bn.onnx", Options { dialect: Dialect::Inlined, ..defaults() }),
        ("tokens.onnx", defaults()),
        ("silu.bn.onnx", defaults()),
        ("float64.bn.onnx", defaults()),
        ("conv_head.onnx", Options { head: HeadOption::Classes(7), ..defaults() }),
        ("pool_ceil.onnx", defaults()),
        ("inception.bn.onnx", defaults()),
        ("resnet18.bn.onnx", Options { batch: BatchSize::Fixed(2), ..defaults() }),
    ];
    for (name, options) in cases {
        let inlined = options.dialect == Dialect::Inlined;
        let dir = bundle(name, options);
        let called = round_trip(&dir.path().join("bundle"));
        assert_eq!(called.contains(&"step.onnx".to_string()), !inlined, "{name}: {called:?}");
    }
}

#[test]
fn the_batch_size_can_be_set_while_reading() {
    let dir = bundle("basic.bn.onnx", Options { batch: BatchSize::Dynamic, ..Options::default() });
    let file = onnx::open(dir.path().join("bundle/step.onnx")).unwrap();
    let [open, fixed] = [None, Some(5)].map(|batch| emit::read(&file, batch).unwrap());
    let known = |g: &Graph| g.values.iter().all(|v| v.ty.dims().is_some());
    assert!(!known(&open) && known(&fixed));
    assert_eq!(fixed.ty(fixed.inputs[0]).dims().unwrap()[0], 5);
}

#[test]
fn passes_leave_no_function_and_no_alternative() {
    let dir = bundle("resnet18.bn.onnx", Options { batch: BatchSize::Fixed(2), ..Options::default() });
    let file = onnx::open(dir.path().join("bundle/step.onnx")).unwrap();
    let mut graph = emit::read(&file, None).unwrap();
    let count = |g: &Graph, domain| g.nodes.iter().filter(|n| n.domain == domain).count();
    let (before, functions, alternatives) = (graph.nodes.len(), count(&graph, Domain::Function), count(&graph, Domain::Alternative));
    assert!(functions > 0 && alternatives > 0);
    pass::apply_verified(&mut graph, &[&RestoreOperators]).unwrap();
    assert_eq!((count(&graph, Domain::Alternative), graph.nodes.len()), (0, before));
    pass::apply_verified(&mut graph, &[&Inline]).unwrap();
    let inlined = graph.nodes.len();
    assert!(inlined > before && count(&graph, Domain::Onnx) == inlined);
    pass::apply_verified(&mut graph, &[&MergeEqual]).unwrap();
    assert!(graph.nodes.len() < inlined);
}

/// All outputs of a step's graph for one batch, by ONNX Runtime's own kernels.
fn outputs(graph: &Graph, bundle: &Bundle, folder: &Path) -> Vec<Tensor> {
    let path = folder.join("step.onnx");
    onnx::write(&path, &emit::model(graph, Dialect::Functions).unwrap()).unwrap();
    let options = EngineOptions { choice: EngineChoice::Ort, kernels: Kernels::Standard, threads: Some(1), ..Default::default() };
    let mut session = engine::open(&options).unwrap().load(&path).unwrap();
    let m = &bundle.manifest;
    let shape: Vec<usize> = m.data.input.shape.iter().map(|&d| usize::try_from(d).unwrap()).collect();
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
    let (data, target) = (Tensor::from_f32(&shape, &pixels), Tensor::from_i64(&[shape[0]], &vec![1; shape[0]]));
    let scalars: Vec<_> = m.scalars.iter().map(|s| (s.name.clone(), Tensor::from_f32(&[], &[s.default as f32]))).collect();
    let state = start_state(bundle).unwrap();
    let mut feeds: Vec<(&str, &Tensor)> = vec![(&m.data.input.name, &data), (&m.data.target.name, &target)];
    feeds.extend(scalars.iter().map(|(n, t)| (n.as_str(), t)));
    feeds.extend(m.state.iter().map(|s| s.input.as_str()).zip(&state));
    session.run(&feeds).unwrap()
}

#[test]
fn passes_keep_the_numbers() {
    for name in ["basic.bn.onnx", "silu.bn.onnx"] {
        let dir = bundle(name, Options { batch: BatchSize::Fixed(3), ..Options::default() });
        let bundle = Bundle::open(&dir.path().join("bundle")).unwrap();
        let graph = emit::read(&onnx::open(bundle.step()).unwrap(), None).unwrap();
        let expected = outputs(&graph, &bundle, dir.path());
        let lists: &[&[&dyn Pass]] = &[&[&RestoreOperators], &[&Inline], &[&MergeEqual], &[&RestoreOperators, &Inline, &MergeEqual]];
        for &passes in lists {
            let mut changed = graph.clone();
            pass::apply_verified(&mut changed, passes).unwrap();
            let names: Vec<_> = passes.iter().map(|p| p.name()).collect();
            for (i, (a, b)) in expected.iter().zip(outputs(&changed, &bundle, dir.path())).enumerate() {
                for (a, b) in a.to_f64().unwrap().into_iter().zip(b.to_f64().unwrap()) {
                    assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{name} after {names:?}, output {i}: {a} became {b}");
                }
            }
        }
    }
}

#[test]
fn what_spgraph_never_writes_is_refused() {
    let dir = bundle("basic.bn.onnx", Options { batch: BatchSize::Fixed(3), ..Options::default() });
    let file = onnx::open(dir.path().join("bundle/step.onnx")).unwrap();
    type Change = fn(&mut pb::ModelProto);
    let cases: [(Change, &str); 5] = [
        (|m| m.graph.as_mut().unwrap().node[0].op_type = Some("Frobnicate".into()), "(Frobnicate): spgraph does not know this operator"),
        (|m| m.graph.as_mut().unwrap().node[0].domain = Some("com.example".into()), "its domain `com.example` is none of spgraph's"),
        (|m| m.graph.as_mut().unwrap().node[1].input[0] = "nowhere".into(), "`nowhere` is read and computed nowhere before"),
        (|m| m.functions.clear(), "there is no function of that name"),
        (
            |m| {
                let graph = m.graph.as_mut().unwrap();
                graph.output[0].r#type = graph.input[0].r#type.clone();
            },
            "is declared as",
        ),
    ];
    for (change, expected) in cases {
        let mut broken = ModelFile { proto: file.proto.clone(), ..file.clone() };
        change(&mut broken.proto);
        let error = emit::read(&broken, None).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("step.onnx is not as spgraph writes models"), "{error}");
    }
}

/// tract 0.23 may lose one of two equal nodes.
#[test]
fn what_is_for_tract_has_no_two_equal_nodes() {
    let doubles = |runtime: Option<&str>| {
        let runtime = runtime.map(str::to_string);
        let precision = GraphPrecision::RoundedF16;
        let folder = bundle("basic.bn.onnx", Options { runtime, precision, dialect: Dialect::Inlined, ..Options::default() });
        let read = onnx::open(folder.path().join("bundle/step.onnx")).unwrap();
        let mut seen = HashSet::new();
        let nodes = &read.proto.graph.as_ref().unwrap().node;
        let again = |n: &&pb::NodeProto| {
            !n.input.is_empty() && !seen.insert((n.op_type().to_string(), n.input.clone(), format!("{:?}", n.attribute)))
        };
        nodes.iter().filter(again).count()
    };
    assert_eq!(doubles(Some("tract")), 0);
    assert!(doubles(None) > 0, "nothing is written twice, so nothing was seen");
}
