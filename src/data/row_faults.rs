//! What is wrong with the rows of a list.

use super::listing::few;
use crate::error::{Error, Result};
use std::path::Path;

/// What is wrong with rows, by kind, so that a list with many faults makes one message.
pub(super) struct Faults(Vec<(&'static str, Vec<String>)>);

impl Faults {
    pub fn new() -> Faults {
        Faults(vec![])
    }

    /// A further row with that kind of fault; `what` says which, and more.
    pub fn add(&mut self, kind: &'static str, what: String) {
        match self.0.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, list)) => list.push(what),
            None => self.0.push((kind, vec![what])),
        }
    }

    /// Fails where there was any.
    pub fn check(&self, path: &Path) -> Result<()> {
        self.check_with(path, None)
    }

    /// The same; `way` is what to do, where more is known than to correct each line.
    pub fn check_with(&self, path: &Path, way: Option<&str>) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let kinds: Vec<String> = self.0.iter().map(|(kind, list)| format!("{} ({})", counted(list.len(), kind), few(list))).collect();
        let way = way.unwrap_or("Correct these lines, or remove them");
        Err(Error::data(format!("the list {} cannot be used: {}. {way}", path.display(), kinds.join("; "))))
    }
}

/// `3 files are missing`, `1 file is missing`.
fn counted(count: usize, kind: &str) -> String {
    let one = [("files are", "file is"), ("paths are", "path is"), ("lines have", "line has"), ("labels are", "label is")];
    match one.iter().find_map(|(several, one)| Some((one, kind.strip_prefix(several)?))).filter(|_| count == 1) {
        Some((one, rest)) => format!("1 {one}{rest}"),
        None => format!("{count} {kind}"),
    }
}
