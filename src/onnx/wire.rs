//! What a file of protobuf becomes in memory, counted before anything is decoded: there a message of two bytes has some hundred, and one with
//! nothing in it is legal, any number of times.

use super::pb;
use crate::error::Error;
use bytes::Bytes;
use prost::Message;
use std::fmt;
use std::path::Path;

/// The most messages and repeated texts. Networks have 4 to 12 for each node.
const MOST: usize = 1 << 19;
/// The most bytes of all of them as they are decoded, without what they hold.
const MOST_BYTES: usize = 256 << 20;

/// Why a model is not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// It has more parts than are read; it may be whole.
    TooMany(String),
    /// It is no protobuf, or no model.
    Damaged(String),
}

impl DecodeError {
    /// Of the file at `path`, of which `damaged` is said where it is that.
    pub(crate) fn at(&self, path: &Path, damaged: &str) -> Error {
        Error::model(match self {
            DecodeError::TooMany(why) => format!("{}: {why}", path.display()),
            DecodeError::Damaged(why) => format!("{} {damaged}: {why}", path.display()),
        })
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooMany(why) | DecodeError::Damaged(why) => f.write_str(why),
        }
    }
}
/// What is nested deeper is refused when it is decoded.
const DEEPEST: usize = 100;

/// A kind of message; or a text, of which a field has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    SparseTensor,
    Info,
    Type,
    TensorType,
    Sequence,
    Map,
    Optional,
    SparseType,
    Shape,
    Dimension,
    Annotation,
    OperatorSet,
    Entry,
    Text,
}

/// The fields that hold messages, or several texts: of what, its number, what.
#[rustfmt::skip]
const FIELDS: [(Kind, u64, Kind); 58] = {
    use Kind::*;
    [
        (Model, 7, Graph), (Model, 8, OperatorSet), (Model, 14, Entry), (Model, 20, Training), (Model, 25, Function),
        (Training, 1, Graph), (Training, 2, Graph), (Training, 3, Entry), (Training, 4, Entry),
        (Function, 4, Text), (Function, 5, Text), (Function, 6, Text), (Function, 7, Node), (Function, 9, OperatorSet),
        (Function, 11, Attribute), (Function, 12, Info), (Function, 14, Entry),
        (Graph, 1, Node), (Graph, 5, Tensor), (Graph, 11, Info), (Graph, 12, Info), (Graph, 13, Info), (Graph, 14, Annotation),
        (Graph, 15, SparseTensor), (Graph, 16, Entry),
        (Node, 1, Text), (Node, 2, Text), (Node, 5, Attribute), (Node, 9, Entry),
        (Attribute, 5, Tensor), (Attribute, 6, Graph), (Attribute, 9, Text), (Attribute, 10, Tensor), (Attribute, 11, Graph),
        (Attribute, 14, Type), (Attribute, 15, Type), (Attribute, 22, SparseTensor), (Attribute, 23, SparseTensor),
        (Tensor, 3, Segment), (Tensor, 6, Text), (Tensor, 13, Entry), (Tensor, 16, Entry),
        (SparseTensor, 1, Tensor), (SparseTensor, 2, Tensor),
        (Info, 2, Type), (Info, 4, Entry),
        (Type, 1, TensorType), (Type, 4, Sequence), (Type, 5, Map), (Type, 8, SparseType), (Type, 9, Optional),
        (TensorType, 2, Shape), (Sequence, 1, Type), (Map, 2, Type), (Optional, 1, Type), (SparseType, 2, Shape),
        (Shape, 1, Dimension),
        (Annotation, 2, Entry),
    ]
};

impl Kind {
    /// Bytes of one as it is decoded.
    fn size(self) -> usize {
        use pb::type_proto as types;
        match self {
            Kind::Model => size_of::<pb::ModelProto>(),
            Kind::Training => size_of::<pb::TrainingInfoProto>(),
            Kind::Function => size_of::<pb::FunctionProto>(),
            Kind::Graph => size_of::<pb::GraphProto>(),
            Kind::Node => size_of::<pb::NodeProto>(),
            Kind::Attribute => size_of::<pb::AttributeProto>(),
            Kind::Tensor => size_of::<pb::TensorProto>(),
            Kind::Segment => size_of::<pb::tensor_proto::Segment>(),
            Kind::SparseTensor => size_of::<pb::SparseTensorProto>(),
            Kind::Info => size_of::<pb::ValueInfoProto>(),
            Kind::Type => size_of::<pb::TypeProto>(),
            Kind::TensorType => size_of::<types::Tensor>(),
            Kind::Sequence => size_of::<types::Sequence>(),
            Kind::Map => size_of::<types::Map>(),
            Kind::Optional => size_of::<types::Optional>(),
            Kind::SparseType => size_of::<types::SparseTensor>(),
            Kind::Shape => size_of::<pb::TensorShapeProto>(),
            Kind::Dimension => size_of::<pb::tensor_shape_proto::Dimension>(),
            Kind::Annotation => size_of::<pb::TensorAnnotation>(),
            Kind::OperatorSet => size_of::<pb::OperatorSetIdProto>(),
            Kind::Entry => size_of::<pb::StringStringEntryProto>(),
            Kind::Text => size_of::<String>(),
        }
    }

