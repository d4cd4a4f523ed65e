//! Folders that appear whole or not at all, as files do.

use super::exchange::{exchange, exchange_keeping, remove, restore};
use super::files::{parent, plain, resolved, sync_name};
use super::lock::Lock;
use super::pending_outputs::PendingOutput;
use super::run_folder::{BUNDLE, RECORD};
use super::temporaries::{self, builder, lock_of};
use crate::error::{Error, Result};
use crate::field::Field;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The file by which a folder is recognised as spgraph's own output.
const MARKER: &str = "manifest.json";

/// A folder under construction. Dropped without [`OutputDir::commit`], it vanishes.
#[derive(Debug)]
pub struct OutputDir {
    dest: PathBuf,
    marker: &'static str,
    replace: bool,
    temporary: TempDir,
    pending: PendingOutput,
    /// Nobody else makes the same folder meanwhile.
    _lock: (Lock, PendingOutput),
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
        restore(&dest);
        let replace = may_replace(&dest, force, marker)?;
        let above = parent(&dest);
        if !above.is_dir() {
            fs::create_dir_all(above).map_err(Error::io("cannot create", above))?;
        }
        temporaries::sweep(above);
        let lock = lock_of(&dest);
        let busy = |who: &str| Error::usage(format!("{} is being written by {who}: wait for it, or give another name", dest.display()));
        // Before it is there, so that messages never show its name.
        let named = PendingOutput::new(&lock, &dest);
        let _lock = (Lock::take(&lock, busy)?, named);
        let temporary = builder(0o777).tempdir_in(above).map_err(plain).map_err(Error::io("cannot create", &dest))?;
        let pending = PendingOutput::new(temporary.path(), &dest);
        Ok(OutputDir { dest, marker, replace, temporary, pending, _lock })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the folder its name. With `force` it is exchanged with the folder that had it, in one step where the system can, and that is
    /// removed afterwards.
    pub fn commit(self) -> Result<PathBuf> {
        self.commit_keeping(None)
    }

    /// [`OutputDir::commit`]; with `kept` the folder that had the name gets that one, which nothing may have, and stays.
    pub fn commit_keeping(self, kept: Option<&Path>) -> Result<PathBuf> {
        let OutputDir { dest, marker, replace, temporary, pending: _pending, _lock } = self;
        let failed = |e| Error::io("cannot write", &dest)(e);
        // Much may have happened since `create`: training takes hours.
        let occupied = may_replace(&dest, replace, marker)?;
        sync_content(temporary.path()).map_err(failed)?;
        let old = match (occupied, kept) {
            (false, _) => fs::rename(temporary.path(), &dest).map(|()| None),
            (true, None) => exchange(temporary.path(), &dest).map(Some),
            (true, Some(kept)) => exchange_keeping(temporary.path(), &dest, kept).map(|()| None),
        };
        let old = old.map_err(failed)?;
        // It has its name now: there is nothing left to clean up.
        let _ = temporary.keep();
        let synced = sync_name(&dest);
        if let Some(old) = old {
            remove(&old).map_err(Error::io("cannot remove what was replaced,", &old))?;
        }
        synced.map(|()| dest)
    }
}

/// Brings a folder's files and folders, and their names, to the disk.
pub fn sync_content(dir: &Path) -> io::Result<()> {
    // Windows flushes only what is open for writing.
    if !cfg!(unix) {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_content(&entry.path())?,
            false => fs::File::open(entry.path())?.sync_all()?,
        }
    }
    fs::File::open(dir)?.sync_all()
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
    if !is_ours(&dest.join(marker))? {
        return Err(Error::usage(format!(
            "{shown} is not empty and was not written by spgraph (it has no {marker} of spgraph's): give another name, or remove it yourself"
        )));
    }
    if !force {
        return Err(Error::usage(format!("{shown} exists already; {} replaces it", Field::FORCE)));
    }
    // A bundle has models that are markers of other folders.
    if ![MARKER, RECORD].contains(&marker) && is_ours(&dest.join(MARKER))? {
        return Err(Error::usage(format!(
            "{shown} is a bundle, and is not replaced by something else: give another name, or remove it yourself"
        )));
    }
    // Runs may have been put into their bundle's folder.
    let own = marker == RECORD && is_ours(&dest.join(BUNDLE).join(MARKER))?;
    let own = |e: &fs::DirEntry| own && e.file_name() == BUNDLE;
    if let Some(folder) = entries.iter().find(|e| e.file_type().is_ok_and(|t| t.is_dir()) && !own(e)) {
        return Err(Error::usage(format!(
            "{shown} holds the folder {}, so it is not replaced, not even by {}: move that folder elsewhere, or give another name",
            folder.file_name().to_string_lossy(),
            Field::FORCE
        )));
    }
    Ok(true)
}

/// Whether spgraph wrote this file: a JSON that names it in the first lines, or a model whose first fields are ONNX's version and spgraph as the producer.
fn is_ours(marker: &Path) -> Result<bool> {
    // What is no regular file is nothing of spgraph's.
    if !marker.is_file() {
        return Ok(false);
    }
    let mut head = vec![];
    fs::File::open(marker).and_then(|f| f.take(4096).read_to_end(&mut head)).map_err(Error::io("cannot read", marker))?;
    let name = b"\"spgraph\":";
    let producer = matches!(head[..], [8, _, 0x12, 7, b's', b'p', b'g', b'r', b'a', b'p', b'h', ..]);
    Ok(producer || head.windows(name.len()).any(|w| w == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::files::OutputFile;
    use crate::storage::pending_outputs::final_name;
    use crate::storage::temporaries::PREFIX;

    const MANIFEST: &[u8] = br#"{ "format": 1, "spgraph": "0.1.0" }"#;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[cfg(unix)]
    #[test]
    fn folders_have_ordinary_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
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

        assert!(OutputDir::create(&dest, false).unwrap_err().to_string().contains(&Field::FORCE.to_string()));
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
        let hidden = names(dir.path()).into_iter().map(|n| dir.path().join(n)).find(|p| p.is_file()).unwrap();
        assert_eq!((final_name(&hidden), final_name(dir.path())), (file, dir.path().to_path_buf()));
        let temporary = out.path().to_path_buf();
        assert!(temporary.is_dir());
        drop((out, single));
        assert_eq!(final_name(&temporary), temporary);
        assert!(names(dir.path()).is_empty());
    }
}
