//! Where a number in a shape may be the batch in more than one place: the likeliest reading is taken first, and another one where the rest of the
//! network says that it was not meant. Heads beside one image are such a case: `[1, heads, width]` of an attention that has its images second.

use super::importer::Importer;
use super::mixing::meeting;
use super::place::{Place, Readings};
use crate::ir::{Dim, ValueId};
use crate::onnx::part::{Makers, read_by};
use crate::onnx::{declared_type, pb};
use std::collections::{BTreeMap, HashSet};

/// How often the nodes are read otherwise at most.
const ATTEMPTS: usize = 64;

/// How many of them are kept for a reading that is understood at all, where one that also keeps images apart is looked for first.
const KEPT: usize = 32;

/// How many there are where nothing is known to be wrong with the first reading, but that it cannot be seen to keep images apart.
const DOUBTS: usize = 16;

/// Nodes before the place where a reading fails of which two are read otherwise at once.
const TOGETHER: usize = 6;

/// What was read, and the input for images.
type Read = (Importer, ValueId);

/// The first reading of `proto` under which it is understood and its nodes keep images apart, from `first` on. Where there is none: the first that is
/// understood, for which the network is run later; and else the one that is understood the furthest, with the node that is wrong there.
pub(super) fn settled(proto: &pb::GraphProto, first: Read, read: impl Fn(&Readings) -> Read) -> Read {
    if first.0.unclear.is_empty() {
        return first;
    }
    let wrong = failure(proto, &first.0);
    let (makers, failed) = (Makers::new(proto), BTreeMap::new());
    let left = if wrong.is_some() { ATTEMPTS.saturating_sub(KEPT) } else { DOUBTS };
    let reach = wrong.as_ref().map(|stuck| stuck.place);
    let mut search = Search { proto, makers, read, left, spent: 0, ended: false, failed, furthest: None, reach };
    if let Some(found) = search.run(&first.0, Aim::Apart) {
        return found;
    }
    if wrong.is_none() {
        return first;
    }
    search.left = ATTEMPTS.saturating_sub(search.spent);
    search.ended = false;
    if let Some(found) = search.run(&first.0, Aim::Understood) {
        return found;
    }
    let Search { ended, spent, furthest, .. } = search;
    let mut told = furthest.unwrap_or(first);
    if ended {
        told.0.refusals.explain(&format!(
            "; numbers in the shapes before it may be the batch in several places, and of those readings {spent} were tried: export the network with \
             a dynamic batch dimension"
        ));
    }
    told
}

/// Where a reading does not go on.
#[derive(Clone)]
struct Stuck {
    /// The place of the node that is wrong; behind all nodes where outputs have lost their batch.
    place: Place,
    /// The values that say so.
    values: Vec<String>,
}

/// Nodes that have several readings, each with how many.
type Unclear = Vec<(Place, usize)>;

/// What is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Aim {
    /// A reading that is understood and keeps images apart.
    Apart,
    /// One that is understood.
    Understood,
}

impl Aim {
    /// What keeps a reading with that failure from it.
    fn stuck(self, proto: &pb::GraphProto, read: &Importer, failure: Option<Stuck>) -> Option<Stuck> {
        match self {
            Aim::Apart => doubt(proto, read, failure),
            Aim::Understood => failure,
        }
    }
}

/// The way from reading to reading.
struct Search<'a, R> {
    proto: &'a pb::GraphProto,
    makers: Makers<'a>,
    read: R,
    /// How often the nodes may still be read.
    left: usize,
    /// How often they were.
    spent: usize,
    /// Whether they would have been read more often.
    ended: bool,
    /// The readings that were not understood.
    failed: BTreeMap<Readings, (Stuck, Unclear)>,
    /// That of them whose refused node comes last, where that comes after the first reading's.
    furthest: Option<Read>,
    /// Up to where nodes have been understood, where none of the readings was.
    reach: Option<Place>,
}

