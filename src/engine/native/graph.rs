//! A model's graph while native operators are put in.

use crate::ir::Domain;
use crate::onnx::pb::{self, AttributeProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Nodes by name of their values, with what is known of shapes.
pub struct Editor {
    pub nodes: Vec<NodeProto>,
    pub outputs: HashSet<String>,
    /// Sizes of graph inputs, constants and images; -1 where a size is not known.
    shapes: HashMap<String, Vec<i64>>,
    floats: HashSet<String>,
    /// Values that are float32 images `[N, C, H, W]`.
    images: HashSet<String>,
    ints: HashMap<String, Vec<i64>>,
}

impl Editor {
    pub fn new(graph: &mut pb::GraphProto) -> Editor {
        let mut editor = Editor {
            nodes: std::mem::take(&mut graph.node),
            outputs: graph.output.iter().map(|o| o.name().to_string()).collect(),
            shapes: HashMap::new(),
            floats: HashSet::new(),
            images: HashSet::new(),
            ints: HashMap::new(),
        };
        for tensor in &graph.initializer {
            editor.constant(tensor.name(), tensor);
        }
        for i in 0..editor.nodes.len() {
            let node = editor.nodes[i].clone();
            if let ("", "Constant", Some(tensor)) = (node.domain(), node.op_type(), attribute(&node, "value").and_then(|a| a.t.as_ref())) {
                editor.constant(&node.output[0], tensor);
            }
        }
        for input in &graph.input {
            let Some(pb::type_proto::Value::TensorType(ty)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else { continue };
            let Some(shape) = &ty.shape else { continue };
            let dims: Vec<i64> = shape
                .dim
                .iter()
                .map(|d| match d.value {
                    Some(pb::tensor_shape_proto::dimension::Value::DimValue(n)) => n,
                    _ => -1,
                })
                .collect();
            if ty.elem_type() == pb::tensor_proto::DataType::Float as i32 {
                editor.floats.insert(input.name().into());
                if dims.len() == 4 {
                    editor.images.insert(input.name().into());
                }
            }
            editor.shapes.insert(input.name().into(), dims);
        }
        editor
    }

    fn constant(&mut self, name: &str, tensor: &pb::TensorProto) {
        self.shapes.insert(name.into(), tensor.dims.clone());
        if tensor.data_type() == pb::tensor_proto::DataType::Float as i32 {
            self.floats.insert(name.into());
        }
        if tensor.data_type() == pb::tensor_proto::DataType::Int64 as i32
            && let Ok(values) = crate::onnx::tensor(tensor, std::path::Path::new("")).and_then(|t| Ok(t.to_i64()?))
        {
            self.ints.insert(name.into(), values);
        }
    }

    pub fn shape(&self, value: &str) -> Option<&[i64]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// Whether a graph input or constant is float32.
    pub fn is_float(&self, value: &str) -> bool {
        self.floats.contains(value)
    }

    pub fn is_image(&self, value: &str) -> bool {
        self.images.contains(value)
    }

    /// Notes that a value is a float32 image, with its sizes where they are known.
    pub fn add_image(&mut self, value: &str, shape: Option<Vec<i64>>) {
        self.images.insert(value.into());
        if let Some(shape) = shape {
            self.shapes.insert(value.into(), shape);
        }
    }

    /// A constant of a single element.
    pub fn is_number(&self, value: &str) -> bool {
        self.is_float(value) && self.shape(value).is_some_and(|s| s.len() <= 4 && s.iter().all(|&d| d == 1))
    }

    pub fn int_constant(&self, value: &str) -> Option<&[i64]> {
        self.ints.get(value).map(Vec::as_slice)
    }

    pub fn int(&self, node: &NodeProto, name: &str, default: i64) -> i64 {
        attribute(node, name).and_then(|a| a.i).unwrap_or(default)
    }

    pub fn ints<'a>(&self, node: &'a NodeProto, name: &str) -> &'a [i64] {
        attribute(node, name).map_or(&[], |a| &a.ints)
    }

    pub fn string<'a>(&self, node: &'a NodeProto, name: &str) -> &'a str {
        attribute(node, name).and_then(|a| a.s.as_deref()).and_then(|s| std::str::from_utf8(s).ok()).unwrap_or_default()
    }

    /// Which node computes a value, by index.
    pub fn producers(&self) -> HashMap<String, usize> {
        self.nodes.iter().enumerate().flat_map(|(i, n)| n.output.iter().filter(|o| !o.is_empty()).map(move |o| (o.clone(), i))).collect()
    }

    /// How often a value is read, by nodes and as an output of the graph.
    pub fn uses(&self) -> HashMap<String, usize> {
        let mut uses: HashMap<String, usize> = HashMap::new();
        for value in self.nodes.iter().flat_map(|n| &n.input).chain(&self.outputs) {
            *uses.entry(value.clone()).or_default() += 1;
        }
        uses
    }

    /// Brings the nodes into an order in which every value is computed before it is read, as close to theirs as can be.
    pub fn sort(&mut self) {
        let producers = self.producers();
        let mut placed = vec![false; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for root in 0..self.nodes.len() {
            let mut stack = vec![root];
            while let Some(&at) = stack.last() {
                if placed[at] {
                    stack.pop();
                    continue;
                }
                let missing = self.nodes[at].input.iter().filter_map(|i| producers.get(i)).find(|&&p| !placed[p] && !stack.contains(&p));
                match missing {
                    Some(&p) => stack.push(p),
                    None => {
                        placed[at] = true;
                        order.push(at);
                        stack.pop();
                    }
                }
            }
        }
        let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    }
}

pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name() == name)
}

/// Whether the node calls a function of ours, whatever the number behind its name.
pub fn calls(node: &NodeProto, function: &str) -> bool {
    node.domain() == Domain::Function.name() && crate::operator::Function::base_name(node.op_type()) == function
}

/// Whether the node is a native operator of that name.
pub fn is_native(node: &NodeProto, name: &str) -> bool {
    node.domain() == super::ops::DOMAIN && node.op_type() == name
}

/// Whether the node is ONNX's operator of that name.
pub fn is_standard(node: &NodeProto, name: &str) -> bool {
    node.domain().is_empty() && node.op_type() == name
}
