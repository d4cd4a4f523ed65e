//! Runs that a process is training just now.

use super::metrics::Record;
use crate::field::Field;
use crate::storage::lock::Lock;
use crate::storage::run_folder::RunFolder;

/// Who is training the run and how far it is, for people: `being trained by process 12 on host, at step 40`. `None` where nobody is.
pub(crate) fn in_training(folder: &RunFolder) -> Option<String> {
    let who = Lock::holder(&folder.lock_path())?;
    let metrics = std::fs::read(folder.metrics()).unwrap_or_default();
    // The last line may be half written.
    let metrics = String::from_utf8_lossy(&metrics);
    let last = metrics.lines().rev().find_map(|line| serde_json::from_str::<Record>(line).ok());
    let at = last.map_or("before its first step".into(), |record| format!("at step {}", record.step()));
    Some(format!("being trained by {who}, {at}"))
}

/// What can be taken of such a run meanwhile, for people.
pub(super) fn meanwhile(folder: &RunFolder) -> String {
    let there = [(folder.checkpoint(), Field::CHECKPOINT_STATE), (folder.best(), Field::BEST_STATE), (folder.state(), Field::FINAL_STATE)];
    let ways: Vec<String> = there.iter().filter(|(path, _)| path.is_file()).map(|(_, way)| way.to_string()).collect();
    match &*ways {
        [] => format!("Wait for its end; it has written no checkpoint yet ({} says when a run does)", Field::CHECKPOINT_EVERY),
        ways => format!("Wait for its end, or take {}", ways.join(" or ")),
    }
}
