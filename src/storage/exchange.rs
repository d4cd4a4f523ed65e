//! Putting a finished file or folder in the place of an old one, so that one of the two is there at every moment.

use super::beside::beside;
use super::regular;
use super::temporaries::builder;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name beside `path` under which the old content is for a moment where the system cannot exchange two names in one step.
pub fn aside(path: &Path) -> PathBuf {
    beside(path, "", ".spgraph-old")
}

/// Gives `new` the name `dest`, which something else has. Gives the path where that is now; whoever asked removes it.
///
/// A process that is killed meanwhile leaves one of the two under `dest`, or the old one under [`aside`], from where [`restore`] brings it back. What
/// somebody else has under that name stays, and nothing is exchanged.
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
    restore(dest);
    let (old, note) = (aside(dest), note_of(dest));
    if fs::symlink_metadata(&old).is_ok() {
        let shown = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{shown} is in the way: give it another name")));
    }
    fs::OpenOptions::new().write(true).create_new(true).open(&note)?.write_all(identity(dest).unwrap_or_default().as_bytes())?;
    let moved = fs::rename(dest, &old).and_then(|()| fs::rename(new, dest).inspect_err(|_| drop(fs::rename(&old, dest))));
    let gone = moved.and_then(|()| set_aside(&old));
    let _ = fs::remove_file(note);
    gone
}

/// The file that says, while two names are exchanged one after the other, what it is that is [`aside`].
fn note_of(dest: &Path) -> PathBuf {
    beside(dest, "", ".spgraph-old-is")
}

/// What a file or a folder keeps when its name changes.
#[cfg(unix)]
fn identity(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|found| format!("{} {}", found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<String> {
    let made = fs::symlink_metadata(path).ok()?.created().ok()?;
    Some(format!("{:?}", made.duration_since(std::time::UNIX_EPOCH).ok()?))
}

/// Gives a file or folder a name under which it is removed when this process is no more.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The crate adds the temporary name to its errors.
    let named = builder(0o777).make_in(above, |to| fs::rename(path, to)).map_err(|e| io::Error::from(e.kind()))?;
    Ok(named.into_temp_path().keep()?)
}

/// Removes a file or folder so that its name is free at once: a process that is killed meanwhile leaves a temporary.
pub fn discard(path: &Path) -> io::Result<()> {
    remove(&set_aside(path)?)
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

/// Brings back what a killed process had moved aside of `dest`, where nothing has the name by now, and removes it where something has. Whether it did
/// the former. What nobody noted as moved aside is somebody's own, and stays.
pub fn restore(dest: &Path) -> bool {
    let (old, note) = (aside(dest), note_of(dest));
    let Ok(noted) = regular::read_at_most(&note, 100) else { return false };
    let ours = identity(&old).is_some_and(|there| there.as_bytes() == &noted[..]);
    let back = ours && fs::symlink_metadata(dest).is_err() && fs::rename(&old, dest).is_ok();
    if ours && !back {
        let _ = discard(&old);
    }
    let _ = fs::remove_file(note);
    back
}

/// Where something may be that a killed process had moved aside of `dest`, for people who look for it there; else nothing.
pub fn left_aside(dest: &Path) -> String {
    let old = aside(dest);
    if old.exists() { format!(". What was there may be {}: give it its name back", old.display()) } else { String::new() }
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
        // Somebody's own.
        fs::rename(&dest, aside(&dest)).unwrap();
        assert!(!restore(&dest) && aside(&dest).is_dir());
        fs::rename(aside(&dest), &dest).unwrap();
        fs::create_dir(aside(&dest)).unwrap();
        let error = step_by_step(&new, &dest).unwrap_err();
        assert!(error.to_string().contains("dest.spgraph-old is in the way") && aside(&dest).is_dir(), "{error}");
        assert!(!note_of(&dest).exists());
        fs::remove_dir(aside(&dest)).unwrap();
        // Noted by a process that was killed.
        fs::write(note_of(&dest), identity(&dest).unwrap()).unwrap();
        fs::rename(&dest, aside(&dest)).unwrap();
        assert!(restore(&dest) && !restore(&dest) && !note_of(&dest).exists());
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"1");
        // And killed later, with the new one in its place.
        fs::write(note_of(&dest), identity(&dest).unwrap()).unwrap();
        fs::rename(&dest, aside(&dest)).unwrap();
        fs::create_dir(&dest).unwrap();
        assert!(!restore(&dest) && !aside(&dest).exists() && !note_of(&dest).exists());
        assert_eq!(rename_to_new(&new, &dest).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename_to_new(&new, &dest.with_file_name("other")).unwrap();
    }
}
