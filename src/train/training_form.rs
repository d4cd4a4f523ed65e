//! Models that somebody exported in training mode: by themselves they compute something else than the network does in inference.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx::{self, inline_functions, noise, pb};
use crate::shell::word;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Fails where the model of that file computes as in training: what it says of an image would depend on the images beside it, or on chance.
pub(super) fn refuse(model: &pb::ModelProto, file: &Path) -> Result<()> {
    let mut model = Cow::Borrowed(model);
    if !model.functions.is_empty() {
        inline_functions(model.to_mut())?;
    }
    let Some(graph) = &model.graph else { return Ok(()) };
    let form = Form { opset: opset(&model), of_images: of_images(graph), constants: constants(graph) };
    let Some((node, why)) = form.found(graph, true) else { return Ok(()) };
    let name = if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    let (path, file, op) = (file, file.display(), node.op_type());
    Err(Error::model(format!(
        "{file} computes as in training: {op} (node `{name}`) {why}. Export it in evaluation mode (`model.eval()`), or have spgraph take it as it is in \
         inference, where it can: `spgraph rewrite {} {} {} BUNDLE`, and give BUNDLE instead",
        word(path),
        Field::KEEP_HEAD,
        Field::OUTPUT
    )))
}

fn opset(model: &pb::ModelProto) -> i64 {
    onnx::standard_opsets(model).next().unwrap_or(1)
}

/// The graphs within a node.
fn within(node: &pb::NodeProto) -> impl Iterator<Item = &pb::GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// What a node reads, graphs within it included.
fn read(node: &pb::NodeProto) -> Vec<&str> {
    let inner = within(node).flat_map(|g| &g.node).flat_map(read);
    node.input.iter().map(String::as_str).chain(inner).collect()
}

/// The values of the graph that depend on its images.
fn of_images(graph: &pb::GraphProto) -> HashSet<&str> {
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let mut readers: HashMap<&str, Vec<&pb::NodeProto>> = HashMap::new();
    for node in &graph.node {
        read(node).into_iter().for_each(|name| readers.entry(name).or_default().push(node));
    }
    let mut next: Vec<&str> = graph.input.iter().map(|i| i.name()).filter(|name| !stored.contains(name)).collect();
    let mut found = HashSet::new();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            next.extend(readers.get(name).into_iter().flatten().flat_map(|n| &n.output).map(String::as_str));
        }
    }
    found
}

/// Where a value of the graph comes from: a constant, or the node that computes it.
enum Origin<'a> {
    Constant(&'a pb::TensorProto),
    Node(&'a pb::NodeProto),
}

fn constants(graph: &pb::GraphProto) -> HashMap<&str, Origin<'_>> {
    let stored = graph.initializer.iter().map(|t| (t.name(), Origin::Constant(t)));
    let computed = graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n)));
    let computed = computed.map(|(name, n)| match n.attribute.iter().find(|a| a.name() == "value").and_then(|a| a.t.as_ref()) {
        Some(t) if n.op_type() == "Constant" => (name, Origin::Constant(t)),
        _ => (name, Origin::Node(n)),
    });
    stored.chain(computed).collect()
}

struct Form<'a> {
    opset: i64,
    of_images: HashSet<&'a str>,
    constants: HashMap<&'a str, Origin<'a>>,
}

impl<'a> Form<'a> {
    /// The first node, of the graph or within one of its nodes, that computes as in training, and what it does.
    fn found(&self, graph: &'a pb::GraphProto, outermost: bool) -> Option<(&'a pb::NodeProto, &'static str)> {
        graph.node.iter().find_map(|n| {
            let own = if onnx::is_standard(n.domain()) { self.why(n, outermost) } else { None };
            own.map(|why| (n, why)).or_else(|| within(n).find_map(|g| self.found(g, false)))
        })
    }

    fn why(&self, node: &pb::NodeProto, outermost: bool) -> Option<&'static str> {
        const CHANCE: &str = "draws other numbers each time";
        match node.op_type() {
            "BatchNormalization" => {
                // What standardizes weights does so in inference as well. Before opset 14 further outputs say that it is training.
                let images = !outermost || node.input.first().is_some_and(|name| self.of_images.contains(name.as_str()));
                let training = match self.opset {
                    ..14 => node.output.iter().filter(|o| !o.is_empty()).count() > 1,
                    _ => node.attribute.iter().any(|a| a.name() == "training_mode" && a.i() != 0),
                };
                (images && training).then_some("normalizes by the images that it is given together")
            }
            "Dropout" => {
                let switch = node.input.get(2).filter(|name| !name.is_empty())?;
                // The switch of a network in evaluation mode is a constant that says so; and nothing is dropped where the share is none.
                let off = self.is_zero(switch) || node.input.get(1).is_some_and(|share| self.is_zero(share));
                (!off).then_some(CHANCE)
            }
            op if noise::is_random(op) => Some(CHANCE),
            _ => None,
        }
    }

    /// Whether a value is a constant of zeros, or false.
    fn is_zero(&self, name: &str) -> bool {
        let mut name = name;
        // As many steps as a chain may have; a longer one, or one in a circle, is none.
        for _ in 0..8 {
            match self.constants.get(name) {
                Some(Origin::Constant(t)) => {
                    let (bytes, numbers) = (t.raw_data(), &t.int32_data);
                    let said = !bytes.is_empty() || !numbers.is_empty() || !t.float_data.is_empty() || !t.double_data.is_empty();
                    return said
                        && bytes.iter().all(|&b| b == 0)
                        && numbers.iter().all(|&n| n == 0)
                        && t.float_data.iter().all(|&v| v == 0.0)
                        && t.double_data.iter().all(|&v| v == 0.0);
                }
                Some(Origin::Node(n)) if matches!(n.op_type(), "Identity" | "Cast") => match n.input.first() {
                    Some(input) => name = input,
                    None => return false,
                },
                _ => return false,
            }
        }
        false
    }
}
