//! Lets native operators do what follows them, so that no pass over memory is made for it.

use super::graph::{Editor, attribute, calls, is_native, is_standard};
use super::ops::SGD_UPDATE;
use crate::onnx::attributes::attr_int;
use crate::onnx::pb::NodeProto;
use std::collections::{HashMap, HashSet};

/// Operators that can add an image and rectify: their name and where the addend enters.
const RECTIFIES: &[(&str, usize)] = &[("Conv", 3), ("BatchNormalization", 5), ("BatchNormTrain", 3)];

/// Fuses what can be fused, and sorts the nodes.
pub fn apply(editor: &mut Editor) {
    // Each sweep looks at every node once, with the graph as it was before; a fusion may make another possible.
    while sweep(editor, rectifier) + sweep(editor, addend) + sweep(editor, mask) > 0 {}
    sweep(editor, bias);
    sweep(editor, update);
    while sweep(editor, renamed) > 0 {}
    after_readers(editor);
    editor.sort();
}

/// Lets every update wait for all nodes that read its parameter or its velocity, so that the next values can have their buffers;
/// the attribute [`REPLACES`] says so. An update of which such a node needs a result stays as it is.
fn after_readers(editor: &mut Editor) {
    let producers = editor.producers();
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in editor.nodes.iter().enumerate() {
        node.input.iter().for_each(|value| readers.entry(value).or_default().push(at));
    }
    let mut waits = vec![];
    for (at, node) in editor.nodes.iter().enumerate().filter(|(_, n)| is_native(n, SGD_UPDATE.name)) {
        let needed = reached(editor, &producers, at);
        let all = [&node.input[0], &node.input[3]].into_iter().filter_map(|v| readers.get(v.as_str())).flatten();
        let late: Vec<usize> = all.copied().filter(|r| *r != at && !needed.contains(r)).collect();
        if late.iter().all(|&r| gives_floats(&editor.nodes[r]) && !reached(editor, &producers, r).contains(&at)) {
            waits.push((at, late.iter().map(|&r| editor.nodes[r].output[0].clone()).collect::<Vec<_>>()));
        }
    }
    for (at, values) in waits {
        let node = &mut editor.nodes[at];
        node.input.extend(values);
        node.attribute.push(attr_int(REPLACES, 1));
    }
}

/// Marks an update whose next values may have the buffers of the present ones.
const REPLACES: &str = "replaces";

/// Whether the node's first result is known to be a tensor of float32.
fn gives_floats(node: &NodeProto) -> bool {
    node.domain() == super::ops::DOMAIN || ["Conv", "Gemm", "MatMul"].iter().any(|op| is_standard(node, op))
}

/// The nodes that node `at` needs.
fn reached(editor: &Editor, producers: &HashMap<String, usize>, at: usize) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open = vec![at];
    while let Some(node) = open.pop() {
        for &before in editor.nodes[node].input.iter().filter_map(|value| producers.get(value)) {
            if found.insert(before) {
                open.push(before);
            }
        }
    }
    found
}

/// Pairs of a graph input and the output with its next value that may share a buffer.
pub fn in_place(editor: &Editor) -> Vec<(String, String)> {
    let updates = editor.nodes.iter().filter(|n| is_native(n, SGD_UPDATE.name) && attribute(n, REPLACES).is_some());
    updates.flat_map(|n| [(0, 0), (3, 1)].map(|(input, output)| (n.input[input].clone(), n.output[output].clone()))).collect()
}

/// The graph as a rule sees it.
struct View<'a> {
    editor: &'a Editor,
    producers: HashMap<String, usize>,
    uses: HashMap<String, usize>,
}

impl View<'_> {
    fn producer(&self, value: &str) -> Option<(usize, &NodeProto)> {
        self.producers.get(value).map(|&i| (i, &self.editor.nodes[i]))
    }

    fn used_once(&self, value: &str) -> bool {
        self.uses.get(value) == Some(&1)
    }
}

/// What a rule does: nodes that change, and nodes that go.
struct Change {
    put: Vec<(usize, NodeProto)>,
    gone: Vec<usize>,
}

/// Applies a rule wherever it fits, nodes that were changed in this sweep left alone; gives the number of changes.
fn sweep(editor: &mut Editor, rule: fn(&View, usize, &NodeProto) -> Option<Change>) -> usize {
    let view = View { producers: editor.producers(), uses: editor.uses(), editor };
    let mut touched = vec![false; view.editor.nodes.len()];
    let mut changes = vec![];
    for (at, node) in view.editor.nodes.iter().enumerate() {
        if let Some(change) = rule(&view, at, node) {
            let all: Vec<usize> = change.put.iter().map(|p| p.0).chain(change.gone.iter().copied()).collect();
            if all.iter().all(|&i| !touched[i]) {
                all.iter().for_each(|&i| touched[i] = true);
                changes.push(change);
            }
        }
    }
    let count = changes.len();
    let mut gone = vec![false; touched.len()];
    for change in changes {
        for (at, node) in change.put {
            editor.nodes[at] = node;
        }
        change.gone.iter().for_each(|&i| gone[i] = true);
    }
    let mut at = 0..;
    editor.nodes.retain(|_| at.next().is_some_and(|i| !gone[i]));
    count
}

/// The node with `value` as input `at`.
fn with_input(node: &NodeProto, at: usize, value: &str) -> NodeProto {
    let mut node = node.clone();
    if node.input.len() <= at {
        node.input.resize(at + 1, String::new());
    }
    node.input[at] = value.into();
    node
}

fn is_free(node: &NodeProto, at: usize) -> bool {
    node.input.get(at).is_none_or(String::is_empty)
}

