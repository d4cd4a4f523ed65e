//! The passes that put native kernels into a graph and fuse them, with a table of a few kernels.

use super::{
    ChannelsLast, Extras, FLOAT_IMAGES, FuseKernels, Instruction, Kernel, Penalties, Port, Replaces, TO_CHANNELS_FIRST, TO_CHANNELS_LAST,
    UpdateInPlace,
};
use super::{Elements, Pass, apply_verified, shared_buffers, spreads_channels};
use crate::ir::{Attr, DType, Domain, Graph, Node, Tensor, TensorType, ValueId};
use crate::ops::conv;
use crate::optim::sgd;
use crate::penalty::l2;
use std::sync::LazyLock;

const CONV: Kernel = Kernel {
    name: "Conv",
    replaces: Replaces::Operator("Conv"),
    covers: |_| true,
    inputs: &[Port::BroughtImage, Port::Plain, Port::OptionalImage],
    outputs: &[Port::Image],
    extras: Extras { rectifies: true, addend: Some(2), ..Extras::NONE },
};

const INPUT_GRAD: Kernel = Kernel {
    name: "InputGrad",
    replaces: Replaces::Function(&conv::INPUT_GRAD),
    covers: |_| true,
    inputs: &[Port::Image, Port::Plain, Port::OptionalImage, Port::OptionalImage],
    outputs: &[Port::Image],
    extras: Extras { addend: Some(2), mask: Some(3), ..Extras::NONE },
};

const WEIGHT_GRAD: Kernel = Kernel {
    name: "WeightGrad",
    replaces: Replaces::Function(&conv::WEIGHT_GRAD),
    covers: |_| true,
    inputs: &[Port::Image, Port::Image],
    outputs: &[Port::Plain, Port::OptionalPlain],
    extras: Extras { channel_sums: Some((1, 1)), ..Extras::NONE },
};

const SUMS: Kernel = Kernel {
    name: "Sums",
    replaces: Replaces::Operator("ReduceSum"),
    covers: |n| n.node.inputs.len() == 1,
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    extras: Extras { channel_sums: Some((0, 0)), ..Extras::NONE },
};

const UPDATE: Kernel = Kernel {
    name: "Update",
    replaces: Replaces::Function(&sgd::UPDATE),
    covers: |_| true,
    inputs: &[Port::Plain, Port::Plain, Port::Plain, Port::OptionalPlain, Port::OptionalPlain, Port::OptionalPlain, Port::Others],
    outputs: &[Port::Plain, Port::OptionalPlain],
    extras: Extras {
        penalties: Some(Penalties { functions: &[&l2::PENALTY], gradient: 1, strength: 3, value: 1 }),
        replaces: &[(0, 0)],
        ..Extras::NONE
    },
};

const EXPRESSION: Kernel = Kernel {
    name: "Expression",
    replaces: Replaces::Nothing,
    covers: |_| false,
    inputs: &[Port::Alike; 3],
    outputs: &[Port::Alike; 2],
    extras: Extras::NONE,
};

const fn instruction(operator: &'static str, inputs: &'static [Option<f32>]) -> Instruction {
    Instruction { operator, code: 1, inputs, attributes: &[], passes: false, folds: false, covers: |_| true }
}

const INSTRUCTIONS: &[Instruction] = &[
    instruction("Mul", &[None, None]),
    instruction("Sigmoid", &[None]),
    Instruction { folds: true, ..instruction("Sum", &[]) },
    Instruction { passes: true, ..instruction("Identity", &[None]) },
];

pub(super) static ELEMENTS: Elements = Elements {
    kernels: &[(DType::F32, EXPRESSION)],
    ports: (3, 2),
    sums: |_, _, _| false,
    computes: |ty| matches!(ty.rank(), 3 | 4) && matches!(ty.dtype, DType::F32 | DType::Bool) && ty.dims().is_some(),
    reads: &[DType::F32],
    spreads: spreads_channels,
    roundings: &[],
    instructions: INSTRUCTIONS,
};

pub(super) const KERNELS: &[&Kernel] =
    &[&EXPRESSION, &CONV, &INPUT_GRAD, &WEIGHT_GRAD, &SUMS, &UPDATE, &TO_CHANNELS_LAST, &TO_CHANNELS_FIRST];

