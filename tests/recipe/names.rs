//! A network may use any names, also those that the step's own inputs and outputs have by default: it trains with the same bits.

use crate::{HeadTrained, Trained, fixture, with_everything};
use prost::Message;
use spgraph::onnx;
use std::collections::HashMap;

/// Values of `basic.bn.onnx`: input and output, weights of a convolution, a BatchNorm and the classifier, and what lies between.
const VALUES: [&str; 8] =
    ["input", "logits", "0.0.0.weight", "1.bn1.bias", "2.conv2.weight", "3.2.weight", "/1/Add_output_0", "/2/relu/Relu_output_0"];

/// What the step calls its own inputs and outputs.
const RESERVED: [&str; 8] = ["lr", "loss", "data_loss", "penalty", "correct", "target", "alpha", "beta"];

/// What it calls state, gradients and constants of `0.0.0.bias` and the like.
const MADE: [&str; 8] = [
    "0.0.1.weight.grad",
    "0.0.1.weight.next",
    "1.conv1.weight.momentum",
    "3.2.bias.start",
    "1.conv1.weight.start",
    "delta",
    "count",
    "optimizer",
];

/// `basic.bn.onnx` with `VALUES` under these names.
fn renamed(names: &[&str]) -> Vec<u8> {
    let mut model = onnx::read(fixture("basic.bn.onnx")).unwrap().proto;
    let names: HashMap<&str, &str> = VALUES.into_iter().zip(names.iter().copied()).collect();
    let rename = |name: &mut String| {
        if let Some(new) = names.get(name.as_str()) {
            *name = new.to_string();
        }
    };
    let graph = model.graph.as_mut().unwrap();
    graph.value_info.clear();
    graph.initializer.iter_mut().filter_map(|t| t.name.as_mut()).for_each(rename);
    graph.input.iter_mut().chain(&mut graph.output).filter_map(|v| v.name.as_mut()).for_each(rename);
    graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output)).for_each(rename);
    model.encode_to_vec()
}

/// Whole steps, steps in halves, and the step of the head alone.
fn all_steps(names: &[&str]) -> (Trained, Trained, HeadTrained) {
    let (model, options) = (renamed(names), with_everything());
    (Trained::whole(&model, &options), Trained::halves(&model, &options), Trained::head(&model, &options))
}

#[test]
fn every_name_trains_with_the_same_bits() {
    let usual = all_steps(&VALUES);
    assert!(usual.0.results.iter().all(|r| r.loss.is_finite() && r.penalty > 0.0), "{:?}", usual.0.results);
    for names in [RESERVED, MADE] {
        for shift in 0..names.len() {
            let mut names = names;
            names.rotate_left(shift);
            let found = all_steps(&names);
            assert!(found.0 == usual.0, "a whole step: {names:?}");
            assert!(found.1 == usual.1, "halves of a step: {names:?}");
            assert!(found.2 == usual.2, "a step of the head: {names:?}");
        }
    }
}
