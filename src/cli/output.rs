//! Writing to stdout and stderr without a panic when nobody reads, and how much of it.

use super::flags::with_flags;
use super::talk::quiet;
use serde::Serialize;
use spgraph::error::Error;
use spgraph::report::printable;
use spgraph::train::Agreement;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The most bytes of a message. The longest of spgraph's own, with lists of names, have fewer.
const LONGEST: usize = 8000;

/// What a command did, to stdout; where only results are wanted the path of what it wrote.
pub fn print_done(text: &str, written: &Path) -> anyhow::Result<()> {
    if quiet() { print_path(written) } else { print(text) }
}

/// A path for a program, on a line of its own, to stdout: its bytes, text or not.
pub fn print_path(path: &Path) -> anyhow::Result<()> {
    print_bytes(&[path.as_os_str().as_encoded_bytes(), b"\n"].concat())
}

/// Whether only results are wanted.
pub fn is_quiet() -> bool {
    quiet()
}

/// Results for people, to stdout; no name in them gives orders to a terminal. A reader that has left, such as `head`, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(printable(text).as_bytes())
}

/// Results for programs, as they are.
pub fn print_bytes(text: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.map_err(Error::io("cannot write to", "stdout"))?),
    }
}

/// Results as JSON, to stdout.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print_bytes(format!("{text}\n").as_bytes())
}

/// That a file was written, to stdout.
pub fn print_written(path: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    print_done(&format!("wrote {} ({})\n", path.display(), size(bytes)), path)
}

/// How an exported model was checked, to stdout.
pub fn print_agreement(agreement: &Agreement) -> anyhow::Result<()> {
    if quiet() {
        return Ok(());
    }
    let engines: Vec<String> = agreement.engines.iter().map(|(name, difference)| format!("{name} (difference {difference:.1e})")).collect();
    let images = if agreement.images == 1 { "1 image".to_string() } else { format!("{} images", agreement.images) };
    let absent: String = agreement.absent.iter().map(|why| format!("not checked with {why}\n")).collect();
    print(&format!("checked against the run's network on {images}: {}\n{}", engines.join(", "), with_flags(&absent)))
}

/// `812 B`, `6.8 kB`, `1.11 MB`, `102.4 MB`, `25.3 GB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..100_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        100_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `87.25 %`
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A line for people, to stderr, with flags where the library names options, unless only results are wanted.
pub fn note(text: &str) {
    if !quiet() {
        error(text);
    }
}

/// The same for what must be said. That nobody reads it is no reason to stop.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(&with_flags(&shortened(text))));
}

/// A message that repeats what stands in a file is as long as a person may read, whatever the file has: its middle goes.
fn shortened(text: &str) -> Cow<'_, str> {
    let ends = [text.floor_char_boundary(LONGEST / 2), text.ceil_char_boundary(text.len().saturating_sub(LONGEST / 2))];
    match ends.map(|at| text.split_at_checked(at)) {
        [Some((start, _)), Some((_, end))] if text.len() > LONGEST => {
            let left_out = text.len().saturating_sub(start.len()).saturating_sub(end.len());
            format!("{start} […{left_out} bytes…] {end}").into()
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_ends() {
        assert!(matches!(shortened(&"ö".repeat(LONGEST / 2)), Cow::Borrowed(_)));
        let long = format!("line 1: {}. Give another", "ö".repeat(50 << 20));
        let shown = shortened(&long);
        assert!(shown.len() < LONGEST + 100 && shown.starts_with("line 1: ö") && shown.ends_with("ö. Give another"), "{shown}");
    }
}
