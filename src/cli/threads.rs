//! How many threads work on what is shared out: as many as there are processors, as `RAYON_NUM_THREADS` says, or as the system gives.

use spgraph::error::Error;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// More than anybody has processors; each has a stack.
const MOST: usize = 1024;

/// Makes them, for the whole process. Without this the first that shares out work makes them, and there is no way out where the system gives none.
pub fn install() -> anyhow::Result<()> {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok()).filter(|&count| count > 0);
    let wanted = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).min(MOST);
    let before = running();
    let given = given(wanted)?;
    await_end(before);
    // Of a limit the other threads of this process need some.
    let count = if given < wanted { given.div_ceil(2) } else { wanted };
    // Once alone: rayon gives no second try.
    let made = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
    made.map_err(|e| Error::io("cannot start the threads of", "this process")(std::io::Error::other(e)).into())
}

/// How many of so many threads the system gives at once. Fails where it is none.
fn given(wanted: usize) -> anyhow::Result<usize> {
    let (ended, changed) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        let wait = || {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            drop(changed.wait_while(ended, |ended| !*ended));
        };
        let mut refused = None;
        let mut start = || std::thread::Builder::new().spawn_scoped(scope, wait).map_err(|e| refused = Some(e)).is_ok();
        let started = (0..wanted).take_while(|_| start()).count();
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        match refused {
            Some(e) if started == 0 => Err(Error::io("cannot start a thread of", "this process")(e).into()),
            _ => Ok(started),
        }
    })
}

/// How many threads this process has; `None` where the system does not say.
fn running() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Waits, for a second at most, until there are no more threads than `before`: those that have ended count until the system has taken them away.
fn await_end(before: Option<usize>) {
    let Some(before) = before else { return std::thread::sleep(Duration::from_millis(20)) };
    for _ in 0..1000 {
        if running().is_none_or(|now| now <= before) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_there_are_are_counted() {
        assert_eq!([1, 2, 5].map(|count| given(count).unwrap()), [1, 2, 5]);
    }
}
