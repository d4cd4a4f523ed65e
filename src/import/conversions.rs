//! Weights of another floating-point type than the layers that use them. A constant that is moved at most before it is converted is read in the type
//! that it is converted to: it is trained in that type, and written back in the one that the file has for it (`onnx::half::narrowed`).

use crate::error::Result;
use crate::ir::DType;
use crate::onnx::{SourceModel, is_standard, pb, to_proto};
use crate::ops::table;
use std::borrow::Cow;
use std::collections::HashMap;

/// Puts such constants into the type of their conversion.
pub(super) fn resolve(source: &mut Cow<SourceModel>) -> Result<()> {
    let found = found(source)?;
    if found.is_empty() {
        return Ok(());
    }
    let Some(graph) = source.to_mut().proto.graph.as_mut() else { return Ok(()) };
    for (place, tensor) in found {
        let own = match place {
            Place::Initializer(index) => graph.initializer.get_mut(index),
            Place::Node(index, at) => graph.node.get_mut(index).and_then(|n| n.attribute.get_mut(at)?.t.as_mut()),
        };
        if let Some(own) = own {
            *own = tensor;
        }
    }
    Ok(())
}

/// Where a graph holds a constant.
enum Place {
    Initializer(usize),
    /// A Constant, and which of its attributes.
    Node(usize, usize),
}

/// The constants that are converted, in the type that they are converted to.
fn found(source: &SourceModel) -> Result<Vec<(Place, pb::TensorProto)>> {
    let graph = source.graph()?;
    let wanted = wanted(graph);
    let to = |name: &str, tensor: &pb::TensorProto| {
        // A single number is a formula's.
        let own = DType::from_onnx(tensor.data_type()).filter(|d| is_full(d) && tensor.dims.iter().any(|&n| n > 1))?;
        wanted.get(name).copied().flatten().filter(|dtype| *dtype != own)
    };
    let initializers = graph.initializer.iter().enumerate().map(|(i, t)| (Place::Initializer(i), t.name(), t));
    let constants = graph.node.iter().enumerate().filter(|(_, n)| n.op_type() == "Constant" && is_standard(n.domain()));
    let held = constants.flat_map(|(i, node)| {
        let tensors = node.attribute.iter().enumerate().filter_map(|(at, a)| Some((at, a.t.as_ref()?, node.output.first()?)));
        tensors.map(move |(at, tensor, name)| (Place::Node(i, at), name.as_str(), tensor))
    });
    let converted = initializers.chain(held).filter_map(|(place, name, tensor)| Some((place, to(name, tensor)?, tensor)));
    converted.map(|(place, dtype, tensor)| Ok((place, to_proto(tensor.name(), &source.tensor(tensor)?.cast(dtype)?)))).collect()
}

/// Types between which nothing but digits is lost; those of fewer digits are widened before.
fn is_full(dtype: &DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// The type to which all that reads a value converts it, with nothing but moves before; `None` where something else reads it.
fn wanted(graph: &pb::GraphProto) -> HashMap<&str, Option<DType>> {
    let mut wanted: HashMap<&str, Option<DType>> = graph.output.iter().map(|o| (o.name(), None)).collect();
    // Nodes come after what they need.
    for node in graph.node.iter().rev() {
        let moved = || wanted.get(node.output.first()?.as_str()).copied().flatten();
        let first = match node.op_type() {
            _ if !is_standard(node.domain()) => None,
            "Cast" => converted_to(node),
            op if table::find(op).is_some_and(|o| o.facts().keeps_elements()) => moved(),
            _ => None,
        };
        for (i, name) in node.input.iter().enumerate() {
            let own = first.filter(|_| i == 0);
            wanted.entry(name).and_modify(|known| *known = known.filter(|k| Some(*k) == own)).or_insert(own);
        }
    }
    wanted
}

fn converted_to(node: &pb::NodeProto) -> Option<DType> {
    let to = node.attribute.iter().find(|a| a.name() == "to")?.i();
    DType::from_onnx(i32::try_from(to).ok()?).filter(is_full)
}
