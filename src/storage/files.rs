//! Files and folders that appear whole or not at all.
//!
//! Output is written under a temporary name beside its destination and renamed into place at the end, so that an
//! error, a full disk or a crash never leaves half a model under the name that was asked for.

use crate::error::{Error, Result};
use crate::storage::pending_outputs::PendingOutput;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::{TempDir, TempPath};

/// Every temporary name starts with this, so that remains of a killed process can be recognised.
const PREFIX: &str = ".spgraph-";

/// The file by which a folder is recognised as spgraph's own output.
const MARKER: &str = "manifest.json";

/// The folder that holds `path`; `.` for a bare file name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if p.as_os_str().is_empty() => Path::new("."),
        Some(p) => p,
        None => path,
    }
}

/// Follows a link, so that it stays one and what it points to is replaced; finds the name of `.` and the like.
fn resolved(dest: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(dest) {
        Ok(found) if found.is_symlink() || dest.file_name().is_none() => fs::canonicalize(dest).map_err(Error::io("cannot write", dest)),
        Ok(_) => Ok(dest.to_path_buf()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(dest.to_path_buf()),
        Err(e) => Err(Error::io("cannot write", dest)(e)),
    }
}

fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut b = tempfile::Builder::new();
    b.prefix(PREFIX);
    // The crate's default is private to the user; an ordinary output obeys the umask.
    #[cfg(unix)]
    b.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    b
}

/// Without the temporary name, which tempfile adds to its errors.
fn plain(error: io::Error) -> io::Error {
    error.kind().into()
}

/// A file under construction. Dropped without [`OutputFile::commit`], it vanishes.
#[derive(Debug)]
pub struct OutputFile {
    dest: PathBuf,
    out: BufWriter<fs::File>,
    temporary: TempPath,
    pending: PendingOutput,
}

impl OutputFile {
    /// Starts a file that will be `dest`; its folder must exist. Without `force` an existing file is refused.
    pub fn create(dest: impl AsRef<Path>, force: bool) -> Result<Self> {
        let asked = dest.as_ref();
        let dest = resolved(asked)?;
        if let Ok(found) = fs::metadata(&dest) {
            if found.is_dir() {
                return Err(Error::usage(format!("{} is a folder; give the name of a file", asked.display())));
            }
            // Renaming over a device such as /dev/null would destroy it.
            if !found.is_file() {
                return Err(Error::usage(format!("{} is not a regular file; give another name", asked.display())));
            }
            if !force {
                return Err(Error::usage(format!("{} exists already; --force replaces it", asked.display())));
            }
        }
        let above = parent(&dest);
        if !above.is_dir() {
            return Err(Error::usage(format!(
                "cannot write {}: there is no folder {}. Make it first, or give another name",
                asked.display(),
                above.display()
            )));
        }
        let temporary = builder(0o666).tempfile_in(above).map_err(plain).map_err(Error::io("cannot create", asked))?;
        // In parts, because the crate's own writer adds the temporary name to every error.
        let (file, temporary) = temporary.into_parts();
        let pending = PendingOutput::new(&temporary, &dest);
        Ok(OutputFile { dest, out: BufWriter::with_capacity(256 << 10, file), temporary, pending })
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.dest
    }

