//! The CUDA device, as far as it can be seen without one: every step that is made of the small networks has a kernel of the CUDA provider for each of its nodes.

mod recorded;
#[path = "../shared/mod.rs"]
mod shared;

use shared::fixture;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{Bundle, GraphPrecision, Options, PenaltyOption};
use spgraph::emit::{self, Dialect, cuda_fallbacks};
use spgraph::engine::device_graph;
use spgraph::import::BatchSize;
use spgraph::ir::Node;
use spgraph::onnx;
use spgraph::operator::OPSET;
use spgraph::optim::{AdamW, Lars, Optimizer, UpdateRule};
use spgraph::report::plan_device;
use std::path::Path;

fn small() -> Options {
    Options { batch: BatchSize::Fixed(3), ..Options::default() }
}

/// The nodes of a file that would leave the device, with the reason.
fn left(path: &Path) -> Vec<String> {
    let file = onnx::open(path).unwrap();
    let opset = file.proto.opset_import.iter().find(|o| o.domain().is_empty()).unwrap().version();
    let graph = device_graph(emit::read(&file, None).unwrap()).unwrap();
    let half = |node: &Node| node.used().chain(node.outputs.iter().copied()).any(|v| graph.ty(v).dtype.is_half());
    cuda_fallbacks(&graph, opset)
        .into_iter()
        .map(|(node, why)| format!("{}: {} {}{}: {why}", path.display(), node.op_type, node.name, if half(node) { HALF } else { "" }))
        .collect()
}

/// Said of a node that reads or gives half precision.
const HALF: &str = " of half precision";

fn of_bundle(model: &str, options: &Options) -> Vec<String> {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join(model);
    // A fixture that is there to be refused has no step.
    if make_bundle(&fixture(model), &dir, options, false).is_err() {
        return vec![];
    }
    ["step.onnx", "grad.onnx", "apply.onnx"].iter().map(|f| dir.join(f)).filter(|f| f.is_file()).flat_map(|f| left(&f)).collect()
}

#[test]
fn steps_of_the_small_networks_stay_on_the_device() {
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut names: Vec<String> = networks.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".onnx"));
    names.sort();
    assert!(names.len() > 50);
    names.retain(|name| !PADDED_AT_ONE_END.contains(&name.as_str()));
    let found: Vec<String> = names.iter().flat_map(|name| of_bundle(name, &small())).collect();
    assert_eq!(found, Vec::<String>::new());
}

/// Networks whose convolutions pad one end more than the other: the gradient of the image is a ConvTranspose with such pads.
const PADDED_AT_ONE_END: [&str; 2] = ["asymmetric.bn.onnx", "auto_pad.bn.onnx"];

/// A step that does not stay on the device is told, node by node, before it runs. A rule that finds another form for the device moves the network to the test above.
#[test]
fn a_convolution_that_is_padded_at_one_end_is_told() {
    for name in PADDED_AT_ONE_END {
        let found = of_bundle(name, &small());
        assert!(!found.is_empty() && found.iter().all(|f| f.contains("ConvTranspose") && f.contains("other pads at the end")), "{found:?}");
    }
}

/// What has no kernel of bfloat16 computes in float32 between conversions; opset 22, which bfloat16 needs, has no kernel of MaxPool at all, and so the processor pools.
#[test]
fn mixed_precision_leaves_the_device_nowhere_in_half_precision() {
    let networks =
        ["basic.bn", "dense", "grouped.bn", "inception.bn", "mobilenet.bn", "pool_ceil", "shuffle.bn", "silu.bn", "tokens", "vgg"];
    let mut pooled = 0;
    for (precision, opset) in [(GraphPrecision::MixedF16, OPSET), (GraphPrecision::MixedBf16, 22)] {
        for network in networks {
            let options = Options { precision, split: true, ..small() };
            assert_eq!(options.form().unwrap().opset, opset);
            let mut found = of_bundle(&format!("{network}.onnx"), &options);
            let all = found.len();
            found.retain(|f| precision == GraphPrecision::MixedF16 || !f.contains(" MaxPool ") || f.contains(HALF));
            pooled += all - found.len();
            assert_eq!(found, Vec::<String>::new());
        }
    }
    assert!(pooled > 0);
}

#[test]
fn every_penalty_and_optimizer_stays_on_the_device() {
    let optimizer = |rule| Optimizer { rule, clip_norm: Some(1.0), ema: Some(0.9), ..Optimizer::default() };
    let mut options = vec![
        Options { split: true, batch_norm: Some(BatchNormMode::Train), ..small() },
        Options { dialect: Dialect::Inlined, batch_norm: Some(BatchNormMode::Frozen), ..small() },
        Options { optimizer: optimizer(UpdateRule::AdamW(AdamW::default())), ..small() },
        Options { optimizer: optimizer(UpdateRule::Lars(Lars::default())), ..small() },
        Options { label_smoothing: 0.1, soft_targets: true, ..small() },
    ];
    options.extend(["none", "l2", "l2-sp", "l1-sp", "gl-sp"].map(|kind| Options { penalty: PenaltyOption::from(kind), ..small() }));
    let found: Vec<String> = options.iter().flat_map(|options| of_bundle("basic.bn.onnx", options)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_plan_names_the_table_where_no_device_is() {
    let (_work, bundle) = shared::bundle("basic.bn.onnx", &small());
    let plan = plan_device(&Bundle::open(&bundle.dir).unwrap(), None, None).unwrap();
    assert!(plan.by.contains("table") && plan.off_device.is_empty() && plan.not_recorded.is_empty(), "{plan:?}");
    assert!(plan.nodes.len() > 50 && plan.nodes.iter().all(|n| n.provider == "CUDAExecutionProvider"));
}
