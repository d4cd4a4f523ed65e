//! What lies where it is already, in another layout: gates, transpositions of exporters, permutations of channels.

use super::kernel::{SHUFFLE_CHANNELS, TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
use super::{ChannelsLast, Extras, FLOAT_IMAGES, Kernel, ORDER, Port, Replaces, apply_verified};
use crate::ir::{Attr, Attrs, DType, Domain, Graph, Node, Tensor, TensorType, ValueId};

const CONV: Kernel = Kernel {
    name: "Conv",
    replaces: Replaces::Operator("Conv"),
    covers: |_| true,
    inputs: &[Port::BroughtImage, Port::Plain],
    outputs: &[Port::Image],
    extras: Extras::NONE,
};

const KERNELS: &[(DType, &Kernel)] =
    &[(DType::F32, &CONV), (DType::F32, &SHUFFLE_CHANNELS), (DType::F32, &TO_CHANNELS_LAST), (DType::F32, &TO_CHANNELS_FIRST)];

fn channels_last() -> ChannelsLast<'static> {
    ChannelsLast { kernels: KERNELS, images: &[FLOAT_IMAGES] }
}

/// A graph under construction: every node has one output.
struct Network(Graph);

impl Network {
    fn new() -> Network {
        Network(Graph::new("g"))
    }

    fn input(&mut self, name: &str, shape: &[usize]) -> ValueId {
        self.0.input(name, TensorType::new(DType::F32, shape.iter().copied()))
    }

    fn node(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs, shape: &[usize]) -> ValueId {
        let node = Node::new(self.0.fresh(op), op, inputs.iter().copied().map(Some).collect(), attrs);
        let name = self.0.fresh(&op.to_lowercase());
        self.0.node(node, vec![(name, TensorType::new(DType::F32, shape.iter().copied()))])[0]
    }

    fn conv(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let w = self.input("w", &[shape[1], shape[1], 1, 1]);
        self.node("Conv", &[x, w], Attrs::new(), shape)
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let sizes: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let sizes = self.0.constant("shape", Tensor::from_i64(&[sizes.len()], &sizes));
        self.node("Reshape", &[x, sizes], Attrs::from([("allowzero".to_string(), Attr::Int(0))]), shape)
    }

    fn transpose(&mut self, x: ValueId, perm: &[i64]) -> ValueId {
        let dims = self.0.ty(x).dims().unwrap();
        let shape: Vec<usize> = perm.iter().map(|&p| dims[p as usize]).collect();
        self.node("Transpose", &[x], Attrs::from([("perm".to_string(), Attr::Ints(perm.to_vec()))]), &shape)
    }

    /// The operators of the graph with kernels, those of their own domain with a dot before them.
    fn placed(mut self, output: ValueId) -> (Vec<String>, Graph) {
        self.0.outputs = vec![output];
        apply_verified(&mut self.0, &[&channels_last()]).unwrap();
        let name = |n: &Node| format!("{}{}", if n.domain == Domain::Native { "." } else { "" }, n.op_type);
        (self.0.nodes.iter().map(name).collect(), self.0)
    }
}

const IMAGE: &[usize] = &[2, 6, 4, 5];

/// What an exporter transposes around a normalization over channels lies there already.
#[test]
fn transpositions_to_what_lies_so_are_views() {
    let mut n = Network::new();
    let x = n.input("x", IMAGE);
    let a = n.conv(x, IMAGE);
    let last = n.transpose(a, &[0, 2, 3, 1]);
    let normal = n.node("LayerNormalization", &[last], Attrs::new(), &[2, 4, 5, 6]);
    let first = n.transpose(normal, &[0, 3, 1, 2]);
    let b = n.conv(first, IMAGE);
    let (ops, _) = n.placed(b);
    assert_eq!(ops, [".ToChannelsLast", ".Conv", "Reshape", "LayerNormalization", "Reshape", ".Conv", ".ToChannelsFirst"]);
    // Another order moves elements.
    let mut n = Network::new();
    let x = n.input("x", &[2, 4, 4, 4]);
    let a = n.conv(x, &[2, 4, 4, 4]);
    let other = n.transpose(a, &[0, 2, 1, 3]);
    let (ops, _) = n.placed(other);
    assert_eq!(ops, [".ToChannelsLast", ".Conv", ".ToChannelsFirst", "Transpose"]);
}

