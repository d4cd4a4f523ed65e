//! Smaller versions of an input, the smallest first.

use prost::Message;
use spgraph::onnx::pb;

/// Without some of its parts: nodes, tensors, ports, attributes and texts of a model, or bytes.
pub fn parts_less(bytes: &[u8]) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
    match pb::ModelProto::decode(bytes).ok().filter(|m| m.graph.is_some()) {
        Some(model) => Box::new(models_less(model).chain(bytes_less(bytes).take(2000))),
        None => Box::new(bytes_less(bytes)),
    }
}

/// Lengths that are taken away, from halves to one.
fn lengths(count: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(count.div_ceil(2)), |n| (*n > 1).then(|| n / 2)).filter(|n| *n > 0)
}

fn spans(count: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    lengths(count).flat_map(move |n| (0..count).step_by(n).map(move |from| from..(from + n).min(count)))
}

fn bytes_less(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    spans(bytes.len()).map(|span| [&bytes[..span.start], &bytes[span.end..]].concat())
}

fn models_less(model: pb::ModelProto) -> impl Iterator<Item = Vec<u8>> {
    let graph = model.graph.clone().unwrap_or_default();
    let list = |count: usize, which: usize| spans(count).map(move |span| (which, span));
    let attributes = graph.node.iter().map(|n| n.attribute.len()).sum();
    let lists = [
        list(graph.node.len(), 0).collect::<Vec<_>>(),
        list(graph.initializer.len(), 1).collect(),
        list(graph.value_info.len(), 2).collect(),
        list(graph.output.len(), 3).collect(),
        list(graph.input.len(), 4).collect(),
        list(attributes, 5).collect(),
        list(model.metadata_props.len(), 6).collect(),
        list(model.functions.len(), 7).collect(),
        vec![(8, 0..1)],
        list(graph.initializer.len(), 9).collect(),
    ];
    lists.into_iter().flatten().map(move |(which, span)| {
        let mut less = model.clone();
        let graph = less.graph.get_or_insert_default();
        match which {
            0 => drop(graph.node.drain(span)),
            1 => drop(graph.initializer.drain(span)),
            2 => drop(graph.value_info.drain(span)),
            3 => drop(graph.output.drain(span)),
            4 => drop(graph.input.drain(span)),
            5 => {
                let mut at = 0..;
                graph.node.iter_mut().for_each(|n| n.attribute.retain(|_| at.next().is_none_or(|i| !span.contains(&i))));
            }
            6 => drop(less.metadata_props.drain(span)),
            7 => drop(less.functions.drain(span)),
            8 => {
                graph.node.iter_mut().for_each(|n| (n.doc_string, n.metadata_props) = (None, vec![]));
                (less.doc_string, graph.doc_string) = (None, None);
            }
            // Dimensions halved with their data.
            _ => graph.initializer[span].iter_mut().for_each(|t| {
                if let (Some(dim), Some(data)) = (t.dims.iter_mut().find(|d| **d > 1 && **d % 2 == 0), &mut t.raw_data) {
                    *dim /= 2;
                    *data = data.slice(..data.len() / 2);
                }
            }),
        }
        less.encode_to_vec()
    })
}
