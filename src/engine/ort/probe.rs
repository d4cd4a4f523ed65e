//! Loads a library in a child process first: one that is damaged, or is something else under ONNX Runtime's name, may end the process that
//! loads it or never return.

use super::super::signature::one_paragraph;
use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

/// How long a library may take to load and to make an environment: some tenths of a second on a busy machine, and much more on one that is overloaded.
#[cfg(target_os = "linux")]
const LIMIT: Duration = Duration::from_secs(5);

/// What the library at `path` says its version is, or why it cannot be loaded.
#[cfg(target_os = "linux")]
pub(super) fn probe(path: &Path) -> Result<String, String> {
    // Before the fork, for Rust's lock of the environment may be held by another thread, which the child does not have.
    super::environment::disable_telemetry();
    child::ask(LIMIT, || version_by_loading(path))
}

/// What `work` gives, done in a child process where there can be one.
pub(super) fn in_child(limit: Duration, work: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    #[cfg(target_os = "linux")]
    return child::ask(limit, work);
    #[cfg(not(target_os = "linux"))]
    return Some(limit).map_or_else(|| Err(String::new()), |_| work());
}

/// What the library at `path` says its version is, or why it cannot be loaded.
#[cfg(not(target_os = "linux"))]
pub(super) fn probe(path: &Path) -> Result<String, String> {
    version_by_loading(path)
}

/// Loads the library, for good, and asks for its version.
fn version_by_loading(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initializers. The file is a library for this machine, and is named as
    // ONNX Runtime or was given as such by the user, whose choice of native code to run it is.
    let library =
        unsafe { libloading::Library::new(path) }.map_err(|e| format!("it cannot be loaded: {}", one_paragraph(&e.to_string())))?;
    // SAFETY: `OrtGetApiBase` has had this signature in every release of ONNX Runtime.
    let base = unsafe { library.get::<unsafe extern "system" fn() -> *const ::ort::sys::OrtApiBase>(b"OrtGetApiBase\0") };
    let version = match base {
        Err(_) => Err("it is not ONNX Runtime (it has no function OrtGetApiBase)".to_string()),
        Ok(get) => {
            // SAFETY: a plain getter of a static table, without arguments.
            let base = unsafe { get() };
            if base.is_null() {
                Err("it gives no OrtApiBase".to_string())
            } else {
                // SAFETY: not null, and the library stays loaded; the string is a static one.
                let text = unsafe { ((*base).GetVersionString)() };
                if text.is_null() {
                    Err("it gives no version".to_string())
                } else {
                    // SAFETY: not null; the string is a static one.
                    let text = unsafe { CStr::from_ptr(text) };
                    plain(text.to_bytes()).and_then(|version| try_api(base, &version).map(|()| version))
                }
            }
        }
    };
    // Unloading a runtime that may have started threads is unsafe.
    std::mem::forget(library);
    version
}

/// A version is numbers with dots between; what else a library may say is not repeated.
fn plain(version: &[u8]) -> Result<String, String> {
    let good = version.len() <= 64 && version.iter().all(|c| c.is_ascii_digit() || *c == b'.');
    let text = std::str::from_utf8(version).ok().filter(|_| good);
    text.map(String::from).ok_or_else(|| "it gives as its version what is none (no numbers with dots)".to_string())
}

/// Whether the library has the functions of the version that spgraph calls, and can begin. An older one is told by its version.
fn try_api(base: *const ::ort::sys::OrtApiBase, version: &str) -> Result<(), String> {
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < ::ort::MINOR_VERSION) {
        return Ok(());
    }
    let number = ::ort::MINOR_VERSION;
    // SAFETY: not null, as was seen; a getter of a static table.
    let api = unsafe { ((*base).GetApi)(number) };
    if api.is_null() {
        return Err(format!("it does not have the functions of 1.{number}, though its version is {version}"));
    }
    let mut environment = std::ptr::null_mut();
    // SAFETY: the table is that of this version; the name is a static string, and the place for the result is ours.
    let status = unsafe { ((*api).CreateEnv)(::ort::sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL, c"spgraph".as_ptr(), &mut environment) };
    if !status.0.is_null() || environment.is_null() {
        return Err("it makes no environment to work in".into());
    }
    // SAFETY: made just now, and used by nobody.
    unsafe { ((*api).ReleaseEnv)(environment) };
    Ok(())
}

/// What a program writes to stdout within the time, up to `most` bytes; `None` where it does not start, takes longer or writes more. Nothing that it
/// starts goes on.
#[cfg(target_os = "linux")]
pub(super) fn output_within(command: &mut std::process::Command, limit: Duration, most: usize) -> Option<Vec<u8>> {
    use std::os::unix::process::CommandExt;
    let mut program = command.stdout(std::process::Stdio::piped()).process_group(0).spawn().ok()?;
    let written = program.stdout.take().and_then(|out| child::read_within(out.into(), limit, most));
    child::end_group(libc::pid_t::try_from(program.id()).ok()?);
    let ended = program.wait().ok();
    written.filter(|_| ended.is_some())
}

/// Elsewhere it is waited for.
#[cfg(not(target_os = "linux"))]
pub(super) fn output_within(command: &mut std::process::Command, _: Duration, most: usize) -> Option<Vec<u8>> {
    command.output().ok().map(|output| output.stdout).filter(|out| out.len() <= most)
}

#[cfg(target_os = "linux")]
mod child {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    /// No answer is longer.
    const MOST: usize = 4096;

