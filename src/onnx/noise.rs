//! Random zeros and ones that whole channels or whole images are multiplied with: what exporters make of stochastic depth and of Dropout2d in training mode.
//!
//! `x · mask`, where the mask is `(u < p) / p` of uniform numbers `u`, or `Bernoulli(p) / p`: its mean is 1, so that in inference it is `x`. The division may
//! stand behind the product. Zeros and ones that are not divided by their mean are something else (alpha dropout, noise), of which nobody can say what
//! it is in inference.

use super::attributes::Attributes;
use super::domain::is_standard;
use super::pb;
use super::read::SourceModel;
use std::collections::{HashMap, HashSet};

/// A product with such a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// The index of the product among the graph's nodes.
    pub product: usize,
    /// What the product multiplies, by name.
    pub of: String,
    /// What has the mask's shape: a value, or sizes.
    pub like: Like,
    /// Which share it drops.
    pub ratio: f32,
    /// The rank that the numbers beside it bring to the mask, where its own is lower.
    pub rank: usize,
    /// The nodes that make the mask alone.
    makers: Vec<usize>,
    /// The division behind the product.
    scaled: Option<usize>,
}

/// What has the shape of a mask.
#[derive(Debug, Clone, PartialEq)]
pub enum Like {
    /// The value of that name.
    Value(String),
    /// These sizes.
    Sizes(Vec<i64>),
}

/// What becomes of a model's nodes without noise.
#[derive(Debug, Clone, Default)]
pub struct Quiet {
    /// In the order of the nodes.
    pub found: Vec<Noise>,
    /// Nodes that are none any more (`None`), or others.
    pub instead: HashMap<usize, Option<pb::NodeProto>>,
}

/// Operators that draw the random numbers of masks.
const RANDOM: [&str; 3] = ["Bernoulli", "RandomUniform", "RandomUniformLike"];

/// Operators that draw others.
const OTHERS: [&str; 3] = ["Multinomial", "RandomNormal", "RandomNormalLike"];

/// Whether an operator of ONNX's own domain draws random numbers.
pub fn is_random(op: &str) -> bool {
    RANDOM.contains(&op) || OTHERS.contains(&op)
}

/// Roundings of a share in half precision, and of one that was computed.
const NEAR: f64 = 1e-3;

/// Finds the noise of a model. What is random and not understood stays as it is.
pub fn quiet(source: &SourceModel) -> Quiet {
    let Some(graph) = source.proto.graph.as_ref() else { return Quiet::default() };
    let random = |n: &pb::NodeProto| is_standard(n.domain()) && RANDOM.contains(&n.op_type());
    // Graphs within a node read names from here.
    let nested = || graph.node.iter().any(|n| n.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()));
    if !graph.node.iter().any(random) || nested() {
        return Quiet::default();
    }
    let search = Search::new(source, graph);
    let mut quiet = Quiet::default();
    for (index, node) in graph.node.iter().enumerate().filter(|(_, n)| random(n)) {
        if let Some(noise) = search.noise(index, node) {
            quiet.found.push(noise);
        }
    }
    // A product of two masks is none of a mask with what one has in inference.
    let mut products: HashMap<usize, usize> = HashMap::new();
    for noise in &quiet.found {
        let count = products.entry(noise.product).or_default();
        *count = count.saturating_add(1);
    }
    quiet.found.retain(|n| products.get(&n.product) == Some(&1));
    quiet.found.sort_by_key(|n| n.product);
    for noise in &quiet.found {
        quiet.instead.extend(noise.makers.iter().map(|&i| (i, None)));
        let carried = |index: usize, from: &str| {
            let node = graph.node.get(index)?;
            Some((index, Some(identity(node, from))))
        };
        quiet.instead.extend(carried(noise.product, &noise.of));
        let product = graph.node.get(noise.product).and_then(|n| n.output.first());
        quiet.instead.extend(noise.scaled.zip(product).and_then(|(index, from)| carried(index, from)));
    }
    quiet
}

