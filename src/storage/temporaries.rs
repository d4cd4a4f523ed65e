//! Names of what is not finished yet, and the removal of what dead processes left.
//!
//! A temporary name says which process it belongs to, on which machine, since which start of it: `.spgraph-PID-START-BOOT-HOST-XXXXXX`. Before a
//! process writes into a folder for the first time, it removes what processes left there that are no more; what belongs to a living one stays, and
//! so does what another machine may be writing, for a week.

use super::beside::beside;
use super::lock::Lock;
use super::pending_outputs::PendingOutput;
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Every temporary name starts with this, so that remains of a killed process can be recognised.
pub(super) const PREFIX: &str = ".spgraph-";

/// Files with a lock on what is being made start with this.
const LOCK: &str = ".spgraph-lock-";

/// The file, in the same folder, with the lock on making `dest`.
pub(super) fn lock_of(dest: &Path) -> PathBuf {
    beside(dest, LOCK, "")
}

/// A name that no other process gets as long as this lives, before there is anything under it.
#[derive(Debug)]
pub struct Reserved {
    _lock: Lock,
    _pending: PendingOutput,
}

impl Reserved {
    /// Takes the name `dest`; `None` where another process has it.
    pub fn take(dest: &Path) -> Result<Option<Reserved>> {
        let path = beside(dest, LOCK, ".reserved");
        let pending = PendingOutput::new(&path, dest);
        let mut busy = false;
        let taken = Lock::take(&path, |who| {
            busy = true;
            Error::usage(format!("{} is held by {who}", dest.display()))
        });
        match taken {
            Ok(lock) => Ok(Some(Reserved { _lock: lock, _pending: pending })),
            Err(_) if busy => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// After so long what nobody can be asked about is a leftover.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// In ticks since the machine's start; 0 where that cannot be told.
    start: u64,
    /// Of the machine's start and the name space of process numbers.
    boot: u32,
    /// Of the machine's name.
    host: u32,
}

static THIS: LazyLock<Owner> = LazyLock::new(|| {
    let pid = std::process::id();
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    #[cfg(unix)]
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let host = std::env::var("COMPUTERNAME").unwrap_or_default();
    Owner {
        pid,
        start: started(pid).unwrap_or(0),
        boot: short(&format!("{}{}", text("/proc/sys/kernel/random/boot_id"), space.display())),
        host: short(&host),
    }
});

/// Looks up what temporary names say of this process. Whoever does so first of all can do it whatever is used up later; else the names of a process without
/// descriptors tell nobody when it has ended.
pub fn know_this_process() {
    LazyLock::force(&THIS);
}

fn short(text: &str) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// When a process began, in ticks; `None` where there is none of that number, or nothing tells.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the 20th field behind it is the time.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie writes nothing any more.
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Owner {
    fn name(&self) -> String {
        format!("{PREFIX}{}-{}-{:08x}-{:08x}-", self.pid, self.start, self.boot, self.host)
    }

    fn of(name: &str) -> Option<Owner> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let mut next = || parts.next();
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let owner = Owner { pid: next()?.parse().ok()?, start: next()?.parse().ok()?, boot: hex(next()?)?, host: hex(next()?)? };
        next().filter(|random| random.len() == 6)?;
        Some(owner)
    }

    /// Whether it is no more; `None` where that cannot be told from here.
    fn is_dead(&self) -> Option<bool> {
        let this = &*THIS;
        match (self.host == this.host, self.boot == this.boot) {
            // Nothing tells when processes began.
            (true, true) if this.start == 0 => None,
            (true, true) => Some(started(self.pid) != Some(self.start)),
            _ => None,
        }
    }
}

/// Makes what is not finished yet, with ordinary permissions.
pub fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    static NAME: LazyLock<String> = LazyLock::new(|| THIS.name());
    let mut b = tempfile::Builder::new();
    b.prefix(NAME.as_str());
    // The crate's default is private to the user; an ordinary output obeys the umask.
    #[cfg(unix)]
    b.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    b
}

/// A new folder in `dir` for what will be moved from there to `output` when it is whole.
pub fn folder_in(dir: &Path, output: &Path) -> Result<TempDir> {
    sweep(dir);
    builder(0o700).tempdir_in(dir).map_err(|e| Error::io("cannot create", output)(e.kind().into()))
}