    /// Ends a process that leads a group, and all of that.
    pub(super) fn end_group(pid: libc::pid_t) {
        // SAFETY: `pid` is a child that has not been waited for, so the number is still its own, and its group's where it has made one.
        unsafe {
            libc::killpg(pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
    }

    /// What `work` gives, done in a child process that may die or hang.
    pub(super) fn ask(limit: Duration, work: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let cannot = |e: rustix::io::Errno| format!("it cannot be tried in a process of its own: {e}");
        let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(cannot)?;
        // SAFETY: the child has this thread alone. The C library makes its allocator and its loader usable in it, nothing else is used, and
        // it leaves by `_exit`, which runs nothing that belongs to the parent.
        match unsafe { libc::fork() } {
            -1 => Err(format!("it cannot be tried in a process of its own: {}", std::io::Error::last_os_error())),
            0 => {
                drop(from);
                // SAFETY: changes nothing but the group that this process is in, so that all that it starts can be ended with it.
                unsafe { libc::setsid() };
                be_quiet();
                let (mark, text) = match work() {
                    Ok(version) => (b'+', version),
                    Err(reason) => (b'-', reason),
                };
                // A reason may repeat paths.
                let said = text.as_bytes().get(..MOST.saturating_sub(1)).unwrap_or(text.as_bytes());
                let _ = File::from(to).write_all(&[&[mark], said].concat());
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(0) }
            }
            pid => {
                drop(to);
                let answer = read_within(from, limit, MOST);
                end_group(pid);
                let status = wait(pid);
                match answer {
                    None => Err(format!("it was not ready within {} seconds", limit.as_secs())),
                    Some(answer) => match answer.split_first() {
                        Some((b'+', version)) => Ok(String::from_utf8_lossy(version).into_owned()),
                        Some((_, reason)) => Err(String::from_utf8_lossy(reason).into_owned()),
                        None => Err(format!("loading it ends the process{}", cause(status))),
                    },
                }
            }
        }
    }

    /// Neither output nor a core file of a library that fails.
    fn be_quiet() {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            for stream in 0..3 {
                // SAFETY: both are descriptors of this process; the standard streams belong to nobody else in the child.
                unsafe { libc::dup2(null.as_raw_fd(), stream) };
            }
        }
    }

    /// All that the child writes; `None` where it takes longer, or is more than that.
    pub(super) fn read_within(from: OwnedFd, limit: Duration, most: usize) -> Option<Vec<u8>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut file = File::from(from);
        let (mut answer, mut part, begun) = (vec![], [0; 1024], Instant::now());
        loop {
            let left = limit.checked_sub(begun.elapsed())?;
            let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
            let ready = poll(&mut [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)], Some(&left));
            match ready {
                Ok(0) => return None,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) | Err(_) => {}
            }
            match file.read(&mut part) {
                Ok(0) => return Some(answer),
                Ok(n) if answer.len().saturating_add(n) > most => return None,
                Ok(n) => answer.extend_from_slice(part.get(..n)?),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(answer),
            }
        }
    }

    fn wait(pid: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: a child of this process that nobody else waits for, and a place for its status.
        while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 && std::io::Error::last_os_error().kind() == ErrorKind::Interrupted {}
        status
    }

    fn cause(status: i32) -> String {
        match libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)) {
            Some(libc::SIGSEGV) => ": it touches memory that is not there (SIGSEGV)".into(),
            Some(libc::SIGBUS) => ": a part of its file is missing (SIGBUS)".into(),
            Some(libc::SIGABRT) => ": it gives up (SIGABRT)".into(),
            Some(libc::SIGILL) => ": it has instructions that this processor lacks (SIGILL)".into(),
            // The parent's own signal, to a child that had closed its side and gone on.
            Some(libc::SIGKILL) | None => String::new(),
            Some(signal) => format!(" (signal {signal})"),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn answers_and_reasons_come_back() {
            assert_eq!(ask(super::super::LIMIT, || Ok("1.32.0".into())), Ok("1.32.0".to_string()));
            assert_eq!(ask(super::super::LIMIT, || Err("no function".into())), Err("no function".to_string()));
        }

        #[test]
        fn a_child_that_dies_or_hangs_is_an_answer() {
            // SAFETY: sends a signal to the child itself, without the handler that Rust has for it.
            let died = ask(super::super::LIMIT, || unsafe {
                libc::signal(libc::SIGSEGV, libc::SIG_DFL);
                libc::raise(libc::SIGSEGV);
                libc::_exit(3)
            });
            assert!(died.unwrap_err().contains("SIGSEGV"));
            // SAFETY: ends the child itself.
            let left = ask(super::super::LIMIT, || unsafe { libc::_exit(0) });
            assert_eq!(left, Err("loading it ends the process".to_string()));
            let start = Instant::now();
            let hung = ask(super::super::LIMIT, || {
                std::thread::sleep(Duration::from_secs(60));
                Ok(String::new())
            });
            assert!(hung.unwrap_err().contains("5 seconds") && start.elapsed() < Duration::from_secs(30));
        }

        #[test]
        fn programs_have_a_limit_of_time_and_of_words() {
            let shell = |script: &str| {
                let start = Instant::now();
                let mut command = std::process::Command::new("sh");
                let found = super::super::output_within(command.args(["-c", script]), Duration::from_millis(500), 1000);
                assert!(start.elapsed() < Duration::from_secs(10), "{script}");
                found
            };
            assert_eq!(shell("echo one; echo two").as_deref(), Some(&b"one\ntwo\n"[..]));
            assert_eq!([shell("sleep 1000 & sleep 1000"), shell("yes"), shell("sleep 1000")], [None, None, None]);
        }

        #[test]
        fn a_version_is_numbers_alone() {
            use super::super::plain;
            assert_eq!(plain(b"1.32.0"), Ok("1.32.0".to_string()));
            for other in [&b"1.40.\x1b[2J"[..], b"1.40.0\n", b"1.40.\xff", &[b'9'; 65]] {
                assert!(plain(other).unwrap_err().len() < 80);
            }
        }
    }
}
