//! Ctrl-C: long work finishes its step first; anything else ends at once. Neither leaves unfinished files.

use super::output;
use spgraph::storage::pending_outputs;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the work under way looks at `STOP`.
static GENTLE: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether the process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Takes Ctrl-C over, for the whole process; and makes a file that is too large for `ulimit -f` an error instead of the end.
pub fn install() {
    // Without a handler Ctrl-C still ends the process; only temporary files may then stay.
    let _ = ctrlc::set_handler(|| {
        if GENTLE.load(Ordering::Relaxed) && !STOP.swap(true, Ordering::Relaxed) {
            // A terminal has just shown ^C in the line of the bar.
            let fresh_line = if std::io::stderr().is_terminal() { "\n" } else { "" };
            output::note(&format!("{fresh_line}stopping; Ctrl-C again ends at once"));
            return;
        }
        ENDING.store(true, Ordering::Relaxed);
        pending_outputs::remove_all();
        exit();
    });
    // SAFETY: called once, before any other thread; ignoring a signal runs no code of ours.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// From now on the first Ctrl-C sets this and the second ends the process.
pub fn finish_the_step() -> &'static AtomicBool {
    GENTLE.store(true, Ordering::Relaxed);
    &STOP
}

/// Waits for the end where it is near: what fails then fails because its files were taken away.
pub fn wait_where_ending() {
    while ENDING.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// Without the exit handlers of the libraries that other threads are running.
fn exit() -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe {
        libc::_exit(130)
    }
    #[cfg(not(unix))]
    std::process::exit(130)
}
