//! A disk that runs full while a run is written: what is there of the run is kept, and goes on once there is room.

use crate::error::Error;
use crate::field::Field;
use crate::shell::word;
use crate::storage::run_folder::RunFolder;
use std::path::Path;

/// The error with the way to go on with the run in `dir`, where the disk is full and there is one.
pub(super) fn advised(error: Error, dir: &Path) -> Error {
    if !RunFolder::new(dir).is_run() {
        return error;
    }
    error.on_full_disk(|| {
        format!("free some space, then go on with the run: spgraph finetune {} {} {}", Field::RESUME, Field::OUTPUT, word(dir))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_run_goes_on_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let full = |kind: ErrorKind| Error::io("cannot write", dir.path().join("metrics.jsonl"))(kind.into());
        let before = full(ErrorKind::StorageFull).to_string();
        assert!(before.ends_with("run the command again"), "{before}");
        // There is no run to go on with.
        assert_eq!(advised(full(ErrorKind::StorageFull), dir.path()).to_string(), before);
        std::fs::write(RunFolder::new(dir.path()).record(), "{}").unwrap();
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let text = advised(full(kind), dir.path()).to_string();
            let way = format!(
                "free some space, then go on with the run: spgraph finetune option `existing = resume` option `output` {}",
                dir.path().display()
            );
            assert!(text.ends_with(&way), "{text}");
        }
        let other = full(ErrorKind::PermissionDenied).to_string();
        assert_eq!(advised(full(ErrorKind::PermissionDenied), dir.path()).to_string(), other);
    }
}