/// Removes what dead processes left in the folder; only the first time in a process. What cannot be removed stays.
pub fn sweep(dir: &Path) {
    if is_first(dir) {
        remove_left(dir, &mut |_| {});
    }
}

/// [`sweep`] of a folder and of what lies below it so many levels deep, whether or not this process has looked there before. Each folder is listed once; hidden ones are none
/// of anybody's results.
pub fn sweep_below(dir: &Path, levels: usize) {
    is_first(dir);
    let mut below = vec![];
    remove_left(dir, &mut |folder| below.push(folder));
    if let Some(left) = levels.checked_sub(1) {
        below.iter().for_each(|folder| sweep_below(folder, left));
    }
}

/// Whether this process has not looked into the folder before.
fn is_first(dir: &Path) -> bool {
    static SWEPT: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    SWEPT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(real)
}

/// Removes what dead processes left in the folder; tells of the folders in it that are not hidden.
fn remove_left(dir: &Path, folder: &mut dyn FnMut(PathBuf)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folder(entry.path());
        }
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX)) else { continue };
        if name.starts_with(LOCK) {
            // Who gets a lock removes its file.
            drop(Lock::take(&entry.path(), |_| Error::usage("held")));
            continue;
        }
        let Ok(found) = entry.metadata() else { continue };
        let age = || found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
        // Names of older versions say nothing of their process.
        let dead = Owner::of(name).and_then(|owner| owner.is_dead()).unwrap_or_else(|| age() > FORGOTTEN);
        if dead {
            // Nothing depends on it, and who has no permission leaves it to others.
            let _ = if found.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        }
    }
}

/// A private folder for what only this process needs, such as a graph on its way to a runtime. It goes with the value, with a process that is
/// ended from outside, and where it is killed with the next one that makes such a folder.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _pending: PendingOutput,
}

impl Scratch {
    /// A new folder among the system's temporary files.
    pub fn new() -> Result<Scratch> {
        Scratch::within(&std::env::temp_dir())
    }

    /// A new folder in `place`, from which what is made can be moved to its own name there.
    pub fn within(place: &Path) -> Result<Scratch> {
        sweep(place);
        let failed = |e: io::Error| Error::io("cannot create a folder in", place)(e.kind().into());
        let folder = builder(0o700).tempdir_in(place).map_err(failed)?;
        let _pending = PendingOutput::new(folder.path(), &place.join("(a temporary folder)"));
        Ok(Scratch { folder, _pending })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_dead_processes_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let this = THIS.clone();
        assert_eq!(Owner::of(&format!("{}abcdef", this.name())), Some(this.clone()));
        // A process that has ended and was waited for.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let begun = started(child.id());
        child.wait().unwrap();
        let dead = Owner { pid: child.id(), start: begun.unwrap_or(1), ..this.clone() };
        let reused = Owner { start: this.start + 1, ..this.clone() };
        let named = |owner: &Owner| format!("{}abcdef", owner.name());
        let stay = [
            named(&this),
            named(&Owner { host: !this.host, ..dead.clone() }),
            named(&Owner { boot: !this.boot, ..dead.clone() }),
            ".spgraph-x1y2z3".to_string(),
            ".spgraph-notes.txt".to_string(),
            "ordinary".to_string(),
        ];
        let go = [named(&dead), named(&reused)];
        stay.iter().for_each(|name| fs::write(dir.path().join(name), b"x").unwrap());
        fs::create_dir_all(dir.path().join(&go[0]).join("deep")).unwrap();
        fs::write(dir.path().join(&go[1]), b"x").unwrap();
        remove_left(dir.path(), &mut |_| {});
        go.iter().for_each(|name| assert!(!dir.path().join(name).exists(), "{name}"));
        stay.iter().for_each(|name| assert!(dir.path().join(name).exists(), "{name}"));
        // Once a process has looked, it does not look again.
        sweep(dir.path());
        fs::write(dir.path().join(&go[1]), b"x").unwrap();
        sweep(dir.path());
        assert!(dir.path().join(&go[1]).exists());
        // Who asks for all that lies below does.
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        for place in [dir.path(), &dir.path().join("a/b"), &deep] {
            fs::write(place.join(&go[1]), b"x").unwrap();
        }
        sweep_below(dir.path(), 2);
        let left = |place: &Path| place.join(&go[1]).exists();
        assert!(!left(dir.path()) && !left(&dir.path().join("a/b")) && left(&deep));
    }
}