/// Takes the noise out of a graph of which `quiet` was found, and what only served it. Nodes without names get those that `name` says first, for they are
/// known by their places.
pub fn without(graph: &mut pb::GraphProto, quiet: &Quiet, name: impl Fn(usize, &pb::NodeProto) -> String) {
    if quiet.instead.is_empty() {
        return;
    }
    for (index, node) in graph.node.iter_mut().enumerate().filter(|(_, n)| n.name().is_empty()) {
        node.name = Some(name(index, node));
    }
    let mut served: HashSet<String> = HashSet::new();
    let nodes = std::mem::take(&mut graph.node);
    for (index, node) in nodes.into_iter().enumerate() {
        match quiet.instead.get(&index) {
            None => graph.node.push(node),
            Some(other) => {
                served.extend(node.input);
                graph.node.extend(other.clone());
            }
        }
    }
    // From the end, for what serves a node stands before it.
    let mut read: HashMap<String, usize> = HashMap::new();
    let kept = graph.output.iter().map(|o| o.name()).chain(graph.node.iter().flat_map(|n| n.input.iter().map(|i| i.as_str())));
    for name in kept {
        let count = read.entry(name.to_string()).or_default();
        *count = count.saturating_add(1);
    }
    let unread = |read: &HashMap<String, usize>, name: &str| read.get(name).is_none_or(|&n| n == 0);
    for index in (0..graph.node.len()).rev() {
        let gone = graph
            .node
            .get(index)
            .is_some_and(|n| n.output.iter().any(|o| served.contains(o)) && n.output.iter().all(|o| o.is_empty() || unread(&read, o)));
        if gone {
            for input in graph.node.remove(index).input {
                read.entry(input.clone()).and_modify(|n| *n = n.saturating_sub(1));
                served.insert(input);
            }
        }
    }
    let declared: HashSet<String> = graph.input.iter().map(|i| i.name().to_string()).collect();
    graph.initializer.retain(|t| !served.contains(t.name()) || !unread(&read, t.name()) || declared.contains(t.name()));
    let computed: HashSet<&str> = graph.node.iter().flat_map(|n| n.output.iter().map(|o| o.as_str())).collect();
    graph.value_info.retain(|v| computed.contains(v.name()) || !served.contains(v.name()));
}

/// A node that hands `from` on under the name of another's result.
fn identity(node: &pb::NodeProto, from: &str) -> pb::NodeProto {
    let (input, op_type) = (vec![from.to_string()], Some("Identity".to_string()));
    pb::NodeProto { input, op_type, attribute: vec![], ..node.clone() }
}

/// A value that is one number everywhere.
struct Number {
    value: f64,
    /// Its rank, where it has one element: beside more, what it meets may grow in shape.
    rank: Option<usize>,
}

struct Search<'a> {
    source: &'a SourceModel,
    graph: &'a pb::GraphProto,
    /// Who reads a name, and at which input.
    readers: HashMap<&'a str, Vec<(usize, usize)>>,
    producers: HashMap<&'a str, &'a pb::NodeProto>,
    outputs: HashSet<&'a str>,
}

