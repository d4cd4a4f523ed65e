//! Ctrl-C, and being asked to end (SIGTERM, SIGHUP): long work finishes its step first; anything else ends at once. Neither leaves unfinished files.

use super::output;
use spgraph::storage::pending_outputs;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Whether the work under way looks at `STOP`.
static GENTLE: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether the process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);
/// The exit code of a process that was stopped.
static CODE: AtomicU8 = AtomicU8::new(BY_CTRL_C);

const BY_CTRL_C: u8 = 130;
const BY_TERMINATION: u8 = 143;

/// Takes the signals over, for the whole process; and makes a file that is too large for `ulimit -f` an error instead of the end. Called before there is
/// any other thread.
pub fn install() {
    listen();
    // SAFETY: called once, before any other thread; ignoring a signal runs no code of ours.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Without it signals still end the process; only temporary files may then stay, until the next start.
#[cfg(unix)]
fn listen() {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // `nohup` asks for a process that outlives its terminal.
    if !is_ignored(libc::SIGHUP) {
        signals.add(Signal::SIGHUP);
    }
    // Every thread inherits this; child processes do not.
    if signals.thread_block().is_err() {
        return;
    }
    let listening = std::thread::Builder::new().spawn(move || {
        while let Ok(signal) = signals.wait() {
            stop(if signal == Signal::SIGINT { BY_CTRL_C } else { BY_TERMINATION });
        }
    });
    if listening.is_err() {
        let _ = signals.thread_unblock();
    }
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros are a valid value of this plain structure, and the call only writes into it.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut found) == 0 && found.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn listen() {
    let _ = ctrlc::set_handler(|| stop(BY_CTRL_C));
}

/// The first time in long work asks it to stop; ends the process otherwise.
fn stop(code: u8) {
    if GENTLE.load(Ordering::Relaxed) && !STOP.load(Ordering::Relaxed) {
        CODE.store(code, Ordering::Relaxed);
        STOP.store(true, Ordering::Relaxed);
        // A terminal has just shown ^C in the line of the bar.
        let fresh_line = if std::io::stderr().is_terminal() { "\n" } else { "" };
        output::note(&format!("{fresh_line}stopping; Ctrl-C again ends at once"));
        return;
    }
    ENDING.store(true, Ordering::Relaxed);
    pending_outputs::remove_all();
    exit(code);
}

/// The exit code of work that was stopped: 130 by Ctrl-C, 143 by SIGTERM or SIGHUP.
pub fn code() -> u8 {
    CODE.load(Ordering::Relaxed)
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
fn exit(code: u8) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process; nothing runs afterwards.
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}
