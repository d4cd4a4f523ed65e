//! Lets kernels do what follows them, so that no pass over memory is made for it.

use super::Pass;
use super::kernel::{self, CEILING, Kernel, RECTIFIED};
use crate::error::{Error, Result};
use crate::ir::{Attr, Domain, Graph, Layout, Node, OtherNodes, Readers, ValueId};
use crate::operator::{Meaning, View};
use crate::ops::{clip, relu, table};
use std::collections::HashSet;

/// Every fusion. The list is gone through until nothing fits any more.
const FUSIONS: &[&dyn Fusion] = &[
    // What follows an operator, from the nearest on: a sum comes before the rectifier of the sum.
    &Rectifier,
    &Addend,
    &Mask,
    // Sums of a cotangent beside another kernel that reads it anyway.
    &ChannelSums,
    // What a penalty adds to a gradient, in the update that reads it.
    &Penalty,
    // What gives a result its name alone, as for next values.
    &Rename,
];

/// Applies every fusion of the list `FUSIONS`.
pub struct FuseKernels<'k> {
    /// Every native operator that there is.
    pub kernels: &'k [&'static Kernel],
}

impl Pass for FuseKernels<'_> {
    fn name(&self) -> &'static str {
        "fuse kernels"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        loop {
            let mut changed = false;
            for fusion in FUSIONS {
                changed |= self.sweep(graph, *fusion)?;
            }
            if !changed {
                return Ok(());
            }
        }
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        let sight = Sight::new(graph, self.kernels);
        for fusion in FUSIONS {
            if let Some(node) = graph.nodes.iter().enumerate().find(|(at, node)| fusion.find(&sight, *at, node).is_some()) {
                return Err(format!("the fusion `{}` is left at node `{}`", fusion.name(), node.1.name));
            }
        }
        kernel::verify_layouts(graph, self.kernels)
    }
}

impl FuseKernels<'_> {
    /// Applies a fusion wherever it fits, nodes that this sweep has changed left alone; says whether there was such a place.
    fn sweep(&self, graph: &mut Graph, fusion: &dyn Fusion) -> Result<bool> {
        let sight = Sight::new(graph, self.kernels);
        let mut touched = HashSet::new();
        let mut changes = vec![];
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(change) = fusion.find(&sight, at, node) else { continue };
            if !touched.contains(&change.host) && change.gone.iter().all(|i| !touched.contains(i)) {
                touched.insert(change.host);
                touched.extend(&change.gone);
                changes.push(change);
            }
        }
        if changes.is_empty() {
            return Ok(false);
        }
        let mut nodes = OtherNodes::of(graph);
        for change in changes {
            change.gone.iter().for_each(|&i| nodes.remove(i));
            nodes.put(change.host, change.fused);
        }
        nodes.into_graph(graph).map_err(|why| Error::internal(format!("the fusion `{}`: {why}", fusion.name())))?;
        Ok(true)
    }
}

/// A pattern around a node, and what becomes of it.
trait Fusion: Sync {
    /// What messages call it.
    fn name(&self) -> &'static str;

    /// The change, where the pattern ends at `node`, which is number `at`.
    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change>;
}

/// One kernel that does more, in the place of nodes that go.
struct Change {
    host: usize,
    fused: Node,
    gone: Vec<usize>,
}

/// The graph as a fusion sees it.
struct Sight<'a> {
    graph: &'a Graph,
    readers: Readers,
    kernels: &'a [&'static Kernel],
}

/// A kernel's node whose first output nobody reads but the node at hand.
struct Host<'a> {
    at: usize,
    node: &'a Node,
    kernel: &'static Kernel,
}

impl<'a> Sight<'a> {
    fn new(graph: &'a Graph, kernels: &'a [&'static Kernel]) -> Self {
        Sight { graph, readers: graph.readers(), kernels }
    }

    fn producer(&self, value: ValueId) -> Option<(usize, &'a Node)> {
        self.graph.value(value).producer.and_then(|i| Some((i, self.graph.nodes.get(i)?)))
    }

    fn read_once(&self, value: ValueId) -> bool {
        self.readers.count(value) == 1
    }

    fn host(&self, value: ValueId) -> Option<Host<'a>> {
        let (at, node) = self.producer(value).filter(|_| self.read_once(value))?;
        let kernel = kernel::of(self.kernels, node).filter(|_| node.output() == Some(value))?;
        Some(Host { at, node, kernel })
    }

    fn means(&self, node: &Node, meaning: Meaning) -> bool {
        node.domain == Domain::Onnx && table::find(&node.op_type).is_some_and(|o| o.facts().meaning == meaning)
    }

    /// Whether both are images of one shape with their channels last.
    fn images_alike(&self, a: ValueId, b: ValueId) -> bool {
        let image = |v: ValueId| self.graph.value(v).layout == Layout::ChannelsLast;
        image(a) && image(b) && self.graph.ty(a) == self.graph.ty(b)
    }
}

impl Host<'_> {
    /// Whether the kernel could do something more after its addend.
    fn is_open(&self) -> bool {
        !self.node.attrs.contains_key(RECTIFIED) && self.kernel.extras.mask.is_none_or(|mask| is_free(self.node, mask))
    }

    /// The node, giving `output` instead of its first output.
    fn giving(&self, output: ValueId) -> Node {
        let mut node = self.node.clone();
        node.outputs.iter_mut().take(1).for_each(|first| *first = output);
        node
    }
}

fn is_free(node: &Node, input: usize) -> bool {
    node.input(input).is_none()
}

/// The node with `value` as input `at`.
fn with_input(mut node: Node, at: usize, value: Option<ValueId>) -> Node {
    while node.inputs.len() <= at {
        node.inputs.push(None);
    }
    node.inputs.iter_mut().skip(at).take(1).for_each(|input| *input = value);
    node
}

