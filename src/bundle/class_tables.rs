//! Class names that a model's own nodes hold: what gives each image's class a name, or a number of its own, reads them behind the scores.

use crate::import::decided;
use crate::onnx::{is_standard, pb, tensor};
use crate::operator::{Facts, Meaning};
use crate::ops::table;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Names of classes by label, in a node or a constant that it reads.
pub(super) struct Table {
    pub names: Vec<String>,
    /// The node, for people.
    pub place: String,
    /// Whether they are words. Numbers of classes stand for names only where there are no words.
    pub words: bool,
}

/// What a model's nodes call the classes of one of its outputs.
pub(super) struct Tables {
    pub found: Vec<Table>,
    /// Why what they call them cannot be read.
    pub unread: Option<String>,
}

/// The domain of ONNX's operators for classical models.
const ML: &str = "ai.onnx.ml";

/// Whether an operator's result has a number for each class, in the classes' order, where what it reads does.
fn keeps_classes(facts: Facts) -> bool {
    facts.elementwise || facts.view || facts.keeps_classes
}

/// Whether an operator's result has some of the labels that it reads, as they are.
fn picks(facts: Facts) -> bool {
    facts.moves || facts.view || facts.meaning == Meaning::Conversion
}

/// What the nodes of `graph` call the classes whose scores are the value `output`.
pub(super) fn find(graph: &pb::GraphProto, output: &str) -> Tables {
    let model = Graph::of(graph);
    let scores: HashSet<&str> = model.scores(output).collect();
    let behind = |name| model.scores(name).any(|value| scores.contains(value));
    let (mut found, mut named) = (vec![], HashSet::new());
    for node in &graph.node {
        let Some((labels, table)) = model.table(node) else { continue };
        let read = match labels {
            Labels::Scores(scores) => behind(scores),
            Labels::Label(label) => model.scores_of(label).is_some_and(behind),
        };
        if let Some(table) = table.filter(|_| read) {
            let words = matches!(table, Held::Words(_));
            named.extend(node.output.iter().map(String::as_str).filter(|_| words));
            found.extend(table.into_table(node));
        }
    }
    let mut texts = graph.output.iter().filter(|port| holds_texts(port)).map(|port| port.name());
    let unread = texts.find(|text| {
        let by = decided(graph, text);
        by.iter().any(|value| scores.contains(value.as_str())) && !by.iter().any(|value| named.contains(value.as_str()))
    });
    let unread = unread.map(|text| format!("its output `{text}` names them in a way that spgraph does not read"));
    Tables { found, unread }
}

/// What a node takes names by.
enum Labels<'a> {
    Scores(&'a str),
    Label(&'a str),
}

/// Names by label as a node holds them.
enum Held {
    Words(Vec<String>),
    Numbers(Vec<i64>),
}

impl Held {
    /// Numbers that count the classes, and those that several share, name none.
    fn into_table(self, node: &pb::NodeProto) -> Option<Table> {
        let place =
            format!("node `{}` ({})", node.name.as_deref().or(node.output.first().map(String::as_str)).unwrap_or_default(), node.op_type());
        match self {
            Held::Words(names) => Some(Table { names, place, words: true }),
            Held::Numbers(numbers) => {
                let counts = numbers.iter().zip(0i64..).all(|(&n, label)| n == label);
                let own = numbers.iter().collect::<HashSet<_>>().len() == numbers.len();
                (own && !counts).then(|| Table { names: numbers.iter().map(i64::to_string).collect(), place, words: false })
            }
        }
    }
}

/// A graph's nodes and constants by the values that they give.
struct Graph<'a> {
    makers: HashMap<&'a str, &'a pb::NodeProto>,
    constants: HashMap<&'a str, &'a pb::TensorProto>,
}

impl<'a> Graph<'a> {
    fn of(graph: &'a pb::GraphProto) -> Graph<'a> {
        let makers = graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
        let stored = graph.initializer.iter().map(|t| (t.name(), t));
        let constants = graph.node.iter().filter(|n| n.op_type() == "Constant");
        let constants = constants.filter_map(|n| Some((n.output.first()?.as_str(), n.attribute.iter().find_map(|a| a.t.as_ref())?)));
        Graph { makers, constants: stored.chain(constants).collect() }
    }

    fn is_constant(&self, name: &str) -> bool {
        let maker = self.makers.get(name);
        name.is_empty() || self.constants.contains_key(name) || maker.is_some_and(|n| n.op_type() == "Constant")
    }

    /// What the node that gives a value reads besides constants, where it is of an operator of that kind.
    fn read_by(&self, name: &str, of: fn(Facts) -> bool) -> Option<impl Iterator<Item = &'a str>> {
        let node = self.makers.get(name).copied().filter(|n| is_standard(n.domain()))?;
        let known = table::find(node.op_type()).is_some_and(|operator| of(operator.facts()));
        known.then(|| node.input.iter().map(String::as_str).filter(|input| !self.is_constant(input)))
    }

    /// A value and those before it that have a number for each class as well, by operands that are no constants.
    fn scores(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let before = move |name: &&'a str| self.read_by(name, keeps_classes)?.next();
        // A damaged file may have a circle.
        std::iter::successors(Some(name), before).take(self.makers.len().saturating_add(1))
    }

