//! Weights of another floating-point type than the layers that use them. A constant that is moved at most before it is converted is read in the type
//! that it is converted to: it is trained in that type, and written back in the one that the file has for it (`onnx::half::narrowed`).

use crate::error::Result;
use crate::ir::DType;
use crate::onnx::{SourceModel, is_standard, pb, to_proto};
use std::collections::HashMap;

/// Operators whose first input keeps its numbers, in another place at most.
const MOVERS: [&str; 6] = ["Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// The model with such constants in the type of their conversion; `None` where it has none.
pub(super) fn resolved(source: &SourceModel) -> Result<Option<pb::ModelProto>> {
    let wanted = wanted(source.graph()?);
    let to = |name: &str, tensor: &pb::TensorProto| {
        // A single number is a formula's.
        let own = DType::from_onnx(tensor.data_type()).filter(|d| is_full(d) && tensor.dims.iter().any(|&n| n > 1))?;
        wanted.get(name).copied().flatten().filter(|dtype| *dtype != own)
    };
    let mut model = None;
    let graph = source.graph()?;
    for (index, tensor) in graph.initializer.iter().enumerate() {
        let Some(dtype) = to(tensor.name(), tensor) else { continue };
        let read = to_proto(tensor.name(), &source.tensor(tensor)?.cast(dtype)?);
        let copy = model.get_or_insert_with(|| source.proto.clone()).graph.as_mut();
        copy.and_then(|g| g.initializer.get_mut(index)).into_iter().for_each(|t| t.clone_from(&read));
    }
    for (index, node) in graph.node.iter().enumerate().filter(|(_, n)| n.op_type() == "Constant" && is_standard(n.domain())) {
        for (at, attribute) in node.attribute.iter().enumerate() {
            let (Some(tensor), Some(name)) = (&attribute.t, node.output.first()) else { continue };
            let Some(dtype) = to(name, tensor) else { continue };
            let read = to_proto("", &source.tensor(tensor)?.cast(dtype)?);
            let copy = model.get_or_insert_with(|| source.proto.clone()).graph.as_mut();
            let place = copy.and_then(|g| g.node.get_mut(index)).and_then(|n| n.attribute.get_mut(at));
            place.into_iter().for_each(|a| a.t = Some(read.clone()));
        }
    }
    Ok(model)
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
            op if MOVERS.contains(&op) => moved(),
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
