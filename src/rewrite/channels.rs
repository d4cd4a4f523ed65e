//! Along which axis of a value the channels lie, as the layers before it say.

use super::spelling::facts;
use crate::ir::{Graph, ValueId};
use crate::operator::View;
use std::collections::HashMap;

/// The axis of `value` along which channels lie, counted from 0; `None` where no layer says that, or something between makes them unknown.
pub(super) fn channel_axis(graph: &Graph, value: ValueId) -> Option<usize> {
    let mut known: HashMap<ValueId, usize> = HashMap::new();
    for node in graph.nodes.iter().filter(|n| n.outputs.iter().any(|&o| graph.value(o).varies)) {
        let view = View { graph, node };
        let Some(&output) = node.outputs.first() else { continue };
        let of_layer = view.operator().and_then(|o| o.output_channels(&view)).map(|channels| channels.axis);
        if let Some(axis) = of_layer.or_else(|| handed_on(view, &known)) {
            // A further output of a Split has the axes of the first.
            let rank = graph.ty(output).rank();
            known.extend(node.outputs.iter().filter(|&&o| graph.ty(o).rank() == rank).map(|&o| (o, axis)));
        }
    }
    known.get(&value).copied()
}

/// Where the channels of the first input whose axis is known come to lie.
fn handed_on(view: View, known: &HashMap<ValueId, usize>) -> Option<usize> {
    let given = view.node.inputs.iter().enumerate().find_map(|(i, input)| Some((i, *known.get(&(*input)?)?)));
    let (i, axis) = given?;
    through(view, i, axis)
}

/// Where axis `axis` of input `i` comes to lie in the first result.
fn through(view: View, i: usize, axis: usize) -> Option<usize> {
    let View { graph, node } = view;
    let operator = view.operator()?;
    let (from, to) = (graph.ty(node.input(i)?), graph.ty(*node.outputs.first()?));
    if let Some(moved) = (0..to.rank()).find(|&a| operator.source_axis(&view, i, a) == Some(axis)) {
        return Some(moved);
    }
    if let Some(along) = operator.along(&view) {
        let before = along.iter().filter(|&&a| a < axis).count();
        let place = if from.rank() == to.rank() { axis } else { axis.checked_sub(before)? };
        return (!along.contains(&axis)).then_some(place);
    }
    // Windows, and what is broadcast, whose axes count from the last.
    let place = axis.checked_add(to.rank())?.checked_sub(from.rank())?;
    let (facts, same) = (facts(graph, node), from.rank() == to.rank());
    let stays = facts.elementwise || (facts.by_image && same);
    (stays && from.shape.get(axis) == to.shape.get(place)).then_some(place)
}

/// The axes but the first and that of the channels, for people.
pub(super) fn others(rank: usize, channels: usize) -> String {
    let list: Vec<String> = (1..rank).filter(|&a| a != channels).map(|a| a.to_string()).collect();
    format!("{} {}", if list.len() == 1 { "axis" } else { "axes" }, list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attr, DType, Tensor, TensorType};
    use crate::operator::{Builder, attrs};

    fn images(graph: &mut Graph, shape: [usize; 4]) -> ValueId {
        graph.input("x", TensorType::new(DType::F32, shape))
    }

    fn node(graph: &mut Graph, op: &str, inputs: &[ValueId], list: crate::ir::Attrs) -> ValueId {
        Builder::new(graph).op(op, inputs, list).unwrap()
    }

    #[test]
    fn channels_are_followed_from_the_layer_on() {
        let mut graph = Graph::new("g");
        let x = images(&mut graph, [2, 4, 4, 4]);
        assert_eq!(channel_axis(&graph, x), None);
        let w = graph.constant("w", Tensor::from_f32(&[4, 4, 1, 1], &[0.5; 16]));
        let window = attrs([
            ("kernel_shape", Attr::Ints(vec![1, 1])),
            ("strides", Attr::Ints(vec![1, 1])),
            ("pads", Attr::Ints(vec![0; 4])),
            ("dilations", Attr::Ints(vec![1, 1])),
            ("group", Attr::Int(1)),
        ]);
        let y = node(&mut graph, "Conv", &[x, w], window);
        let y = node(&mut graph, "Relu", &[y], Default::default());
        assert_eq!(channel_axis(&graph, y), Some(1));
        let last = node(&mut graph, "Transpose", &[y], attrs([("perm", Attr::Ints(vec![0, 2, 3, 1]))]));
        assert_eq!(channel_axis(&graph, last), Some(3));
        let pooled = node(&mut graph, "GlobalAveragePool", &[y], Default::default());
        assert_eq!(channel_axis(&graph, pooled), Some(1));
        let summed = node(&mut graph, "Add", &[pooled, y], Default::default());
        assert_eq!(channel_axis(&graph, summed), Some(1));
        // Rows and columns in one axis, behind the channels.
        let to = Builder::new(&mut graph).ints(&[2, 4, 16]);
        let tokens = node(&mut graph, "Reshape", &[y, to], Default::default());
        assert_eq!(channel_axis(&graph, tokens), Some(1));
        // Channels and rows in one axis are no channels any more.
        let to = Builder::new(&mut graph).ints(&[2, 16, 4]);
        let mixed = node(&mut graph, "Reshape", &[y, to], Default::default());
        assert_eq!(channel_axis(&graph, mixed), None);
        assert_eq!((others(4, 3), others(3, 2)), ("axes 1, 2".into(), "axis 1".into()));
    }
}
