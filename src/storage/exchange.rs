//! Putting a finished file or folder in the place of an old one, so that one of the two is there at every moment.

use super::beside::beside;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name beside `path` under which the old content is for a moment where the system cannot exchange two names in one step.
pub fn aside(path: &Path) -> PathBuf {
    beside(path, "", ".spgraph-old")
}

/// Gives `new` the name `dest`, which something else has. Gives the path where that is now; whoever asked removes it.
///
/// A process that is killed meanwhile leaves one of the two under `dest`, or the old one under [`aside`], from where [`restore`] brings it back.
pub fn exchange(new: &Path, dest: &Path) -> io::Result<PathBuf> {
    match swap(new, dest) {
        Ok(()) => Ok(new.to_path_buf()),
        Err(e) if is_missing(&e) => step_by_step(new, dest),
        Err(e) => Err(e),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn swap(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn swap(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether system or file system do not know the call.
fn is_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP | libc::EPERM)) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

fn step_by_step(new: &Path, dest: &Path) -> io::Result<PathBuf> {
    let old = aside(dest);
    if fs::symlink_metadata(&old).is_ok() {
        // Of a process that was killed after it had put the new one in place.
        remove(&old)?;
    }
    fs::rename(dest, &old)?;
    if let Err(e) = fs::rename(new, dest) {
        fs::rename(&old, dest)?;
        return Err(e);
    }
    Ok(old)
}

/// Gives `new` the name `dest`, and what has that the name `kept`, which nothing may have. Killed meanwhile, the old one is under one of the two.
pub fn exchange_keeping(new: &Path, dest: &Path, kept: &Path) -> io::Result<()> {
    rename_to_new(new, kept)?;
    match swap(kept, dest) {
        Ok(()) => Ok(()),
        Err(e) => {
            fs::rename(kept, new)?;
            if !is_missing(&e) {
                return Err(e);
            }
            fs::rename(dest, kept)?;
            fs::rename(new, dest).inspect_err(|_| drop(fs::rename(kept, dest)))
        }
    }
}

/// Gives `new` the name `dest`, which nothing may have.
pub fn rename_to_new(new: &Path, dest: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, new, CWD, dest, RenameFlags::NOREPLACE).map_err(io::Error::from) {
            Err(e) if is_missing(&e) => {}
            other => return other,
        }
    }
    if fs::symlink_metadata(dest).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(new, dest)
}

/// Brings back what a killed process had moved aside of `dest`, where nothing has the name by now. Whether it did.
pub fn restore(dest: &Path) -> bool {
    let old = aside(dest);
    fs::symlink_metadata(dest).is_err() && fs::symlink_metadata(&old).is_ok() && fs::rename(old, dest).is_ok()
}

/// Removes a file or a folder.
pub fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (new, dest) = (dir.path().join("new"), dir.path().join("dest"));
        for (folder, text) in [(&new, "2"), (&dest, "1")] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), text).unwrap();
        }
        (dir, new, dest)
    }

    #[test]
    fn both_ways_put_the_new_one_in_place_and_give_the_old() {
        for way in [exchange, step_by_step] {
            let (_dir, new, dest) = place();
            let old = way(&new, &dest).unwrap();
            assert_eq!(fs::read(dest.join("file")).unwrap(), b"2");
            assert_eq!(fs::read(old.join("file")).unwrap(), b"1");
            remove(&old).unwrap();
            assert!(way(&dest.join("gone"), &dest).is_err());
            assert_eq!(fs::read(dest.join("file")).unwrap(), b"2");
        }
    }

    #[test]
    fn what_was_moved_aside_comes_back() {
        let (_dir, new, dest) = place();
        assert!(!restore(&dest));
        fs::rename(&dest, aside(&dest)).unwrap();
        assert!(restore(&dest) && !restore(&dest));
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"1");
        assert_eq!(rename_to_new(&new, &dest).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename_to_new(&new, &dest.with_file_name("other")).unwrap();
    }
}
