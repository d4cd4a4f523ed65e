//! Trains a bundle of `spgraph rewrite --for tract` on tract, without spgraph: `on-tract BUNDLE BATCHES STEPS RATE WEIGHTS`.

use spgraph_rust_example::{Failure, Task, ended, name};
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb::{TensorProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

fn main() -> std::process::ExitCode {
    ended(train())
}

fn train() -> Result<(), Failure> {
    let task = Task::of_arguments()?;
    let (step, inside) = Graph::open(&task.step)?;
    // What a graph gives, as the step's inputs: `init.onnx` calls it by its name, the step by its output's.
    let fed = |mut found: HashMap<String, Tensor>, key: &str| {
        let given = task.state.iter().map(|s| {
            let output = name(&s[key])?;
            Ok((name(&s["input"])?, found.remove(&output).ok_or_else(|| format!("the bundle's graphs give no `{output}`"))?))
        });
        given.collect::<Result<HashMap<String, Tensor>, Failure>>()
    };
    let mut state = match &task.init {
        Some(path) => fed(Graph::open(path)?.0.run(HashMap::new())?, "name")?,
        None => inside,
    };
    for k in 0..task.steps {
        let (images, labels) = task.batch(k);
        let mut feeds = state;
        feeds.insert(task.image.0.clone(), Tensor::from_shape(&task.image.1, &images)?);
        feeds.insert(task.label.0.clone(), Tensor::from_shape(&task.label.1, &labels)?);
        feeds.extend(task.scalars.iter().map(|(name, value)| (name.clone(), tensor0(*value))));
        let outputs = step.run(feeds)?;
        task.say(k, outputs[&task.loss].cast_to_scalar::<f32>()?)?;
        state = fed(outputs, "output")?;
    }
    task.write(|s| Ok(state[&name(&s["input"])?].try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// A graph with the names of its ports.
struct Graph {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Graph {
    /// A graph, and what its inputs are by default. tract would make constants of inputs with an initializer, so they lose it here.
    fn open(path: &Path) -> Result<(Graph, HashMap<String, Tensor>), Failure> {
        let failed = |e: TractError| format!("tract cannot run {}: {e:#}", path.display());
        let mut proto = tract_onnx::onnx().proto_model_for_path(path).map_err(failed)?;
        let graph = proto.graph.as_mut().ok_or("no graph")?;
        let named = |ports: &[ValueInfoProto]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let (inputs, outputs) = (named(&graph.input), named(&graph.output));
        let (inside, constants) = std::mem::take(&mut graph.initializer).into_iter().partition::<Vec<_>, _>(|t| inputs.contains(&t.name));
        graph.initializer = constants;
        let folder = path.parent().and_then(Path::to_str);
        let loaded = |t: TensorProto| Ok((t.name.clone(), load_tensor(&MmapDataResolver, &t, folder).map_err(failed)?));
        let inside = inside.into_iter().map(loaded).collect::<Result<_, Failure>>()?;
        let plan = tract_onnx::onnx().parse(&proto, folder).and_then(|p| p.model.into_optimized()?.into_runnable());
        Ok((Graph { plan: plan.map_err(failed)?, inputs, outputs }, inside))
    }

    fn run(&self, mut feeds: HashMap<String, Tensor>) -> Result<HashMap<String, Tensor>, Failure> {
        let given = self.inputs.iter().map(|n| Ok(feeds.remove(n).ok_or_else(|| format!("no value for `{n}`"))?.into_tvalue()));
        let found = self.plan.run(given.collect::<Result<TVec<TValue>, Failure>>()?)?;
        Ok(self.outputs.iter().cloned().zip(found.into_iter().map(TValue::into_tensor)).collect())
    }
}
