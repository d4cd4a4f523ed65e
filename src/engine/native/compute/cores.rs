//! The cores that share a kernel's work.

use super::Isa;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whoever lends threads for a while.
pub trait Threads {
    /// Calls `work` on up to `count` threads at once, of which the calling one may be one. However many come, and however often they
    /// call: [`Cores`] hands out every task once, and does by itself what nobody took.
    fn lend(&self, count: usize, work: &(dyn Fn() + Sync));
}

/// Threads and the instructions that they have.
#[derive(Clone, Copy)]
pub struct Cores<'a> {
    threads: &'a dyn Threads,
    count: usize,
    isa: Isa,
}

impl<'a> Cores<'a> {
    /// `count` threads, the calling one among them.
    pub fn new(threads: &'a dyn Threads, count: usize, isa: Isa) -> Cores<'a> {
        Cores { threads, count, isa }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs tasks, each exactly once; returns when all are done, and panics where one has. Unsafe code relies on this.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.spread(tasks, false, work);
    }

    /// The same; every thread takes its tasks in the opposite order.
    pub fn run_back(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.spread(tasks, true, work);
    }

    /// Each thread has a contiguous part of the tasks, the same for every operator, so that it finds in its caches the images that it
    /// wrote before; when it is through, it helps with the others' parts.
    fn spread(&self, tasks: usize, back: bool, work: &(dyn Fn(usize) + Sync)) {
        let workers = self.count.min(tasks).max(1);
        let start = |part: usize| part * tasks / workers;
        let done: Vec<AtomicUsize> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        let failed = AtomicBool::new(false);
        let caller = std::thread::current().id();
        let drain = || {
            // Lent threads must not unwind; the calling one does, below.
            let result = catch_unwind(AssertUnwindSafe(|| {
                let own = if std::thread::current().id() == caller { 0 } else { seat(workers) };
                for part in (0..workers).map(|step| (own + step) % workers) {
                    loop {
                        let nth = done[part].fetch_add(1, Ordering::Relaxed);
                        if nth >= start(part + 1) - start(part) {
                            break;
                        }
                        work(if back { start(part + 1) - 1 - nth } else { start(part) + nth });
                    }
                }
            }));
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
        };
        if workers > 1 {
            self.threads.lend(workers, &drain);
        }
        drain();
        assert!(!failed.load(Ordering::Relaxed), "a task of a native kernel failed");
    }
}

/// Which of `workers` parts a thread begins with that is not the calling one: always the same, and mostly another for every thread.
fn seat(workers: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SEAT: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    1 + SEAT.with(|seat| seat % (workers - 1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls so many times for each thread that was asked for, all on the calling one.
    struct Times(usize);

    impl Threads for Times {
        fn lend(&self, count: usize, work: &(dyn Fn() + Sync)) {
            (0..count * self.0).for_each(|_| work());
        }
    }

    /// Unsafe code relies on it, whatever threads come.
    #[test]
    fn every_task_runs_once() {
        for (times, tasks) in [(0, 7), (1, 7), (3, 1), (2, 100), (1, 0)] {
            for back in [false, true] {
                let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                Cores::new(&Times(times), 3, Isa::Portable).spread(tasks, back, &|task| {
                    runs[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "{times} calls, {tasks} tasks: {runs:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a task of a native kernel failed")]
    fn a_failed_task_fails_all() {
        Cores::new(&Times(1), 2, Isa::Portable).run(4, &|task| assert!(task != 2));
    }
}
