//! Opening files beneath a folder, wherever that is by now, without following a link.

use std::fs::File;
use std::io;
use std::path::Path;

/// A folder that stays the same one when its path leads elsewhere.
#[derive(Debug)]
pub(super) struct Folder {
    #[cfg(unix)]
    descriptor: std::os::fd::OwnedFd,
    #[cfg(not(unix))]
    path: std::path::PathBuf,
}

#[cfg(unix)]
mod unix {
    use super::*;
    use rustix::fs::{Mode, OFlags, openat};
    use std::path::Component;

    /// A pipe must not hold us up, and a terminal not become ours.
    const READING: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    impl Folder {
        /// Follows links: the folder is what the user named.
        pub fn open(path: &Path) -> io::Result<Folder> {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            Ok(Folder { descriptor: rustix::fs::open(path, FOLDER, Mode::empty())? })
        }
    }

    /// `location` has no part that leads upwards.
    pub(in super::super) fn open_beneath(folder: &Folder, location: &Path) -> io::Result<File> {
        match at_once(folder, location) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::E2BIG)) => {
                step_by_step(folder, location)
            }
            other => other,
        }
    }

    /// The system itself sees to it that the way stays beneath the folder.
    #[cfg(target_os = "linux")]
    pub(super) fn at_once(folder: &Folder, location: &Path) -> io::Result<File> {
        use rustix::fs::{ResolveFlags, openat2};
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&folder.descriptor, location, READING, Mode::empty(), stay)?.into())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn at_once(_: &Folder, _: &Path) -> io::Result<File> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }

    /// One folder after the other, each opened in the one before it.
    pub(super) fn step_by_step(folder: &Folder, location: &Path) -> io::Result<File> {
        let mut names =
            location.components().filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).peekable();
        let mut at = folder.descriptor.try_clone()?;
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                return Ok(openat(&at, name, READING | OFlags::NOFOLLOW, Mode::empty())?.into());
            }
            at = openat(&at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(unix)]
pub(super) use unix::open_beneath;

#[cfg(not(unix))]
impl Folder {
    pub fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { path: path.canonicalize()? })
    }
}

/// Elsewhere no folder can be kept open: the way is checked, then taken.
#[cfg(not(unix))]
pub(super) fn open_beneath(folder: &Folder, location: &Path) -> io::Result<File> {
    let mut path = folder.path.clone();
    for part in location.components() {
        path.push(part);
        if std::fs::symlink_metadata(&path)?.is_symlink() {
            return Err(io::Error::other("it is a symbolic link"));
        }
    }
    File::open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::unix::{at_once, step_by_step};
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    fn text(file: io::Result<File>) -> io::Result<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn both_ways_stay_beneath_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("model");
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/w.bin"), "own").unwrap();
        fs::write(outer.path().join("w.bin"), "foreign").unwrap();
        for (to, name) in [("..", "up"), ("../w.bin", "out"), ("sub/w.bin", "in"), ("sub", "alias")] {
            symlink(to, dir.join(name)).unwrap();
        }
        let folder = Folder::open(&dir).unwrap();
        for way in [at_once, step_by_step] {
            if matches!(way(&folder, Path::new("sub/w.bin")), Err(e) if e.raw_os_error() == Some(libc::ENOSYS)) {
                continue;
            }
            assert_eq!(text(way(&folder, Path::new("./sub/w.bin"))).unwrap(), "own");
            for name in ["up/w.bin", "out", "in", "alias/w.bin", "gone", "sub/w.bin/x"] {
                assert!(way(&folder, Path::new(name)).is_err(), "{name}");
            }
        }
        // The folder that was opened, whatever has its name now.
        fs::rename(&dir, outer.path().join("moved")).unwrap();
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/w.bin"), "foreign").unwrap();
        assert_eq!(text(open_beneath(&folder, Path::new("sub/w.bin"))).unwrap(), "own");
    }

    /// A folder on the way is swapped for a link, over and over.
    #[test]
    fn no_race_leads_out_of_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("model");
        for (folder, content) in [(dir.join("real"), "own"), (outer.path().join("other"), "foreign")] {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("w.bin"), content).unwrap();
        }
        symlink("../other", dir.join("link")).unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/w.bin"), "own").unwrap();
        let folder = Folder::open(&dir).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = crate::storage::exchange::exchange(&dir.join("link"), &dir.join("sub"));
                }
            });
            let (mut turn, mut own, begun) = (0, 0, Instant::now());
            // On a busy machine the other thread may sleep for long with the link in its place.
            while turn < 4000 || own == 0 && begun.elapsed() < Duration::from_secs(30) {
                let way = if turn % 2 == 0 { at_once } else { step_by_step };
                if let Ok(found) = text(way(&folder, Path::new("sub/w.bin"))) {
                    assert_eq!(found, "own");
                    own += 1;
                }
                turn += 1;
            }
            done.store(true, Ordering::Relaxed);
            assert!(own > 0);
        });
    }
}