/// The node's value 0 under another name.
fn named(mut node: NodeProto, value: &str) -> NodeProto {
    node.output[0] = value.into();
    node
}

/// A rectifier into the operator before it.
fn rectifier(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    let value = node.input.first().filter(|v| is_standard(node, "Relu") && view.used_once(v))?;
    let (host, before) = view.producer(value)?;
    let fits =
        RECTIFIES.iter().any(|(name, _)| is_native(before, name)) && before.output[0] == *value && attribute(before, "relu").is_none();
    fits.then(|| {
        let mut fused = named(before.clone(), &node.output[0]);
        fused.attribute.push(attr_int("relu", 1));
        Change { put: vec![(host, fused)], gone: vec![at] }
    })
}

/// Whether both images are known to have one shape.
fn same_shape(view: &View, a: &str, b: &str) -> bool {
    let shape = |v: &str| view.editor.shape(v.trim_end_matches(":channels_last")).map(<[i64]>::to_vec);
    shape(a).is_some_and(|a| a.len() == 4 && shape(b) == Some(a))
}

/// A sum of two images into the operator that computes one of them.
fn addend(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    let [a, b] = node.input.as_slice() else { return None };
    if !(is_standard(node, "Add") || is_standard(node, "Sum")) || !same_shape(view, a, b) {
        return None;
    }
    // The later of the two, so that the other is there already.
    let mut hosts: Vec<(usize, NodeProto)> = [(a, b), (b, a)]
        .into_iter()
        .filter(|(value, _)| view.used_once(value))
        .filter_map(|(value, other)| {
            let (host, before) = view.producer(value)?;
            let slot = match RECTIFIES.iter().find(|(name, _)| is_native(before, name)) {
                Some(&(_, slot)) => Some(slot).filter(|_| attribute(before, "relu").is_none()),
                None => Some(2).filter(|_| is_native(before, "ConvInputGrad") && is_free(before, 3)),
            }?;
            (before.output[0] == *value && is_free(before, slot)).then(|| (host, named(with_input(before, slot, other), &node.output[0])))
        })
        .collect();
    hosts.sort_by_key(|h| h.0);
    hosts.pop().map(|fused| Change { put: vec![fused], gone: vec![at] })
}

/// A rectifier's gradient into the input gradient before it.
fn mask(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    let [y, dy] = node.input.as_slice() else { return None };
    let (host, before) = view.producer(dy).filter(|_| calls(node, "ReluGrad") && view.used_once(dy))?;
    (is_native(before, "ConvInputGrad") && is_free(before, 3))
        .then(|| Change { put: vec![(host, named(with_input(before, 3, y), &node.output[0]))], gone: vec![at] })
}

/// The gradient of a bias into that of the weights.
fn bias(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    if !is_native(node, "ChannelSum") {
        return None;
    }
    let reads = |n: &NodeProto| is_native(n, "ConvWeightGrad") && n.output.len() == 1 && n.input[1] == node.input[0];
    let (host, before) = view.editor.nodes.iter().enumerate().find(|(_, n)| reads(n))?;
    let mut fused = before.clone();
    fused.output.push(node.output[0].clone());
    Some(Change { put: vec![(host, fused)], gone: vec![at] })
}

/// A step of SGD with momentum, with the quadratic penalty that is added to its gradient, into one operator.
fn update(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    let [w, gradient, lr, velocity] = node.input.as_slice() else { return None };
    if !calls(node, "SgdUpdate") || !view.editor.is_float(w) {
        return None;
    }
    let mut fused = node.clone();
    fused.op_type = Some(SGD_UPDATE.name.into());
    fused.domain = Some(super::ops::DOMAIN.into());
    let mut gone = vec![];
    if let Some((sum, penalty, data)) = penalty_on(view, w, gradient) {
        let (term, inputs) = (&view.editor.nodes[penalty].output[0], view.editor.nodes[penalty].input.as_slice());
        let (strength, read) = (inputs.last()?, &inputs[1..inputs.len() - 1]);
        fused.input = [w, data, lr, velocity, strength].into_iter().chain(read).cloned().collect();
        fused.output.push(term.clone());
        gone = vec![sum, penalty];
    }
    // All that come before those for which it waits: ONNX Runtime asks for them, empty ones too.
    fused.input.resize(SGD_UPDATE.inputs.len() - 1, String::new());
    Some(Change { put: vec![(at, fused)], gone })
}

/// Where `gradient` is the sum of the data's and of a quadratic penalty's on `w`: the sum, the penalty, the data's gradient.
fn penalty_on<'a>(view: &'a View, w: &str, gradient: &str) -> Option<(usize, usize, &'a String)> {
    let (sum, add) = view.producer(gradient).filter(|(_, n)| is_standard(n, "Add") && view.used_once(gradient))?;
    let [data, pull] = add.input.as_slice() else { return None };
    let (penalty, node) = view.producer(pull).filter(|_| view.used_once(pull))?;
    let quadratic = ["L2Penalty", "L2SpPenalty", "L2SpFisherPenalty"].iter().any(|name| calls(node, name));
    (quadratic && node.input[0] == w && node.output.len() == 2 && node.output[1] == *pull).then_some((sum, penalty, data))
}

/// Values of native operators that only get another name have it from the start.
fn renamed(view: &View, at: usize, node: &NodeProto) -> Option<Change> {
    let value = node.input.first().filter(|v| is_standard(node, "Identity") && view.used_once(v))?;
    let (host, before) = view.producer(value).filter(|(_, n)| n.domain() == super::ops::DOMAIN)?;
    let mut fused = before.clone();
    let output = fused.output.iter_mut().find(|o| *o == value)?;
    *output = node.output[0].clone();
    Some(Change { put: vec![(host, fused)], gone: vec![at] })
}
