//! Runs a target in a process of its own, again and again where it dies, and says what was found.

use super::child::{Task, number, variable};
use super::fault::outline;
use super::targets;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Inputs of the slice for each target, as far as there is time for them.
const ROUNDS: u64 = 300;
const SLICE_SECONDS: f64 = 3.5;
/// So many kinds of faults are enough.
const ENOUGH: usize = 40;

/// Faults by their outline: the first of each kind, and how many there were.
#[derive(Default)]
struct Faults(BTreeMap<String, (String, usize)>);

impl Faults {
    fn add(&mut self, what: &str, kept: &str, fault: &str) {
        let text = format!("{what}: {fault}\n      input {kept}");
        self.0.entry(outline(fault)).or_insert((text, 0)).1 += 1;
    }
}

#[derive(Default)]
struct Found {
    accepted: u64,
    refused: u64,
    peak: usize,
    longest: u64,
    faults: Faults,
}

/// How one process ended.
struct Ended {
    /// It went through everything.
    whole: bool,
    /// What it was reading last.
    last: String,
}

fn run(task: &Task, found: &mut Found) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1", "-q"]).envs(task.variables());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let errors = process.stderr.take().unwrap();
    let errors = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let (mut last, mut whole, mut hang) = (String::new(), false, None);
    let mut sums = [0u64; 4];
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = String::from_utf8_lossy(line.unwrap_or_default().as_bytes()).into_owned();
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["at", what] => last = what.into(),
            ["fault", what, kept, fault] => found.faults.add(what, kept, fault),
            ["sums", a, b, c, d] => sums = [a, b, c, d].map(|n| n.parse().unwrap_or(0)),
            ["hang", why] => hang = Some(why.to_string()),
            ["end"] => whole = true,
            _ => {}
        }
    }
    let status = process.wait().unwrap();
    let errors = errors.join().unwrap_or_default();
    found.accepted += sums[0];
    found.refused += sums[1];
    found.peak = found.peak.max(sums[2] as usize);
    found.longest = found.longest.max(sums[3]);
    if !whole {
        let kept = task.keep.join(format!("{}-dead-{}", task.target, last.replace([' ', '/'], "-")));
        let _ = std::fs::rename(task.current(), &kept);
        let end: String = errors.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ");
        let why = hang.unwrap_or_else(|| format!("the process died, {status}: {end}"));
        found.faults.add(&last, &kept.display().to_string(), &why);
    }
    Ended { whole, last }
}

/// Seconds for each target, where that is said.
fn seconds() -> Option<f64> {
    let of_all = || {
        let minutes: f64 = number("STRESS_MINUTES")?;
        let together = number("RUST_TEST_THREADS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let count = variable("FUZZ_TARGET").map_or(targets::all().len(), |names| names.split(',').count());
        Some(60.0 * minutes * together.min(count) as f64 / count as f64)
    };
    number("FUZZ_SECONDS").or_else(of_all)
}

/// From where on seeds are counted: the same each time, unless there is time for others.
fn first_seed(long: bool) -> u64 {
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
    number("FUZZ_SEED").unwrap_or_else(|| if long { clock() & 0xffff_ffff_ffff } else { 1 })
}

pub fn fuzz(name: &str) {
    if variable("FUZZ_TARGET").is_some_and(|names| !names.split(',').any(|n| n == name)) {
        return;
    }
    let keep = variable("FUZZ_KEEP").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz"), PathBuf::from);
    std::fs::create_dir_all(&keep).unwrap();
    let long = seconds();
    let origin = first_seed(long.is_some());
    let (allowed, last_round) = match long {
        Some(seconds) => (seconds, u64::MAX),
        None => (SLICE_SECONDS, origin + ROUNDS),
    };
    let mut found = Found::default();
    let mut task = Task { target: name.into(), first: origin, rounds: last_round - origin, seconds: allowed, known: true, keep };
    let start = Instant::now();
    loop {
        let ended = run(&task, &mut found);
        let seed: Option<u64> = ended.last.strip_prefix("seed ").and_then(|n| n.parse().ok());
        if ended.whole || found.faults.0.len() >= ENOUGH {
            break;
        }
        // What is known is not tried again, nor the input that ended the process.
        task.known = false;
        task.first = seed.map_or(task.first, |seed| seed + 1);
        task.rounds = last_round.saturating_sub(task.first);
        task.seconds = allowed - start.elapsed().as_secs_f64();
        if task.seconds <= 0.0 || task.rounds == 0 {
            break;
        }
    }
    let _ = std::fs::remove_file(task.current());
    let Found { accepted, refused, peak, longest, faults } = found;
    let kinds: usize = faults.0.len();
    println!(
        "{name}: {} inputs from seed {origin}, {accepted} accepted, {refused} refused, {kinds} kinds of faults; at most {} MB and {longest} ms",
        accepted + refused,
        peak >> 20
    );
    let text: Vec<String> = faults.0.values().map(|(first, count)| format!("  {count} × {first}")).collect();
    assert!(text.is_empty(), "{name} from seed {origin}:\n{}", text.join("\n"));
    // Mutants that are all alike try nothing.
    assert!(refused > 0, "{name}: no mutant was refused");
}
