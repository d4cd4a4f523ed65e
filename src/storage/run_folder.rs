//! What lies where in the folder of a run.

use super::beside::beside;
use crate::error::{Error, Result};
use crate::storage::exchange;
use crate::storage::files::write_json;
use crate::storage::lock::Lock;
use crate::storage::regular;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file by which the folder of a run is recognised.
pub const RECORD: &str = "run.json";

/// The folder of the bundle in the folder of a run.
pub const BUNDLE: &str = "bundle";

/// Which run a new one is to replace: in the folder of the new one, until that has weights.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Replacing {
    /// The new run's id.
    run: String,
    /// The hash of the old one's record.
    replaces: String,
}

/// No record of a run is longer.
const MOST_RECORD: u64 = 64 << 20;

/// The folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in `dir`, whether it is there yet or not.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        RunFolder(dir.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was asked, and what came out.
    pub fn record(&self) -> PathBuf {
        self.0.join(RECORD)
    }

    /// The bundle's manifest, with the classes of the images.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// A line for each step and each validation.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The steps of the test that found the learning rate.
    pub fn rates(&self) -> PathBuf {
        self.0.join("lr_find.csv")
    }

    /// The same as a picture.
    pub fn rates_plot(&self) -> PathBuf {
        self.0.join("lr_find.svg")
    }

    /// The state after the last step.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }

    /// All of the state after some step, while the run is not complete.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The checkpoint before the last, for the case that the last one is damaged.
    pub fn previous_checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.previous.safetensors")
    }

    /// The state that the validation liked best.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// The optimizer's part of the state after the last step, for a complete run that is continued.
    pub fn optimizer(&self) -> PathBuf {
        self.0.join("optimizer.safetensors")
    }

    /// What a run needs of its bundle, so that it stays whole when the bundle is moved or deleted.
    pub fn bundle(&self) -> PathBuf {
        self.0.join(BUNDLE)
    }

    /// Everything that was asked, defaults included, as a configuration that runs the same again.
    pub fn configuration(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The tuned model.
    pub fn tuned(&self) -> PathBuf {
        self.0.join("tuned.onnx")
    }

    /// The lines as a table.
    pub fn table(&self) -> PathBuf {
        self.0.join("metrics.csv")
    }

    /// The lines for TensorBoard, which reads what has `tfevents` in its name.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.out.tfevents.spgraph")
    }

    /// What a run consists of, and other commands read.
    pub fn files(&self) -> Vec<PathBuf> {
        let weights = [self.state(), self.checkpoint(), self.previous_checkpoint(), self.best(), self.optimizer()];
        let texts = [self.record(), self.manifest(), self.metrics(), self.configuration(), self.notes(), self.evaluation(), self.test()];
        // For people and other programs; a tuned model is what one may well want to write.
        let others = [self.report(), self.rates(), self.rates_plot(), self.table(), self.events()];
        weights.into_iter().chain(texts).chain(others).collect()
    }

    /// How good the best state is on the validation images.
    pub fn evaluation(&self) -> PathBuf {
        self.0.join("evaluation.json")
    }

    /// What was assumed, noticed or left out before the first step.
    pub fn notes(&self) -> PathBuf {
        self.0.join("notes.json")
    }

    /// A page to look at.
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// What the evaluation on the test images gave, where there are any.
    pub fn test(&self) -> PathBuf {
        self.0.join("test.json")
    }

    /// Whether a run is in it.
    pub fn is_run(&self) -> bool {
        self.record().is_file()
    }

    /// Whether its run left weights.
    pub fn has_weights(&self) -> bool {
        [self.state(), self.checkpoint(), self.previous_checkpoint(), self.best()].iter().any(|p| p.is_file())
    }

    /// The file that one process at a time has a lock on.
    pub fn lock_path(&self) -> PathBuf {
        self.0.join("run.lock")
    }

    /// Keeps other processes from writing into the folder, which must exist. Fails where one does, and says which.
    pub fn lock(&self) -> Result<Lock> {
        let shown = self.0.display();
        Lock::take(&self.lock_path(), |who| {
            Error::usage(format!("the run {shown} is in use by {who}. Wait until that has ended, end it, or give another folder"))
        })
    }

    /// Where the run that had this name stays, until the one that replaces it has written weights. What lies there may be somebody else's:
    /// [`RunFolder::own_replaced`] tells.
    pub fn replaced(&self) -> RunFolder {
        RunFolder(beside(&self.0, "", ".replaced"))
    }

    /// The file in a new run that says which one it is to replace.
    fn replacing(&self) -> PathBuf {
        self.0.join("replaces.json")
    }

    /// Says in a run's folder, before that has its name, that the run in `old` goes when this one has weights.
    pub fn note_replacing(&self, old: &RunFolder) -> Result<()> {
        let missing = |folder: &RunFolder| Error::model(format!("{} is gone. Run the command again", folder.record().display()));
        let own = present(&self.record(), MOST_RECORD)?.ok_or_else(|| missing(self))?;
        let there = present(&old.record(), MOST_RECORD)?.ok_or_else(|| missing(old))?;
        let run = id_in(&own).ok_or_else(|| Error::internal("a new run has no id"))?;
        write_json(&self.replacing(), true, &Replacing { run, replaces: fingerprint(&there) })
    }

    /// Whether this run was begun to replace that very one, which has not changed since.
    fn replaces(&self, old: &RunFolder) -> Result<bool> {
        let Some(said) = present(&self.replacing(), 4096)? else { return Ok(false) };
        let Ok(said) = serde_json::from_slice::<Replacing>(&said) else { return Ok(false) };
        let (own, there) = (present(&self.record(), MOST_RECORD)?, present(&old.record(), MOST_RECORD)?);
        let fits = |own: &[u8], there: &[u8]| id_in(own).is_some_and(|id| id == said.run) && fingerprint(there) == said.replaces;
        Ok(own.zip(there).is_some_and(|(own, there)| fits(&own, &there)))
    }

    /// The run that this one is to replace; `None` where there is none, and where what has its name is somebody else's.
    pub fn own_replaced(&self) -> Result<Option<RunFolder>> {
        let old = self.replaced();
        Ok(if self.replaces(&old)? { Some(old) } else { None })
    }

    /// Whether it says that it is to replace a run.
    pub fn is_replacing(&self) -> bool {
        self.replacing().exists()
    }

    /// Removes the run that this one replaces, and the note of it.
    pub fn forget_replaced(&self) -> Result<()> {
        if let Some(old) = self.own_replaced()? {
            exchange::discard(old.path()).map_err(Error::io("cannot remove the run that was replaced,", old.path()))?;
        }
        let note = self.replacing();
        match std::fs::remove_file(&note) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("cannot remove", &note)(e)),
            _ => Ok(()),
        }
    }

    /// Gives `old`, which this run was to replace, the name of this one again, which goes.
    pub fn bring_back(&self, old: &RunFolder) -> std::io::Result<()> {
        exchange::exchange(old.path(), &self.0).and_then(|new| exchange::discard(&new))
    }

    /// Ends what a killed process had begun that was to replace a run: the old one is removed where the new one has weights, and gets its name back
    /// where it has none. Says what was done. Nothing is done with a folder that was not put there for that. Whoever calls holds the lock.
    pub fn settle(&self) -> Result<Option<String>> {
        let beside = self.replaced();
        // The old one had its name back already.
        if beside.replaces(self)? {
            exchange::discard(beside.path()).map_err(Error::io("cannot remove the run that was begun,", beside.path()))?;
        }
        let Some(old) = self.own_replaced()? else { return Ok(None) };
        if self.has_weights() {
            return self.forget_replaced().map(|()| None);
        }
        self.bring_back(&old).map_err(Error::io("cannot bring back the run that was to be replaced,", old.path()))?;
        let shown = self.0.display();
        Ok(Some(format!("the run {shown} is the old one again: the one that was to replace it had been ended before it wrote any weights")))
    }
}

