//! Opening what a user names: regular files only, and without waiting. A pipe, a socket or a device under the name of a model or an image would hold
//! the reader up for ever or never end.

use crate::error::{Error, Result};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a file of text, such as class names: more is no text that a person wrote.
const MOST_TEXT: u64 = 256 << 20;

/// Opens `path` for reading if it is a regular file; links are followed. Gives its length as well.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Opening a device may already do something, so it is not even tried.
    refuse_other(&std::fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // What is a pipe by now does not hold us up.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    let found = file.metadata()?;
    refuse_other(&found)?;
    Ok((file, found.len()))
}

/// Whether the file has to be refused, and how that is said.
fn refuse_other(found: &std::fs::Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(io::Error::other(if kind.is_dir() { "it is a folder, not a file" } else { "it is not a regular file" }))
}

/// How many names the file has.
#[cfg(unix)]
pub fn names(found: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(found)
}

/// Elsewhere nothing tells how many names the file has.
#[cfg(not(unix))]
pub fn names(_: &std::fs::Metadata) -> u64 {
    1
}

/// All of a regular file.
pub fn read(path: &Path) -> io::Result<Bytes> {
    let (file, length) = open(path)?;
    whole(file, length, u64::MAX)
}

/// All of a regular file of at most `most` bytes. What grows meanwhile is not followed beyond that.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Bytes> {
    let (file, length) = open(path)?;
    whole(file, length, most)
}

fn whole(file: File, length: u64, most: u64) -> io::Result<Bytes> {
    let too_large = || io::Error::other(format!("it has more than the {most} bytes that such a file may have"));
    if length > most {
        return Err(too_large());
    }
    let mut data = vec![];
    let room = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    data.try_reserve_exact(room).map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "the file is larger than the memory"))?;
    // Files that tell no length, as in /proc, end somewhere too.
    file.take(most.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > most {
        return Err(too_large());
    }
    Ok(data.into())
}

/// All of a file where there is one; nothing where there is none.
pub fn read_present(path: &Path, what: &'static str) -> Result<Bytes> {
    match read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Bytes::new()),
        other => other.map_err(Error::io(what, path)),
    }
}

/// Opens a file of spgraph's own to write at its end. No link is followed.
pub fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW);
    let file = options.open(path)?;
    refuse_other(&file.metadata()?)?;
    Ok(file)
}

/// A text file of a reasonable size. `what` says what was tried, as in "cannot read the class names".
pub fn read_text(path: &Path, what: &'static str) -> Result<String> {
    let data = read_at_most(path, MOST_TEXT).map_err(Error::io(what, path))?;
    let invalid = |_| Error::io(what, path)(io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"));
    String::from_utf8(data.into()).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"text").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (to, name) in [("file", "good"), ("pipe", "bad"), ("/dev/zero", "zero"), (".", "folder")] {
            std::os::unix::fs::symlink(to, at(name)).unwrap();
        }
        assert_eq!(read(&at("good")).unwrap()[..], b"text"[..]);
        assert_eq!(read_text(&at("file"), "cannot read").unwrap(), "text");
        for name in ["pipe", "socket", "bad", "zero"] {
            assert!(read(&at(name)).unwrap_err().to_string().contains("not a regular file"), "{name}");
        }
        assert!(read(&at("folder")).unwrap_err().to_string().contains("a folder"));
        assert!(read_at_most(&at("file"), 3).unwrap_err().to_string().contains("more than the 3 bytes"));
        std::fs::write(at("bytes"), [0xff]).unwrap();
        assert!(read_text(&at("bytes"), "cannot read").unwrap_err().to_string().contains("UTF-8"));
        assert_eq!(read_present(&at("gone"), "cannot read").unwrap().len(), 0);
        assert!(read_present(&at("pipe"), "cannot read").is_err());
        append(&at("file")).unwrap();
        for name in ["pipe", "good", "zero", "folder", "gone"] {
            assert!(append(&at(name)).is_err(), "{name}");
        }
    }
}