impl<R: Fn(&Readings) -> Read> Search<'_, R> {
    /// Goes from reading to reading, each of which is stuck later than the last, to one that reaches `aim`; `None` where that is `first` or cannot be
    /// found.
    fn run(&mut self, first: &Importer, aim: Aim) -> Option<Read> {
        let mut reached = aim.stuck(self.proto, first, failure(self.proto, first))?;
        let (mut readings, mut unclear) = (Readings::new(), first.unclear.clone());
        loop {
            let before = self.makers.needs(reached.values.iter().map(|name| &**name)).nodes;
            let leads = |place: Place| before.contains(&place.node) || place.node == reached.place.node;
            let places: Unclear = unclear.iter().rev().copied().filter(|(place, _)| leads(*place)).collect();
            let mut further = None;
            for other in others(&places, &readings) {
                match self.attempt(&other, aim)? {
                    Ok(found) => return Some(found),
                    Err((stuck, there)) if stuck.place > reached.place => {
                        further = Some((stuck, other, there));
                        break;
                    }
                    Err(_) => {}
                }
            }
            (reached, readings, unclear) = further?;
        }
    }

    /// What the nodes come to with these readings, where that reaches `aim`, or where it is stuck; `None` where they were read often enough.
    fn attempt(&mut self, readings: &Readings, aim: Aim) -> Option<Result<Read, (Stuck, Unclear)>> {
        if let Some(known) = self.failed.get(readings).filter(|_| aim == Aim::Understood) {
            return Some(Err(known.clone()));
        }
        self.ended = self.left == 0;
        self.left = self.left.checked_sub(1)?;
        self.spent = self.spent.saturating_add(1);
        let found = (self.read)(readings);
        let failure = failure(self.proto, &found.0);
        let Some(stuck) = aim.stuck(self.proto, &found.0, failure.clone()) else { return Some(Ok(found)) };
        let unclear = found.0.unclear.clone();
        if let Some(failure) = failure {
            self.failed.insert(readings.clone(), (failure, unclear.clone()));
            let refused = found.0.refusals.first;
            if refused.is_some() && refused > self.reach {
                (self.reach, self.furthest) = (refused, Some(found));
            }
        }
        Some(Err((stuck, unclear)))
    }
}

/// What the node at `place` reads.
fn at(proto: &pb::GraphProto, place: Place) -> Stuck {
    Stuck { place, values: proto.node.get(place.node).map(|n| read_by(n).map(str::to_string).collect()).unwrap_or_default() }
}

/// What is wrong with a reading: a node that does not take what it is given, or outputs without their batch.
fn failure(proto: &pb::GraphProto, read: &Importer) -> Option<Stuck> {
    if let Some(place) = read.refusals.first {
        return Some(at(proto, place));
    }
    let values: Vec<String> = proto.output.iter().filter(|o| lost_its_batch(read, o)).map(|o| o.name().to_string()).collect();
    (!values.is_empty()).then_some(Stuck { place: Place::from(proto.node.len()), values })
}

