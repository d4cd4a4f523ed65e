//! Nodes and parameters with the names that torch's exporter gives them.

use super::init::{Init, Parameter, draw};
use crate::error::Result;
use crate::ir::DType;
use crate::onnx::attributes::{attr_float, attr_int, attr_ints};
use crate::onnx::declaration::{declaration, size, symbol};
use crate::onnx::{pb, to_proto};

/// A square convolution; it is padded such that a stride of 1 keeps the size.
pub(super) struct ConvSpec {
    pub kernel: usize,
    pub stride: usize,
}

/// Collects a graph from input to output.
#[derive(Default)]
pub(super) struct Builder {
    pub nodes: Vec<pb::NodeProto>,
    pub parameters: Vec<Parameter>,
}

/// `layer1.0.downsample.1` → `/layer1/layer1.0/downsample/downsample.1`: a number belongs to the list before it, and the
/// exporter names both.
fn scope(module: &str) -> String {
    let mut out = String::new();
    let mut parts = module.split('.').filter(|p| !p.is_empty()).peekable();
    while let Some(part) = parts.next() {
        out.push_str(&format!("/{part}"));
        if let Some(index) = parts.next_if(|p| p.bytes().all(|b| b.is_ascii_digit())) {
            out.push_str(&format!("/{part}.{index}"));
        }
    }
    out
}

impl Builder {
    /// Adds a node with one output; the value's name.
    fn node(&mut self, module: &str, op: &str, inputs: Vec<String>, attribute: Vec<pb::AttributeProto>) -> String {
        let name = format!("{}/{op}", scope(module));
        let output = format!("{name}_output_0");
        self.nodes.push(pb::NodeProto {
            input: inputs,
            output: vec![output.clone()],
            name: Some(name),
            op_type: Some(op.into()),
            attribute,
            ..Default::default()
        });
        output
    }

    fn parameter(&mut self, name: String, shape: &[usize], init: Init) -> String {
        self.parameters.push(Parameter { name: name.clone(), shape: shape.to_vec(), init });
        name
    }

    /// Convolution without bias and BatchNormalization in its inference form, under `path`.
    pub fn conv_bn(&mut self, names: [&str; 2], path: &str, x: String, from: usize, to: usize, shape: ConvSpec) -> String {
        let [conv, bn] = names.map(|n| format!("{path}{n}"));
        let ConvSpec { kernel, stride } = shape;
        let (k, pad) = (kernel as i64, (kernel / 2) as i64);
        let init = Init::Normal { deviation: (2.0 / (to * kernel * kernel) as f64).sqrt() };
        let weight = self.parameter(format!("{conv}.weight"), &[to, from, kernel, kernel], init);
        let attributes = vec![
            attr_ints("dilations", [1, 1]),
            attr_int("group", 1),
            attr_ints("kernel_shape", [k, k]),
            attr_ints("pads", [pad; 4]),
            attr_ints("strides", [stride as i64; 2]),
        ];
        let y = self.node(&conv, "Conv", vec![x, weight], attributes);

        let mut inputs = vec![y];
        for (name, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            inputs.push(self.parameter(format!("{bn}.{name}"), &[to], Init::Constant(value)));
        }
        // ONNX's momentum is the share that the old statistics keep, PyTorch's 0.1 that of the new ones.
        let attributes = vec![attr_float("epsilon", 1e-5), attr_float("momentum", 0.9), attr_int("training_mode", 0)];
        self.node(&bn, "BatchNormalization", inputs, attributes)
    }

    pub fn relu(&mut self, module: &str, x: String) -> String {
        self.node(module, "Relu", vec![x], vec![])
    }

    pub fn add(&mut self, module: &str, x: String, y: String) -> String {
        self.node(module, "Add", vec![x, y], vec![])
    }

    /// 3×3 with stride 2.
    pub fn max_pool(&mut self, module: &str, x: String) -> String {
        let attributes = vec![
            attr_int("ceil_mode", 0),
            attr_ints("dilations", [1, 1]),
            attr_ints("kernel_shape", [3, 3]),
            attr_ints("pads", [1, 1, 1, 1]),
            attr_ints("strides", [2, 2]),
        ];
        self.node(module, "MaxPool", vec![x], attributes)
    }

    pub fn global_average_pool(&mut self, module: &str, x: String) -> String {
        self.node(module, "GlobalAveragePool", vec![x], vec![])
    }

    pub fn flatten(&mut self, x: String) -> String {
        self.node("", "Flatten", vec![x], vec![attr_int("axis", 1)])
    }

    /// PyTorch's `Linear`, whose value is called `output`.
    pub fn linear(&mut self, module: &str, x: String, output: &str, from: usize, to: usize) {
        let init = Init::Uniform { bound: 1.0 / (from as f64).sqrt() };
        let weight = self.parameter(format!("{module}.weight"), &[to, from], init);
        let bias = self.parameter(format!("{module}.bias"), &[to], init);
        let attributes = vec![attr_float("alpha", 1.0), attr_float("beta", 1.0), attr_int("transB", 1)];
        self.node(module, "Gemm", vec![x, weight, bias], attributes);
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![output.into()];
        }
    }

    /// The model from `input` [N, …] to `logits` [N, classes].
    pub fn finish(self, input: [usize; 3], classes: usize, seed: u64, metadata: &[(&str, String)]) -> Result<pb::ModelProto> {
        let initializer = draw(&self.parameters, seed)?;
        let initializer = self.parameters.iter().zip(&initializer).map(|(p, t)| to_proto(&p.name, t)).collect();
        let property = |(k, v): &(&str, String)| pb::StringStringEntryProto { key: Some((*k).into()), value: Some(v.clone()) };
        Ok(pb::ModelProto {
            ir_version: Some(8),
            producer_name: Some("spgraph".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
            graph: Some(pb::GraphProto {
                name: Some("main_graph".into()),
                node: self.nodes,
                initializer,
                input: vec![value("input", &input)],
                output: vec![value("logits", &[classes])],
                ..Default::default()
            }),
            metadata_props: metadata.iter().map(property).collect(),
            ..Default::default()
        })
    }
}

/// A float32 value of shape [N, dims…].
fn value(name: &str, dims: &[usize]) -> pb::ValueInfoProto {
    declaration(name, DType::F32, std::iter::once(symbol("N")).chain(dims.iter().map(|&n| size(Some(n)))))
}

#[cfg(test)]
mod tests {
    use super::scope;

    #[test]
    fn scopes_are_torch_s() {
        for (module, expected) in [
            ("", ""),
            ("conv1", "/conv1"),
            ("layer1.0.", "/layer1/layer1.0"),
            ("layer1.10.conv2", "/layer1/layer1.10/conv2"),
            ("layer2.0.downsample.1", "/layer2/layer2.0/downsample/downsample.1"),
        ] {
            assert_eq!(scope(module), expected);
        }
    }
}
