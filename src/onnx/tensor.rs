//! Constant tensors between ONNX's many encodings and the one of [`Tensor`].
//!
//! ONNX stores elements little-endian and so does `ir::Tensor`; the raw bytes are shared, not copied. Big-endian hosts
//! work as far as this module goes, but nothing else here has been tried on one.

use super::external::ExternalData;
use super::pb::{self, tensor_proto::DataLocation};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use bytes::Bytes;
use std::path::Path;

/// The tensor in `proto`; external data is looked for in the folder `dir`.
///
/// For many tensors use [`tensor_with`], which reads every file once.
pub fn tensor(proto: &pb::TensorProto, dir: &Path) -> Result<Tensor> {
    tensor_with(proto, &ExternalData::new(dir))
}

/// The tensor in `proto`. Data in `raw_data` and in external files is shared, not copied.
///
/// Fails, naming the tensor, for an element type that spgraph does not have (strings, complex, below 8 bits) and where
/// the data is not exactly as long as type and dimensions demand.
pub fn tensor_with(proto: &pb::TensorProto, external: &ExternalData) -> Result<Tensor> {
    let fail = |why: String| Error::model(format!("tensor `{}` {why}; export the model again or download it again", proto.name()));
    let code = proto.data_type.unwrap_or_default();
    let dtype = DType::from_onnx(code).ok_or_else(|| {
        let name = pb::tensor_proto::DataType::try_from(code).map_or_else(|_| code.to_string(), |t| t.as_str_name().to_lowercase());
        Error::model(format!("tensor `{}` has elements of type {name}, which spgraph cannot use", proto.name()))
    })?;
    let shape = proto.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| fail(format!("has a negative dimension in {:?}", proto.dims)))?;
    let bytes = possible(&shape, dtype).ok_or_else(|| fail(format!("has the impossible dimensions {shape:?}")))?;
    let needed = if shape.contains(&0) { 0 } else { bytes };
    let count = needed.checked_div(dtype.size()).unwrap_or(0);
    if proto.segment.is_some() {
        return Err(fail("is stored in segments, which nothing supports".into()));
    }

    let data = if proto.data_location == Some(DataLocation::External as i32) {
        external.slice(proto, needed)?
    } else {
        let typed = typed_length(proto);
        match &proto.raw_data {
            Some(raw) if typed == 0 || !raw.is_empty() => {
                if typed > 0 {
                    return Err(fail("stores its data twice, as bytes and as numbers".into()));
                }
                if raw.len() != needed {
                    return Err(fail(format!("({dtype}{shape:?}) needs {needed} bytes of data but has {}", raw.len())));
                }
                raw.clone()
            }
            _ => from_typed(proto, dtype, count).map_err(|why| fail(format!("({dtype}{shape:?}) {why}")))?,
        }
    };
    Tensor::new(dtype, shape, data)
}

/// The bytes of a tensor of that shape without its dimensions of 0, where they can be counted. Runtimes multiply dimensions in any order, so that a 0 among
/// them does not make the others possible.
fn possible(shape: &[usize], dtype: DType) -> Option<usize> {
    shape.iter().filter(|&&d| d != 0).try_fold(dtype.size(), |a, &b| a.checked_mul(b))
}

/// Fails, naming it, for a constant of the graph whose dimensions no machine can hold.
pub fn check_dimensions(graph: &pb::GraphProto) -> Result<()> {
    let inner = graph.node.iter().flat_map(|n| &n.attribute).filter_map(|a| a.t.as_ref());
    for t in graph.initializer.iter().chain(inner) {
        let shape = t.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
        let dtype = DType::from_onnx(t.data_type.unwrap_or_default()).unwrap_or(DType::F64);
        if !shape.is_ok_and(|shape| possible(&shape, dtype).is_some()) {
            return Err(Error::model(format!("tensor `{}` has the impossible dimensions {:?}", t.name(), t.dims)));
        }
    }
    Ok(())
}

/// Number of elements in all typed fields together.
fn typed_length(p: &pb::TensorProto) -> usize {
    let numbers = [p.float_data.len(), p.double_data.len(), p.int32_data.len(), p.int64_data.len(), p.uint64_data.len()];
    numbers.iter().fold(p.string_data.len(), |sum, n| sum.saturating_add(*n))
}

