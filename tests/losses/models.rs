//! Small networks whose end is put together node by node.

use super::shared::{Random, engine};
use spgraph::artifact::make_bundle;
use spgraph::bundle::{Bundle, Options, start_state};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{self, attributes as a, pb, to_proto};
use std::path::Path;

/// Scores for each image.
pub const CLASSES: usize = 5;

/// A network on images `x`, [N, 1, 2, 3], under construction. Its classifier gives `z`, [N, 5], from `features`, [N, 5].
pub struct Net {
    pub nodes: Vec<pb::NodeProto>,
    pub initializers: Vec<pb::TensorProto>,
    /// Names with dimensions; 0 is the batch.
    pub outputs: Vec<(String, Vec<i64>)>,
    pub opset: i64,
    count: usize,
}

impl Net {
    pub fn new() -> Net {
        let mut net = Net { nodes: vec![], initializers: vec![], outputs: vec![], opset: 17, count: 0 };
        net.node("Flatten", &["x"], "flat", vec![]);
        net.linear("flat", "hidden", 6, CLASSES, 1);
        net.node("Relu", &["hidden"], "features", vec![]);
        net.linear("features", "z", CLASSES, CLASSES, 2);
        net
    }

    pub fn linear(&mut self, from: &str, to: &str, inputs: usize, outputs: usize, seed: u64) {
        let mut random = Random::new(seed);
        let mut floats = |n: usize| random.list(n, -1.0, 1.0).into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        let weight = Tensor::from_f32(&[inputs, outputs], &floats(inputs * outputs));
        let bias = Tensor::from_f32(&[outputs], &floats(outputs));
        self.initializers.push(to_proto(format!("{to}.weight"), &weight));
        self.initializers.push(to_proto(format!("{to}.bias"), &bias));
        self.node("Gemm", &[from, &format!("{to}.weight"), &format!("{to}.bias")], to, vec![]);
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<pb::AttributeProto>) {
        self.nodes.push(pb::NodeProto {
            name: Some(format!("/{output}/{op}")),
            op_type: Some(op.into()),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.into()],
            attribute,
            ..Default::default()
        });
    }

    /// Adds a node behind `from` under a name of its own, with further constant inputs.
    pub fn then(&mut self, from: &str, op: &str, attribute: Vec<pb::AttributeProto>, further: &[Tensor]) -> String {
        self.count += 1;
        let name = format!("t{}", self.count);
        let mut inputs = vec![from.to_string()];
        for (i, tensor) in further.iter().enumerate() {
            let constant = format!("{name}.{i}");
            self.initializers.push(to_proto(&constant, tensor));
            inputs.push(constant);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node(op, &inputs, &name, attribute);
        name
    }

    /// Adds a node behind two values.
    pub fn both(&mut self, op: &str, one: &str, other: &str) -> String {
        self.count += 1;
        let name = format!("t{}", self.count);
        self.node(op, &[one, other], &name, vec![]);
        name
    }

    pub fn output(&mut self, name: &str, shape: &[i64]) -> &mut Net {
        self.outputs.push((name.into(), shape.to_vec()));
        self
    }

    pub fn write(&self, path: &Path) {
        let info = |name: &str, dims: &[i64], double: bool| {
            use pb::tensor_shape_proto::{Dimension, dimension::Value};
            let dim = |&d: &i64| Dimension {
                value: Some(if d == 0 { Value::DimParam("batch".into()) } else { Value::DimValue(d) }),
                ..Default::default()
            };
            let tensor = pb::type_proto::Tensor {
                elem_type: Some(if double { 11 } else { 1 }),
                shape: Some(pb::TensorShapeProto { dim: dims.iter().map(dim).collect() }),
            };
            pb::ValueInfoProto {
                name: Some(name.into()),
                r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
                ..Default::default()
            }
        };
        let double = |name: &str| self.nodes.iter().any(|n| n.output[0] == name && is_double(n));
        let model = pb::ModelProto {
            ir_version: Some(8),
            opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            producer_name: Some("test".into()),
            graph: Some(pb::GraphProto {
                name: Some("net".into()),
                node: self.nodes.clone(),
                initializer: self.initializers.clone(),
                input: vec![info("x", &[0, 1, 2, 3], false)],
                output: self.outputs.iter().map(|(name, dims)| info(name, dims, double(name))).collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        onnx::write(path, &model).unwrap();
    }
}

fn is_double(node: &pb::NodeProto) -> bool {
    node.op_type() == "Cast" && node.attribute.iter().any(|a| a.i() == DType::F64.onnx() as i64)
}

pub fn int(name: &str, value: i64) -> pb::AttributeProto {
    a::attr_int(name, value)
}

pub fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    a::attr_ints(name, values.to_vec())
}

pub fn list(values: &[i64]) -> Tensor {
    Tensor::from_i64(&[values.len()], values)
}

/// Images that are the same in every test.
pub fn images(count: usize) -> Tensor {
    let values: Vec<f32> = Random::new(3).list(count * 6, -2.0, 2.0).into_iter().map(|v| v as f32).collect();
    Tensor::from_f32(&[count, 1, 2, 3], &values)
}

/// Every number that one step of the network gives, by name: measures and the next state. Or why there is no bundle.
pub fn step(net: &Net, options: &Options) -> Result<Vec<(String, Vec<f64>)>, String> {
    let work = tempfile::tempdir().unwrap();
    let (model, dir) = (work.path().join("net.onnx"), work.path().join("bundle"));
    net.write(&model);
    make_bundle(&model, &dir, options, false).map_err(|e| e.to_string())?;
    let bundle = Bundle::open(&dir).unwrap();
    let m = &bundle.manifest;
    let mut session = engine(EngineChoice::Tract).load(&bundle.step()).unwrap();
    let images = images(4);
    let target = Tensor::from_i64(&[4], &[0, 1, -1, 1]);
    let state = start_state(&bundle).unwrap();
    let scalars: Vec<Tensor> = m.scalars.iter().map(|s| Tensor::from_floats(DType::F32, &[], &[s.default])).collect();
    let mut feeds: Vec<(&str, &Tensor)> = vec![(&m.data.input.name, &images), (&m.data.target.name, &target)];
    feeds.extend(m.scalars.iter().zip(&scalars).map(|(s, t)| (s.name.as_str(), t)));
    feeds.extend(m.state.iter().zip(&state).map(|(s, t)| (s.input.as_str(), t)));
    let results = session.run(&feeds).unwrap();
    let names = session.signature().outputs.iter().map(|p| p.name.clone());
    Ok(names.zip(results).map(|(name, tensor)| (name, tensor.to_f64().unwrap())).collect())
}
