//! Attributes of a node: typed reading that remembers what was read, and constructors.

use super::pb::{self, attribute_proto::AttributeType};
use crate::error::{Error, Result};
use std::cell::Cell;

/// Reads a node's attributes and remembers which were read: one that nobody read would change the meaning of the node
/// unnoticed, so it has to be refused (see [`Attributes::unread`]).
#[derive(Debug)]
pub struct Attributes<'a> {
    node: &'a pb::NodeProto,
    read: Vec<Cell<bool>>,
}

/// The kinds that have a method here, with the field that holds them.
fn kind_of(attribute: &pb::AttributeProto) -> AttributeType {
    let declared = AttributeType::try_from(attribute.r#type.unwrap_or_default()).unwrap_or(AttributeType::Undefined);
    if declared != AttributeType::Undefined {
        return declared;
    }
    // Files before IR version 2 declare no type: the field that is filled tells it.
    let a = attribute;
    match () {
        _ if a.f.is_some() => AttributeType::Float,
        _ if a.i.is_some() => AttributeType::Int,
        _ if a.s.is_some() => AttributeType::String,
        _ if a.t.is_some() => AttributeType::Tensor,
        _ if a.g.is_some() => AttributeType::Graph,
        _ if !a.floats.is_empty() => AttributeType::Floats,
        _ if !a.ints.is_empty() => AttributeType::Ints,
        _ if !a.strings.is_empty() => AttributeType::Strings,
        _ => AttributeType::Undefined,
    }
}

impl<'a> Attributes<'a> {
    /// Fails where a name is missing or comes twice.
    pub fn new(node: &'a pb::NodeProto) -> Result<Self> {
        let attributes = Attributes { node, read: vec![Cell::new(false); node.attribute.len()] };
        for (i, a) in node.attribute.iter().enumerate() {
            if a.name().is_empty() {
                return Err(Error::model(format!("{} has an attribute without a name", attributes.who())));
            }
            if node.attribute.iter().take(i).any(|b| b.name() == a.name()) {
                return Err(Error::model(format!("{} has the attribute `{}` twice", attributes.who(), a.name())));
            }
        }
        Ok(attributes)
    }

    fn who(&self) -> String {
        let name = match self.node.name() {
            "" => self.node.output.first().map_or("", String::as_str),
            name => name,
        };
        format!("node `{name}` ({})", self.node.op_type())
    }

    /// The attribute `name`, which from now on counts as read.
    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'a pb::AttributeProto>> {
        let mut each = self.node.attribute.iter().zip(&self.read);
        let Some((found, read)) = each.find(|(a, _)| a.name() == name) else { return Ok(None) };
        read.set(true);
        let label = |k: AttributeType| k.as_str_name().to_lowercase();
        if !found.ref_attr_name().is_empty() {
            return Err(Error::model(format!(
                "{}: attribute `{name}` takes its value from the function around it; inline the model's functions first (onnx.inliner)",
                self.who()
            )));
        }
        match kind_of(found) {
            k if k == kind => Ok(Some(found)),
            // An empty list without a declared type.
            AttributeType::Undefined
                if matches!(kind, AttributeType::Ints | AttributeType::Floats | AttributeType::Strings) && found.r#type.is_none() =>
            {
                Ok(Some(found))
            }
            k => Err(Error::model(format!("{}: attribute `{name}` must be of type {}, not {}", self.who(), label(kind), label(k)))),
        }
    }

    fn text(&self, name: &str, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| Error::model(format!("{}: attribute `{name}` is not valid UTF-8", self.who())))
    }

    /// Whether the attribute is there. Asking does not count as reading.
    pub fn has(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|a| a.name() == name)
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        // A writer that leaves out zeros means zero.
        Ok(self.find(name, AttributeType::Int)?.map(|a| a.i()))
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.find(name, AttributeType::Float)?.map(|a| a.f()))
    }

    /// A text.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>> {
        self.find(name, AttributeType::String)?.map(|a| self.text(name, a.s.as_deref().unwrap_or_default())).transpose()
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    /// A list of numbers.
    pub fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.find(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    /// A list of texts.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        self.find(name, AttributeType::Strings)?.map(|a| a.strings.iter().map(|s| self.text(name, s)).collect()).transpose()
    }

    /// A tensor, such as the value of a `Constant`.
    pub fn tensor(&self, name: &str) -> Result<Option<&'a pb::TensorProto>> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// Names of the attributes that nobody has read so far, in the node's order.
    pub fn unread(&self) -> Vec<String> {
        let unread = self.node.attribute.iter().zip(&self.read).filter(|(_, read)| !read.get());
        unread.map(|(a, _)| a.name().to_owned()).collect()
    }
}

