//! Trains a bundle of `spgraph rewrite --dialect inlined` on tract, without spgraph: `finetune BUNDLE BATCHES STEPS RATE WEIGHTS`.
//!
//! BATCHES has STEPS times a batch of normalised images (float32), then STEPS times its labels (int64). WEIGHTS is written as safetensors, for
//! `spgraph export BUNDLE --weights WEIGHTS -o tuned.onnx`.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::prelude::*;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, batches, steps, rate, weights] = &args[..] else {
        return Err("usage: finetune BUNDLE BATCHES STEPS RATE WEIGHTS".into());
    };
    let (bundle, steps, rate): (_, usize, f32) = (Path::new(bundle), steps.parse()?, rate.parse()?);
    let manifest: Value = serde_json::from_slice(&std::fs::read(bundle.join("manifest.json"))?)?;
    if manifest["format"] != 2 {
        return Err(format!("{} has format {}, and this program reads 2", bundle.display(), manifest["format"]).into());
    }
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let (data, state) = (&manifest["data"], list("state"));

    let (init, step) = (Graph::open(&bundle.join("init.onnx"))?, Graph::open(&bundle.join("step.onnx"))?);
    let mut current = init.run(HashMap::new())?;

    let bytes = std::fs::read(batches)?;
    let (image, label) = (shape(&data["input"]["shape"])?, shape(&data["target"]["shape"])?);
    let (pixels, labels) = (image.iter().product::<usize>() * 4, label.iter().product::<usize>() * 8);
    if bytes.len() != steps * (pixels + labels) {
        return Err(format!("{batches} has {} bytes; {steps} batches of this bundle have {}", bytes.len(), steps * (pixels + labels)).into());
    }
    for k in 0..steps {
        let place = steps * pixels + k * labels;
        // SAFETY: the bytes are as many as the shape wants, and any are numbers.
        let (images, classes) = unsafe {
            (
                Tensor::from_raw::<f32>(&image, &bytes[k * pixels..(k + 1) * pixels])?,
                Tensor::from_raw::<i64>(&label, &bytes[place..place + labels])?,
            )
        };
        let mut feeds = HashMap::from([(text(&data["input"]["name"])?, images), (text(&data["target"]["name"])?, classes)]);
        for scalar in list("scalars") {
            let value = if scalar["meaning"] == "learning-rate" { rate } else { scalar["default"].as_f64().unwrap_or(0.0) as f32 };
            feeds.insert(text(&scalar["name"])?, tensor0(value));
        }
        for s in &state {
            let value = current.remove(&text(&s["name"])?).ok_or("init.onnx lacks a tensor of the manifest")?;
            feeds.insert(text(&s["input"])?, value);
        }
        let mut outputs = step.run(feeds)?;
        for s in &state {
            current.insert(text(&s["name"])?, outputs.remove(&text(&s["output"])?).ok_or("step.onnx lacks an output of the manifest")?);
        }
        let loss = list("outputs").iter().find(|o| o["meaning"] == "loss").map(|o| text(&o["name"])).ok_or("no loss")??;
        println!("step {}  loss {:.6}", k + 1, outputs[&loss].cast_to_scalar::<f32>()?);
    }
    write(Path::new(weights), &state, &current)?;
    println!("wrote {weights}");
    Ok(())
}

/// A graph with the names of its ports.
struct Graph {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Graph {
    fn open(path: &Path) -> Result<Graph, Failure> {
        let proto = tract_onnx::onnx().proto_model_for_path(path)?;
        let graph = proto.graph.as_ref().ok_or("no graph")?;
        let named = |ports: &[tract_onnx::pb::ValueInfoProto]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let (inputs, outputs) = (named(&graph.input), named(&graph.output));
        let model = tract_onnx::onnx().model_for_path(path)?;
        Ok(Graph { plan: model.into_optimized()?.into_runnable()?, inputs, outputs })
    }

    fn run(&self, mut feeds: HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>, Failure> {
        let given = self.inputs.iter().map(|n| Ok(feeds.remove(n).ok_or_else(|| format!("no value for `{n}`"))?.into_tvalue()));
        let found = self.plan.run(given.collect::<Result<TVec<TValue>, Failure>>()?)?;
        Ok(self.outputs.iter().cloned().zip(found.into_iter().map(TValue::into_tensor)).collect())
    }
}

fn text(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or("the manifest is damaged: rewrite the model again")?.to_string())
}

fn shape(value: &Value) -> Result<Vec<usize>, Failure> {
    let sizes = value.as_array().ok_or("the manifest is damaged: rewrite the model again")?;
    let size = |v: &Value| v.as_u64().map(|n| n as usize).ok_or_else(|| "this program takes a fixed batch: rewrite with --batch N".into());
    sizes.iter().map(size).collect()
}

/// Safetensors, whole or not at all: the length of the header, the header, the tensors.
fn write(path: &Path, state: &[Value], tensors: &HashMap<String, Tensor>) -> Result<(), Failure> {
    let (mut header, mut body) = (Map::new(), vec![]);
    for s in state {
        let name = text(&s["name"])?;
        let at = body.len();
        body.extend_from_slice(tensors[&name].as_bytes());
        header.insert(name, json!({"dtype": "F32", "shape": s["shape"], "data_offsets": [at, body.len()]}));
    }
    let header = serde_json::to_vec(&header)?;
    let part = path.with_extension("part");
    std::fs::write(&part, [&(header.len() as u64).to_le_bytes()[..], &header, &body].concat())?;
    Ok(std::fs::rename(part, path)?)
}
