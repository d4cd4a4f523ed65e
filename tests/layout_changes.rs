//! How many images are laid out anew in the step of each architecture, with what stands in for it: small networks of the same blocks.

mod shared;

use shared::{bundle, fixture};
use spgraph::bundle::Options;
use spgraph::engine::{Computing, Kernels};
use spgraph::import::BatchSize;
use spgraph::report::plan_kernels;

/// Fixture, and how many images are laid out anew in its training step: the batch, in most.
const NETWORKS: &[(&str, usize)] = &[
    ("mobilenet.bn.onnx", 1),
    ("mobilenet.dynamo.onnx", 1),
    ("relu6.bn.onnx", 1),
    ("silu.bn.onnx", 1),
    ("dense.onnx", 1),
    ("shuffle.bn.onnx", 1),
    ("shuffle.symbolic.onnx", 1),
    ("inception.bn.onnx", 1),
    ("grouped.bn.onnx", 1),
    ("bottleneck.bn.onnx", 1),
    ("resnet18.bn.onnx", 1),
    ("resnet50.onnx", 1),
    ("leaky.bn.onnx", 1),
    ("preactivation.onnx", 1),
    ("pool_ceil.onnx", 1),
    ("average_pool.onnx", 1),
    ("dilated.bn.onnx", 1),
    ("asymmetric.bn.onnx", 1),
    ("auto_pad.bn.onnx", 1),
    ("odd.bn.onnx", 1),
    ("conv_head.onnx", 1),
    // Tokens, which are no images, and padding around the batch itself.
    ("tokens.onnx", 2),
    ("pad_node.bn.onnx", 2),
    // A head that reads every pixel, in the order of the file.
    ("vgg.onnx", 3),
    // Slices with steps, and backwards.
    ("slices.bn.onnx", 4),
];

#[test]
fn images_are_laid_out_anew_as_often_as_said() {
    let mut wrong = vec![];
    for &(name, expected) in NETWORKS {
        assert!(fixture(name).exists(), "{name}");
        let (_work, bundle) = bundle(name, &Options { batch: BatchSize::Fixed(4), ..Options::default() });
        let computing = Computing { kernels: Kernels::Native, ..Computing::default() };
        let plan = plan_kernels(&bundle, None, computing).unwrap();
        if plan.layout_changes != expected {
            wrong.push(format!("{name}: {} instead of {expected}", plan.layout_changes));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