/// The content of a file, where there is one.
fn present(path: &Path, most: u64) -> Result<Option<Bytes>> {
    match regular::read_at_most(path, most) {
        Ok(content) => Ok(Some(content)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("cannot read", path)(e)),
    }
}

fn id_in(record: &[u8]) -> Option<String> {
    let record: serde_json::Value = serde_json::from_slice(record).ok()?;
    Some(record.get("id")?.as_str()?.to_string())
}

/// What tells a run from others, and from itself when it has gone on.
fn fingerprint(record: &[u8]) -> String {
    blake3::hash(record).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(folder: &RunFolder) -> Option<String> {
        id_in(&std::fs::read(folder.record()).unwrap())
    }

    fn run(dir: &Path, name: &str, id: &str, weights: bool) -> RunFolder {
        let folder = RunFolder::new(dir.join(name));
        std::fs::create_dir(folder.path()).unwrap();
        std::fs::write(folder.record(), format!(r#"{{"spgraph": "0", "id": "{id}"}}"#)).unwrap();
        if weights {
            std::fs::write(folder.state(), id).unwrap();
        }
        folder
    }

    #[test]
    fn only_a_run_that_was_put_there_is_removed_or_brought_back() {
        for weights in [false, true] {
            // Somebody else's, and one that has gone on since.
            for changed in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let old = run(dir.path(), "run.replaced", "old", true);
                let new = run(dir.path(), "run", "new", weights);
                if changed {
                    new.note_replacing(&old).unwrap();
                    std::fs::write(old.record(), r#"{"id": "old", "more": 1}"#).unwrap();
                }
                assert_eq!((new.settle().unwrap(), new.own_replaced().unwrap()), (None, None));
                new.forget_replaced().unwrap();
                assert!(old.is_run() && old.has_weights() && id(&new).as_deref() == Some("new"));
            }
            let dir = tempfile::tempdir().unwrap();
            let old = run(dir.path(), "run.replaced", "old", true);
            let new = run(dir.path(), "run", "new", weights);
            new.note_replacing(&old).unwrap();
            // A copy of the new one under another name has nothing to do with it.
            assert!(!RunFolder::new(dir.path().join("other")).replaces(&old).unwrap());
            assert_eq!(new.settle().unwrap().is_some(), !weights);
            assert_eq!(id(&new).as_deref(), Some(if weights { "new" } else { "old" }));
            assert!(!old.path().exists());
            new.forget_replaced().unwrap();
            let names = || std::fs::read_dir(dir.path()).unwrap().count();
            assert_eq!((names(), std::fs::read_dir(new.path()).unwrap().count()), (1, 2));
        }
        // Ended just between the old one's return and the new one's end.
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (run(dir.path(), "run", "old", true), run(dir.path(), "run.replaced", "new", false));
        new.note_replacing(&old).unwrap();
        assert_eq!(old.settle().unwrap(), None);
        assert!(!new.path().exists() && old.has_weights());
    }
}