    /// The scores of which `label` says the highest.
    fn scores_of(&self, label: &'a str) -> Option<&'a str> {
        // Labels beside other ones may be those of other scores.
        let before = |name: &&'a str| {
            let mut read = self.read_by(name, picks)?;
            read.next().filter(|_| read.next().is_none())
        };
        let label = std::iter::successors(Some(label), before).take(self.makers.len().saturating_add(1)).last()?;
        let node = self.makers.get(label).filter(|n| is_standard(n.domain()))?;
        let place = node.output.iter().position(|o| o == label)?;
        matches!((node.op_type(), place), ("ArgMax", 0) | ("TopK", 1)).then(|| node.input.first().map(String::as_str)).flatten()
    }

    /// By what the node takes names or numbers of classes, and which, where it does.
    fn table(&self, node: &'a pb::NodeProto) -> Option<(Labels<'a>, Option<Held>)> {
        let input = |i: usize| node.input.get(i).map(String::as_str);
        match (node.domain(), node.op_type()) {
            (ML, "ZipMap") => {
                let words = strings(node, "classlabels_strings").map(Held::Words);
                Some((Labels::Scores(input(0)?), words.or_else(|| Some(Held::Numbers(ints(node, "classlabels_int64s")?)))))
            }
            (ML, "LabelEncoder") => Some((Labels::Label(input(0)?), encoded(node))),
            (ML, "ArrayFeatureExtractor") => Some((Labels::Label(input(1)?), self.held(input(0)?))),
            (domain, "Gather") if is_standard(domain) => Some((Labels::Label(input(1)?), self.held(input(0)?))),
            _ => None,
        }
    }

    /// Names in a constant: one for each entry.
    fn held(&self, name: &str) -> Option<Held> {
        let long = |t: &&&pb::TensorProto| t.dims.iter().filter(|&&d| d != 1).count() <= 1;
        match self.constants.get(name).filter(long) {
            Some(held) => entries(held),
            None => {
                let node = self.makers.get(name).filter(|n| n.op_type() == "Constant")?;
                strings(node, "value_strings").map(Held::Words).or_else(|| Some(Held::Numbers(ints(node, "value_ints")?)))
            }
        }
    }
}

/// Texts or whole numbers of a tensor.
fn entries(held: &pb::TensorProto) -> Option<Held> {
    match held.data_type() {
        t if t == pb::tensor_proto::DataType::String as i32 => {
            let word = |bytes: &Vec<u8>| String::from_utf8(bytes.to_vec()).ok();
            held.string_data.iter().map(word).collect::<Option<_>>().map(Held::Words)
        }
        t if t == pb::tensor_proto::DataType::Int64 as i32 || t == pb::tensor_proto::DataType::Int32 as i32 => {
            let numbers = tensor(held, Path::new("")).ok()?.to_f64().ok()?;
            // Larger ones are no whole numbers by then.
            numbers.iter().all(|n| n.abs() < 2f64.powi(53)).then(|| Held::Numbers(numbers.into_iter().map(|n| n as i64).collect()))
        }
        _ => None,
    }
}

/// What a LabelEncoder makes of labels, where each has a name.
fn encoded(node: &pb::NodeProto) -> Option<Held> {
    // Its first version.
    if let Some(words) = strings(node, "classes_strings") {
        return Some(Held::Words(words));
    }
    let inner = |name: &str| node.attribute.iter().find(|a| a.name() == name)?.t.as_ref().and_then(entries);
    let keys = match ints(node, "keys_int64s").map(Held::Numbers).or_else(|| inner("keys_tensor"))? {
        Held::Numbers(keys) => keys,
        Held::Words(_) => return None,
    };
    let values = strings(node, "values_strings").map(Held::Words);
    let values = values.or_else(|| ints(node, "values_int64s").map(Held::Numbers)).or_else(|| inner("values_tensor"))?;
    match values {
        Held::Words(words) => by_label(&keys, words).map(Held::Words),
        Held::Numbers(numbers) => by_label(&keys, numbers).map(Held::Numbers),
    }
}

/// The values in the order of their keys, where these count from 0.
fn by_label<T>(keys: &[i64], values: Vec<T>) -> Option<Vec<T>> {
    let mut pairs: Vec<(i64, T)> = keys.iter().copied().zip(values).collect();
    pairs.sort_by_key(|(key, _)| *key);
    let whole = pairs.len() == keys.len() && pairs.iter().zip(0i64..).all(|((key, _), label)| *key == label);
    whole.then(|| pairs.into_iter().map(|(_, value)| value).collect())
}

fn strings(node: &pb::NodeProto, name: &str) -> Option<Vec<String>> {
    let held = &node.attribute.iter().find(|a| a.name() == name)?.strings;
    let words: Option<Vec<String>> = held.iter().map(|bytes| String::from_utf8(bytes.to_vec()).ok()).collect();
    words.filter(|words| !words.is_empty())
}

fn ints(node: &pb::NodeProto, name: &str) -> Option<Vec<i64>> {
    node.attribute.iter().find(|a| a.name() == name).map(|a| a.ints.clone()).filter(|ints| !ints.is_empty())
}

/// Whether an output has texts, or tables of them.
fn holds_texts(port: &pb::ValueInfoProto) -> bool {
    use pb::type_proto::Value;
    let text = pb::tensor_proto::DataType::String as i32;
    let inner = |ty: &pb::TypeProto| match &ty.value {
        Some(Value::TensorType(t)) => t.elem_type() == text,
        Some(Value::MapType(map)) => map.key_type() == text,
        _ => false,
    };
    match port.r#type.as_ref().map(|ty| (ty, &ty.value)) {
        Some((_, Some(Value::SequenceType(sequence)))) => sequence.elem_type.as_deref().is_some_and(inner),
        Some((ty, _)) => inner(ty),
        None => false,
    }
}
