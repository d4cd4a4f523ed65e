//! What an input must not do, and reading one under watch.

use super::memory;
use super::targets::Target;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

/// Processor time that one input may take. Builds without optimisation are up to ten times slower than others.
pub const LONGEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 });

/// Where and why the last panic was.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Panics are kept instead of printed.
pub fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("no text");
        if let Ok(mut last) = PANIC.lock() {
            *last = Some(format!("{place}: {text}"));
        }
    }));
}

/// How an input was read.
pub struct Seen {
    /// Whether it was taken, or the refusal.
    pub result: Result<(), String>,
    /// What it must not have done.
    pub fault: Option<String>,
    /// Bytes at the peak, beyond those before.
    pub peak: usize,
    /// Processor time.
    pub took: Duration,
}

/// Of the process; other processes on the machine do not matter.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there, and nothing else is written.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Reads one input. The files and folders that it takes are in a folder that is empty before.
pub fn read(target: &Target, bytes: &[u8]) -> Seen {
    let work = tempfile::tempdir().unwrap();
    let before = processor_time();
    let (result, peak) = memory::measured(|| catch_unwind(AssertUnwindSafe(|| (target.read)(bytes, work.path()))));
    let took = processor_time() - before;
    spgraph::storage::notices::take();
    let bound = target.memory.bound(bytes.len());
    let (result, panicked) = match result {
        Ok(result) => (result, None),
        Err(_) => (Err(String::new()), Some(PANIC.lock().ok().and_then(|mut p| p.take()).unwrap_or_default())),
    };
    let fault = match (&result, panicked) {
        (_, Some(why)) => Some(format!("panicked at {why}")),
        (Err(text), _) if text.contains("fault of spgraph itself") => Some(format!("blames spgraph: {text}")),
        (Err(text), _) if text.trim().is_empty() || text.contains("\n\n") => Some(format!("refused with `{text}`")),
        _ if took > LONGEST => Some(format!("took {took:?}")),
        _ if peak > bound => Some(format!("took {} MB, allowed are {}", peak >> 20, bound >> 20)),
        _ => None,
    };
    Seen { result, fault, peak, took }
}

/// Faults of one kind have one outline: what is quoted, and numbers, are left out; the place of a panic stays.
pub fn outline(fault: &str) -> String {
    let (place, text) = fault.split_once(": ").unwrap_or((fault, ""));
    if place.starts_with("panicked") {
        return place.into();
    }
    let quoted = |text: &str| text.split('`').step_by(2).collect::<Vec<_>>().join("`");
    quoted(&format!("{place}: {text}")).chars().filter(|c| !c.is_ascii_digit()).collect()
}
