//! Where a number in a shape may be the batch in more than one place: the likeliest reading is taken first, and another one where the rest of the
//! network says that it was not meant. Heads beside one image are such a case: `[1, heads, width]` of an attention that has its images second.

use super::importer::{Importer, Readings};
use super::mixing::meeting;
use crate::error::Result;
use crate::ir::{Dim, ValueId};
use crate::onnx::part::Makers;
use crate::onnx::{declared_type, pb};
use std::collections::HashSet;

/// How often the nodes are read at most.
const ATTEMPTS: usize = 64;

/// The same where nothing is known to be wrong with the first reading, but that it cannot be seen to keep images apart.
const DOUBTS: usize = 16;

/// Nodes before the place where a reading fails of which two are read otherwise at once.
const TOGETHER: usize = 6;

/// What was read, and the input for images.
type Read = (Importer, ValueId);

/// The first reading of `proto` under which it is understood and its nodes keep images apart, from `first` on. Where there is none: the first that is
/// understood, for which the network is run later; and else `first`, with what is wrong with it.
pub(super) fn settled(proto: &pb::GraphProto, first: Read, read: impl Fn(&Readings) -> Result<Read>) -> Result<Read> {
    if first.0.unclear.is_empty() {
        return Ok(first);
    }
    let wrong = failure(proto, &first.0).is_some();
    if let Some(found) = search(proto, &first, &read, (if wrong { ATTEMPTS } else { DOUBTS }, doubt))? {
        return Ok(found);
    }
    let found = if wrong { search(proto, &first, &read, (ATTEMPTS, failure))? } else { None };
    Ok(found.unwrap_or(first))
}

/// Where a reading does not go on.
struct Stuck {
    /// The place of the node that is wrong; behind all nodes where outputs have lost their batch.
    place: usize,
    /// The values that say so.
    values: Vec<String>,
}

type Judge = fn(&pb::GraphProto, &Importer) -> Option<Stuck>;

/// Goes from reading to reading, each of which is stuck later than the last, to one that `stuck` finds nothing wrong with; `None` where that is `first`
/// or cannot be found.
fn search(
    proto: &pb::GraphProto,
    first: &Read,
    read: impl Fn(&Readings) -> Result<Read>,
    (attempts, stuck): (usize, Judge),
) -> Result<Option<Read>> {
    let Some(mut reached) = stuck(proto, &first.0) else { return Ok(None) };
    let (mut readings, mut unclear, mut left) = (Readings::new(), first.0.unclear.clone(), attempts);
    'further: loop {
        for other in others(proto, &reached, &unclear, &readings) {
            let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
            left = fewer;
            let found = read(&other)?;
            match stuck(proto, &found.0) {
                None => return Ok(Some(found)),
                Some(stuck) if stuck.place > reached.place => {
                    (reached, readings, unclear) = (stuck, other, found.0.unclear);
                    continue 'further;
                }
                Some(_) => {}
            }
        }
        return Ok(None);
    }
}

fn at(proto: &pb::GraphProto, place: usize) -> Stuck {
    Stuck { place, values: proto.node.get(place).map(|n| n.input.clone()).unwrap_or_default() }
}

/// What is wrong with a reading: a node that does not take what it is given, or outputs without their batch.
fn failure(proto: &pb::GraphProto, read: &Importer) -> Option<Stuck> {
    if let Some(place) = read.refusals.first {
        return Some(at(proto, place));
    }
    let values: Vec<String> = proto.output.iter().filter(|o| lost_its_batch(read, o)).map(|o| o.name().to_string()).collect();
    (!values.is_empty()).then_some(Stuck { place: proto.node.len(), values })
}

/// The same, or the first node that cannot be seen to keep images apart.
fn doubt(proto: &pb::GraphProto, read: &Importer) -> Option<Stuck> {
    let failure = failure(proto, read);
    let ends = failure.iter().flat_map(|stuck| stuck.values.iter().map(String::as_str)).chain(proto.output.iter().map(|o| o.name()));
    let (mut open, mut live): (Vec<ValueId>, _) = (ends.filter_map(|name| read.values.get(name).copied()).collect(), HashSet::new());
    while let Some(v) = open.pop() {
        let Some(index) = read.graph.value(v).producer else { continue };
        if live.insert(index) {
            open.extend(read.graph.nodes.get(index).into_iter().flat_map(|n| n.used()));
        }
    }
    let meeting = meeting(&read.graph, |index| live.contains(&index)).and_then(|index| read.places.get(index).copied());
    match meeting {
        Some(place) if failure.as_ref().is_none_or(|stuck| place < stuck.place) => Some(at(proto, place)),
        _ => failure,
    }
}

/// Whether an output that is declared with the images first has none there.
fn lost_its_batch(read: &Importer, output: &pb::ValueInfoProto) -> bool {
    let Some(value) = read.values.get(output.name()).map(|&v| read.graph.value(v)) else { return false };
    let declared = declared_type(output).and_then(|(_, dims)| dims.first().copied());
    let first = declared.is_none_or(|d| d.is_none_or(|d| Some(d) == read.declared_batch));
    value.varies && first && matches!(value.ty.shape.first(), Some(Dim::Known(_)))
}

/// Other readings of what leads to where the last one is stuck: of one node, the last first, and then of two at once.
fn others(proto: &pb::GraphProto, stuck: &Stuck, unclear: &[(usize, usize)], readings: &Readings) -> Vec<Readings> {
    let before = Makers::new(proto).needs(stuck.values.iter().map(String::as_str)).nodes;
    let with = |of: &Readings, node: usize, count: usize| -> Vec<Readings> {
        let own = of.get(&node).copied().unwrap_or(0);
        (0..count).filter(|&r| r != own).map(|r| of.iter().map(|(&n, &r)| (n, r)).chain([(node, r)]).collect()).collect()
    };
    let places: Vec<(usize, usize)> =
        unclear.iter().rev().copied().filter(|(node, _)| before.contains(node) || *node == stuck.place).collect();
    let single = places.iter().flat_map(|&(node, count)| with(readings, node, count));
    let near = || places.iter().take(TOGETHER).enumerate();
    let both = near().flat_map(|(i, &(node, count))| {
        let once = with(readings, node, count);
        let further = near().skip(i).skip(1);
        further
            .flat_map(move |(_, &(other, count))| once.iter().flat_map(|of| with(of, other, count)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    single.chain(both).collect()
}