/// Images with their channels last, for these kernels.
pub(super) fn channels_last() -> ChannelsLast<'static> {
    static OF_FLOATS: LazyLock<Vec<(DType, &'static Kernel)>> = LazyLock::new(|| KERNELS.iter().map(|&k| (DType::F32, k)).collect());
    ChannelsLast { kernels: &OF_FLOATS, images: &[FLOAT_IMAGES] }
}

/// Values that begin with `w` are weights, with `n` numbers, with `v` vectors; all others are images.
fn ty(name: &str) -> TensorType {
    let shape: &[usize] = match name.as_bytes()[0] {
        b'w' => &[16, 16, 1, 1],
        b'n' => &[],
        b'v' => &[16],
        _ => &[2, 16, 8, 8],
    };
    TensorType::new(DType::F32, shape.iter().copied())
}

/// A graph of lines such as `a, b = Split(x)`; functions have a colon before their names, and values that no line gives are inputs.
pub(super) fn graph(lines: &[&str], outputs: &[&str]) -> Graph {
    let mut g = Graph::new("g");
    for line in lines {
        let (given, call) = line.split_once(" = ").unwrap();
        let (op, read) = call.trim_end_matches(')').split_once('(').unwrap();
        let input = |name: &str| g.find(name).unwrap_or_else(|| g.input(name, ty(name)));
        let inputs: Vec<ValueId> = read.split(", ").map(input).collect();
        let given: Vec<(String, TensorType)> = given.split(", ").map(|name| (name.to_string(), ty(name))).collect();
        let mut node = Node::new(format!("node of {}", given[0].0), op, inputs.iter().copied().map(Some).collect(), Default::default());
        if let Some(function) = op.strip_prefix(':') {
            let (mut body, _) = g.inner("body", &inputs);
            let zeros = given.iter().map(|(name, ty)| body.constant(name, Tensor::zeros(ty.dtype, &ty.dims().unwrap()))).collect();
            body.outputs = zeros;
            node = Node { domain: Domain::Function, op_type: function.into(), body: Some(body.into()), ..node };
        }
        g.node(node, given);
    }
    g.outputs = outputs.iter().map(|name| g.find(name).unwrap()).collect();
    g
}

/// Nodes as lines again, kernels with a dot before their names, images with their channels last with an apostrophe behind, those of bfloat16
/// with two.
pub(super) fn text(g: &Graph) -> Vec<String> {
    let name = |v: ValueId| g.name_of(v).replace(":channels_last", "'").replace(":bfloat16", "'");
    let line = |n: &Node| {
        let given: Vec<String> = n.outputs.iter().map(|&v| name(v)).collect();
        let mut read: Vec<String> = n.inputs.iter().map(|v| v.map(name).unwrap_or_default()).collect();
        read.extend(n.attrs.keys().cloned());
        let mark = match n.domain {
            Domain::Native => ".",
            Domain::Function => ":",
            Domain::Onnx | Domain::Alternative => "",
        };
        format!("{} = {mark}{}({})", given.join(", "), n.op_type, read.join(", "))
    };
    g.nodes.iter().map(line).collect()
}

fn placed(lines: &[&str], outputs: &[&str]) -> Vec<String> {
    let mut g = graph(lines, outputs);
    apply_verified(&mut g, &[&channels_last()]).unwrap();
    text(&g)
}

fn fused(lines: &[&str], outputs: &[&str]) -> Vec<String> {
    let mut g = graph(lines, outputs);
    apply_verified(&mut g, &[&channels_last(), &FuseKernels { kernels: KERNELS }]).unwrap();
    let moved = |line: &String| !line.contains(".ToChannels") && !line.contains(" = Reshape(");
    text(&g).into_iter().filter(moved).collect()
}