impl<'a> Search<'a> {
    fn new(source: &'a SourceModel, graph: &'a pb::GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        let mut producers = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            for (i, name) in node.input.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
                readers.entry(name).or_default().push((index, i));
            }
            producers.extend(node.output.iter().map(|o| (o.as_str(), node)));
        }
        Search { source, graph, readers, producers, outputs: graph.output.iter().map(|o| o.name()).collect() }
    }

    /// The one node that reads the first result of node `index`.
    fn reader(&self, index: usize) -> Option<(usize, usize, &'a pb::NodeProto)> {
        let name = self.graph.node.get(index)?.output.first()?.as_str();
        let [(reader, at)] = self.readers.get(name)?[..] else { return None };
        let node = self.graph.node.get(reader).filter(|n| is_standard(n.domain()))?;
        (!self.outputs.contains(name)).then_some((reader, at, node))
    }

    /// The number that a value is everywhere.
    fn number(&self, name: &str) -> Option<Number> {
        let (mut name, mut shaped) = (name, false);
        let known = |tensor: &pb::TensorProto, shaped: bool| {
            let numbers = self.source.tensor(tensor).ok()?.to_f64().ok()?;
            let value = everywhere(&numbers)?;
            Some(Number { value, rank: Some(tensor.dims.len()).filter(|_| !shaped && numbers.len() == 1) })
        };
        // A way back through nodes that change no numbers; it ends, for nodes stand in order.
        loop {
            let Some(node) = self.producers.get(name) else {
                return known(self.graph.initializer.iter().find(|t| t.name() == name)?, shaped);
            };
            match node.op_type() {
                "Constant" => {
                    return node.attribute.iter().find_map(|a| match a.name() {
                        "value" => known(a.t.as_ref()?, shaped),
                        "value_float" => Some(Number { value: a.f().into(), rank: Some(0).filter(|_| !shaped) }),
                        _ => None,
                    });
                }
                "ConstantOfShape" => {
                    let Some(value) = node.attribute.iter().find(|a| a.name() == "value") else {
                        return Some(Number { value: 0.0, rank: None });
                    };
                    return known(value.t.as_ref()?, true);
                }
                "Identity" => {}
                "Cast" if float(node) => {}
                "Expand" | "Reshape" | "Unsqueeze" | "Squeeze" => shaped = true,
                _ => return None,
            }
            name = node.input.first()?;
        }
    }

    /// Where the noise of the random node goes.
    fn noise(&self, index: usize, node: &pb::NodeProto) -> Option<Noise> {
        let attributes = Attributes::new(node).ok()?;
        let (mut makers, mut at) = (vec![index], index);
        // The share that stays, and the highest rank of the numbers on the way.
        let (mut share, mut rank) = (None, 0_usize);
        let like = if node.op_type() == "RandomUniform" {
            Like::Sizes(attributes.ints("shape").ok()??.to_vec())
        } else {
            Like::Value(node.input.first()?.clone())
        };
        if node.op_type() == "Bernoulli" {
            // Of a computed share nobody can say what its mean is.
            share = Some(self.number(node.input.first()?)?.value);
        } else {
            let bound = |name: &str, usual: f32| attributes.float(name).ok().map(|v| v.unwrap_or(usual));
            if bound("low", 0.0)? != 0.0 || bound("high", 1.0)? != 1.0 {
                return None;
            }
        }
        let mut scaled = false;
        let (product, of) = loop {
            let (next, input, node) = self.reader(at)?;
            let other = || node.input.get(1_usize.checked_sub(input)?).map(String::as_str);
            match (node.op_type(), share) {
                ("Identity", _) => {}
                // Integers are none of the numbers between 0 and 1, and zeros and ones as they are, but not once they are divided.
                ("Cast", None) if float(node) => {}
                ("Cast", Some(_)) if !scaled || float(node) => {}
                ("CastLike", Some(_)) if !scaled && input == 0 => {}
                ("Not", Some(p)) => share = Some(1.0 - p),
                ("Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual", None) => {
                    let p = self.number(other()?)?;
                    rank = rank.max(p.rank?);
                    share = Some(if node.op_type().starts_with("Less") == (input == 0) { p.value } else { 1.0 - p.value });
                }
                ("Div" | "Mul", Some(p)) => match self.number(other()?) {
                    Some(by) if !scaled && scales(node.op_type(), input, by.value, p) => {
                        rank = rank.max(by.rank?);
                        scaled = true;
                    }
                    None if node.op_type() == "Mul" => break (next, other()?.to_string()),
                    _ => return None,
                },
                _ => return None,
            }
            makers.push(next);
            at = next;
        };
        let share = share.filter(|p| *p > 0.0 && *p <= 1.0)?;
        let behind = if scaled {
            None
        } else {
            let (next, input, node) = self.reader(product)?;
            let by = self.number(node.input.get(1_usize.checked_sub(input)?)?)?;
            rank = rank.max(by.rank?);
            Some(next).filter(|_| scales(node.op_type(), input, by.value, share))
        };
        // A share in float32 is told as somebody would have written it.
        let ratio = ((1.0 - share) * 1e6).round() / 1e6;
        (scaled || behind.is_some()).then_some(Noise { product, of, like, ratio: ratio as f32, rank, makers, scaled: behind })
    }
}

/// Whether a node casts to floating point, which changes numbers by roundings only.
fn float(node: &pb::NodeProto) -> bool {
    use pb::tensor_proto::DataType::{Bfloat16, Double, Float, Float16};
    let to = node.attribute.iter().find(|a| a.name() == "to").map(|a| a.i());
    node.op_type() == "Cast" && [Float, Float16, Double, Bfloat16].iter().any(|&t| to == Some(i64::from(t as i32)))
}

/// Whether a node brings zeros and ones of the mean `share`, its input `input`, to the mean 1.
fn scales(op: &str, input: usize, by: f64, share: f64) -> bool {
    let mean = match op {
        "Div" if input == 0 => share / by,
        "Mul" => share * by,
        _ => return false,
    };
    (mean - 1.0).abs() < NEAR
}

/// The number that all of these are.
fn everywhere(numbers: &[f64]) -> Option<f64> {
    numbers.first().copied().filter(|first| numbers.iter().all(|n| n == first))
}
