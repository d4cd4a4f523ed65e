//! What a graph takes and gives, and the checks that every runtime makes before it runs: a name, type or shape that
//! does not fit is an error in the same words, whichever runtime is behind it.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::onnx::pb;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

/// One dimension as the graph declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortDim {
    /// A number.
    Known(usize),
    /// A name such as `N`: one size wherever the name stands.
    Symbol(String),
    /// Not said.
    Unknown,
}

/// A declared input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphPort {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// `None` where the graph does not even say the rank.
    pub dims: Option<Vec<PortDim>>,
}

impl GraphPort {
    /// Its shape, where every dimension is a number.
    pub(super) fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.dims.as_ref()?.iter().map(|d| if let PortDim::Known(n) = d { Some(*n) } else { None }).collect()
    }
}

impl fmt::Display for GraphPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype)?;
        let Some(dims) = &self.dims else { return f.write_str("[…]") };
        let dims: Vec<String> = dims
            .iter()
            .map(|d| match d {
                PortDim::Known(n) => n.to_string(),
                PortDim::Symbol(s) => s.clone(),
                PortDim::Unknown => "?".into(),
            })
            .collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// The inputs and outputs of one model file.
#[derive(Debug, Clone)]
pub struct Signature {
    /// How messages call the model: its path.
    pub model: String,
    /// What a call must give, in the graph's order.
    pub inputs: Vec<GraphPort>,
    /// What a call gives, in the graph's order.
    pub outputs: Vec<GraphPort>,
}

/// One state tensor of a step graph: the names of its input and of the output with its next value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePort {
    /// The graph's input with the current value.
    pub input: String,
    /// The graph's output with the next one.
    pub output: String,
}

/// Where a step's state stands among the inputs and outputs, in the order of the `StatePort`s.
#[derive(Debug, Clone)]
pub(super) struct StateMap {
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Inputs that are fed anew with every step.
    pub fed: Vec<usize>,
    /// Outputs that are no state.
    pub plain: Vec<usize>,
}

/// Number `at` of a list, which those who know the list ask for.
pub(super) fn nth<T>(list: &[T], at: usize) -> Result<&T> {
    list.get(at).ok_or_else(|| Error::internal(format!("number {at} of {} inputs or outputs was asked for", list.len())))
}

impl Signature {
    /// Names of the inputs, in order.
    pub fn input_names(&self) -> Vec<&str> {
        self.inputs.iter().map(|p| p.name.as_str()).collect()
    }

    /// Names of the outputs, in order.
    pub fn output_names(&self) -> Vec<&str> {
        self.outputs.iter().map(|p| p.name.as_str()).collect()
    }

    /// Out of the model's protobuf. The runtimes' own accounts of it are not enough: ONNX Runtime's cannot tell a scalar from a
    /// value of undeclared rank, and it does not check bound inputs against their declared rank. An input with an initializer is a
    /// constant with a default, and is not fed.
    pub(super) fn from_graph(graph: &pb::GraphProto, path: &Path) -> Result<Signature> {
        let model = path.display().to_string();
        let initialized: HashSet<&str> = graph.initializer.iter().filter_map(|t| t.name.as_deref()).collect();
        let ports = |values: &[pb::ValueInfoProto]| -> Result<Vec<GraphPort>> {
            values.iter().filter(|v| !initialized.contains(v.name())).map(|v| port(v, &model)).collect()
        };
        let inputs = ports(&graph.input)?;
        let outputs = graph.output.iter().map(|v| port(v, &model)).collect::<Result<_>>()?;
        Ok(Signature { model, inputs, outputs })
    }

    /// Finds each state port and checks that `start` fits it.
    pub(super) fn state_map(&self, state: &[StatePort], start: &[Tensor]) -> Result<StateMap> {
        let model = &self.model;
        if state.len() != start.len() {
            return Err(Error::engine(format!(
                "{model} was given {} state tensors for {} state ports; there must be one start value for each port",
                start.len(),
                state.len()
            )));
        }
        let at = |ports: &[GraphPort], name: &str, what: &str| {
            ports.iter().position(|p| p.name == name).ok_or_else(|| {
                Error::engine(format!("{model} has no {what} `{name}`, which the state needs; its {what}s are {}", names(ports.iter())))
            })
        };
        let mut map = StateMap { inputs: vec![], outputs: vec![], fed: vec![], plain: vec![] };
        for (port, tensor) in state.iter().zip(start) {
            let input = at(&self.inputs, &port.input, "input")?;
            let output = at(&self.outputs, &port.output, "output")?;
            if map.inputs.contains(&input) || map.outputs.contains(&output) {
                return Err(Error::engine(format!(
                    "{model}: the state port `{}` → `{}` stands twice in the list",
                    port.input, port.output
                )));
            }
            self.check_one(nth(&self.inputs, input)?, tensor, "state input", &mut HashMap::new())?;
            self.check_one(nth(&self.outputs, output)?, tensor, "state output", &mut HashMap::new())?;
            map.inputs.push(input);
            map.outputs.push(output);
        }
        map.fed = (0..self.inputs.len()).filter(|i| !map.inputs.contains(i)).collect();
        map.plain = (0..self.outputs.len()).filter(|i| !map.outputs.contains(i)).collect();
        Ok(map)
    }

