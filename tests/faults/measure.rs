//! What a command takes: time of the processor, and memory.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

pub struct Measured {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub err: String,
    /// Of all its threads.
    pub seconds: f64,
    /// The most bytes that it had in memory.
    pub memory: u64,
}

// `wait4` waits for the child, and gives what it used besides.
/// Runs the command to its end.
#[allow(clippy::zombie_processes)]
pub fn measured(command: &mut Command) -> Measured {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = vec![];
    child.stderr.take().unwrap().read_to_end(&mut err).unwrap();
    let mut status = 0;
    // SAFETY: plain numbers that the kernel fills, of a child that nobody else waits for.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut used), child.id() as i32);
        used
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Measured {
        code: ExitStatus::from_raw(status).code(),
        err: String::from_utf8_lossy(&err).into_owned(),
        seconds: seconds(used.ru_utime) + seconds(used.ru_stime),
        memory: used.ru_maxrss as u64 * 1024,
    }
}
