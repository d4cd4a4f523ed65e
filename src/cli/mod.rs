//! The command line: one file per subcommand, each a thin caller of the library. Data goes to stdout, progress and notes to
//! stderr; exit code 2 for a request that makes no sense, 130 after Ctrl-C, 143 after SIGTERM or SIGHUP, 1 for every other failure.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod channel_attention;
mod choice;
mod common_args;
mod convert;
mod data;
mod doctor;
mod drift;
mod engine_args;
mod eval;
mod export;
mod figures;
mod finetune;
mod fisher;
mod flags;
mod grad;
mod help;
mod import_checkpoint;
mod inspect;
mod interpolate;
#[allow(unsafe_code)]
mod interrupt;
mod libraries;
mod lower;
mod new;
mod numbers;
mod output;
mod predict;
mod profile;
mod progress;
mod report;
mod result_files;
mod rewrite;
mod rewrite_text;
mod rewriting;
mod runtime;
mod settings;
mod study;
mod subject_args;
mod synth;
mod talk;
mod threads;
mod workers;

use clap::{Parser, Subcommand};
use spgraph::error::Error;
use spgraph::storage::temporaries;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "spgraph", version, about = "Fine-tune deployed ONNX networks with starting-point penalties")]
#[command(arg_required_else_help = true)]
#[command(after_help = "A first run:\n  \
    spgraph rewrite model.onnx --classes 6 -o model.spgraph\n  \
    spgraph finetune model.spgraph --data images/train --epochs 10 -o run\n  \
    spgraph eval run --data images/test\n  \
    spgraph export run -o tuned.onnx\n\n\
    Exit codes: 0 done, 1 failed, 2 the request makes no sense, 130 stopped by Ctrl-C, 143 by SIGTERM or SIGHUP.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    talk: talk::Talk,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Data(Box<data::Args>),
    Rewrite(Box<rewrite::Args>),
    Finetune(Box<finetune::Args>),
    Eval(Box<eval::Args>),
    Predict(Box<predict::Args>),
    Report(Box<report::Args>),
    Fisher(Box<fisher::Args>),
    Attention(Box<channel_attention::Args>),
    Export(Box<export::Args>),
    Drift(drift::Args),
    Interpolate(interpolate::Args),
    Convert(convert::Args),
    ImportCheckpoint(import_checkpoint::Args),
    Grad(grad::Args),
    Lower(lower::Args),
    Profile(profile::Args),
    Runtime(runtime::Args),
    Doctor(doctor::Args),
    Plan(study::plan::Args),
    Cell(study::cell::Args),
    Sweep(study::sweep::Args),
    New(new::Args),
    Synth(synth::Args),
    Completions(help::completions::Args),
    Man(help::man::Args),
}

/// Parses the arguments of the process and runs the subcommand.
pub fn main() -> ExitCode {
    // Before anything can use up what it takes.
    temporaries::know_this_process();
    // Usage errors end the process here, with code 2.
    let cli = help::parse();
    cli.talk.install();
    interrupt::install();
    if let Err(error) = threads::install() {
        return report(&error);
    }
    let result = match cli.command {
        Command::Inspect(args) => inspect::run(args),
        Command::Data(args) => data::run(*args),
        Command::Rewrite(args) => rewrite::run(*args),
        Command::Convert(args) => convert::run(args),
        Command::ImportCheckpoint(args) => import_checkpoint::run(args),
        Command::Grad(args) => grad::run(args),
        Command::Lower(args) => lower::run(args),
        Command::Finetune(args) => finetune::run(*args),
        Command::Eval(args) => eval::run(*args),
        Command::Predict(args) => predict::run(*args),
        Command::Report(args) => report::run(*args),
        Command::Fisher(args) => fisher::run(*args),
        Command::Attention(args) => channel_attention::run(*args),
        Command::Export(args) => export::run(*args),
        Command::Drift(args) => drift::run(args),
        Command::Interpolate(args) => interpolate::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Runtime(args) => runtime::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Plan(args) => study::plan::run(args),
        Command::Cell(args) => study::cell::run(args),
        Command::Sweep(args) => study::sweep::run(args),
        Command::New(args) => new::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Completions(args) => help::completions::run(args),
        Command::Man(args) => help::man::run(args),
    };
    interrupt::wait_where_ending();
    spgraph::storage::notices::take().iter().for_each(|text| output::note(&format!("note: {text}")));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    output::error(&format!("error: {error:#}"));
    ExitCode::from(match error.downcast_ref::<Error>() {
        Some(Error::Interrupted(_)) => interrupt::code(),
        Some(error) => error.exit_code(),
        None => 1,
    })
}