fn attribute(name: &str, kind: AttributeType) -> pb::AttributeProto {
    pb::AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() }
}

/// Attribute `name` of type `INT`.
pub fn attr_int(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// Attribute `name` of type `FLOAT`.
pub fn attr_float(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// Attribute `name` of type `STRING`.
pub fn attr_string(name: &str, value: impl Into<String>) -> pb::AttributeProto {
    pb::AttributeProto { s: Some(value.into().into_bytes()), ..attribute(name, AttributeType::String) }
}

/// Attribute `name` of type `INTS`.
pub fn attr_ints(name: &str, values: impl Into<Vec<i64>>) -> pb::AttributeProto {
    pb::AttributeProto { ints: values.into(), ..attribute(name, AttributeType::Ints) }
}

/// Attribute `name` of type `FLOATS`.
pub fn attr_floats(name: &str, values: impl Into<Vec<f32>>) -> pb::AttributeProto {
    pb::AttributeProto { floats: values.into(), ..attribute(name, AttributeType::Floats) }
}

/// Attribute `name` of type `TENSOR`.
pub fn attr_tensor(name: &str, value: pb::TensorProto) -> pb::AttributeProto {
    pb::AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attribute: Vec<pb::AttributeProto>) -> pb::NodeProto {
        pb::NodeProto { name: Some("n".into()), op_type: Some("Conv".into()), attribute, ..Default::default() }
    }

    #[test]
    fn every_kind_round_trips_and_counts_as_read() {
        let t = pb::TensorProto { dims: vec![3], ..Default::default() };
        let strings = pb::AttributeProto { strings: vec!["a".into(), "b".into()], ..attribute("ss", AttributeType::Strings) };
        let n = node(vec![
            attr_int("i", -3),
            attr_float("f", 0.5),
            attr_string("s", "same"),
            attr_ints("is", [1, 2]),
            attr_floats("fs", vec![1.5]),
            strings,
            attr_tensor("t", t.clone()),
            attr_ints("empty", []),
        ]);
        let a = Attributes::new(&n).unwrap();
        assert_eq!(a.unread().len(), 8);
        assert!(a.has("i") && !a.has("j"));
        assert_eq!(a.unread().len(), 8);
        assert_eq!(a.int("i").unwrap(), Some(-3));
        assert_eq!(a.unread(), ["f", "s", "is", "fs", "ss", "t", "empty"]);
        assert_eq!(a.float("f").unwrap(), Some(0.5));
        assert_eq!(a.string("s").unwrap(), Some("same"));
        assert_eq!(a.ints("is").unwrap(), Some(&[1, 2][..]));
        assert_eq!(a.floats("fs").unwrap(), Some(&[1.5][..]));
        assert_eq!(a.strings("ss").unwrap(), Some(vec!["a", "b"]));
        assert_eq!(a.tensor("t").unwrap(), Some(&t));
        assert_eq!(a.ints("empty").unwrap(), Some(&[][..]));
        assert!(a.unread().is_empty());
        assert_eq!(a.int("j").unwrap(), None);
    }

    #[test]
    fn mistakes_name_node_and_attribute() {
        let n = node(vec![attr_float("group", 1.0)]);
        let e = Attributes::new(&n).unwrap().int("group").unwrap_err().to_string();
        assert_eq!(e, "node `n` (Conv): attribute `group` must be of type int, not float");

        let n = node(vec![attr_int("group", 1), attr_int("group", 2)]);
        assert_eq!(Attributes::new(&n).unwrap_err().to_string(), "node `n` (Conv) has the attribute `group` twice");

        let n = node(vec![pb::AttributeProto { ref_attr_name: Some("g".into()), ..attr_int("group", 0) }]);
        assert!(Attributes::new(&n).unwrap().int("group").unwrap_err().to_string().contains("inline"));

        let n = node(vec![pb::AttributeProto { s: Some(vec![0xff]), ..attr_string("mode", "") }]);
        assert!(Attributes::new(&n).unwrap().string("mode").unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn undeclared_types_and_omitted_zeros_are_understood() {
        let n = node(vec![
            pb::AttributeProto { name: Some("i".into()), i: Some(0), ..Default::default() },
            pb::AttributeProto { name: Some("none".into()), ..Default::default() },
            pb::AttributeProto { i: None, ..attr_int("zero", 0) },
        ]);
        let a = Attributes::new(&n).unwrap();
        assert_eq!(a.int("i").unwrap(), Some(0));
        assert_eq!(a.ints("none").unwrap(), Some(&[][..]));
        assert!(a.int("none").is_err());
        assert_eq!(a.int("zero").unwrap(), Some(0));
    }
}