#[test]
fn images_stay_in_their_layout_between_kernels_and_elements() {
    assert_eq!(
        placed(
            &["a = Conv(x, w)", "b = Mul(a, n)", "c = Sigmoid(b)", "d = Conv(c, w)", "e = AveragePool(c)", "f = Conv(e, w)"],
            &["d", "f"]
        ),
        [
            "x' = .ToChannelsLast(x)",
            "a' = .Conv(x', w)",
            "b' = Mul(a', n)",
            "c' = Sigmoid(b')",
            "d' = .Conv(c', w)",
            "c = .ToChannelsFirst(c')",
            "e = AveragePool(c)",
            "e' = .ToChannelsLast(e)",
            "f' = .Conv(e', w)",
            "d = .ToChannelsFirst(d')",
            "f = .ToChannelsFirst(f')",
        ]
    );
}

/// An image that another operator gives is not brought to a kernel that would hardly gain by it; one that is there already is taken.
#[test]
fn only_what_pays_is_brought() {
    assert_eq!(placed(&["a = AveragePool(x)", "v = ReduceSum(a)"], &["v"]), ["a = AveragePool(x)", "v = ReduceSum(a)"]);
    assert_eq!(
        placed(&["a = Conv(x, w)", "v = ReduceSum(a)"], &["v"])[1..],
        ["a' = .Conv(x', w)", "v = .Sums(a')"],
        "without a change of layout"
    );
}

#[test]
fn alternatives_come_back_first() {
    let mut g = graph(&["a = :Conv(x, w)"], &["a"]);
    g.nodes[0].domain = Domain::Alternative;
    let error = apply_verified(&mut g, &[&channels_last()]).unwrap_err().to_string();
    assert!(error.contains("before the pass `channels last`") && error.contains("node `node of a` is an alternative"), "{error}");
}

#[test]
fn kernels_do_what_follows_them() {
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (&["a = Conv(x, w)", "y = Relu(a)"], &["y"], &["y' = .Conv(x', w, relu)"]),
        // A sum that is rectified: into the later of the two.
        (
            &["a = Conv(x, w)", "b = Conv(a, w)", "c = Conv(a, w2)", "d = Add(b, c)", "y = Relu(d)"],
            &["y"],
            &["a' = .Conv(x', w)", "b' = .Conv(a', w)", "y' = .Conv(a', w2, b', relu)"],
        ),
        // A sum of what was rectified, which no kernel does.
        (&["a = Conv(x, w)", "b = Relu(a)", "y = Add(b, x)"], &["y"], &["b' = .Conv(x', w, relu)", "y' = Add(b', x')"]),
        // Two readers: the result is needed for itself.
        (&["a = Conv(x, w)", "y = Relu(a)"], &["a", "y"], &["a' = .Conv(x', w)", "y' = Relu(a')"]),
        // Broadcasting is no sum of images.
        (
            &["a = Conv(x, w)", "wide = Conv(w, w)", "y = Add(a, wide)"],
            &["y"],
            &["a' = .Conv(x', w)", "wide' = .Conv(w', w)", "y' = Add(a', wide')"],
        ),
        (&["dx = :ConvInputGrad(dy, w)", "s = Sum(dx, other)", "y = :ReluGrad(x, s)"], &["y"], &["y' = .InputGrad(dy', w, other', x')"]),
        // Beside the weights' gradient, each sum its own.
        (
            &["w1 = :ConvWeightGrad(x, dy)", "w2 = :ConvWeightGrad(z, dy)", "v1 = ReduceSum(dy)", "v2 = ReduceSum(dy)"],
            &["w1", "w2", "v1", "v2"],
            &["w1, v1 = .WeightGrad(x', dy')", "w2, v2 = .WeightGrad(z', dy')"],
        ),
        (
            &["n, wp = :L2Penalty(w, ns)", "wg = Add(wd, wp)", "wn = :SgdUpdate(w, wg, nlr)", "wnext = Identity(wn)"],
            &["wnext", "n"],
            &["wnext, n = .Update(w, wd, nlr, ns, , )"],
        ),
        // The penalty of another parameter.
        (
            &["n, wp = :L2Penalty(w2, ns)", "wg = Add(wd, wp)", "wn = :SgdUpdate(w, wg, nlr)"],
            &["wn", "n"],
            &["n, wp = :L2Penalty(w2, ns)", "wg = Add(wd, wp)", "wn = .Update(w, wg, nlr, , , )"],
        ),
    ];
    for (lines, outputs, expected) in cases {
        assert_eq!(fused(lines, outputs), *expected, "of {lines:?}");
    }
}

