//! Files that appear whole or not at all.
//!
//! Output is written under a temporary name beside its destination and renamed into place at the end, so that an
//! error, a full disk or a crash never leaves half a model under the name that was asked for. Content, name and folder
//! are on the disk when it is committed.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::exchange;
use crate::storage::pending_outputs::PendingOutput;
use crate::storage::presence;
use crate::storage::seal;
use crate::storage::temporaries::{self, builder};
use serde::Serialize;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// The folder that holds `path`; `.` for a bare file name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
        None => path,
    }
}

/// Follows a link, so that it stays one and what it points to is replaced; finds the name of `.` and the like.
pub(super) fn resolved(dest: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(dest) {
        Ok(found) if found.is_symlink() || dest.file_name().is_none() => fs::canonicalize(dest).map_err(Error::io("cannot write", dest)),
        Ok(_) => Ok(dest.to_path_buf()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(dest.to_path_buf()),
        Err(e) => Err(Error::io("cannot write", dest)(e)),
    }
}

/// Without the temporary name, which tempfile adds to its errors.
pub(crate) fn plain(error: io::Error) -> io::Error {
    error.kind().into()
}

/// Brings the name of `path` to the disk. Without it, a machine that loses power may come back with a file under its old name, or with none.
pub(super) fn sync_name(path: &Path) -> Result<()> {
    // Elsewhere folders cannot be opened, and the file system sees to it.
    if cfg!(unix) {
        let synced = fs::File::open(parent(path)).and_then(|d| d.sync_all());
        synced.map_err(Error::io("cannot bring to the disk the name of", path))?;
    }
    Ok(())
}

/// A file under construction. Dropped without [`OutputFile::commit`], it vanishes.
#[derive(Debug)]
pub struct OutputFile {
    dest: PathBuf,
    out: BufWriter<fs::File>,
    temporary: TempPath,
    pending: PendingOutput,
    replace: bool,
    hasher: Option<blake3::Hasher>,
}

impl OutputFile {
    /// Starts a file that will be `dest`; its folder must exist. Without `force` an existing file is refused.
    ///
    /// A link is followed and stays, for a user named it. What has its name from spgraph is made by [`OutputFile::own`].
    pub fn create(dest: impl AsRef<Path>, force: bool) -> Result<Self> {
        let asked = dest.as_ref();
        Self::begin(asked, resolved(asked)?, force)
    }

    /// The same for a file within a folder that is spgraph's: a link there is none of spgraph's, and is not written through. It is replaced.
    pub fn own(dest: impl AsRef<Path>, force: bool) -> Result<Self> {
        let dest = dest.as_ref();
        if fs::symlink_metadata(dest).is_ok_and(|found| found.is_symlink()) && force {
            return Self::begun(dest, dest.to_path_buf(), force);
        }
        Self::begin(dest, dest.to_path_buf(), force)
    }

    fn begin(asked: &Path, dest: PathBuf, force: bool) -> Result<Self> {
        if let Ok(found) = fs::metadata(&dest) {
            if found.is_dir() {
                return Err(Error::usage(format!("{} is a folder; give the name of a file", asked.display())));
            }
            // Renaming over a device such as /dev/null would destroy it.
            if !found.is_file() {
                return Err(Error::usage(format!("{} is not a regular file; give another name", asked.display())));
            }
            if !force {
                return Err(Error::usage(format!("{} exists already; {} replaces it", asked.display(), Field::FORCE)));
            }
        }
        Self::begun(asked, dest, force)
    }

    fn begun(asked: &Path, dest: PathBuf, force: bool) -> Result<Self> {
        let above = parent(&dest);
        if !presence::is_folder(above)? {
            return Err(Error::usage(format!(
                "cannot write {}: there is no folder {}. Make it first, or give another name",
                asked.display(),
                above.display()
            )));
        }
        temporaries::sweep(above);
        let temporary = builder(0o666).tempfile_in(above).map_err(plain).map_err(Error::io("cannot create", asked))?;
        // In parts, because the crate's own writer adds the temporary name to every error.
        let (file, temporary) = temporary.into_parts();
        let pending = PendingOutput::new(&temporary, &dest);
        let out = BufWriter::with_capacity(256 << 10, file);
        Ok(OutputFile { dest, out, temporary, pending, replace: force, hasher: None })
    }

    /// With a hash over what is written, which [`OutputFile::commit_hashed`] gives.
    pub fn hashed(mut self) -> Self {
        self.hasher = Some(blake3::Hasher::new());
        self
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.dest
    }

    /// The name under which it can be read before it has its own, with everything that was written.
    pub fn unfinished(&mut self) -> Result<&Path> {
        self.out.flush().map_err(Error::io("cannot write", &self.dest))?;
        Ok(&self.temporary)
    }

    /// Brings the content to the disk and gives the file its name. Without `force` what got that name in the meantime is kept.
    pub fn commit(self) -> Result<()> {
        self.commit_hashed().map(drop)
    }

    /// [`OutputFile::commit`], where a file that had the name gets the name `previous`.
    pub fn commit_keeping(self, previous: &Path) -> Result<()> {
        if !fs::symlink_metadata(&self.dest).is_ok_and(|found| found.is_file()) {
            return self.commit();
        }
        let OutputFile { dest, out, temporary, pending: _pending, .. } = self;
        let failed = |e| Error::io("cannot write", &dest)(e);
        let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        let old = exchange::exchange(&temporary, &dest).map_err(failed)?;
        fs::rename(&old, previous).map_err(Error::io("cannot write", previous))?;
        let _ = temporary.keep();
        sync_name(&dest)
    }

    /// [`OutputFile::commit`]; gives the BLAKE3 hash of what was written, where the file began with [`OutputFile::hashed`].
    pub fn commit_hashed(self) -> Result<Option<String>> {
        let OutputFile { dest, out, temporary, pending: _pending, replace, hasher } = self;
        let file = out.into_inner().map_err(|e| Error::io("cannot write", &dest)(e.into_error()))?;
        // Some file systems report a full disk only here.
        file.sync_all().map_err(Error::io("cannot write", &dest))?;
        if replace {
            temporary.persist(&dest).map_err(|e| Error::io("cannot write", &dest)(e.error))?;
        } else {
            exchange::rename_to_new(&temporary, &dest).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => {
                    Error::usage(format!("{} was made by somebody else meanwhile; {} replaces it", dest.display(), Field::FORCE))
                }
                _ => Error::io("cannot write", &dest)(e),
            })?;
            // It has its name now: there is nothing left to clean up.
            let _ = temporary.keep();
        }
        sync_name(&dest)?;
        Ok(hasher.map(|h| h.finalize().to_hex().to_string()))
    }
}

