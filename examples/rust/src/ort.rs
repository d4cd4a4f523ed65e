//! Trains a bundle of `spgraph rewrite` on ONNX Runtime through the crate `ort`, without spgraph: `on-ort BUNDLE BATCHES STEPS RATE WEIGHTS`.
//!
//! `ORT_DYLIB_PATH` names ONNX Runtime's library; `THREADS` is the number of threads (all cores, where it isn't set).

use ort::environment::Environment;
use ort::session::Session;
use ort::value::{DynValue, Tensor};
use spgraph_rust_example::{Failure, Task, ended, name};
use std::collections::HashMap;
use std::path::Path;

fn main() -> std::process::ExitCode {
    ended(train())
}

fn train() -> Result<(), Failure> {
    let task = Task::of_arguments()?;
    let library = std::env::var("ORT_DYLIB_PATH").map_err(|_| "ORT_DYLIB_PATH names no library of ONNX Runtime")?;
    let environment = ort::init_from(library)?.with_name("spgraph-example").with_telemetry(false).build()?;
    // A step that has its state inside gets none at first: its inputs have defaults.
    let mut state = match &task.init {
        Some(path) => values(&mut open(&environment, path)?, vec![])?,
        None => HashMap::new(),
    };
    let mut step = open(&environment, &task.step)?;
    let mut key = "name";
    for k in 0..task.steps {
        let (images, labels) = task.batch(k);
        let mut feeds: Vec<(String, DynValue)> = vec![
            (task.image.0.clone(), Tensor::from_array((task.image.1.clone(), images))?.into_dyn()),
            (task.label.0.clone(), Tensor::from_array((task.label.1.clone(), labels))?.into_dyn()),
        ];
        for (name, value) in &task.scalars {
            feeds.push((name.clone(), Tensor::from_array(([0usize; 0], vec![*value]))?.into_dyn()));
        }
        // What a graph gave goes into the step as it is, without a copy: `init.onnx` calls it by its name, the step by its output's.
        if !state.is_empty() {
            for s in &task.state {
                let output = name(&s[key])?;
                feeds.push((name(&s["input"])?, state.remove(&output).ok_or_else(|| format!("the bundle's graphs give no `{output}`"))?));
            }
        }
        (state, key) = (values(&mut step, feeds)?, "output");
        task.say(k, state[&task.loss].try_extract_tensor::<f32>()?.1[0])?;
    }
    task.write(|s| Ok(state[&name(&s["output"])?].try_extract_tensor::<f32>()?.1.to_vec()))
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
