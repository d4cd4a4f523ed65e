//! A graph small enough to count by hand.

use super::*;
use crate::ir::{DType, Node, Tensor, TensorType};

/// Floats of 4 bytes.
fn floats(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape.iter().copied())
}

fn add(graph: &mut Graph, op: &str, name: &str, inputs: &[ValueId], output: &str, shape: &[usize]) -> ValueId {
    let node = Node::new(name, op, inputs.iter().copied().map(Some).collect(), Default::default());
    graph.node(node, vec![(output.into(), floats(shape))])[0]
}

/// `x [10]` and `w [10]`: `a = x·w`, `b = relu(a)` written over it, `c = b·b`, `g = c·b` of a gradient, `w.next = w − g`.
fn small() -> Graph {
    let mut graph = Graph::new("step");
    let x = graph.input("x", floats(&[10]));
    let w = graph.input("w", floats(&[10]));
    let start = graph.constant("w.start", Tensor::zeros(DType::F32, &[10]));
    let a = add(&mut graph, "Mul", "/one/Mul", &[x, w], "a", &[10]);
    let b = add(&mut graph, "Relu", "/one/Relu", &[a], "b", &[10]);
    let view = add(&mut graph, "Reshape", "/two/Reshape", &[b], "v", &[2, 5]);
    let c = add(&mut graph, "MatMul", "/two/MatMul", &[view, view], "c", &[30]);
    let g = add(&mut graph, "MatMul", "/two/MatMul.grad/MatMul", &[c, b], "g", &[10]);
    let d = add(&mut graph, "Sub", "w.penalty/L2SpPenalty/Sub", &[w, start], "w.penalty/L2SpPenalty/d", &[10]);
    let s = add(&mut graph, "Add", "w.update/Add", &[g, d], "w.update/s", &[10]);
    let next = add(&mut graph, "Sub", "w.update/Sub", &[w, s], "w.next", &[10]);
    graph.outputs = vec![next];
    graph
}

#[test]
fn the_peak_of_a_small_graph() {
    let step = RuntimeGraph { graph: small(), in_place: vec![], kernels: "standard".into() };
    let plan = plan(step, &HashSet::from(["w"]), 10).unwrap();
    // At the gradient: b (which is a's buffer, and v's) 40 bytes, c 120, g 40, and d 40, which depth first comes before it.
    let of = |name: &str| plan.categories.iter().find(|c| c.name == name).unwrap().bytes;
    assert_eq!((of("activations"), of("gradients"), of("workspace")), (160, 40, 40));
    assert_eq!((of("state"), of("constants"), of("feeds")), (80, 40, 40));
    assert_eq!((plan.node.as_str(), plan.layer.as_str(), plan.nodes), ("/two/MatMul.grad/MatMul", "two", 8));
    assert_eq!(plan.peak_bytes, plan.categories.iter().map(|c| c.bytes).sum::<u64>());
    let largest: Vec<_> = plan.largest.iter().map(|v| (v.value.as_str(), v.bytes, v.layer.as_str())).collect();
    assert_eq!(largest[..2], [("c", 120, "two"), ("b", 40, "one")]);
}

#[test]
fn state_that_is_updated_where_it_lies_is_there_once() {
    let step = RuntimeGraph { graph: small(), in_place: vec![("w".into(), "w.next".into())], kernels: "native".into() };
    let plan = plan(step, &HashSet::from(["w"]), 10).unwrap();
    assert_eq!(plan.categories.iter().find(|c| c.name == "state").unwrap().bytes, 40);
}

#[test]
fn what_functions_compute_for_themselves_is_workspace() {
    for (value, producer, expected) in [
        ("/one/Relu_output_0", "/one/Relu", "activations"),
        ("/bn/BatchNormalization_output_0", "/bn/BatchNormTrain/Add", "activations"),
        ("/bn/BatchNormTrain/Sub_output", "/bn/BatchNormTrain/Sub", "workspace"),
        ("/one/Conv.grad/ConvWeightGrad_output_0", "/one/Conv.grad/ConvWeightGrad/Gemm", "gradients"),
        ("/one/Conv.grad/ConvWeightGrad/Slice_output", "/one/Conv.grad/ConvWeightGrad/Slice", "workspace"),
        ("w.update/SgdUpdate/Mul_output", "w.update/SgdUpdate/Mul", "workspace"),
    ] {
        assert_eq!(category(value, producer), expected, "{value}");
    }
}
