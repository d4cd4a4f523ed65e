//! The system calls that can meet a fault: what each does, and where it names its file.

/// A call by number.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub number: i64,
    pub name: &'static str,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open,
    Create,
    Read,
    List,
    Write,
    Sync,
    Rename,
    Link,
    MakeFolder,
    Remove,
    Resize,
    Lock,
}

impl Kind {
    /// What it can fail with, the likeliest first.
    pub fn errors(self) -> &'static [i32] {
        use libc::{EACCES, EDQUOT, EIO, EMFILE, EMLINK, ENOLCK, ENOSPC, EROFS};
        match self {
            Kind::Open => &[EACCES, EMFILE, EIO],
            Kind::Create => &[ENOSPC, EACCES, EMFILE, EROFS],
            Kind::Read => &[EIO],
            Kind::List => &[EIO],
            Kind::Write => &[ENOSPC, EIO, EDQUOT],
            Kind::Sync => &[EIO, ENOSPC],
            Kind::Rename => &[EACCES, EIO, ENOSPC],
            Kind::Link => &[EMLINK, EACCES, ENOSPC],
            Kind::MakeFolder => &[ENOSPC, EACCES],
            Kind::Remove => &[EACCES, EIO],
            Kind::Resize => &[EIO, ENOSPC],
            Kind::Lock => &[ENOLCK],
        }
    }

    /// Whether it fails on a full disk.
    pub fn needs_space(self) -> bool {
        matches!(self, Kind::Create | Kind::Write | Kind::MakeFolder | Kind::Link | Kind::Sync)
    }
}

/// Where a call names its file: a descriptor, or a path, with or without a folder's descriptor before it.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Fd(usize),
    Path(Option<usize>, usize),
}

type Args = [u64; 6];
type Entry = (Number, fn(&Args) -> Kind, Target);

fn opening(flags: u64) -> Kind {
    let writes = flags as i32 & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) != 0;
    if writes { Kind::Create } else { Kind::Open }
}

/// All of them.
pub fn table() -> Vec<Entry> {
    macro_rules! call {
        ($name:ident, $kind:expr, $target:expr) => {
            (Number { number: libc::$name as i64, name: &stringify!($name)[4..] }, (|_| $kind) as fn(&Args) -> Kind, $target)
        };
    }
    use Target::{Fd, Path};
    let mut calls: Vec<Entry> = vec![
        (Number { number: libc::SYS_openat, name: "openat" }, |args| opening(args[2]), Path(Some(0), 1)),
        // Its flags are in memory, and spgraph only reads so.
        call!(SYS_openat2, Kind::Open, Path(Some(0), 1)),
        call!(SYS_read, Kind::Read, Fd(0)),
        call!(SYS_pread64, Kind::Read, Fd(0)),
        call!(SYS_readv, Kind::Read, Fd(0)),
        call!(SYS_getdents64, Kind::List, Fd(0)),
        call!(SYS_write, Kind::Write, Fd(0)),
        call!(SYS_pwrite64, Kind::Write, Fd(0)),
        call!(SYS_writev, Kind::Write, Fd(0)),
        call!(SYS_copy_file_range, Kind::Write, Fd(2)),
        call!(SYS_sendfile, Kind::Write, Fd(0)),
        call!(SYS_fsync, Kind::Sync, Fd(0)),
        call!(SYS_fdatasync, Kind::Sync, Fd(0)),
        call!(SYS_renameat, Kind::Rename, Path(Some(2), 3)),
        call!(SYS_renameat2, Kind::Rename, Path(Some(2), 3)),
        call!(SYS_linkat, Kind::Link, Path(Some(2), 3)),
        call!(SYS_mkdirat, Kind::MakeFolder, Path(Some(0), 1)),
        call!(SYS_unlinkat, Kind::Remove, Path(Some(0), 1)),
        call!(SYS_ftruncate, Kind::Resize, Fd(0)),
        call!(SYS_flock, Kind::Lock, Fd(0)),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        (Number { number: libc::SYS_open, name: "open" }, (|args| opening(args[1])) as fn(&Args) -> Kind, Path(None, 0)),
        call!(SYS_rename, Kind::Rename, Path(None, 1)),
        call!(SYS_link, Kind::Link, Path(None, 1)),
        call!(SYS_mkdir, Kind::MakeFolder, Path(None, 0)),
        call!(SYS_unlink, Kind::Remove, Path(None, 0)),
        call!(SYS_rmdir, Kind::Remove, Path(None, 0)),
    ]);
    calls
}
