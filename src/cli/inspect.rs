//! `spgraph inspect`: what is in a model and what could be done with it, or how much memory a bundle's step takes.

use super::choice::choice;
use super::flags::with_flags;
use super::{memory, output};
use spgraph::bundle::Bundle;
use spgraph::engine::Kernels;
use spgraph::report::{Align, Inspection, Table, inspect, plan_memory};
use std::path::PathBuf;

/// Show a model's parameters and operators, and whether it can be fine-tuned; or the memory that a bundle's step takes
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model, or with --memory the bundle
    model: PathBuf,
    /// Predict the peak memory of a training step, and what takes it
    #[arg(long, conflicts_with = "input_shape")]
    memory: bool,
    /// With --memory: images per step where the bundle leaves it open [default: 16]
    #[arg(long, requires = "memory", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// With --memory: whose kernels compute the step
    #[arg(long, value_parser = choice::<Kernels>(&["auto", "native", "standard"]), default_value = "auto", requires = "memory")]
    kernels: Kernels,
    /// Sizes of the input after the batch, which the model leaves open or in the place of its own: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = super::numbers::parse_shape)]
    input_shape: Option<super::numbers::ShapeArg>,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if args.memory {
        let plan = plan_memory(&Bundle::open(&args.model)?, args.batch.map(usize::from), args.kernels)?;
        let name = args.model.display().to_string();
        return if args.json { output::print_json(&plan) } else { output::print(&memory::text(&plan, &name)) };
    }
    let mut found = inspect(&args.model, args.input_shape.map(|s| s.0))?;
    found.refused.iter_mut().for_each(|r| r.reason = with_flags(&r.reason));
    found.problem.iter_mut().for_each(|problem| *problem = with_flags(problem));
    if args.json { output::print_json(&found) } else { output::print(&text(&found)) }
}

fn text(found: &Inspection) -> String {
    let mut parameters = Table::new([
        ("parameter", Align::Left),
        ("alias", Align::Left),
        ("kind", Align::Left),
        ("shape", Align::Left),
        ("elements", Align::Right),
    ]);
    for p in &found.parameters {
        let alias = if p.alias == p.name { String::new() } else { p.alias.clone() };
        let shape = p.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
        parameters.row([p.name.clone(), alias, p.kind.clone(), shape, p.elements.to_string()]);
    }
    let mut operators = Table::new([("operator", Align::Left), ("nodes", Align::Right), ("gradient", Align::Left)]);
    for o in &found.operators {
        operators.row([o.name.clone(), o.nodes.to_string(), o.gradient.clone()]);
    }
    let input = found.inputs.iter().map(|i| format!("{} {} {}", i.name, i.dtype, i.shape)).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "model       {} ({}, opset {}, {})\ninput       {input}\nhead        {}\nbatch norm  {}\nparameters  {} in {} tensors, {}\n\n{parameters}\n{operators}",
        found.file,
        output::size(found.bytes),
        found.opset.map_or("unknown".to_string(), |v| v.to_string()),
        if found.producer.is_empty() { "unknown producer" } else { &found.producer },
        match &found.head {
            Some(h) => format!("{} `{}`, {} features, {} classes; --classes replaces it", h.operator, h.node, h.features, h.classes),
            None => "no classifier was found".into(),
        },
        found.batch_norm,
        found.elements,
        found.parameters.len(),
        output::size(found.parameter_bytes as u64),
    );
    if !found.constants.is_empty() {
        let mut constants = Table::new([("constant", Align::Left), ("shape", Align::Left), ("not trained, because it is", Align::Left)]);
        for c in &found.constants {
            let shape = c.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
            constants.row([c.alias.clone(), shape, c.why.clone()]);
        }
        text.push_str(&format!("\n{constants}"));
    }
    if !found.units.is_empty() {
        let mut units = Table::new([
            ("stage", Align::Right),
            ("unit", Align::Right),
            ("layers", Align::Left),
            ("tensors", Align::Right),
            ("elements", Align::Right),
        ]);
        for u in &found.units {
            units.row([u.stage.to_string(), u.unit.to_string(), u.name.clone(), u.parameters.to_string(), u.elements.to_string()]);
        }
        text.push_str(&format!("\n--freeze-stages and --freeze-units count from the input:\n{units}"));
    }
    if !found.refused.is_empty() {
        text.push_str(&format!(
            "\nrefused: {} node{} that spgraph cannot train through\n",
            found.refused.len(),
            if found.refused.len() == 1 { "" } else { "s" }
        ));
        let mut refused = Table::new([("operator", Align::Left), ("node", Align::Left), ("reason", Align::Left)]);
        for r in &found.refused {
            refused.row([r.op.clone(), r.node.clone(), r.reason.clone()]);
        }
        text.push_str(&refused.to_string());
    }
    if let Some(shape) = &found.assumed_shape {
        let shape = shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("x");
        text.push_str(&format!("\nnote: the model leaves the sizes of its input open; this is for {shape} (--input-shape gives others)\n"));
    }
    if let Some(problem) = &found.problem {
        text.push_str(&format!("\nnote: {problem}\n"));
    }
    text
}
