//! A study for make: one target for each cell, its record; final cells after those that choose their settings. So `-j`, interruption and going
//! on are make's.

use super::plan::CellPlan;
use super::results;
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

/// The fragment. `command` gives a cell's command line as a shell takes it; so it stays for make, which reads `$` by itself otherwise.
///
/// Fails for a folder whose name make cannot hold.
pub fn makefile(plan: &CellPlan, out: &Path, command: &dyn Fn(&str) -> String) -> Result<String> {
    let bad = |c: char| c.is_whitespace() || "$#:%\\'\";&|<>()*?[]`=".contains(c);
    if out.to_str().is_none_or(|text| text.contains(bad)) {
        return Err(Error::usage(format!("make has no way to write the name {}; give a folder without spaces and signs", out.display())));
    }
    let targets: Vec<String> = plan.cells.iter().map(|r| results::path(out, r).display().to_string()).collect();
    let known: HashSet<&String> = targets.iter().collect();
    let mut text = String::from(
        "# Made by `spgraph plan`. `make -f FILE -j 2` runs what is missing; a record is whole or not there.\n\n.PHONY: cells\ncells:",
    );
    targets.iter().for_each(|t| text.push_str(&format!(" \\\n  {t}")));
    text.push('\n');
    for (request, target) in plan.cells.iter().zip(&targets) {
        let before: Vec<String> =
            request.chosen_by().iter().map(|r| results::path(out, r).display().to_string()).filter(|t| known.contains(t)).collect();
        // The order only: a record never grows old, its name changes with what it is of.
        let order = if before.is_empty() { String::new() } else { format!(" | {}", before.join(" ")) };
        let _ = write!(text, "\n{target}:{order}\n\t{}\n", command(&request.cell.name()).replace('$', "$$"));
    }
    Ok(text)
}
