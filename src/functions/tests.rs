use super::*;
use crate::grad::backward;
use crate::ir::{Attr, Attrs, DType, Dim, Graph, Node, Tensor, TensorType, ValueId};
use crate::loss::{Reads, Seen};
use crate::operator::{Builder, Grad, Samples, attrs};
use crate::ops::table;
use crate::optim::{RULES, Update};
use crate::pass::{self, NewerOperators};
use crate::penalty::{Groups, PENALTIES, Pretrained};
use std::collections::BTreeSet;

fn input(graph: &mut Graph, shape: &[usize]) -> ValueId {
    graph.input("x", TensorType::new(DType::F32, shape.iter().copied()))
}

/// The gradients of one node with the given attributes and further inputs, over all samples and for each of them.
fn gradients(graph: &mut Graph, op: &str, attrs: Attrs, further: &[Tensor]) {
    let x = input(graph, &[2, 3, 6, 6]);
    let mut inputs = vec![x];
    for tensor in further {
        inputs.push(graph.constant("w", tensor.clone()));
    }
    let y = Builder::new(graph).op(op, &inputs, attrs).unwrap();
    let dy = graph.input("dy", graph.ty(y).clone());
    let node = graph.producer(y).unwrap().clone();
    let parameters = table::find(op).unwrap().parameters(&crate::operator::View { graph, node: &node });
    let trained = |i: usize| parameters.get(i).copied().flatten().is_some_and(|kind| !kind.is_buffer());
    let wanted: Vec<ValueId> = inputs.iter().enumerate().filter(|(i, _)| *i == 0 || trained(*i)).map(|(_, v)| *v).collect();
    backward(graph, &[(y, dy)], &wanted).unwrap();
    if wanted.len() > 1 {
        let needs = (0..inputs.len()).map(trained).collect();
        let samples = Samples { grad: Grad { node, dy: vec![Some(dy)], needs }, rows: 2, copies: 1 };
        table::find(op).unwrap().per_sample(&mut Builder::new(graph), &samples).unwrap();
    }
}

fn of_operators(graph: &mut Graph) {
    for op in [
        "Erf",
        "Celu",
        "Gelu",
        "Mish",
        "Swish",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Tanh",
        "GlobalMaxPool",
        "ReduceLogSumExp",
        "ReduceMax",
    ] {
        gradients(graph, op, Attrs::new(), &[]);
    }
    gradients(graph, "Clip", Attrs::new(), &[Tensor::zeros(DType::F32, &[])]);
    for op in ["LogSoftmax", "Softmax"] {
        gradients(graph, op, attrs([("axis", Attr::Int(1))]), &[]);
    }
    for op in ["AveragePool", "MaxPool"] {
        gradients(graph, op, attrs([("kernel_shape", Attr::Ints(vec![2, 2])), ("strides", Attr::Ints(vec![2, 2]))]), &[]);
    }
    gradients(graph, "Conv", Attrs::new(), &[Tensor::zeros(DType::F32, &[4, 3, 3, 3])]);
    let channels = vec![Tensor::zeros(DType::F32, &[3]); 4];
    gradients(graph, "BatchNormalization", Attrs::new(), &channels);
    gradients(graph, "InstanceNormalization", Attrs::new(), &channels[..2]);
    gradients(graph, "GroupNormalization", attrs([("num_groups", Attr::Int(3))]), &channels[..2]);
    gradients(graph, "LRN", attrs([("size", Attr::Int(3))]), &[]);
    gradients(graph, "PRelu", Attrs::new(), &[Tensor::zeros(DType::F32, &[3, 1, 1])]);
    gradients(graph, "Pow", Attrs::new(), &[Tensor::zeros(DType::F32, &[6])]);
    gradients(graph, "Max", Attrs::new(), &[Tensor::zeros(DType::F32, &[6])]);
    let resized = attrs([
        ("axes", Attr::Ints(vec![2, 3])),
        ("sizes", Attr::Ints(vec![9, 3])),
        ("scales", Attr::Floats(vec![1.5, 0.5])),
        ("mode", Attr::String("linear".into())),
        ("coordinates", Attr::String("half_pixel".into())),
    ]);
    gradients(graph, "Resize", resized, &[]);
    gradients(graph, "RMSNormalization", Attrs::new(), &[Tensor::zeros(DType::F32, &[6])]);
}

fn batch_norm_train(graph: &mut Graph) {
    let mut inputs = vec![Some(input(graph, &[2, 3, 6, 6]))];
    for _ in 0..4 {
        inputs.push(Some(graph.constant("channels", Tensor::zeros(DType::F32, &[3]))));
    }
    let node = Node::new("bn/BatchNormalization", "BatchNormalization", inputs.clone(), Attrs::new());
    let (y, _) = batch_norm::train(&mut Builder::new(graph), &node, 0.9).unwrap();
    let dy = graph.input("dy", graph.ty(y).clone());
    backward(graph, &[(y, dy)], &[inputs[0].unwrap()]).unwrap();
}

