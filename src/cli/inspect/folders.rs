//! What a bundle or a run is, as text.

use super::commands::Commands;
use crate::cli::flags::with_flags;
use crate::cli::output::{self, percent};
use spgraph::report::{Align, BundleInspection, FileState, RunInspection, StepPrecision, Table};
use spgraph::train::Status;
use std::collections::BTreeMap;

fn files(list: &[FileState]) -> String {
    let mut table = Table::new([("file", Align::Left), ("size", Align::Right), ("", Align::Left)]);
    for f in list {
        let problem = f.problem.as_deref().unwrap_or_default().lines().next().unwrap_or_default().to_string();
        table.row([f.name.clone(), f.bytes.map_or("-".into(), output::size), problem]);
    }
    with_flags(&table.to_string())
}

/// Differences from the usual options, as a configuration file has them.
fn options(changed: &serde_json::Map<String, serde_json::Value>) -> String {
    match changed.is_empty() {
        true => "all usual".into(),
        false => changed.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join("\n            "),
    }
}

fn few(names: &[String]) -> String {
    let more = if names.len() > 6 { ", …" } else { "" };
    format!("{}{more}", names.iter().take(6).cloned().collect::<Vec<_>>().join(", "))
}

/// In which precision a step computes, where that is not float32 alone.
fn precision(found: &StepPrecision) -> String {
    let list = |operators: &BTreeMap<String, usize>| {
        let mut sorted: Vec<_> = operators.iter().collect();
        sorted.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
        let named: Vec<String> = sorted.into_iter().map(|(name, n)| format!("{name} {n}")).collect();
        (operators.values().sum::<usize>(), named.join(", "))
    };
    let ((half, halves), (float, floats)) = (list(&found.half), list(&found.float32));
    format!(
        "precision   {}: {half} operators of a step compute in half precision, {float} in float32, {} conversions\n            half        {halves}\n            \
         float32     {floats}\n",
        found.name, found.casts
    )
}

/// A bundle.
pub fn bundle(found: &BundleInspection, next: &Commands) -> String {
    let shape: Vec<String> = found.input.shape.iter().map(|d| if *d < 0 { "N".into() } else { d.to_string() }).collect();
    let state: Vec<String> = found.state.iter().map(|(role, c)| format!("{role} {} in {} tensors", c.elements, c.tensors)).collect();
    let scalars: Vec<String> = found.scalars.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let regularizers: String = found.regularizers.iter().map(|kind| format!(", {kind}")).collect();
    let classes = match (found.class_count, &found.classes[..]) {
        (Some(n), []) => n.to_string(),
        (None, []) => "unknown".into(),
        (_, names) => format!("{}: {}", names.len(), few(names)),
    };
    format!(
        "bundle      {}, made by spgraph {}\nsource      {} (opset {}, {}; SHA-256 {}…)\noptions     {}\ninput       {} {} {}\nclasses     {classes}\n\
         penalty     {} on {}{regularizers}\noptimizer   {}\nscalars     {}\n{}state       {}\n\n{}\n{}",
        found.path.display(),
        found.spgraph,
        found.source.file,
        found.source.opset,
        if found.source.producer.is_empty() { "unknown producer" } else { &found.source.producer },
        found.source.sha256.get(..12).unwrap_or_default(),
        found.options.as_ref().map_or("unknown: an older spgraph made it".into(), options),
        found.input.name,
        found.input.dtype,
        shape.join("x"),
        found.penalty.kind,
        found.penalty.parameters,
        found.optimizer,
        scalars.join(", "),
        found.precision.as_ref().map(precision).unwrap_or_default(),
        state.join("\n            "),
        files(&found.files),
        next.text(&found.verdict, "be trained")
    )
}

/// Where answers can be right.
fn accuracy(share: f64) -> String {
    if share.is_nan() { String::new() } else { format!(", accuracy {}", percent(share)) }
}

/// A run.
pub fn run(found: &RunInspection, next: &Commands) -> String {
    let status = match (found.status, found.resumable) {
        (Status::Complete, _) => "complete",
        (Status::Running, _) => "running, or killed",
        (Status::Interrupted, _) => "interrupted",
        (Status::Failed, _) => "failed",
    };
    let mut results = String::new();
    if let Some(r) = &found.results {
        results.push_str(&format!(
            "training    loss {:.4} (data {:.4}, penalty {:.4}){} in the last epoch\ndistance    {:.4} from the starting point ({} of its \
             norm){}\n",
            r.loss,
            r.data_loss,
            r.penalty,
            accuracy(r.accuracy),
            r.distance.total,
            percent(r.distance.relative),
            r.of_best()
        ));
    }
    if let Some(best) = &found.best {
        results.push_str(&format!("validation  best {} after step {}\n", best.headline(), best.step));
    }
    let bundle = found.bundle.as_ref().map_or("not found".to_string(), |dir| dir.display().to_string());
    format!(
        "run         {}, {status}, step {}; spgraph {}\nbundle      {bundle}\ndata        {}, {} images, {} held out\nclasses     {}: {}\noptions     {}\n{results}\n{}\n{}",
        found.path.display(),
        found.step.map_or("unknown".into(), |s| s.to_string()),
        found.spgraph,
        found.data.display(),
        found.images.training,
        found.images.validation,
        found.classes.len(),
        few(&found.classes),
        options(&found.options),
        files(&found.files),
        next.text(&found.verdict, "be used")
    )
}
