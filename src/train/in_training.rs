//! Runs that a process is training just now.

use super::metrics::Record;
use super::run_state::RunState;
use crate::field::Field;
use crate::storage::lock::Lock;
use crate::storage::regular;
use crate::storage::run_folder::RunFolder;

/// Who is training the run and how far it is, for people: `being trained by process 12 on host, at step 40`. `None` where nobody is.
pub(crate) fn in_training(folder: &RunFolder) -> Option<String> {
    let who = Lock::holder(&folder.lock_path())?;
    let metrics = regular::read(&folder.metrics()).unwrap_or_default();
    // The last line may be half written.
    let metrics = String::from_utf8_lossy(&metrics);
    let last = metrics.lines().rev().find_map(|line| serde_json::from_str::<Record>(line).ok());
    let at = last.map_or("before its first step".into(), |record| format!("at step {}", record.step()));
    Some(format!("being trained by {who}, {at}"))
}

/// When such a run, with so many validation images, will have the state that it lacks, and what can be taken of it meanwhile, for people.
pub(super) fn meanwhile(folder: &RunFolder, lacking: RunState, validation: usize) -> String {
    let there = [(folder.checkpoint(), Field::CHECKPOINT_STATE), (folder.best(), Field::BEST_STATE), (folder.state(), Field::FINAL_STATE)];
    let ways: Vec<String> = there.iter().filter(|(path, _)| path.is_file()).map(|(_, way)| way.to_string()).collect();
    // Neither the best state nor a checkpoint comes with the end of a run that had none.
    let due = match lacking {
        RunState::Best if validation == 0 => {
            format!(
                "It has no validation images to find the best by ({}): wait for its end and take {}",
                Field::VALIDATION,
                Field::FINAL_STATE
            )
        }
        RunState::Best => "Wait for its first validation".to_string(),
        RunState::Checkpoint => format!("Wait for its first checkpoint ({} says when a run writes one)", Field::CHECKPOINT_EVERY),
        _ => "Wait for its end".to_string(),
    };
    match &*ways {
        [] if lacking != RunState::Checkpoint => {
            format!("{due}; it has written no checkpoint yet ({} says when a run does)", Field::CHECKPOINT_EVERY)
        }
        [] => due,
        ways => format!("{due}, or take {}", ways.join(" or ")),
    }
}
