//! `spgraph plan`: the cells of a study.

use super::super::output;
use super::{Argument, StudyArgs};
use spgraph::error::Error;
use spgraph::evaluation::{CellPlan, Phase, makefile, record_folder};
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::Inputs;
use std::io::Write;
use std::path::PathBuf;

/// List a study's cells as commands, one a line, for any scheduler; or as a makefile
#[derive(clap::Args)]
#[command(
    after_help = "A cell is idempotent: it may be run twice, or twice at once. Cells of the selection come before those whose settings they choose."
)]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// As a makefile with one target for each cell's record
    #[arg(long, conflicts_with = "names")]
    make: bool,
    /// The names alone
    #[arg(long)]
    names: bool,
    /// Only one phase: a final cell can be run once its selection is complete
    #[arg(long, value_parser = ["selection", "final"])]
    phase: Option<String>,
    /// Only cells whose record is not there yet
    #[arg(long)]
    missing: bool,
    /// How a cell's command begins, as a shell reads it: `$NAME` is the shell's, in a makefile too
    #[arg(long, value_name = "COMMAND", default_value = "spgraph")]
    program: String,
    /// Options that are added to each cell's command, as a shell reads them, such as `--threads 1`
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    with: Option<String>,
    /// Write to a file instead
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let study = args.study.read()?;
    let mut plan = CellPlan::of(&study)?;
    if args.missing {
        let missing: Vec<String> = plan.missing(&args.study.out).iter().map(|r| r.cell.name()).collect();
        plan.cells.retain(|r| missing.contains(&r.cell.name()));
    }
    let wanted = args.phase.as_deref().map(|p| if p == "final" { Phase::Final } else { Phase::Selection });
    plan.cells.retain(|r| wanted.is_none_or(|phase| r.cell.phase == phase));
    let command = |name: &str| {
        let words: Vec<String> = args.study.cell(name).iter().map(Argument::shown).collect();
        let with = args.with.as_ref().map_or(String::new(), |w| format!(" {w}"));
        format!("{} {}{with}", args.program, words.join(" "))
    };
    let text = if args.make {
        args.study.cell("").iter().try_for_each(Argument::check_for_make)?;
        makefile(&plan, &args.study.out, &command)?
    } else {
        let line = |name: String| if args.names { name } else { command(&name) };
        plan.cells.iter().map(|r| line(r.cell.name()) + "\n").collect()
    };
    match &args.to {
        None => output::print_bytes(text.as_bytes()),
        Some(path) => {
            Inputs::new([&args.study.study, &record_folder(&args.study.out)]).check_file(path)?;
            let mut out = OutputFile::create(path, true)?;
            out.write_all(text.as_bytes()).map_err(Error::io("cannot write", path))?;
            out.commit()?;
            output::note(&format!("{} cells in {}", plan.cells.len(), path.display()));
            Ok(())
        }
    }
}