    /// Brings the content to the disk and gives the file its name.
    pub fn commit(self) -> Result<()> {
        let OutputFile { dest, out, temporary, pending: _pending } = self;
        let file = out.into_inner().map_err(|e| Error::io("cannot write", &dest)(e.into_error()))?;
        // Some file systems report a full disk only here.
        file.sync_all().map_err(Error::io("cannot write", &dest))?;
        temporary.persist(&dest).map_err(|e| Error::io("cannot write", &dest)(e.error))?;
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.out.write(data)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file that appears whole or not at all. Without `force` an existing one is refused.
pub fn write_whole(path: &Path, force: bool, data: &[u8]) -> Result<()> {
    let mut out = OutputFile::create(path, force)?;
    out.write_all(data).map_err(Error::io("cannot write", path))?;
    out.commit()
}

/// A folder under construction. Dropped without [`OutputDir::commit`], it vanishes.
#[derive(Debug)]
pub struct OutputDir {
    dest: PathBuf,
    marker: &'static str,
    replace: bool,
    temporary: TempDir,
    pending: PendingOutput,
}

impl OutputDir {
    /// Starts a folder that will be `dest`; missing folders above it are made. An empty folder is replaced. One with
    /// content is replaced only with `force`, and only if it holds a `manifest.json` of spgraph's, and no folders.
    pub fn create(dest: impl AsRef<Path>, force: bool) -> Result<Self> {
        Self::create_marked(dest, force, MARKER)
    }

    /// [`OutputDir::create`] for folders that are recognised by another file than `manifest.json`.
    pub fn create_marked(dest: impl AsRef<Path>, force: bool, marker: &'static str) -> Result<Self> {
        let dest = resolved(dest.as_ref())?;
        let replace = may_replace(&dest, force, marker)?;
        let above = parent(&dest);
        fs::create_dir_all(above).map_err(Error::io("cannot create", above))?;
        let temporary = builder(0o777).tempdir_in(above).map_err(plain).map_err(Error::io("cannot create a folder in", above))?;
        let pending = PendingOutput::new(temporary.path(), &dest);
        Ok(OutputDir { dest, marker, replace, temporary, pending })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The name that the folder will have.
    pub fn destination(&self) -> &Path {
        &self.dest
    }

    /// Gives the folder its name; with `force` the folder that had it is moved aside first and removed afterwards.
    pub fn commit(self) -> Result<PathBuf> {
        let OutputDir { dest, marker, replace, temporary, pending: _pending } = self;
        // Much may have happened since `create`: training takes hours.
        let occupied = may_replace(&dest, replace, marker)?;
        let aside = if occupied {
            let aside = builder(0o777).tempdir_in(parent(&dest)).map_err(Error::io("cannot create a folder beside", &dest))?;
            fs::rename(&dest, aside.path().join("old")).map_err(Error::io("cannot replace", &dest))?;
            Some(aside)
        } else {
            None
        };
        match fs::rename(temporary.path(), &dest) {
            Ok(()) => {
                // It has its name now: there is nothing left to clean up.
                let _ = temporary.keep();
                Ok(dest)
            }
            Err(e) => {
                if let Some(aside) = aside
                    && fs::rename(aside.path().join("old"), &dest).is_err()
                {
                    // Better an odd name than lost work.
                    let kept = aside.keep().join("old");
                    return Err(Error::model(format!("cannot write {}: {e}. What was there is now in {}", dest.display(), kept.display())));
                }
                Err(Error::io("cannot write", &dest)(e))
            }
        }
    }
}

/// Whether there is a folder with content that has to go; an error where it may not.
fn may_replace(dest: &Path, force: bool, marker: &str) -> Result<bool> {
    let found = match fs::metadata(dest) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("cannot write", dest)(e)),
    };
    let shown = dest.display();
    if !found.is_dir() {
        return Err(Error::usage(format!("{shown} is a file; give the name of a folder")));
    }
    let entries: Vec<_> = fs::read_dir(dest).and_then(|e| e.collect::<io::Result<_>>()).map_err(Error::io("cannot read", dest))?;
    if entries.is_empty() {
        return Ok(false);
    }
    // --force must never be able to remove a home directory, nor a web application with a manifest of its own.
    if !is_ours(&dest.join(marker)) {
        return Err(Error::usage(format!(
            "{shown} is not empty and was not written by spgraph (it has no {marker} of spgraph's): give another name, or remove it yourself"
        )));
    }
    if !force {
        return Err(Error::usage(format!("{shown} exists already; --force replaces it")));
    }
    // Runs may have been put into their bundle's folder.
    if let Some(folder) = entries.iter().find(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        return Err(Error::usage(format!(
            "{shown} holds the folder {}, so it is not replaced, not even by --force: move that folder elsewhere, or give another name",
            folder.file_name().to_string_lossy()
        )));
    }
    Ok(true)
}

/// Whether spgraph wrote this JSON file: all of its folders have one that names it in the first lines.
fn is_ours(marker: &Path) -> bool {
    let mut head = vec![];
    let read = fs::File::open(marker).and_then(|f| f.take(4096).read_to_end(&mut head));
    let name = b"\"spgraph\":";
    read.is_ok() && head.windows(name.len()).any(|w| w == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::pending_outputs::final_name;

    const MANIFEST: &[u8] = br#"{ "format": 1, "spgraph": "0.1.0" }"#;

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
        assert!(OutputFile::create(&dest, false).unwrap_err().to_string().contains("--force"));
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
    fn outputs_have_ordinary_permissions_and_links_stay() {
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
        let (plain, made) = (dir.path().join("plain.d"), dir.path().join("made.d"));
        fs::create_dir(&plain).unwrap();
        OutputDir::create(&made, false).unwrap().commit().unwrap();
        assert_eq!(mode(&made), mode(&plain));
    }

    #[test]
    fn a_folder_appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("deep/out");
        let out = OutputDir::create(&dest, false).unwrap();
        fs::write(out.path().join(MARKER), MANIFEST).unwrap();
        drop(out);
        assert!(!dest.exists() && names(dest.parent().unwrap()).is_empty());

        fs::create_dir(&dest).unwrap(); // an empty one is no obstacle
        let out = OutputDir::create(&dest, false).unwrap();
        fs::write(out.path().join(MARKER), MANIFEST).unwrap();
        assert_eq!(out.commit().unwrap(), dest.canonicalize().unwrap());

        assert!(OutputDir::create(&dest, false).unwrap_err().to_string().contains("--force"));
        let out = OutputDir::create(&dest, true).unwrap();
        fs::write(out.path().join("new"), b"2").unwrap();
        out.commit().unwrap();
        assert_eq!(names(&dest), ["new"]);
        assert_eq!(names(dest.parent().unwrap()), ["out"]);
    }

    #[test]
    fn force_never_removes_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), b"precious").unwrap();
        let e = OutputDir::create(dir.path(), true).unwrap_err();
        assert!(matches!(e, Error::Usage(_)) && e.to_string().contains("not written by spgraph"), "{e}");
        assert!(OutputDir::create(dir.path().join("thesis.tex"), true).is_err());
        // Another program's manifest marks nothing, and folders are nothing of ours.
        let app = dir.path().join("app");
        fs::create_dir(&app).unwrap();
        fs::write(app.join(MARKER), br#"{ "name": "a web application", "icons": [] }"#).unwrap();
        assert!(OutputDir::create(&app, true).unwrap_err().to_string().contains("not written by spgraph"));
        fs::write(app.join(MARKER), MANIFEST).unwrap();
        fs::create_dir(app.join("run")).unwrap();
        assert!(OutputDir::create(&app, true).unwrap_err().to_string().contains("holds the folder run"));
        fs::remove_dir_all(&app).unwrap();
        // What arrives in the meantime is kept too.
        let dest = dir.path().join("out");
        let out = OutputDir::create(&dest, true).unwrap();
        fs::create_dir(&dest).unwrap();
        fs::write(dest.join("other"), b"").unwrap();
        assert!(out.commit().is_err());
        assert_eq!(names(dir.path()), ["out", "thesis.tex"]);
    }
    #[test]
    fn temporary_names_are_never_shown_and_can_be_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("out"), dir.path().join("a.onnx"));
        let (out, single) = (OutputDir::create(&folder, false).unwrap(), OutputFile::create(&file, false).unwrap());
        let error = Error::io("cannot write", out.path().join("step.onnx"))(io::ErrorKind::StorageFull.into()).to_string();
        assert!(error.contains(&folder.join("step.onnx").display().to_string()) && !error.contains(PREFIX), "{error}");
        assert_eq!((final_name(&single.temporary), final_name(dir.path())), (file, dir.path().to_path_buf()));
        let temporary = out.path().to_path_buf();
        assert!(temporary.is_dir());
        drop((out, single));
        assert_eq!(final_name(&temporary), temporary);
        assert!(names(dir.path()).is_empty());
    }
}