/// Gates of every spelling go along with the images that they meet, and one pixel is no image that has to be laid out anew.
#[test]
fn gates_lie_as_they_are() {
    for shape in [&[2, 6, 1, 1][..], &[1, 6, 1, 1], &[6, 1, 1]] {
        let mut n = Network::new();
        let (x, gate) = (n.input("x", IMAGE), n.input("gate", shape));
        let a = n.conv(x, IMAGE);
        let y = n.node("Mul", &[a, gate], Attrs::new(), IMAGE);
        let (ops, graph) = n.placed(y);
        assert_eq!(ops, [".ToChannelsLast", ".Conv", "Reshape", "Mul", ".ToChannelsFirst"], "{shape:?}");
        let sizes = graph.nodes[2].inputs[1].and_then(|v| graph.value(v).constant.clone()).unwrap().to_i64().unwrap();
        let expected: Vec<i64> = [&shape[..shape.len() - 3], &[1, 1, 6]].concat().iter().map(|&n| n as i64).collect();
        assert_eq!(sizes, expected);
    }
    // A row for each place is none.
    let mut n = Network::new();
    let (x, row) = (n.input("x", IMAGE), n.input("row", &[1, 1, 5]));
    let a = n.conv(x, IMAGE);
    let y = n.node("Mul", &[a, row], Attrs::new(), IMAGE);
    assert_eq!(n.placed(y).0, [".ToChannelsLast", ".Conv", ".ToChannelsFirst", "Mul"]);
    // From pixel to pixel.
    let mut n = Network::new();
    let x = n.input("x", &[2, 6, 1, 1]);
    let a = n.conv(x, &[2, 6, 1, 1]);
    assert_eq!(n.placed(a).0, ["Reshape", ".Conv", "Reshape"]);
}

/// Sums over some axes go along where those that are left lie in their order, and over the channels too.
#[test]
fn sums_are_over_axes_as_they_lie() {
    let axes = |axes: &[i64]| Attrs::from([("axes".to_string(), Attr::Ints(axes.to_vec())), ("keepdims".to_string(), Attr::Int(0))]);
    type Case = (&'static [i64], &'static [usize], Option<&'static [i64]>);
    let cases: [Case; 5] = [
        (&[0, 2, 3], &[6], Some(&[0, 1, 2])),
        (&[2, 3], &[2, 6], Some(&[1, 2])),
        (&[1], &[2, 4, 5], Some(&[3])),
        (&[0, 1], &[4, 5], Some(&[0, 3])),
        // What is left of it lies in another order.
        (&[3], &[2, 6, 4], None),
    ];
    for (over, shape, lie) in cases {
        let mut n = Network::new();
        let x = n.input("x", IMAGE);
        let a = n.conv(x, IMAGE);
        let y = n.node("ReduceMean", &[a], axes(over), shape);
        let (ops, graph) = n.placed(y);
        match lie {
            Some(lie) => {
                assert_eq!(ops, [".ToChannelsLast", ".Conv", "ReduceMean"], "{over:?}");
                assert_eq!(graph.nodes[2].ints("axes"), lie);
            }
            None => assert_eq!(ops, [".ToChannelsLast", ".Conv", ".ToChannelsFirst", "ReduceMean"], "{over:?}"),
        }
    }
}

#[test]
fn permutations_of_channels_are_one_kernel() {
    let shuffled = |read_between: bool| {
        let mut n = Network::new();
        let x = n.input("x", IMAGE);
        let a = n.conv(x, IMAGE);
        let apart = n.reshape(a, &[2, 2, 3, 4, 5]);
        let moved = n.transpose(apart, &[0, 2, 1, 3, 4]);
        let back = n.reshape(moved, IMAGE);
        let b = n.conv(back, IMAGE);
        if read_between {
            n.0.outputs = vec![moved];
        }
        let outputs = n.0.outputs.clone();
        n.0.outputs = [vec![b], outputs].concat();
        apply_verified(&mut n.0, &[&channels_last()]).unwrap();
        n.0
    };
    let graph = shuffled(false);
    let ops: Vec<&str> = graph.nodes.iter().map(|n| n.op_type.as_str()).collect();
    assert_eq!(ops, ["ToChannelsLast", "Conv", "ShuffleChannels", "Conv", "ToChannelsFirst"]);
    assert_eq!(graph.nodes[2].ints(ORDER), [0, 3, 1, 4, 2, 5]);
    let ops: Vec<String> = shuffled(true).nodes.iter().map(|n| n.op_type.clone()).collect();
    assert!(ops.contains(&"Transpose".to_string()) && ops.contains(&"ShuffleChannels".to_string()), "{ops:?}");
}