fn dropout_train(graph: &mut Graph) {
    let x = graph.input("x", TensorType { dtype: DType::F32, shape: vec![Dim::Batch(1), Dim::Known(3)] });
    let state = graph.input("state", TensorType::new(DType::I64, [2]));
    let mut b = Builder::new(graph);
    let [key, _] = dropout::key(&mut b, state).unwrap();
    let counted = dropout::counted_indices(&mut b, x, 0).unwrap();
    let known = b.constant(dropout::indices(3, 1, 2).unwrap());
    dropout::train(&mut b, x, key, &[counted, known], (0, 0.5)).unwrap();
}

fn of_losses(graph: &mut Graph) {
    let target = graph.input("target", TensorType::new(DType::I64, [2]));
    let logits = input(graph, &[2, 5]);
    let (source, strength) = (input(graph, &[2, 5]), graph.input("strength", TensorType::scalar(DType::F32)));
    let mut b = Builder::new(graph);
    for loss in loss::LOSSES {
        loss.add(&mut b, logits, target, 0.1).unwrap();
        let weighted = |b: &mut Builder, [z, t]: [ValueId; 2]| {
            let weights = b.constant(Tensor::from_f32(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0]));
            loss.weighted(b, [z, t, weights], 0.1).map(|found| [found.value, found.gradient, found.correct])
        };
        b.call(loss.functions()[1], [logits, target], Attrs::new(), weighted).unwrap();
    }
    loss::multi_label(&mut b, logits, source).unwrap();
    loss::count(&mut b, target, loss::LOSSES[0]).unwrap();
    let shares = loss::shares(&mut b, target, loss::LOSSES[0], DType::F32).unwrap();
    for usual in loss::REGULARIZERS {
        let regularizer = usual();
        let source = (regularizer.reads() != Reads::Features).then_some(source);
        let seen = Seen { tuned: logits, axis: 1, source, attention: None, shares, strength };
        regularizer.term(&mut b, &seen).unwrap();
    }
}

fn of_penalties(graph: &mut Graph) {
    let (w, start, fisher) = (input(graph, &[4, 3]), input(graph, &[4, 3]), input(graph, &[4, 3]));
    let (strength, groups) = (input(graph, &[1, 1]), Groups::channels(&[4, 3], 0, 1));
    let mut b = Builder::new(graph);
    for penalty in PENALTIES {
        let p = Pretrained { w, start: Some(start), fisher: Some(fisher), groups: &groups, strength };
        penalty.shared(&mut b, &p).unwrap();
        penalty.value(&mut b, &p).unwrap();
        if penalty.without_prox().is_none() {
            penalty.prox(&mut b, &p).unwrap();
        }
    }
    penalty::decoupled(&mut b, w, start, strength).unwrap();
}

fn of_updates(graph: &mut Graph) {
    let (w, gradient, lr) = (input(graph, &[4, 3]), input(graph, &[4, 3]), input(graph, &[1, 1]));
    for usual in RULES {
        let rule = usual();
        let state: Vec<ValueId> = rule.state().iter().map(|_| input(graph, &[4, 3])).collect();
        let scalars: Vec<ValueId> = rule.scalar_state().iter().map(|n| graph.input(n, TensorType::scalar(DType::F32))).collect();
        let mut b = Builder::new(graph);
        let advanced = rule.advance(&mut b, &scalars).unwrap();
        let shared: Vec<ValueId> = advanced.shared.iter().map(|&v| b.reshape(v, &[1.into(), 1.into()]).unwrap()).collect();
        rule.update(&mut b, &Update { w, gradient, lr, shared: &shared, state: &state }).unwrap();
    }
    let mut b = Builder::new(graph);
    let square = b.sum_square(gradient).unwrap();
    clip_norm::coefficient(&mut b, &[square], 1.0).unwrap();
    ema::average(&mut b, w, gradient, 0.9).unwrap();
    spd::project(&mut b, w, w, gradient, w, 1.0).unwrap();
}

#[test]
fn the_table_holds_what_rules_build() {
    let mut graph = Graph::new("everything");
    for build in [of_operators, batch_norm_train, dropout_train, of_losses, of_penalties, of_updates] {
        build(&mut graph);
    }
    pass::apply_verified(&mut graph, &[&NewerOperators]).unwrap();
    let built: BTreeSet<&str> = graph.nodes.iter().filter(|n| n.body.is_some()).map(|n| n.op_type.as_str()).collect();
    let declared: BTreeSet<&str> = FUNCTIONS.iter().map(|f| f.name).collect();
    assert_eq!(built, declared);
}

#[test]
fn names_are_unique_and_end_in_no_number() {
    for f in FUNCTIONS {
        assert_eq!(FUNCTIONS.iter().filter(|other| other.name == f.name).count(), 1, "{}", f.name);
        assert_eq!(find(&format!("{}_12", f.name)), Some(*f));
    }
}
