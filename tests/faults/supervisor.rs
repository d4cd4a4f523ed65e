//! Runs a command whose system calls are looked at one by one, and makes the N-th of them fail, or kills the command there.
//!
//! The kernel hands every call of the table to this process before it does it (seccomp's user notification), whatever library or instruction made
//! it, of all threads and child processes. Counted are calls that concern a file below the given folders, and output to stdout.

use crate::syscalls::{Kind, Target, table};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this number.
    Error(i32),
    /// It and all later ones that need space fail: the disk is full.
    FullFrom,
    /// Half of the bytes are written.
    Short,
    /// The process is killed before it.
    Kill,
}

/// A counted call.
#[derive(Debug, Clone)]
pub struct Call {
    pub kind: Kind,
    pub name: &'static str,
    pub path: PathBuf,
}

impl Call {
    /// The faults that it can meet.
    pub fn faults(&self) -> Vec<Fault> {
        let errors = self.kind.errors().iter().map(|e| Fault::Error(*e));
        let again = matches!(self.name, "read" | "write").then_some(Fault::Error(libc::EINTR));
        let short = (self.name == "write").then_some(Fault::Short);
        let full = self.kind.needs_space().then_some(Fault::FullFrom);
        errors.chain(again).chain(short).chain(full).chain([Fault::Kill]).collect()
    }

    fn possible(&self, fault: Fault) -> Fault {
        let all = self.faults();
        if all.contains(&fault) { fault } else { all[0] }
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Outcome {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// Counted calls, in the order in which they were seen.
    pub calls: Vec<Call>,
    /// The call that met a fault, and the fault, which is always one that such a call can meet: with several threads the N-th call is not always
    /// the same one.
    pub hit: Option<(Call, Fault)>,
}

/// The fault and the number, from 0, of the call that meets it.
pub type Plan = Option<(usize, Fault)>;

/// The path of a call that is about the output.
const STDOUT: &str = "stdout";

/// What one run may take; longer is a hang.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `command` to its end.
pub fn run(mut command: Command, roots: &[&Path], plan: Plan) -> io::Result<Outcome> {
    let (ours, theirs) = pair()?;
    let filter = filter();
    let socket = theirs.as_raw_fd();
    let (out, err) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    command.stdin(Stdio::null()).stdout(out.reopen()?).stderr(err.reopen()?);
    // SAFETY: between fork and exec only system calls are made, on memory that was prepared before.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            let listener =
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
            if listener < 0 {
                return Err(io::Error::last_os_error());
            }
            send(socket, listener as RawFd)?;
            libc::close(listener as RawFd);
            Ok(())
        });
    }
    let start = Instant::now();
    let mut child = command.spawn()?;
    drop(theirs);
    let listener = receive(ours.as_raw_fd())?;
    let mut watch = Watch { root: child.id() as i32, listener, roots, plan, calls: vec![], hit: None, full: false };
    let timely = watch.serve(start);
    if !timely {
        child.kill()?;
    }
    drop(watch.listener);
    let status = child.wait()?;
    assert!(timely, "hangs after {:?}", watch.hit);
    let text = |file: &tempfile::NamedTempFile| std::fs::read(file.path()).map(|t| String::from_utf8_lossy(&t).into_owned());
    Ok(Outcome { code: status.code(), out: text(&out)?, err: text(&err)?, calls: watch.calls, hit: watch.hit })
}

struct Watch<'a> {
    root: i32,
    listener: OwnedFd,
    roots: &'a [&'a Path],
    plan: Plan,
    calls: Vec<Call>,
    hit: Option<(Call, Fault)>,
    full: bool,
}

impl Watch<'_> {
    /// Answers until there is nobody left to ask. False where that takes too long.
    fn serve(&mut self, start: Instant) -> bool {
        loop {
            let mut poll = libc::pollfd { fd: self.listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure of our own.
            let ready = unsafe { libc::poll(&mut poll, 1, 1000) };
            if start.elapsed() > LIMIT {
                return false;
            }
            if ready <= 0 {
                continue;
            }
            if poll.revents & libc::POLLIN == 0 {
                return true;
            }
            // SAFETY: plain structures, which the kernel fills; the answer goes to the call that was asked about.
            unsafe {
                let mut asked: libc::seccomp_notif = zeroed();
                if libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut asked) != 0 {
                    continue;
                }
                let mut answer: libc::seccomp_notif_resp = zeroed();
                answer.id = asked.id;
                match self.answer(&asked) {
                    Answer::Go => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
                    Answer::Fail(number) => answer.error = -number,
                    Answer::Value(value) => answer.val = value,
                }
                // Whoever asked may be dead by now.
                libc::ioctl(self.listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer);
            }
        }
    }

    fn answer(&mut self, asked: &libc::seccomp_notif) -> Answer {
        let Some((name, kind, target)) =
            table().into_iter().find(|(n, ..)| n.number == i64::from(asked.data.nr)).map(|(n, k, t)| (n.name, k, t))
        else {
            return Answer::Go;
        };
        let kind = kind(&asked.data.args);
        let Some(path) = self.concerned(asked, target) else { return Answer::Go };
        let call = Call { kind, name, path };
        let number = self.calls.len();
        self.calls.push(call.clone());
        // What reads the output has room of its own.
        if self.full && kind.needs_space() && call.path != Path::new(STDOUT) {
            return Answer::Fail(libc::ENOSPC);
        }
        match self.plan {
            Some((at, fault)) if at == number => {
                let fault = call.possible(fault);
                self.hit = Some((call, fault));
                match fault {
                    Fault::Error(number) => Answer::Fail(number),
                    Fault::FullFrom => {
                        self.full = true;
                        if kind.needs_space() { Answer::Fail(libc::ENOSPC) } else { Answer::Go }
                    }
                    Fault::Short => half(asked).map_or(Answer::Go, Answer::Value),
                    Fault::Kill => {
                        // SAFETY: the process of this test, which was not waited for, and the child of it that waits for an answer.
                        unsafe {
                            libc::kill(self.root, libc::SIGKILL);
                            libc::kill(group_leader(asked.pid), libc::SIGKILL);
                        }
                        Answer::Fail(libc::EIO)
                    }
                }
            }
            _ => Answer::Go,
        }
    }

    /// The file that a call is about, where it is below one of the folders.
    fn concerned(&self, asked: &libc::seccomp_notif, target: Target) -> Option<PathBuf> {
        let args = &asked.data.args;
        let of = |fd: u64| std::fs::read_link(format!("/proc/{}/fd/{}", asked.pid, fd as i32)).ok();
        let path = match target {
            Target::Fd(i) => match of(args[i])? {
                // Whatever it leads to, where it is no file of the command's.
                _ if args[i] == 1 && !self.below(&of(1)?) => return Some(STDOUT.into()),
                path => path,
            },
            Target::Path(dir, i) => {
                let named = text(asked.pid, args[i])?;
                let base = match dir {
                    Some(d) if args[d] as i32 != libc::AT_FDCWD => of(args[d])?,
                    _ => std::fs::read_link(format!("/proc/{}/cwd", asked.pid)).ok()?,
                };
                base.join(named)
            }
        };
        self.below(&path).then_some(path)
    }

    fn below(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }
}

