//! Whether a node is one that ONNX knows: its operator in the model's opset, with the inputs, outputs and attributes that it has there.

use crate::ir::{Graph, ValueId};
use crate::onnx::pb::{self, attribute_proto::AttributeType};
use crate::onnx::schema::{Attribute, Formal, Found, Number, Schema, find};
use crate::operator::checked::OUT_OF_RANGE;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Numbers beyond this are no sizes, axes or counts, and sums of them could overflow. Lists that say "to the end" by the largest number there is are
/// read by those who expect that.
const LARGEST: u64 = 1 << 31;

/// Attributes that say yes or no. Of other numbers than 1 and 0 runtimes make either, or nothing.
const YES_OR_NO: [&str; 23] = [
    "allowzero",
    "antialias",
    "broadcast",
    "ceil_mode",
    "count_include_pad",
    "detect_negative",
    "detect_positive",
    "exclude_outside",
    "exclusive",
    "fmod",
    "interleaved",
    "is_causal",
    "keepdims",
    "largest",
    "noop_with_empty_axes",
    "reverse",
    "select_last_index",
    "sorted",
    "storage_order",
    "training_mode",
    "transA",
    "transB",
    "upper",
];

/// Attributes that may hold any number.
const ANY_NUMBER: [&str; 4] = ["starts", "ends", "value_int", "value_ints"];

/// The operator as the opset has it.
fn schema(node: &pb::NodeProto, opset: i64) -> Result<Schema, String> {
    let op = node.op_type();
    match find(op, opset) {
        Found::Here(schema) => Ok(schema),
        Found::Later(since) => Err(format!("opset {opset}, which the model uses, does not have it: {op} came with opset {since}")),
        Found::Gone(since) => Err(format!("opset {since} took it away, and the model uses opset {opset}: export the network again")),
        Found::Never => Err("ONNX has no operator of that name".into()),
    }
}

/// Fails with what ONNX does not allow of the node's inputs, outputs and attributes.
pub(super) fn check(node: &pb::NodeProto, opset: i64, graph: &Graph, inputs: &[Option<ValueId>]) -> Result<(), String> {
    let schema = &schema(node, opset)?;
    let there: Vec<bool> = node.input.iter().map(|n| !n.is_empty()).collect();
    count("input", &there, &schema.inputs)?;
    let there: Vec<bool> = node.output.iter().map(|n| !n.is_empty()).collect();
    count("output", &there, &schema.outputs)?;
    for attribute in &node.attribute {
        known(attribute, schema)?;
    }
    if let Some(missing) = schema.attributes.iter().find(|a| a.required && !node.attribute.iter().any(|b| b.name() == a.name)) {
        return Err(format!("its attribute `{}` is missing", missing.name));
    }
    more(node, opset)?;
    lists(node, schema, graph, inputs)?;
    types(schema, graph, inputs)
}

/// That what is needed is there, and no more than can be.
fn count(what: &str, there: &[bool], formals: &[Formal]) -> Result<(), String> {
    // Names that are empty count: runtimes refuse too many of them as well.
    let used = there.len();
    let open = matches!(formals.last().map(|f| f.number), Some(Number::Many(_)));
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    if used > formals.len() && !open {
        return Err(format!("it has {used} {what}{}, and ONNX gives it {} at most", plural(used), formals.len()));
    }
    // Inputs that are left out have empty names; outputs may have them where nobody reads the result.
    let missing = |i: usize| if what == "input" { !there.get(i).copied().unwrap_or(false) } else { i >= there.len() };
    for (i, formal) in formals.iter().enumerate() {
        match formal.number {
            Number::One if missing(i) => return Err(format!("its {what} {i} (`{}`) is missing", formal.name)),
            Number::Many(least) => {
                let given = there.len().saturating_sub(i);
                if given < least {
                    return Err(format!("it has {given} {what}{}, and ONNX demands {least} or more", plural(given)));
                }
                if let Some(empty) = (i..used).find(|&j| missing(j)) {
                    return Err(format!("its {what} {empty} is missing"));
                }
            }
            Number::One | Number::Optional => {}
        }
    }
    Ok(())
}

