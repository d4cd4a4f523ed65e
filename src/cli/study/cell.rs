//! `spgraph cell`: one cell of a study.

use super::super::engine_args::{EngineArgs, RecordingArgs};
use super::super::{interrupt, output};
use super::StudyArgs;
use spgraph::evaluation::{CellPlan, CellResult, Done, Workspace, result_path, run_cell};

/// Run one cell of a study and write its record, whole or not at all; does nothing where it is there
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// The cell's name, as `spgraph plan --names` lists it
    #[arg(value_name = "CELL")]
    name: String,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let study = args.study.read()?;
    let plan = CellPlan::of(&study)?;
    let request = plan.find(&args.name)?;
    let base = args.study.base();
    let stop = interrupt::finish_the_step();
    let workspace = Workspace { base: &base, work: args.study.out.join("work"), engine: args.engine.options_with(&args.recording)?, stop };
    let path = result_path(&args.study.out, request);
    match run_cell(request, &workspace, &args.study.out)? {
        Done::Before => output::note(&format!("{} is there", path.display())),
        Done::Now(result) => output::print(&line(&result))?,
    }
    Ok(())
}

/// What came out, in a line.
pub fn line(result: &CellResult) -> String {
    let left = result.source.as_ref().map_or(String::new(), |s| format!(", source {:.1} %", 100.0 * s.after.accuracy));
    let outcome = match &result.failed {
        Some(why) => format!("failed: {why}"),
        None => format!(
            "target {:.1} %{left}, drift {:.3}, {:.1} s",
            100.0 * result.target.accuracy,
            result.drift.relative,
            result.seconds.total
        ),
    };
    format!("{}: {outcome} ({})\n", result.cell.name(), result.settings)
}
