//! Trains a bundle of `spgraph rewrite` on ONNX Runtime through the crate `ort`, without spgraph: `on-ort BUNDLE BATCHES STEPS RATE WEIGHTS`.
//!
//! `ORT_DYLIB_PATH` names ONNX Runtime's library; `THREADS` is the number of threads (all cores, where it isn't set).

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{DynValue, Tensor};
use spgraph_rust_example::{Failure, Task, ended, graph, name};
use std::collections::HashMap;
use std::path::Path;

fn main() -> std::process::ExitCode {
    ended(train())
}

fn train() -> Result<(), Failure> {
    let task = Task::of_arguments()?;
    let library = std::env::var("ORT_DYLIB_PATH").map_err(|_| "ORT_DYLIB_PATH names no library of ONNX Runtime")?;
    let environment = ort::init_from(library)?.with_name("spgraph-example").with_telemetry(false).build()?;
    let (mut init, mut step) = (open(&environment, &graph(&task.bundle, "init"))?, open(&environment, &graph(&task.bundle, "step"))?);
    task.belongs(step.metadata()?.custom("spgraph.manifest").as_deref())?;
    let mut current = values(&mut init, vec![])?;
    for k in 0..task.steps {
        let (images, labels) = task.batch(k);
        let mut feeds: Vec<(String, DynValue)> = vec![
            (task.image.0.clone(), Tensor::from_array((task.image.1.clone(), images))?.into_dyn()),
            (task.label.0.clone(), Tensor::from_array((task.label.1.clone(), labels))?.into_dyn()),
        ];
        for (name, value) in &task.scalars {
            feeds.push((name.clone(), Tensor::from_array(([0usize; 0], vec![*value]))?.into_dyn()));
        }
        // What a step gave goes into the next one as it is, without a copy.
        for s in &task.state {
            feeds.push((name(&s["input"])?, current.remove(&name(&s["name"])?).ok_or("init.onnx lacks a tensor of the manifest")?));
        }
        let mut outputs = values(&mut step, feeds)?;
        for s in &task.state {
            current.insert(name(&s["name"])?, outputs.remove(&name(&s["output"])?).ok_or("step.onnx lacks an output of the manifest")?);
        }
        task.say(k, outputs[&task.loss].try_extract_tensor::<f32>()?.1[0])?;
    }
    task.write(|name| Ok(current[name].try_extract_tensor::<f32>()?.1.to_vec()))
}

fn open(environment: &Environment, path: &Path) -> Result<Session, Failure> {
    let failed = |e: &dyn std::fmt::Display| format!("ONNX Runtime cannot run {}: {e}", path.display());
    let mut builder = Session::builder(environment).map_err(|e| failed(&e))?;
    if let Ok(threads) = std::env::var("THREADS") {
        builder = builder.with_intra_threads(threads.parse()?).map_err(|e| failed(&e))?;
    }
    Ok(builder.commit_from_file(path).map_err(|e| failed(&e))?)
}

/// The outputs by name.
fn values(session: &mut Session, feeds: Vec<(String, DynValue)>) -> Result<HashMap<String, DynValue>, Failure> {
    let feeds: Vec<(String, ort::session::SessionInputValue)> = feeds.into_iter().map(|(n, v)| (n, v.into())).collect();
    Ok(session.run(feeds)?.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