/// The same, or the first node that cannot be seen to keep images apart.
fn doubt(proto: &pb::GraphProto, read: &Importer, failure: Option<Stuck>) -> Option<Stuck> {
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

/// Other readings of nodes, the one that comes first in `places` first: of one node, and then of two at once.
fn others<'a>(places: &'a [(Place, usize)], readings: &'a Readings) -> impl Iterator<Item = Readings> + 'a {
    let single = places.iter().flat_map(|&(place, count)| with(readings.clone(), place, count));
    let near = places.get(..TOGETHER).unwrap_or(places);
    let both = near.iter().enumerate().flat_map(move |(i, &(place, count))| {
        let further = near.iter().skip(i).skip(1);
        further.flat_map(move |&(other, also)| with(readings.clone(), place, count).flat_map(move |of| with(of, other, also)))
    });
    single.chain(both)
}

/// The readings with every other one of a node that has `count`.
fn with(readings: Readings, place: Place, count: usize) -> impl Iterator<Item = Readings> {
    let own = readings.get(&place).copied().unwrap_or(0);
    (0..count).filter(move |&reading| reading != own).map(move |reading| {
        let mut others = readings.clone();
        others.insert(place, reading);
        others
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::super::{BatchSize, ImportOptions, Network, import};
    use super::*;
    use crate::ir::{DType, Tensor};
    use crate::onnx::declaration::{declaration, size};
    use crate::onnx::{ExternalData, SourceModel, to_proto};
    use std::cell::{Cell, RefCell};

    fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        pb::NodeProto { op_type: Some(op.into()), name: Some(output.into()), input, output: vec![output.into()], ..Default::default() }
    }

    /// One image that is brought from one shape into another and back, in which the one may stand anywhere, and at the end meets what it cannot be
    /// added to.
    fn model(reshapes: usize) -> SourceModel {
        let shape = |n: usize| if n.is_multiple_of(2) { "wide" } else { "long" };
        let mut nodes: Vec<_> = (0..reshapes).map(|n| node("Reshape", &[&format!("v{n}"), shape(n)], &format!("v{}", n + 1))).collect();
        nodes.insert(0, node("Relu", &["x"], "v0"));
        nodes.push(node("Add", &[&format!("v{reshapes}"), "w"], "y"));
        let dims = |dims: &[i64]| dims.iter().map(|&d| size(usize::try_from(d).ok())).collect::<Vec<_>>();
        let graph = pb::GraphProto {
            name: Some("chain".into()),
            node: nodes,
            input: vec![declaration("x", DType::F32, dims(&[1, 4, 2]).into_iter())],
            output: vec![declaration("y", DType::F32, dims(&[1, 8]).into_iter())],
            initializer: vec![
                to_proto("wide", &Tensor::from_i64(&[3], &[1, 2, 4])),
                to_proto("long", &Tensor::from_i64(&[4], &[1, 1, 4, 2])),
                to_proto("w", &Tensor::from_f32(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0])),
            ],
            ..Default::default()
        };
        let opset_import = vec![pb::OperatorSetIdProto { version: Some(17), ..Default::default() }];
        let proto = pb::ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..Default::default() };
        let dir = std::path::PathBuf::from(".");
        SourceModel { proto, path: "chain.onnx".into(), external: ExternalData::new(&dir), dir, sha256: String::new(), bytes: 0 }
    }

    const OPTIONS: ImportOptions = ImportOptions { batch: BatchSize::Dynamic, input_shape: None, keep_ties: false };

    #[test]
    fn a_network_that_fits_no_reading_is_read_a_bounded_number_of_times() {
        let (source, options) = (model(801), OPTIONS);
        let reading = Reading::new(&source, 17, &options).unwrap();
        let (attempts, starts) = (Cell::new(0), RefCell::new(HashSet::new()));
        let read = |readings: &Readings| {
            attempts.set(attempts.get() + 1);
            let found = reading.run(readings, None);
            let w = found.0.values.get("w").map(|&v| found.0.graph.value(v).constant.as_ref().unwrap().bytes().as_ptr());
            starts.borrow_mut().extend(w);
            found
        };
        let first = read(&Readings::new());
        assert!(first.0.unclear.len() > 700, "only {} shapes have several readings", first.0.unclear.len());
        attempts.set(0);
        let (settled, _) = settled(source.graph().unwrap(), first, read);
        assert_eq!(attempts.get(), ATTEMPTS, "how often the nodes were read");
        assert_eq!(starts.borrow().len(), 1, "the constants are read once, and shared");
        let error = settled.finish().err().unwrap().to_string();
        assert!(
            error.contains("Add (node `y`)") && error.contains("64 were tried: export the network with a dynamic batch dimension"),
            "{error}"
        );
    }

    /// The likeliest reading fails where the other one goes on, to the node that nothing can be done about.
    #[test]
    fn the_node_is_named_up_to_which_a_reading_is_understood() {
        let mut source = model(1);
        let graph = source.proto.graph.as_mut().unwrap();
        graph.initializer.push(to_proto("first", &Tensor::from_i64(&[3], &[1, 1, 8])));
        graph.initializer.push(to_proto("axes", &Tensor::from_i64(&[1], &[0])));
        graph.node = vec![node("Reshape", &["x", "first"], "r"), node("Squeeze", &["r", "axes"], "s"), node("Add", &["s", "w"], "y")];
        let error = import(&source, &OPTIONS).unwrap_err().to_string();
        assert!(error.contains("Add (node `y`)") && !error.contains("Squeeze"), "{error}");
    }

    #[test]
    fn a_network_with_few_readings_is_told_nothing_of_a_limit() {
        let error = import(&model(1), &OPTIONS).unwrap_err().to_string();
        assert!(error.contains("Add (node `y`)") && !error.contains("tried"), "{error}");
    }

    /// For another number of images the first shape of all is wrong, which says nothing.
    #[test]
    fn a_batch_size_that_the_model_speaks_against_names_no_other_node() {
        let options = ImportOptions { batch: BatchSize::Fixed(32), ..OPTIONS };
        let error = Network::open(model(2), options).err().unwrap().to_string();
        assert!(error.contains("Add (node `y`)") && !error.contains("Reshape"), "{error}");
    }
}
