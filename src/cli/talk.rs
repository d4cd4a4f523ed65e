//! How much the command line says, the same in every subcommand.

use clap::ValueEnum;
use std::sync::OnceLock;

/// How to show progress.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// A bar on a terminal, lines otherwise
    Auto,
    /// A bar, on a terminal only
    Bar,
    /// A line every few seconds
    Lines,
    /// JSON lines on stdout
    Jsonl,
    /// Nothing
    None,
}

/// The options for it.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Talk {
    /// Only results: no progress, no notes; a command that writes something prints its path alone
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Progress on stderr as a bar or as lines; with jsonl every record of `finetune` as a JSON line on stdout
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto", hide_default_value = true, global = true)]
    log: Log,
}

static TALK: OnceLock<(bool, Log)> = OnceLock::new();

impl Talk {
    /// From now on, for the whole process.
    pub fn install(&self) {
        let _ = TALK.set((self.quiet, self.log));
    }
}

/// Whether only results are wanted.
pub fn quiet() -> bool {
    TALK.get().is_some_and(|(quiet, _)| *quiet)
}

/// How progress is shown.
pub fn log() -> Log {
    match TALK.get() {
        Some((true, Log::Jsonl)) => Log::Jsonl,
        Some((true, _)) => Log::None,
        Some((false, log)) => *log,
        None => Log::Auto,
    }
}
