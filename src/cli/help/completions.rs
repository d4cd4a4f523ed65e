//! `spgraph completions`: what a shell needs to complete the command line.

use crate::cli::output;
use clap_complete::Shell;

/// Write completions for a shell to stdout
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut super::command(), "spgraph", &mut text);
    output::print_bytes(&text)
}