enum Answer {
    Go,
    Fail(i32),
    Value(i64),
}

/// Writes the first half of what was to be written in the place of who asked; how much that was.
fn half(asked: &libc::seccomp_notif) -> Option<i64> {
    let [fd, at, length, ..] = asked.data.args;
    if length < 2 {
        return None;
    }
    let mut data = vec![0; length as usize / 2];
    let read = std::fs::File::open(format!("/proc/{}/mem", asked.pid)).ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&read, &mut data, at).ok()?;
    // SAFETY: descriptors of a child of this process, which waits; each is closed again.
    let written = unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, group_leader(asked.pid), 0);
        let process = (process >= 0).then(|| OwnedFd::from_raw_fd(process as RawFd))?;
        let file = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        let file = (file >= 0).then(|| OwnedFd::from_raw_fd(file as RawFd))?;
        libc::write(file.as_raw_fd(), data.as_ptr().cast(), data.len())
    };
    (written > 0).then_some(written as i64)
}

/// The process of a thread.
fn group_leader(thread: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let leader = status.lines().find_map(|l| l.strip_prefix("Tgid:")?.trim().parse().ok());
    leader.unwrap_or(thread as i32)
}

/// A string in the memory of another process.
fn text(pid: u32, at: u64) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![];
    // In pieces that cross no border of a page, behind which there may be nothing.
    while bytes.len() < libc::PATH_MAX as usize {
        let from = at + bytes.len() as u64;
        let mut piece = vec![0; (4096 - from % 4096) as usize];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut piece, from).ok()?;
        if let Some(end) = piece.iter().position(|b| *b == 0) {
            bytes.extend(&piece[..end]);
            return Some(std::ffi::OsString::from_vec(bytes).into());
        }
        bytes.extend(piece);
    }
    None
}

/// The program of the kernel's filter: the calls of the table are asked about, others go on.
fn filter() -> Vec<libc::sock_filter> {
    let of = |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let table = table();
    let load = of(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    let compare = table.iter().enumerate().map(|(i, (call, ..))| {
        let behind = table.len() - i;
        of(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call.number as u32, behind as u8)
    });
    let allow = of(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0);
    let ask = of(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0);
    std::iter::once(load).chain(compare).chain([allow, ask]).collect()
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the call fills two descriptors, which are owned from here on.
    unsafe {
        if libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Room for the header and one descriptor.
const CONTROL: usize = 64;

/// Calls `exchange` with a message of one byte and room for one descriptor. Allocates nothing.
fn with_message(exchange: impl FnOnce(&mut libc::msghdr) -> io::Result<()>) -> io::Result<()> {
    let mut byte = 0u8;
    let mut control = [0u64; CONTROL / 8];
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: a header of zeros is an empty one.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    exchange(&mut message)
}

/// Hands a descriptor over. Allocates nothing.
fn send(socket: RawFd, fd: RawFd) -> io::Result<()> {
    with_message(|message| {
        // SAFETY: the message points at what outlives the call; the header lies in its room, which is large and aligned enough.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
            if libc::sendmsg(socket, message, 0) == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
    })
}

fn receive(socket: RawFd) -> io::Result<OwnedFd> {
    let mut found = None;
    with_message(|message| {
        // SAFETY: as in `send`; the descriptor that came is owned from here on.
        unsafe {
            if libc::recvmsg(socket, message, libc::MSG_CMSG_CLOEXEC) != 1 {
                return Err(io::Error::other("the command could not be put under supervision"));
            }
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(io::Error::other("no descriptor came"));
            }
            found = Some(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
        }
        Ok(())
    })?;
    found.ok_or_else(|| io::Error::other("no descriptor came"))
}