impl Write for OutputFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        if let Some(hasher) = &mut self.hasher {
            seal::update(hasher, data.get(..written).unwrap_or(data));
        }
        Ok(written)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)?;
        if let Some(hasher) = &mut self.hasher {
            seal::update(hasher, data);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file that appears whole or not at all. Without `force` an existing one is refused. No link is followed ([`OutputFile::own`]).
pub fn write_whole(path: &Path, force: bool, data: &[u8]) -> Result<()> {
    let mut out = OutputFile::own(path, force)?;
    out.write_all(data).map_err(Error::io("cannot write", path))?;
    out.commit()
}

/// Writes a value as indented JSON, whole or not at all. Without `force` an existing file is refused.
pub fn write_json(path: &Path, force: bool, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::data(format!("cannot write {}: {e}", path.display())))?;
    text.push('\n');
    write_whole(path, force, text.as_bytes())
}

/// [`write_json`] with the file's own hash in it (see [`super::seal`]).
pub fn write_sealed_json(path: &Path, force: bool, value: &impl Serialize) -> Result<()> {
    let text = seal::to_json(value).map_err(|why| Error::data(format!("cannot write {}: {why}", path.display())))?;
    write_whole(path, force, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("a.onnx");
        let mut f = OutputFile::create(&dest, false).unwrap();
        f.write_all(b"half").unwrap();
        drop(f);
        assert!(names(dir.path()).is_empty());
        let mut f = OutputFile::create(&dest, false).unwrap();
        f.write_all(b"whole").unwrap();
        f.commit().unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["a.onnx"]);
        assert!(OutputFile::create(&dest, false).unwrap_err().to_string().contains(&Field::FORCE.to_string()));
        OutputFile::create(&dest, true).unwrap().commit().unwrap();
        assert_eq!(fs::read(&dest).unwrap(), b"");
    }

    #[test]
    fn a_file_needs_its_folder_and_no_device() {
        let dir = tempfile::tempdir().unwrap();
        assert!(OutputFile::create(dir.path().join("missing/a"), true).unwrap_err().to_string().contains("there is no folder"));
        assert!(OutputFile::create(dir.path(), true).unwrap_err().to_string().contains("is a folder"));
        #[cfg(unix)]
        assert!(OutputFile::create("/dev/null", true).unwrap_err().to_string().contains("not a regular file"));
    }

    #[cfg(unix)]
    #[test]
    fn files_have_ordinary_permissions_and_links_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (plain, made, link) = (dir.path().join("plain"), dir.path().join("made"), dir.path().join("link"));
        fs::write(&plain, b"").unwrap();
        OutputFile::create(&made, false).unwrap().commit().unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&made), mode(&plain));
        std::os::unix::fs::symlink(&made, &link).unwrap();
        let mut f = OutputFile::create(&link, true).unwrap();
        f.write_all(b"x").unwrap();
        f.commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&made).unwrap(), b"x");
        // In a folder that is spgraph's nobody named the link, whatever it leads to.
        for to in [made.clone(), dir.path().join("gone"), dir.path().to_path_buf(), "/dev/null".into()] {
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(&to, &link).unwrap();
            assert!(write_whole(&link, false, b"y").is_err());
            write_whole(&link, true, b"y").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(&to, &link).unwrap();
            OutputFile::own(&link, true).unwrap().commit_keeping(&dir.path().join("previous")).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_file() && !dir.path().join("previous").exists());
        }
        assert_eq!(fs::read(&made).unwrap(), b"x");
        assert_eq!(names(dir.path()), ["link", "made", "plain"]);
    }
}
