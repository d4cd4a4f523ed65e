//! The process that reads inputs. What it finds goes to its standard output, a line each; what it was reading when it died is in a file.

use super::fault::{self, LONGEST, Seen};
use super::mutate::Random;
use super::targets::{self, Target};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes of stack, as the main thread of a process has them.
pub const STACK: usize = 8 << 20;

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

pub fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What one process is asked for.
pub struct Task {
    pub target: String,
    /// The seed of the first round.
    pub first: u64,
    pub rounds: u64,
    pub seconds: f64,
    /// Whether the corpus and the sound members are tried first.
    pub known: bool,
    /// Where inputs at fault are kept.
    pub keep: PathBuf,
}

impl Task {
    pub fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("FUZZ_CHILD", self.target.clone()),
            ("FUZZ_CHILD_FIRST", self.first.to_string()),
            ("FUZZ_CHILD_ROUNDS", self.rounds.to_string()),
            ("FUZZ_CHILD_SECONDS", self.seconds.to_string()),
            ("FUZZ_CHILD_KNOWN", u64::from(self.known).to_string()),
            ("FUZZ_CHILD_KEEP", self.keep.display().to_string()),
        ]
    }

    fn given() -> Option<Task> {
        Some(Task {
            target: variable("FUZZ_CHILD")?,
            first: number("FUZZ_CHILD_FIRST")?,
            rounds: number("FUZZ_CHILD_ROUNDS")?,
            seconds: number("FUZZ_CHILD_SECONDS")?,
            known: number("FUZZ_CHILD_KNOWN") == Some(1),
            keep: variable("FUZZ_CHILD_KEEP")?.into(),
        })
    }

    /// The input that is being read.
    pub fn current(&self) -> PathBuf {
        self.keep.join(format!("{}-current", self.target))
    }
}

/// Milliseconds from the start at which the input in hand was begun; 0 between inputs.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// Ends the process where an input hangs, with or without work.
fn end_hangs(start: Instant) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let began = BEGAN.load(Relaxed);
            // Others work on this machine as well.
            if began > 0 && start.elapsed() > Duration::from_millis(began) + 6 * LONGEST {
                println!("hang\tno answer for {:?}", 6 * LONGEST);
                std::process::exit(99);
            }
        }
    });
}

pub fn main() {
    let Some(task) = Task::given() else { return };
    let work = move || {
        let target = targets::all().into_iter().find(|t| t.name == task.target).expect("a target");
        run(&target, &task)
    };
    // In a thread with the stack of a process's first.
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

/// What has been seen so far.
#[derive(Default)]
struct Sums {
    accepted: u64,
    refused: u64,
    peak: usize,
    longest: Duration,
}

impl Sums {
    fn add(&mut self, seen: &Seen) {
        match seen.result {
            Ok(()) => self.accepted += 1,
            Err(_) => self.refused += 1,
        }
        self.peak = self.peak.max(seen.peak);
        self.longest = self.longest.max(seen.took);
    }

    fn tell(&self) {
        println!("sums\t{}\t{}\t{}\t{}", self.accepted, self.refused, self.peak, self.longest.as_millis());
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}

fn run(target: &Target, task: &Task) {
    fault::watch_panics();
    let mut sums = Sums::default();
    let start = Instant::now();
    end_hangs(start);
    let judge = |bytes: &[u8], what: &str, sums: &mut Sums| {
        std::fs::write(task.current(), bytes).unwrap();
        println!("at\t{what}");
        BEGAN.store(start.elapsed().as_millis() as u64 + 1, Relaxed);
        let seen = fault::read(target, bytes);
        BEGAN.store(0, Relaxed);
        if let Some(fault) = &seen.fault {
            let kept = task.keep.join(format!("{}-{}", target.name, &blake3::hash(bytes).to_hex()[..16]));
            std::fs::write(&kept, bytes).unwrap();
            println!("fault\t{}\t{}\t{}", one_line(what), kept.display(), one_line(fault));
        }
        sums.add(&seen);
        seen.result
    };
    let seeds = (target.seeds)();
    if task.known {
        for path in targets::corpus(target.name) {
            let _ = judge(&std::fs::read(&path).unwrap(), &shown(&path), &mut Sums::default());
        }
        for (at, seed) in seeds.iter().enumerate() {
            if let Err(why) = judge(seed, &format!("sound member {at}"), &mut Sums::default()) {
                println!("fault\tsound member {at}\t\tis refused: {}", one_line(&why));
            }
        }
    }
    let begun = Instant::now();
    for round in task.first..task.first.saturating_add(task.rounds) {
        if begun.elapsed().as_secs_f64() >= task.seconds {
            break;
        }
        let mut random = Random::new(round);
        let seed = &seeds[random.below(seeds.len())];
        let mut bytes = (target.mutate)(seed, &mut random);
        // Two at once reach what one change alone does not.
        if random.below(4) == 0 {
            bytes = (target.mutate)(&bytes, &mut random);
        }
        let _ = judge(&bytes, &format!("seed {round}"), &mut sums);
        if round % 64 == 0 {
            sums.tell();
        }
    }
    sums.tell();
    println!("end");
}

fn shown(path: &Path) -> String {
    format!("corpus/{}", path.file_name().unwrap_or_default().to_string_lossy())
}