/// That an attribute is the operator's, of its type, and holds numbers that one can compute with.
fn known(given: &pb::AttributeProto, schema: &Schema) -> Result<(), String> {
    let name = given.name();
    let Some(Attribute { kind, .. }) = schema.attributes.iter().find(|a| a.name == name) else {
        return Err(format!("its attribute `{name}` is not understood: ONNX does not have it here (opset {})", schema.since));
    };
    let declared = AttributeType::try_from(given.r#type.unwrap_or_default()).unwrap_or(AttributeType::Undefined);
    if declared != *kind && declared != AttributeType::Undefined {
        let label = |k: AttributeType| k.as_str_name().to_lowercase();
        return Err(format!("its attribute `{name}` must be of type {}, not {}", label(*kind), label(declared)));
    }
    if !ANY_NUMBER.contains(&name)
        && let Some(large) = given.ints.iter().chain(&given.i).find(|v| v.unsigned_abs() > LARGEST)
    {
        return Err(format!("its attribute `{name}` holds {large}, {OUT_OF_RANGE}"));
    }
    if YES_OR_NO.contains(&name)
        && let Some(other) = given.i.filter(|i| !(0..=1).contains(i))
    {
        return Err(format!("its attribute `{name}` is {other}, {OUT_OF_RANGE}: it must be 0 or 1"));
    }
    Ok(())
}

/// How many dimensions an input may have that is a list or a single number, by operator and ONNX's name for it: as runtimes take it, who are more
/// generous with some.
fn ranks(op: &str, input: &str) -> Option<RangeInclusive<usize>> {
    match (op, input) {
        ("Slice", "starts" | "ends" | "axes" | "steps") | ("Reshape" | "CenterCropPad", "shape") | ("Squeeze", "axes") => Some(1..=1),
        ("Tile", "repeats") | ("Pad", "pads") | ("Split", "split") => Some(1..=1),
        (op, "axes") if op.starts_with("Reduce") => Some(1..=1),
        ("Unsqueeze", "axes") | ("Clip", "min" | "max") | ("CumSum", "axis") | ("Trilu", "k") => Some(0..=1),
        ("Dropout", "ratio" | "training_mode") => Some(0..=0),
        _ => None,
    }
}

/// That lists are lists, and single numbers are.
fn lists(node: &pb::NodeProto, schema: &Schema, graph: &Graph, inputs: &[Option<ValueId>]) -> Result<(), String> {
    for (i, (formal, input)) in schema.inputs.iter().zip(inputs).enumerate() {
        let (Some(allowed), Some(id)) = (ranks(node.op_type(), formal.name), input) else { continue };
        let rank = graph.ty(*id).rank();
        let single = matches!(node.op_type(), "Clip" | "CumSum" | "Trilu" | "Dropout");
        let count = graph.ty(*id).count().and_then(|dim| dim.known());
        if single && count.is_some_and(|n| n != 1) {
            return Err(format!("its input {i} (`{}`) must be a single number", formal.name));
        }
        if !allowed.contains(&rank) {
            let wanted = if *allowed.end() == 0 { "a single number" } else { "a list of numbers" };
            let shape = match rank {
                0 => "is a single number".to_string(),
                1 => "is a list".to_string(),
                n => format!("has {n} dimensions"),
            };
            return Err(format!("its input {i} (`{}`) {shape}, and must be {wanted}", formal.name));
        }
    }
    Ok(())
}

/// What else runtimes demand of an operator.
fn more(node: &pb::NodeProto, opset: i64) -> Result<(), String> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name() == name);
    match node.op_type() {
        "BatchNormalization" => {
            let training = attribute("training_mode").is_some_and(|a| a.i() != 0);
            let demanded: &[usize] = match (opset, training) {
                (..14, _) => &[1, 5],
                (_, true) => &[3],
                (_, false) => &[1],
            };
            let n = node.output.len();
            if !demanded.contains(&n) {
                let demanded: Vec<String> = demanded.iter().map(usize::to_string).collect();
                let (plural, mode) = (if n == 1 { "" } else { "s" }, if training { " in training mode" } else { "" });
                return Err(format!("it has {n} output{plural}, and{mode} it must have {}", demanded.join(" or ")));
            }
        }
        "Conv" | "ConvTranspose" => {
            let auto = attribute("auto_pad").filter(|a| !matches!(a.s(), b"" | b"NOTSET"));
            if auto.is_some() && attribute("pads").is_some() {
                return Err("it has both `auto_pad` and `pads`, and runtimes take one of them".into());
            }
        }
        _ => {}
    }
    Ok(())
}

/// That inputs have types that the operator takes, and the same one where it wants that.
fn types(schema: &Schema, graph: &Graph, inputs: &[Option<ValueId>]) -> Result<(), String> {
    let mut bound = HashMap::new();
    for (i, input) in inputs.iter().enumerate() {
        let (Some(formal), Some(id)) = (schema.inputs.get(i).or(schema.inputs.last()), input) else { continue };
        let dtype = graph.ty(*id).dtype;
        if formal.types.as_ref().is_some_and(|t| !t.contains(&dtype)) {
            return Err(format!("its input {i} (`{}`) is {dtype}, which ONNX does not allow there (opset {})", formal.name, schema.since));
        }
        if let Some(variable) = formal.variable {
            let (first, other) = *bound.entry(variable).or_insert((i, dtype));
            if other != dtype {
                return Err(format!("its input {i} is {dtype} and its input {first} {other}; they must be of one type"));
            }
        }
    }
    Ok(())
}
