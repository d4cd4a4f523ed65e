//! What ONNX itself says of its operators: how many inputs and outputs they have, of which types, and which attributes.
//!
//! The table is made from the `onnx` package by `tests/python/schemas.py`, which explains its lines.

use super::pb::attribute_proto::AttributeType;
use crate::ir::DType;
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("schemas.txt");

/// One operator of ONNX's own domain, as one version has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The opset that brought this version.
    pub since: i64,
    /// What it takes.
    pub inputs: Vec<Formal>,
    /// What it gives.
    pub outputs: Vec<Formal>,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Formal {
    /// ONNX's name for it.
    pub name: &'static str,
    /// How often it comes.
    pub number: Number,
    /// The variable that stands for its type, where several inputs and outputs have the same.
    pub variable: Option<&'static str>,
    /// Which element types it may have; `None` where any that spgraph knows, or none of them.
    pub types: Option<Vec<DType>>,
}

/// How often an input or output comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Once.
    One,
    /// Once, or left out.
    Optional,
    /// At least that often; the last of the list.
    Many(usize),
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: AttributeType,
    /// Whether it has to be there.
    pub required: bool,
}

/// What ONNX says of an operator's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// No opset has it.
    Never,
    /// It came with this opset only.
    Later(i64),
    /// This opset took it away.
    Gone(i64),
    /// It is there.
    Here(Schema),
}

/// The operator of ONNX's own domain as the opset has it.
pub fn find(op_type: &str, opset: i64) -> Found {
    static LINES: LazyLock<HashMap<&str, Vec<(i64, &str)>>> = LazyLock::new(|| {
        let mut lines: HashMap<&str, Vec<(i64, &str)>> = HashMap::new();
        for line in TABLE.lines() {
            let mut words = line.splitn(3, ' ');
            if let (Some(name), Some(Ok(version))) = (words.next(), words.next().map(str::parse)) {
                lines.entry(name).or_default().push((version, words.next().unwrap_or_default()));
            }
        }
        lines
    });
    let Some(versions) = LINES.get(op_type) else { return Found::Never };
    match versions.iter().rev().find(|(version, _)| *version <= opset) {
        Some((since, "")) => Found::Gone(*since),
        Some((since, line)) => Found::Here(parse(*since, line)),
        None => Found::Later(versions.first().map_or(opset, |v| v.0)),
    }
}

/// Whether a node of that operator means the same in both opsets.
pub fn same(op_type: &str, a: i64, b: i64) -> bool {
    match (find(op_type, a), find(op_type, b)) {
        (Found::Here(a), Found::Here(b)) => a.since == b.since,
        _ => a == b,
    }
}

/// The types that a list names; `None` for one that holds all of ours.
fn types(list: &str) -> Option<Vec<DType>> {
    let found: Vec<DType> = list.split(',').filter_map(DType::from_short_name).collect();
    (!found.is_empty()).then_some(found)
}

fn parse(since: i64, line: &'static str) -> Schema {
    let (mut inputs, mut outputs, mut attributes, mut variables) = (vec![], vec![], vec![], HashMap::new());
    let mut part = "";
    for word in line.split(' ') {
        match (part, word) {
            (_, "in" | "out" | "attr" | "types") => part = word,
            ("in", word) => inputs.extend(formal(word)),
            ("out", word) => outputs.extend(formal(word)),
            ("attr", word) => attributes.extend(attribute(word)),
            (_, word) => variables.extend(word.split_once('=')),
        }
    }
    for formal in inputs.iter_mut().chain(&mut outputs) {
        if let Some(list) = formal.variable.and_then(|v| variables.get(v)) {
            formal.types = types(list);
        }
    }
    Schema { since, inputs, outputs, attributes }
}

fn formal(word: &'static str) -> Option<Formal> {
    let (name, kind) = word.rsplit_once(':')?;
    let (name, number, mixed) = match name.split_once(['*', '~']) {
        Some((name, least)) => (name, Number::Many(least.parse().ok()?), word.contains('~')),
        None if name.ends_with('?') => (name.trim_end_matches('?'), Number::Optional, false),
        None => (name, Number::One, false),
    };
    // A type is written small, a variable begins with a capital letter.
    let variable = kind.starts_with(|c: char| c.is_ascii_uppercase()).then_some(kind).filter(|_| !mixed);
    Some(Formal { name, number, variable, types: types(kind) })
}

fn attribute(word: &'static str) -> Option<Attribute> {
    let (name, kind) = word.split_once('=')?;
    Some(Attribute { name: name.trim_end_matches('!'), kind: AttributeType::from_str_name(kind)?, required: name.ends_with('!') })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(op: &str, opset: i64) -> Schema {
        match find(op, opset) {
            Found::Here(schema) => schema,
            other => panic!("{op} {opset}: {other:?}"),
        }
    }

    #[test]
    fn every_line_is_understood() {
        for line in TABLE.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (name, version) = (words[0], words[1].parse().unwrap());
            if words.len() == 2 {
                assert_eq!(find(name, version), Found::Gone(version));
                continue;
            }
            let at = |mark: &str| words.iter().position(|w| *w == mark).unwrap();
            let schema = here(name, version);
            let counts = (schema.since, schema.inputs.len(), schema.outputs.len(), schema.attributes.len());
            assert_eq!(counts, (version, at("out") - at("in") - 1, at("attr") - at("out") - 1, at("types") - at("attr") - 1), "{line}");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        let axes = |opset| here("ReduceSum", opset).attributes.iter().any(|a| a.name == "axes");
        assert!(axes(12) && !axes(13) && !axes(26));
        assert_eq!((find("Gelu", 17), find("Upsample", 11), find("BatchNormTrain", 17)), (Found::Later(20), Found::Gone(10), Found::Never));
        assert!(same("Conv", 11, 17) && !same("Conv", 17, 22) && same("Frob", 17, 17) && !same("Frob", 17, 18));
    }

    #[test]
    fn formals_are_read() {
        let conv = here("Conv", 17);
        let number: Vec<Number> = conv.inputs.iter().map(|i| i.number).collect();
        assert_eq!(number, [Number::One, Number::One, Number::Optional]);
        assert_eq!(
            (conv.inputs[0].variable, conv.inputs[0].types.as_deref()),
            (Some("T"), Some(&[DType::F32, DType::F64, DType::F16][..]))
        );
        assert_eq!(here("Concat", 13).inputs[0].number, Number::Many(1));
        assert_eq!(here("Reshape", 14).inputs[1].types, Some(vec![DType::I64]));
        let mixed = here("Loop", 16).inputs;
        assert_eq!((mixed[2].number, mixed[2].variable), (Number::Many(0), None));
    }
}
