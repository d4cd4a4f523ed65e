//! The inverse of [`model`](super::model): a model that spgraph emitted as a typed graph again.
//!
//! Types are inferred by the operator table, bodies of functions stay bodies, weights share the bytes that were read.

use super::opset::{OPSETS, from_opset, opset_of};
use super::{PRODUCER, nodes};
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, DType, Dim, Domain, Graph, Node, TensorType, ValueId};
use crate::onnx::pb::attribute_proto::AttributeType;
use crate::onnx::{ExternalData, ModelFile, pb, tensor_with};
use crate::operator::{Function, Known, OPSET, View, fold};
use crate::ops::table;
use std::collections::HashMap;
use std::sync::Arc;

/// Whether spgraph wrote the model, so that [`read`] understands it.
pub fn is_emitted(model: &pb::ModelProto) -> bool {
    model.producer_name() == PRODUCER && opset_of(model).is_some_and(|opset| OPSETS.contains(&opset))
}

/// The graph of an emitted model. `batch` takes the place of the symbol `N`, where it is given.
///
/// Fails where the model says what spgraph never writes: an operator that the table does not know, a value that nothing computes, a
/// declared type that is not the computed one.
pub fn read(file: &ModelFile, batch: Option<usize>) -> Result<Graph> {
    let failed = |why: String| {
        Error::model(format!("{} is not as spgraph writes models: {why}. Run `spgraph rewrite` again to make it anew", file.path.display()))
    };
    let said_here;
    let proto = if opset_of(&file.proto) == Some(OPSET) {
        &file.proto
    } else {
        let mut proto = file.proto.clone();
        from_opset(&mut proto).map_err(failed)?;
        said_here = proto;
        &said_here
    };
    let functions = proto.functions.iter().map(|f| ((f.domain(), f.name()), f)).collect();
    let mut reader = Reader { functions, bodies: HashMap::new(), external: &file.external, batch };
    file.graph()?;
    let graph = proto.graph.as_ref().ok_or_else(|| failed("it has no graph".into()))?;
    reader.graph(graph).map_err(failed)
}

type Rule<T> = std::result::Result<T, String>;

struct Reader<'a> {
    functions: HashMap<(&'a str, &'a str), &'a pb::FunctionProto>,
    /// Bodies so far, by domain and name of the function and the types of what it is called on.
    bodies: HashMap<(&'a str, &'a str, Vec<TensorType>), Arc<Graph>>,
    external: &'a ExternalData,
    batch: Option<usize>,
}

/// A graph in the making, with its values by name.
struct Scope<'a> {
    graph: Graph,
    values: HashMap<&'a str, ValueId>,
}

impl<'a> Scope<'a> {
    fn get(&self, name: &str) -> Rule<ValueId> {
        self.values.get(name).copied().ok_or_else(|| format!("`{name}` is read and computed nowhere before"))
    }
}

impl<'a> Reader<'a> {
    fn graph(&mut self, proto: &'a pb::GraphProto) -> Rule<Graph> {
        let mut scope = Scope { graph: Graph::new(proto.name()), values: HashMap::new() };
        for info in &proto.input {
            let ty = self.declared(info)?;
            scope.values.insert(info.name(), scope.graph.input_as(info.name(), ty));
        }
        for initializer in &proto.initializer {
            let tensor = tensor_with(initializer, self.external).map_err(|e| e.to_string())?;
            scope.values.insert(initializer.name(), scope.graph.constant_as(initializer.name(), tensor));
        }
        for node in &proto.node {
            self.node(&mut scope, node)?;
        }
        for info in &proto.output {
            let (id, ty) = (scope.get(info.name())?, self.declared(info)?);
            if *scope.graph.ty(id) != ty {
                return Err(format!("its output `{}` is declared as {ty} and computed as {}", info.name(), scope.graph.ty(id)));
            }
            scope.graph.outputs.push(id);
        }
        Ok(scope.graph)
    }

    fn declared(&self, info: &pb::ValueInfoProto) -> Rule<TensorType> {
        use pb::tensor_shape_proto::dimension::Value;
        let dim = |d: &pb::tensor_shape_proto::Dimension| match &d.value {
            Some(Value::DimValue(n)) => usize::try_from(*n).ok().map(Dim::Known),
            Some(Value::DimParam(symbol)) => {
                let factor = symbol.strip_suffix('N')?;
                let factor = if factor.is_empty() { 1 } else { factor.parse().ok()? };
                self.batch.map_or(Some(Dim::Batch(factor)), |batch| Some(Dim::Known(batch.checked_mul(factor)?)))
            }
            None => None,
        };
        let declared = || {
            let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
            let shape = t.shape.as_ref()?.dim.iter().map(dim).collect::<Option<_>>()?;
            Some(TensorType { dtype: DType::from_onnx(t.elem_type())?, shape })
        };
        declared().ok_or_else(|| format!("`{}` has no tensor type of known dimensions", info.name()))
    }