    /// Checks `feeds` against the inputs at `wanted`: each exactly once, nothing else, types and shapes as declared.
    /// Returns, for each of `wanted`, its feed.
    pub(super) fn match_feeds<'f>(&self, wanted: &[usize], feeds: &[(&'f str, &'f Tensor)]) -> Result<Vec<(&'f str, &'f Tensor)>> {
        let model = &self.model;
        let wanted = wanted.iter().map(|&i| nth(&self.inputs, i)).collect::<Result<Vec<&GraphPort>>>()?;
        let mut found: HashMap<&str, (&str, &Tensor)> = HashMap::new();
        for &(name, tensor) in feeds {
            if !wanted.iter().any(|port| port.name == name) {
                return Err(Error::engine(format!("{model} takes no input `{name}` here; it takes {}", names(wanted.into_iter()))));
            }
            if found.insert(name, (name, tensor)).is_some() {
                return Err(Error::engine(format!("{model} was given the input `{name}` twice")));
            }
        }
        let mut sizes = HashMap::new();
        wanted
            .into_iter()
            .map(|port| {
                let Some(&(name, tensor)) = found.get(port.name.as_str()) else {
                    return Err(Error::engine(format!("{model} needs the input `{}` ({port}), which was not given", port.name)));
                };
                self.check_one(port, tensor, "input", &mut sizes)?;
                Ok((name, tensor))
            })
            .collect()
    }

    /// `sizes` holds the size of each symbol met so far, with the input that fixed it.
    fn check_one<'a>(
        &self,
        port: &'a GraphPort,
        tensor: &Tensor,
        what: &str,
        sizes: &mut HashMap<&'a str, (usize, &'a str)>,
    ) -> Result<()> {
        let refuse = |why: String| {
            Err(Error::engine(format!(
                "the {what} `{}` of {} is {port}, but {}{:?} was given{why}",
                port.name,
                self.model,
                tensor.dtype(),
                tensor.shape()
            )))
        };
        if tensor.dtype() != port.dtype {
            return refuse(String::new());
        }
        let Some(dims) = &port.dims else { return Ok(()) };
        if dims.len() != tensor.shape().len() {
            return refuse(String::new());
        }
        for (dim, &size) in dims.iter().zip(tensor.shape()) {
            match dim {
                PortDim::Known(n) if *n != size => return refuse(String::new()),
                PortDim::Symbol(s) => {
                    let (before, by) = *sizes.entry(s).or_insert((size, &port.name));
                    if before != size {
                        return refuse(format!(" where {s} is {before} by the input `{by}`"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) fn graph_of<'a>(model: &'a pb::ModelProto, path: &Path) -> Result<&'a pb::GraphProto> {
    model.graph.as_ref().ok_or_else(|| Error::model(format!("{} holds no graph; it is no ONNX model, or it is damaged", path.display())))
}

fn names<'a>(ports: impl Iterator<Item = &'a GraphPort>) -> String {
    let list: Vec<String> = ports.map(|p| format!("`{}`", p.name)).collect();
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

fn port(value: &pb::ValueInfoProto, model: &str) -> Result<GraphPort> {
    let name = value.name().to_string();
    let Some(pb::type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(Error::model(format!("`{name}` of {model} is no tensor, or has no type; spgraph runs graphs of tensors only")));
    };
    let Some(dtype) = DType::from_onnx(tensor.elem_type()) else {
        return Err(Error::model(format!("`{name}` of {model} has the element type {}, which spgraph does not know", tensor.elem_type())));
    };
    let dims = tensor.shape.as_ref().map(|shape| {
        shape
            .dim
            .iter()
            .map(|d| match &d.value {
                Some(pb::tensor_shape_proto::dimension::Value::DimValue(n)) if *n >= 0 => PortDim::Known(*n as usize),
                Some(pb::tensor_shape_proto::dimension::Value::DimParam(s)) if !s.is_empty() => PortDim::Symbol(s.clone()),
                _ => PortDim::Unknown,
            })
            .collect()
    });
    Ok(GraphPort { name, dtype, dims })
}

/// One line out of a library's many: runs of white space become single spaces.
pub(super) fn one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_string()
}