    /// What its field of that number holds.
    fn field(self, number: u64) -> Option<Kind> {
        FIELDS.iter().find(|(of, field, _)| *of == self && *field == number).map(|(.., kind)| *kind)
    }
}

/// Decodes a model. Every `raw_data` is a slice of `data`, not a copy.
pub fn decode(data: Bytes) -> Result<pb::ModelProto, DecodeError> {
    count(&data).map_err(DecodeError::TooMany)?;
    // Decoding from `Bytes` is what makes slices: prost asks the buffer for its parts.
    pb::ModelProto::decode(data).map_err(|e| DecodeError::Damaged(e.to_string()))
}

/// Fails where there are more messages than any network has. What is no protobuf is left to the decoder.
fn count(data: &[u8]) -> Result<(), String> {
    let (mut messages, mut bytes) = (0usize, 0usize);
    // What is left of the messages that are open, outermost first.
    let mut open = vec![(Kind::Model, data)];
    while let Some((kind, rest)) = open.last_mut() {
        let kind = *kind;
        let Some((number, content)) = next(rest) else {
            open.pop();
            continue;
        };
        let Some((inner, content)) = content.and_then(|content| Some((kind.field(number)?, content))) else { continue };
        messages = messages.saturating_add(1);
        bytes = bytes.saturating_add(inner.size());
        let parts = "parts (nodes, attributes, tensors, names)";
        if messages > MOST {
            return Err(format!("it has more {parts} than any network: at most {MOST} are read"));
        }
        if bytes > MOST_BYTES {
            return Err(format!("it has more {parts} than any network: at most {} MB of them are read", MOST_BYTES >> 20));
        }
        if inner != Kind::Text && open.len() < DEEPEST {
            open.push((inner, content));
        }
    }
    Ok(())
}

/// The next field's number, and its content where that has a length; `rest` is what follows. `None` at the end, and where it is no protobuf.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let mut skip = |bytes: usize| rest.split_at_checked(bytes).map(|(content, behind)| (*rest = behind, content).1);
    let content = match key & 7 {
        0 => varint(rest).map(|_| None)?,
        1 => skip(8).map(|_| None)?,
        5 => skip(4).map(|_| None)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (content, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            Some(content)
        }
        // The bounds of a group, which no version of ONNX has.
        3 | 4 => None,
        _ => return None,
    };
    Some((key >> 3, content))
}

/// A number of seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..10u32 {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(place.saturating_mul(7)).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut data = vec![];
        prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut data);
        prost::encoding::encode_varint(content.len() as u64, &mut data);
        data.extend(content);
        data
    }

    #[test]
    fn every_field_that_holds_messages_or_texts_is_known() {
        let source = include_str!("pb.rs");
        let is =
            |line: &&str| line.contains("prost(message") || line.contains("prost(string, repeated") || line.contains("\"vec\", repeated");
        assert_eq!(source.lines().filter(is).count(), FIELDS.len());
        assert!((1..FIELDS.len()).all(|at| !FIELDS[..at].iter().any(|f| (f.0, f.1) == (FIELDS[at].0, FIELDS[at].1))));
    }

    /// Any number of empty messages, wherever they may stand.
    #[test]
    fn bombs_are_refused_before_they_are_decoded() {
        let chains: [&[u8]; 12] = [
            &[8],
            &[14],
            &[25],
            &[7, 1],
            &[7, 5],
            &[7, 11],
            &[7, 1, 1],
            &[7, 1, 5],
            &[7, 5, 6],
            &[7, 1, 5, 6, 1],
            &[25, 4],
            &[7, 12, 2, 1, 2, 1],
        ];
        for chain in chains {
            let (last, outer) = chain.split_last().unwrap();
            let bomb = outer.iter().rev().fold(field(*last, b"").repeat(MOST + 1), |inner, number| field(*number, &inner));
            assert!(matches!(decode(bomb.into()), Err(DecodeError::TooMany(_))), "{chain:?}");
        }
        // Each limit is told; attributes are large.
        assert!(count(&field(7, &field(1, b"").repeat(MOST + 1))).unwrap_err().contains("at most 524288"));
        let many = field(5, b"").repeat(MOST_BYTES / size_of::<pb::AttributeProto>() + 1);
        assert!(matches!(decode(field(7, &field(1, &many)).into()), Err(DecodeError::TooMany(why)) if why.contains("256 MB")));
    }

    #[test]
    fn what_networks_have_is_read() {
        let node = |i: usize| pb::NodeProto { input: vec![i.to_string()], output: vec![(i + 1).to_string()], ..Default::default() };
        let graph = pb::GraphProto { node: (0..100_000).map(node).collect(), ..Default::default() };
        let model = pb::ModelProto { graph: Some(graph), ..Default::default() };
        assert_eq!(decode(model.encode_to_vec().into()).unwrap(), model);
        // Numbers, fields that nobody knows, groups, and what breaks off.
        let own = std::fs::read("tests/fixtures/external.onnx").unwrap();
        for end in 0..own.len().min(3000) {
            assert!(count(&own[..end]).is_ok());
        }
        assert!(count(&[0xff; 100]).is_ok() && count(&[7 << 3 | 2, 0xff, 0xff, 0xff, 0x7f]).is_ok());
        assert!(count(&[15 << 3 | 3].repeat(1000)).is_ok());
    }
}