    fn node(&mut self, scope: &mut Scope<'a>, proto: &'a pb::NodeProto) -> Rule<()> {
        let here = |why: String| format!("node `{}` ({}): {why}", proto.name(), proto.op_type());
        let inputs = proto.input.iter().map(|name| if name.is_empty() { Ok(None) } else { scope.get(name).map(Some) });
        let inputs = inputs.collect::<Rule<Vec<_>>>().map_err(here)?;
        let attrs = self.attributes(proto).map_err(here)?;
        let domain =
            Domain::from_name(proto.domain()).ok_or_else(|| here(format!("its domain `{}` is none of spgraph's", proto.domain())))?;
        let mut node = Node { domain, ..Node::new(proto.name(), proto.op_type(), inputs, attrs) };
        let mut known = None;
        let types = match domain {
            Domain::Onnx => {
                let operator = table::find(&node.op_type).ok_or_else(|| here("spgraph does not know this operator".into()))?;
                let view = View { graph: &scope.graph, node: &node };
                let types = operator.infer(&view).map_err(here)?;
                known = fold::evaluate(operator, &view, &types);
                types
            }
            Domain::Function | Domain::Alternative => {
                let body = self.body(&scope.graph, proto, &node).map_err(here)?;
                node.op_type = Function::base_name(proto.op_type()).into();
                let types = body.outputs.iter().map(|&o| body.ty(o).clone()).collect();
                node.body = Some(body);
                types
            }
            Domain::Native => return Err(here("a file holds no native operators".into())),
        };
        if types.len() != proto.output.len() {
            return Err(here(format!("it has {} outputs, where {} belong", proto.output.len(), types.len())));
        }
        let ids = scope.graph.node_as(node, proto.output.iter().cloned().zip(types).collect());
        if let (Some(known), Some(&first)) = (known, ids.first()) {
            // For the shapes that depend on it.
            let value = scope.graph.value_mut(first);
            match known {
                Known::Tensor(tensor) => value.constant = Some(tensor),
                Known::Elems(elems) => value.elems = Some(elems),
            }
        }
        scope.values.extend(proto.output.iter().map(String::as_str).zip(ids));
        Ok(())
    }

    /// The body of the function that `node` calls, for the types that it is called on.
    fn body(&mut self, graph: &Graph, proto: &'a pb::NodeProto, node: &Node) -> Rule<Arc<Graph>> {
        let types = node.inputs.iter().map(|i| i.map(|v| graph.ty(v).clone())).collect::<Option<Vec<_>>>();
        let key = (proto.domain(), proto.op_type(), types.ok_or("a function is called without one of its inputs")?);
        if let Some(body) = self.bodies.get(&key) {
            return Ok(body.clone());
        }
        let function = *self.functions.get(&(key.0, key.1)).ok_or("there is no function of that name")?;
        if function.input.len() != key.2.len() {
            return Err(format!("it has {} inputs, and the function {}", key.2.len(), function.input.len()));
        }
        let mut scope = Scope { graph: Graph::new(Function::base_name(function.name())), values: HashMap::new() };
        for (name, ty) in function.input.iter().zip(&key.2) {
            scope.values.insert(name, scope.graph.input_as(name, ty.clone()));
        }
        let (constants, rest) = function.node.split_at(nodes::constants_of(function));
        for constant in constants {
            let attrs = self.attributes(constant)?;
            let (Some(Attr::Tensor(tensor)), [name]) = (attrs.get("value"), &constant.output[..]) else {
                return Err(format!("the constant `{}` holds no tensor", constant.name()));
            };
            scope.values.insert(name, scope.graph.constant_as(name, tensor.clone()));
        }
        for node in rest {
            self.node(&mut scope, node)?;
        }
        scope.graph.outputs = function.output.iter().map(|name| scope.get(name)).collect::<Rule<_>>()?;
        let body = Arc::new(scope.graph);
        self.bodies.insert(key, body.clone());
        Ok(body)
    }

    fn attributes(&self, node: &pb::NodeProto) -> Rule<Attrs> {
        let read = |a: &pb::AttributeProto| -> Rule<(String, Attr)> {
            let value = match (a.r#type(), &a.t) {
                _ if !a.ref_attr_name().is_empty() => return Err(format!("the attribute `{}` refers to the function's", a.name())),
                (AttributeType::Int, _) => Attr::Int(a.i()),
                (AttributeType::Float, _) => Attr::Float(a.f()),
                (AttributeType::String, _) => Attr::String(String::from_utf8(a.s().to_vec()).map_err(|e| e.to_string())?),
                (AttributeType::Ints, _) => Attr::Ints(a.ints.clone()),
                (AttributeType::Floats, _) => Attr::Floats(a.floats.clone()),
                (AttributeType::Tensor, Some(tensor)) => Attr::Tensor(tensor_with(tensor, self.external).map_err(|e| e.to_string())?),
                (kind, _) => return Err(format!("the attribute `{}` is of the type {}", a.name(), kind.as_str_name())),
            };
            Ok((a.name().to_string(), value))
        };
        node.attribute.iter().map(read).collect()
    }
}