/// Elements of the typed field that belongs to the element type, as ONNX's `TensorProto` documents.
fn from_typed(p: &pb::TensorProto, dtype: DType, count: usize) -> Result<Bytes, String> {
    let (field, found) = match dtype {
        DType::F32 => ("float_data", p.float_data.len()),
        DType::F64 => ("double_data", p.double_data.len()),
        DType::I64 => ("int64_data", p.int64_data.len()),
        DType::U32 | DType::U64 => ("uint64_data", p.uint64_data.len()),
        _ => ("int32_data", p.int32_data.len()),
    };
    let all = typed_length(p);
    if found != all {
        return Err(format!("keeps its elements in another field than {field}, where its type belongs"));
    }
    if found != count {
        return Err(format!("needs {count} elements in {field} but has {found}"));
    }
    let misfit = |v: &dyn std::fmt::Display| format!("has the element {v}, which is no {dtype}");
    fn gather<T: Copy, const W: usize>(values: &[T], f: impl Fn(T) -> Result<[u8; W], String>) -> Result<Bytes, String> {
        let mut data = Vec::with_capacity(values.len().saturating_mul(W));
        for &v in values {
            data.extend_from_slice(&f(v)?);
        }
        Ok(data.into())
    }
    match dtype {
        DType::F32 => gather(&p.float_data, |v| Ok(v.to_le_bytes())),
        DType::F64 => gather(&p.double_data, |v| Ok(v.to_le_bytes())),
        DType::I64 => gather(&p.int64_data, |v| Ok(v.to_le_bytes())),
        DType::U64 => gather(&p.uint64_data, |v| Ok(v.to_le_bytes())),
        DType::U32 => gather(&p.uint64_data, |v| u32::try_from(v).map(u32::to_le_bytes).map_err(|_| misfit(&v))),
        DType::I32 => gather(&p.int32_data, |v| Ok(v.to_le_bytes())),
        DType::I16 => gather(&p.int32_data, |v| i16::try_from(v).map(i16::to_le_bytes).map_err(|_| misfit(&v))),
        DType::I8 => gather(&p.int32_data, |v| i8::try_from(v).map(i8::to_le_bytes).map_err(|_| misfit(&v))),
        DType::U8 => gather(&p.int32_data, |v| u8::try_from(v).map(u8::to_le_bytes).map_err(|_| misfit(&v))),
        // The 16-bit floats are stored as their bits.
        DType::U16 | DType::F16 | DType::BF16 => gather(&p.int32_data, |v| u16::try_from(v).map(u16::to_le_bytes).map_err(|_| misfit(&v))),
        DType::Bool => gather(&p.int32_data, |v| if v == 0 || v == 1 { Ok([v as u8]) } else { Err(misfit(&v)) }),
    }
}

/// `tensor` as ONNX, sharing its bytes.
pub fn to_proto(name: impl Into<String>, tensor: &Tensor) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        data_type: Some(tensor.dtype().onnx()),
        // A dimension beyond i64 would need more memory than exists.
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        raw_data: Some(tensor.bytes().clone()),
        ..Default::default()
    }
}

/// Replaces every external initializer of the main graph by its bytes, which are shared with `external`.
///
/// A model that is to be written elsewhere needs this: its references are relative to its old folder.
pub fn inline_external(model: &mut pb::ModelProto, external: &ExternalData) -> Result<()> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    graph.initializer.iter_mut().try_for_each(|t| inline_tensor(t, external))
}

/// Whether any tensor of the model lies in another file.
pub fn refers_to_files(model: &pb::ModelProto) -> bool {
    any_tensor(model, &|t| t.data_location() == DataLocation::External)
}

/// Whether that is so of any tensor in the model, wherever it stands.
pub(super) fn any_tensor(model: &pb::ModelProto, so: &dyn Fn(&pb::TensorProto) -> bool) -> bool {
    fn in_nodes(nodes: &[pb::NodeProto], so: &dyn Fn(&pb::TensorProto) -> bool) -> bool {
        nodes.iter().flat_map(|n| &n.attribute).any(|a| {
            a.t.iter().chain(&a.tensors).any(so)
                || a.g.iter().chain(&a.graphs).any(|g| g.initializer.iter().any(so) || in_nodes(&g.node, so))
        })
    }
    let own = model.graph.iter().any(|g| g.initializer.iter().any(so) || in_nodes(&g.node, so));
    own || model.functions.iter().any(|f| in_nodes(&f.node, so))
}

/// The content of each file that one of these tensors lies in, by the name that they give it. All are checked as by [`tensor_with`].
pub fn external_files<'a>(tensors: impl IntoIterator<Item = &'a pb::TensorProto>, external: &ExternalData) -> Result<Vec<(String, Bytes)>> {
    let mut found: Vec<(String, Bytes)> = vec![];
    for proto in tensors.into_iter().filter(|t| t.data_location() == DataLocation::External) {
        tensor_with(proto, external)?;
        let (name, data) = external.whole(proto)?;
        if !found.iter().any(|(known, _)| *known == name) {
            found.push((name, data));
        }
    }
    Ok(found)
}

/// Inlines the external data of everything but the graph's own initializers: of constants in nodes, of graphs in nodes and of functions.
pub fn inline_inner(model: &mut pb::ModelProto, external: &ExternalData) -> Result<()> {
    let functions = model.functions.iter_mut().flat_map(|f| &mut f.node);
    let nodes = model.graph.iter_mut().flat_map(|g| &mut g.node);
    nodes.chain(functions).try_for_each(|node| inline_node(node, external))
}

fn inline_node(node: &mut pb::NodeProto, external: &ExternalData) -> Result<()> {
    for attribute in &mut node.attribute {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(|t| inline_tensor(t, external))?;
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            graph.initializer.iter_mut().try_for_each(|t| inline_tensor(t, external))?;
            graph.node.iter_mut().try_for_each(|node| inline_node(node, external))?;
        }
    }
    Ok(())
}

fn inline_tensor(proto: &mut pb::TensorProto, external: &ExternalData) -> Result<()> {
    if proto.data_location() == DataLocation::External {
        proto.raw_data = Some(tensor_with(proto, external)?.bytes().clone());
        proto.external_data.clear();
        proto.data_location = None;
    }
    Ok(())
}

#[cfg(test)]
#[path = "tensor_tests.rs"]
mod tests;
