//! `spgraph profile`: where a training step spends its time.

use super::engine_args::EngineArgs;
use super::output;
use spgraph::engine::{self, EngineOptions, Timed};
use spgraph::error::Error;
use spgraph::report::{Align, Profile, Table};
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::Inputs;
use spgraph::train::{self, Run};
use std::io::Write;
use std::path::PathBuf;

/// Steps before those that count: they fill caches and allocate memory.
const WARM_UP: u16 = 2;

/// Measure a training step's time by operator and by layer
#[derive(clap::Args)]
pub struct Args {
    /// The bundle, or a run
    bundle: PathBuf,
    /// Image folder whose first batch is used [default: random numbers]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Steps that count, after two that don't
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// Images per step where the bundle leaves it open [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Rows of the table by layer; 0 for all
    #[arg(long, default_value_t = 20)]
    layers: usize,
    /// Write the runtime's record of every node here, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
    /// Refused, with the reason
    #[arg(long, hide = true)]
    cuda_graph: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = EngineOptions { cuda_graph: args.cuda_graph, ..args.engine.options() };
    engine::check_profiled(&options)?;
    let bundle = Run::bundle_at(&args.bundle)?;
    let kept = |path: &PathBuf| {
        Inputs::new(bundle.files()).with_data(&args.data).check_file(path)?;
        OutputFile::create(path, args.force)
    };
    let kept = args.trace.as_ref().map(kept).transpose()?;
    let engine = engine::open_to_profile(&options)?;
    train::check_precision(&bundle.manifest, &options, engine.kind())?;
    let steps = usize::from(WARM_UP).saturating_add(usize::from(args.steps));
    let trace = train::profile(&bundle, engine.as_ref(), args.data.as_deref(), args.batch.map(usize::from), steps)?;
    let profile = Profile::of_trace(&trace, engine.timed(), usize::from(WARM_UP))?;
    if let Some(mut out) = kept {
        out.write_all(trace.as_bytes()).map_err(Error::io("cannot write", out.path()))?;
        out.commit()?;
    }
    if args.json { output::print_json(&profile) } else { output::print(&text(&profile, args.layers, &engine.describe())) }
}

fn text(profile: &Profile, rows: usize, engine: &str) -> String {
    let right = |name: &'static str| (name, Align::Right);
    let (ms, percent, count) = (|v: f64| format!("{v:.2}"), |v: f64| format!("{:.1} %", 100.0 * v), |v: f64| format!("{v:.0}"));
    let mut operators = Table::new([("operator", Align::Left), right("ms"), right("share"), right("calls")]);
    for o in &profile.operators {
        operators.row([o.operator.clone(), ms(o.ms), percent(o.share), count(o.calls)]);
    }
    let mut layers = Table::new([
        ("layer", Align::Left),
        right("ms"),
        right("share"),
        right("forward"),
        right("backward"),
        right("update"),
        right("calls"),
    ]);
    let shown = if rows == 0 { profile.layers.len() } else { rows.min(profile.layers.len()) };
    let (listed, others) = profile.layers.split_at(shown);
    for l in listed {
        layers.row([l.layer.clone(), ms(l.ms), percent(l.share), ms(l.forward_ms), ms(l.backward_ms), ms(l.update_ms), count(l.calls)]);
    }
    if !others.is_empty() {
        let total = |f: fn(&spgraph::report::LayerTime) -> f64| others.iter().map(f).sum::<f64>();
        layers.row([
            format!("{} others", others.len()),
            ms(total(|l| l.ms)),
            percent(total(|l| l.share)),
            ms(total(|l| l.forward_ms)),
            ms(total(|l| l.backward_ms)),
            ms(total(|l| l.update_ms)),
            count(total(|l| l.calls)),
        ]);
    }
    let of = match profile.timed {
        Timed::Work => "",
        Timed::Kernels => {
            "times   of kernels: each was waited for (CUDA_LAUNCH_BLOCKING=1), so that a step takes longer here than in a training\n"
        }
        Timed::Launches => {
            "times   of starting kernels, which run on behind that: CUDA_LAUNCH_BLOCKING is set; unset it, and each is waited for\n"
        }
    };
    format!(
        "{operators}\n{layers}\nstep    {:.1} ms, of it {:.1} ms in nodes (means of {} steps, with the overhead of recording)\n{of}engine  {engine}\n",
        profile.step_ms, profile.nodes_ms, profile.steps
    )
}