/// `max(0, kernel(…))`, and `max(0, min(hi, kernel(…)))`, → `kernel(…)`, rectified.
struct Rectifier;

impl Fusion for Rectifier {
    fn name(&self) -> &'static str {
        "rectifier"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let x = node.input(0)?;
        let ceiling = match sight.means(node, Meaning::Rectifier) {
            true => None,
            false => Some(clip::rectifies(&View { graph: sight.graph, node })?),
        };
        let (host, output) = (sight.host(x)?, node.output()?);
        (host.kernel.extras.rectifies && host.is_open()).then(|| {
            let mut fused = host.giving(output);
            fused.attrs.insert(RECTIFIED.into(), Attr::Int(1));
            fused.attrs.extend(ceiling.map(|ceiling| (CEILING.into(), Attr::Float(ceiling))));
            Change { host: host.at, fused, gone: vec![at] }
        })
    }
}

/// `kernel(…) + image` → `kernel(…, image)`.
struct Addend;

impl Fusion for Addend {
    fn name(&self) -> &'static str {
        "addend"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let [Some(a), Some(b)] = *node.inputs else { return None };
        if !sight.means(node, Meaning::Sum) || !sight.images_alike(a, b) {
            return None;
        }
        let with = |value: ValueId, other: ValueId| {
            let host = sight.host(value).filter(Host::is_open)?;
            let place = host.kernel.extras.addend.filter(|&i| is_free(host.node, i))?;
            Some(Change { host: host.at, fused: with_input(host.giving(node.output()?), place, Some(other)), gone: vec![at] })
        };
        // The later of the two, so that the other is there already.
        [with(a, b), with(b, a)].into_iter().flatten().max_by_key(|change| change.host)
    }
}

/// `ReluGrad(y, kernel(…))` → `kernel(…, y)`, 0 where `y` is not positive; likewise `ClipGrad` between 0 and a ceiling, which `y` does not reach.
struct Mask;

impl Fusion for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let [Some(y), Some(dy)] = *node.inputs else { return None };
        let ceiling = match node.is_of(Domain::Function, relu::GRAD.name) {
            true => None,
            false => Some(clip::rectified_gradient(node)?),
        };
        let host = sight.host(dy).filter(Host::is_open)?;
        let mut fused = with_input(host.giving(node.output()?), host.kernel.extras.mask?, Some(y));
        fused.attrs.extend(ceiling.map(|ceiling| (CEILING.into(), Attr::Float(ceiling))));
        Some(Change { host: host.at, fused, gone: vec![at] })
    }
}

/// `sums(x)` beside `kernel(…, x)` → `kernel(…, x)`, which gives the sums as well.
struct ChannelSums;

impl Fusion for ChannelSums {
    fn name(&self) -> &'static str {
        "channel sums"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let only = kernel::of(sight.kernels, node)?.extras.channel_sums == Some((0, 0));
        let x = node.input(0).filter(|_| only)?;
        // A kernel that leaves the sums out, which are its last output.
        let could = |other: &Node| {
            let (input, output) = kernel::of(sight.kernels, other)?.extras.channel_sums?;
            Some(other.inputs.get(input) == Some(&Some(x)) && other.outputs.len() == output)
        };
        let host = sight.graph.nodes.iter().position(|other| could(other) == Some(true))?;
        let mut fused = sight.graph.nodes.get(host)?.clone();
        fused.outputs.push(node.output()?);
        Some(Change { host, fused, gone: vec![at] })
    }
}

/// `update(w, g + penalty(w, …))` → `update(w, g, …)`, which gives the penalty's value as well.
struct Penalty;

impl Fusion for Penalty {
    fn name(&self) -> &'static str {
        "penalty"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let adds = kernel::of(sight.kernels, node)?.extras.penalties.filter(|adds| is_free(node, adds.strength))?;
        let gradient = node.input(adds.gradient).filter(|&g| sight.read_once(g))?;
        let (sum, added) = sight.producer(gradient).filter(|(_, n)| sight.means(n, Meaning::Sum))?;
        let [Some(data), Some(pull)] = *added.inputs else { return None };
        let (penalty, call) = sight.producer(pull).filter(|_| sight.read_once(pull))?;
        let known = adds.functions.iter().any(|f| call.is_of(Domain::Function, f.name));
        let ([w, between @ .., strength], [value, given]) = (&call.inputs[..], &call.outputs[..]) else { return None };
        if !known || *w != node.input(0) || *given != pull || node.outputs.len() != adds.value {
            return None;
        }
        let mut fused = with_input(node.clone(), adds.gradient, Some(data));
        for (place, input) in (adds.strength..).zip(std::iter::once(strength).chain(between)) {
            fused = with_input(fused, place, *input);
        }
        fused.outputs.push(*value);
        Some(Change { host: at, fused, gone: vec![sum, penalty] })
    }
}

/// `Identity(kernel(…))` → `kernel(…)` under the other name.
struct Rename;

impl Fusion for Rename {
    fn name(&self) -> &'static str {
        "rename"
    }

    fn find(&self, sight: &Sight, at: usize, node: &Node) -> Option<Change> {
        let [Some(x)] = *node.inputs else { return None };
        let (host, before) = sight.producer(x).filter(|_| sight.means(node, Meaning::Identity) && sight.read_once(x))?;
        let mut fused = before.clone();
        let output = fused.outputs.iter_mut().find(|o| **o == x).filter(|_| before.domain == Domain::Native)?;
        *output = node.output()?;
        Some(Change { host, fused, gone: vec![at] })
    }
}
