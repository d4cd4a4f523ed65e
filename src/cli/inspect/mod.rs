//! `spgraph inspect`: what a model, a bundle or a run is, whether it can be used, and with which command; or how much memory a bundle's step takes,
//! and whose kernels compute it.

mod commands;
mod device;
mod folders;
mod kernels;
mod memory;
mod model;

use super::choice::choice;
use super::flags::with_flags;
use super::output;
use commands::Commands;
use serde::Serialize;
use spgraph::bundle::Bundle;
use spgraph::engine::{self, Computing, Device, EngineOptions, Kernels, Precision};
use spgraph::error::Error;
use spgraph::report::{Verdict, inspect, inspect_bundle, inspect_run, plan_device, plan_kernels, plan_memory};
use spgraph::storage::run_folder::RunFolder;
use spgraph::train::Run;
use std::path::{Path, PathBuf};

/// Show what a model, a bundle or a run is, whether it can be used, and the next command
///
/// The exit code is 0 where the verdict is yes, and 1 where it is no. docs/inspect.md describes the JSON.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("step").multiple(true).args(["memory", "kernels", "precision", "device"])))]
pub struct Args {
    /// An ONNX model, a bundle of `rewrite`, or a run of `finetune`
    path: PathBuf,
    /// Predict the peak memory of a training step of a bundle or of a run's, and what takes it
    #[arg(long, conflicts_with = "input_shape")]
    memory: bool,
    /// Where each node of a bundle's or a run's step runs on that device: asked of ONNX Runtime where it is there, of the table of its kernels otherwise; exit code 1
    /// where a node would run on the processor
    #[arg(long, value_parser = choice::<Device>(&["cuda"]), conflicts_with_all = ["input_shape", "memory", "kernels", "precision"])]
    device: Option<Device>,
    /// With --memory, --kernels or --device: images per step where the bundle leaves it open [default: 16]
    #[arg(long, requires = "step", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// What native kernels compute of a bundle's or a run's step, what is left to ONNX Runtime's own and how much it moves; with --memory: whose kernels to predict for
    #[arg(
        long,
        value_parser = choice::<Kernels>(&["auto", "native", "standard"]),
        num_args = 0..=1,
        default_missing_value = "auto",
        conflicts_with = "input_shape"
    )]
    kernels: Option<Kernels>,
    /// The same with images of bf16: what of a step is then bf16, and what stays float32; with --memory: what memory it takes
    #[arg(long, value_parser = choice::<Precision>(&["auto", "float32", "bf16"]), conflicts_with = "input_shape")]
    precision: Option<Precision>,
    /// Sizes of a model's input after the batch, which it leaves open or in the place of its own: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = super::numbers::parse_shape)]
    input_shape: Option<super::numbers::ShapeArg>,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
}

/// What is shown as JSON.
#[derive(Serialize)]
struct Shown<T> {
    /// `model`, `bundle` or `run`.
    kind: &'static str,
    #[serde(flatten)]
    found: T,
    commands: Commands,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let path = &args.path;
    let (name, batch) = (path.display().to_string(), args.batch.map(usize::from));
    let computing = Computing { kernels: args.kernels.unwrap_or_default(), precision: args.precision.unwrap_or_default() };
    if args.memory {
        let plan = plan_memory(&Run::bundle_at(path)?, batch, computing)?;
        return if args.json { output::print_json(&plan) } else { output::print(&memory::text(&plan, &name)) };
    }
    if args.kernels.is_some() || args.precision.is_some() {
        let plan = plan_kernels(&Run::bundle_at(path)?, batch, computing)?;
        return if args.json { output::print_json(&plan) } else { output::print(&kernels::text(&plan, &name)) };
    }
    if let Some(device) = args.device {
        let opened = engine::open(&EngineOptions { device, ..EngineOptions::default() }).ok();
        let plan = plan_device(&Run::bundle_at(path)?, batch, opened.as_deref())?;
        if args.json {
            output::print_json(&plan)?
        } else {
            output::print(&device::text(&plan, &name))?
        }
        return match plan.off_device.len() {
            0 => Ok(()),
            off => Err(Error::model(format!("{off} nodes of the step of {name} are not on the {} device", device.name())).into()),
        };
    }
    if path.is_dir() && args.input_shape.is_some() {
        return Err(Error::usage("--input-shape is for models: a bundle and a run have their sizes").into());
    }
    if RunFolder::new(path).is_run() {
        let mut found = inspect_run(path)?;
        with_flags_in(&mut found.verdict);
        let commands = Commands::of_run(&found);
        let (text, verdict) = (folders::run(&found, &commands), found.verdict.clone());
        return show(args.json, Shown { kind: "run", found, commands }, &text, &verdict, path);
    }
    if path.join(Bundle::MANIFEST).is_file() {
        let mut found = inspect_bundle(path)?;
        with_flags_in(&mut found.verdict);
        let commands = Commands::of_bundle(&found);
        let (text, verdict) = (folders::bundle(&found, &commands), found.verdict.clone());
        return show(args.json, Shown { kind: "bundle", found, commands }, &text, &verdict, path);
    }
    let mut found = inspect(path, args.input_shape.map(|s| s.0))?;
    found.refused.iter_mut().for_each(|r| r.reason = with_flags(&r.reason));
    found.problem.iter_mut().for_each(|problem| *problem = with_flags(problem));
    with_flags_in(&mut found.verdict);
    let commands = Commands::of_model(&found, path);
    let (text, verdict) = (model::text(&found, &commands), found.verdict.clone());
    show(args.json, Shown { kind: "model", found, commands }, &text, &verdict, path)
}

fn with_flags_in(verdict: &mut Verdict) {
    verdict.reasons.iter_mut().chain(&mut verdict.notes).for_each(|text| *text = with_flags(text));
}

/// Prints it; fails where the verdict is no, so that a script sees it.
fn show(json: bool, shown: Shown<impl Serialize>, text: &str, verdict: &Verdict, path: &Path) -> anyhow::Result<()> {
    let kind = shown.kind;
    if json {
        output::print_json(&shown)?
    } else {
        output::print(text)?
    }
    if verdict.possible {
        return Ok(());
    }
    let why = verdict.reasons.first().and_then(|r| r.lines().next()).unwrap_or_default().trim_end_matches(':');
    let what = match kind {
        "model" => "cannot be fine-tuned",
        "bundle" => "cannot be trained",
        _ => "cannot be used",
    };
    Err(Error::model(format!("{} {what}: {why}", path.display())).into())
}
