//! Writing to stdout and stderr without a panic when nobody reads.

use crate::error::Error;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Results, to stdout. A reader that has left, such as `head`, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.map_err(Error::io("cannot write to", "stdout"))?),
    }
}

/// Results as JSON, to stdout.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print(&format!("{text}\n"))
}

/// A line for people, to stderr. That nobody reads it is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
