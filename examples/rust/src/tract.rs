//! Trains a bundle of `spgraph rewrite --for tract` on tract, without spgraph: `on-tract BUNDLE BATCHES STEPS RATE WEIGHTS`.

use spgraph_rust_example::{Failure, Task, ended, graph, name};
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::prelude::*;

fn main() -> std::process::ExitCode {
    ended(train())
}

fn train() -> Result<(), Failure> {
    let task = Task::of_arguments()?;
    let (init, step) = (Graph::open(&graph(&task.bundle, "init"))?, Graph::open(&graph(&task.bundle, "step"))?);
    task.belongs(step.manifest.as_deref())?;
    let mut current = init.run(HashMap::new())?;
    for k in 0..task.steps {
        let (images, labels) = task.batch(k);
        let mut feeds = HashMap::from([
            (task.image.0.clone(), Tensor::from_shape(&task.image.1, &images)?),
            (task.label.0.clone(), Tensor::from_shape(&task.label.1, &labels)?),
        ]);
        feeds.extend(task.scalars.iter().map(|(name, value)| (name.clone(), tensor0(*value))));
        for s in &task.state {
            feeds.insert(name(&s["input"])?, current.remove(&name(&s["name"])?).ok_or("init.onnx lacks a tensor of the manifest")?);
        }
        let mut outputs = step.run(feeds)?;
        for s in &task.state {
            current.insert(name(&s["name"])?, outputs.remove(&name(&s["output"])?).ok_or("step.onnx lacks an output of the manifest")?);
        }
        task.say(k, outputs[&task.loss].cast_to_scalar::<f32>()?)?;
    }
    task.write(|name| Ok(current[name].try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// A graph with the names of its ports.
struct Graph {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// The bundle's manifest, in the metadata of a step.
    manifest: Option<String>,
}

impl Graph {
    fn open(path: &Path) -> Result<Graph, Failure> {
        let failed = |e: TractError| format!("tract cannot run {}: {e:#}", path.display());
        let proto = tract_onnx::onnx().proto_model_for_path(path).map_err(failed)?;
        let graph = proto.graph.as_ref().ok_or("no graph")?;
        let named = |ports: &[tract_onnx::pb::ValueInfoProto]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let (inputs, outputs) = (named(&graph.input), named(&graph.output));
        let manifest = proto.metadata_props.iter().find(|p| p.key == "spgraph.manifest").map(|p| p.value.clone());
        let plan = tract_onnx::onnx().model_for_path(path).and_then(|m| m.into_optimized()?.into_runnable());
        Ok(Graph { plan: plan.map_err(failed)?, inputs, outputs, manifest })
    }

    fn run(&self, mut feeds: HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>, Failure> {
        let given = self.inputs.iter().map(|n| Ok(feeds.remove(n).ok_or_else(|| format!("no value for `{n}`"))?.into_tvalue()));
        let found = self.plan.run(given.collect::<Result<TVec<TValue>, Failure>>()?)?;
        Ok(self.outputs.iter().cloned().zip(found.into_iter().map(TValue::into_tensor)).collect())
    }
}
