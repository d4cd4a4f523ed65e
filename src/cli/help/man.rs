//! `spgraph man`: the help as manual pages.

use crate::cli::output;
use spgraph::error::Error;
use spgraph::storage::files::write_whole;
use std::path::PathBuf;

/// Write the manual page to stdout, or a page for each command into a folder
#[derive(clap::Args)]
pub struct Args {
    /// The folder, such as ~/.local/share/man/man1; pages of spgraph that are there are replaced
    dir: Option<PathBuf>,
}

fn page(command: clap::Command) -> anyhow::Result<(String, Vec<u8>)> {
    let page = clap_mangen::Man::new(command).source(concat!("spgraph ", env!("CARGO_PKG_VERSION"))).manual("spgraph");
    let (name, mut text) = (page.get_filename(), vec![]);
    page.render(&mut text).map_err(Error::io("cannot write", &name))?;
    Ok((name, text))
}

/// The command with all that it consists of.
fn whole(command: &clap::Command) -> Vec<clap::Command> {
    std::iter::once(command.clone()).chain(command.get_subcommands().flat_map(whole)).collect()
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = args.dir else {
        return output::print_bytes(&page(command)?.1);
    };
    std::fs::create_dir_all(&dir).map_err(Error::io("cannot create", &dir))?;
    let pages = whole(&command).into_iter().map(page).collect::<anyhow::Result<Vec<_>>>()?;
    for (name, text) in &pages {
        write_whole(&dir.join(name), true, text)?;
    }
    output::print_done(&format!("wrote {} pages to {}\n", pages.len(), dir.display()), &dir)
}