/// The update waits for those that read the parameter, where they give buffers of their own and do not wait for the update.
#[test]
fn updates_in_place_wait_for_readers() {
    let cases: &[(&[&str], &str, Option<&str>)] = &[
        (&["wn = :SgdUpdate(w, wg, nlr)", "a = Conv(x, w)"], "a", Some("wn = .Update(w, wg, nlr, , , , a', replaces)")),
        (
            &["a = Conv(x, w)", "w2 = :ConvWeightGrad(x, a)", "wn = :SgdUpdate(w, w2, nlr)"],
            "a",
            Some("wn = .Update(w, w2, nlr, , , , replaces)"),
        ),
        // A view of the parameter, which others might read afterwards.
        (&["wn = :SgdUpdate(w, wg, nlr)", "a = Reshape(w, v)"], "a", None),
        // A reader of the next value too.
        (&["wn = :SgdUpdate(w, wg, nlr)", "a = Conv(x, wn)", "b = Conv(a, w)"], "b", None),
    ];
    for (lines, output, expected) in cases {
        let mut g = graph(lines, &["wn", output]);
        let passes: [&dyn Pass; 2] = [&channels_last(), &UpdateInPlace { kernels: KERNELS }];
        apply_verified(&mut g, &passes).unwrap();
        let found = text(&g).into_iter().find(|line| line.contains("replaces"));
        assert_eq!(found.as_deref(), *expected, "of {lines:?}");
        let pairs: Vec<_> = shared_buffers(&g, KERNELS).into_iter().map(|(a, b)| (g.name_of(a), g.name_of(b))).collect();
        assert_eq!(pairs, if expected.is_some() { vec![("w", "wn")] } else { vec![] });
    }
}

/// What is cut off above as well, forward and backward, in the kernels; other bounds are none of theirs.
#[test]
fn rectifiers_with_a_ceiling() {
    let clipped = |low: f32, high: f32| {
        let mut g =
            graph(&["a = Conv(x, w)", "y = Clip(a, nlow, nhigh)", "d = :ConvInputGrad(dy, w)", "dx = :ClipGrad(y, d)"], &["y", "dx"]);
        for (name, value) in [("nlow", low), ("nhigh", high)] {
            let bound = g.find(name).unwrap();
            g.inputs.retain(|v| *v != bound);
            g.value_mut(bound).constant = Some(Tensor::from_f32(&[], &[value]));
        }
        let gradient = g.nodes.iter_mut().find(|n| n.op_type == "ClipGrad").unwrap();
        gradient.attrs.extend([("min".to_string(), Attr::Float(low)), ("max".to_string(), Attr::Float(high))]);
        apply_verified(&mut g, &[&channels_last(), &FuseKernels { kernels: KERNELS }]).unwrap();
        text(&g).into_iter().filter(|line| !line.contains(".ToChannels")).collect::<Vec<_>>()
    };
    assert_eq!(clipped(0.0, 6.0), ["y' = .Conv(x', w, ceiling, relu)", "dx' = .InputGrad(dy', w, , y', ceiling)"]);
    for (low, high) in [(-1.0, 1.0), (0.0, f32::INFINITY), (0.0, 0.0)] {
        assert!(clipped(low, high).iter().all(|line| !line.contains("ceiling")), "{low} {high}");
    }
}

/// An operator along an axis follows the axis where its images lie so, and stays where one is no image.
#[test]
fn axes_go_along() {
    let joined = |second: &str| {
        let mut g = graph(&["a = Conv(x, w)", &format!("c = Concat(a, {second})"), "d = Conv(c, w)"], &["d"]);
        let concat = g.nodes.iter_mut().find(|n| n.is("Concat")).unwrap();
        concat.attrs.insert("axis".into(), Attr::Int(1));
        apply_verified(&mut g, &[&channels_last()]).unwrap();
        let concat = g.nodes.iter().find(|n| n.is("Concat")).unwrap();
        (concat.int("axis", 0), text(&g).iter().filter(|line| line.contains(".ToChannels")).count())
    };
    assert_eq!(joined("x"), (3, 2));
    assert_eq!(joined("a"), (3, 2));
}
