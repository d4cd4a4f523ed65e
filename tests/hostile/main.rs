//! Every operator of the table with numbers that nobody means: each integer attribute and each integer constant of each example replaced by the
//! extremes of its type. Such a node is refused with a reason, or computes what ONNX Runtime computes; never a panic, and never much time or memory.
//!
//! A run of the tests tries a slice; all are tried where `STRESS_MINUTES` is set (`make stress`), or with `HOSTILE_ONLY=Pad,Slice`, which chooses
//! operators. `HOSTILE_TRACE=1` says what is being tried, for one that ends the process.

#[path = "../gradients/attention.rs"]
#[allow(dead_code)]
mod attention;
#[path = "../gradients/cases.rs"]
#[allow(dead_code)]
mod cases;
#[path = "../gradients/indexing.rs"]
#[allow(dead_code)]
mod indexing;
#[path = "../fuzz/memory.rs"]
#[allow(dead_code)]
mod memory;
mod mutants;
mod others;
#[path = "../gradients/products.rs"]
#[allow(dead_code)]
mod products;
#[path = "../gradients/resizing.rs"]
#[allow(dead_code)]
mod resizing;
#[path = "../shared/mod.rs"]
mod shared;
mod trial;

use cases::Case;
use shared::engine;
use spgraph::engine::EngineChoice;
use spgraph::operator::Status;
use spgraph::ops::table;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Of so many mutants one is tried in a slice. No operator has as many of a kind.
const SLICE: usize = 23;

/// Of the processor, for a build without optimisation too; and a microsecond for each element of the largest tensor of what is taken.
const SECONDS: f64 = 1.0;
/// Beyond what was there before; and 128 bytes for each such element: rules make lists of their places.
const MEMORY: usize = 64 << 20;

static PANIC: Mutex<String> = Mutex::new(String::new());

fn all() -> Vec<Case> {
    let mut all = cases::cases();
    all.extend(others::cases());
    all
}

/// Of this thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there, and nothing else is written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn extremes_are_refused_or_right() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        *PANIC.lock().unwrap() = format!("{place}: {}", info.payload_as_str().unwrap_or_default());
    }));
    let (only, trace) = (std::env::var("HOSTILE_ONLY").unwrap_or_default(), std::env::var_os("HOSTILE_TRACE").is_some());
    let (mut tried, mut accepted, mut wrong) = (0, 0, BTreeMap::<String, String>::new());
    let (ort, begun) = (engine(EngineChoice::Ort), Instant::now());
    let whole = !only.is_empty() || std::env::var_os("STRESS_MINUTES").is_some();
    let mut counted = 0;
    for case in all().iter().filter(|c| only.is_empty() || only.split(',').any(|o| o == c.op)) {
        for mutant in mutants::of(case) {
            counted += 1;
            if !whole && counted % SLICE != 0 {
                continue;
            }
            if trace {
                writeln!(std::io::stderr(), "{}", mutant.label).unwrap();
            }
            let before = processor_time();
            let (result, peak) = memory::measured(|| catch_unwind(AssertUnwindSafe(|| trial::rewritten(&mutant))));
            let took = (processor_time() - before).as_secs_f64();
            tried += 1;
            let mut fault = |what: String, key: String| {
                wrong.entry(key).or_insert(format!("{}: {what}", mutant.label));
            };
            let elements = result.as_ref().ok().and_then(|r| r.as_ref().ok()).map_or(0, |taken| taken.elements);
            if took > SECONDS + 1e-6 * elements as f64 {
                fault(format!("takes {took:.1} s"), format!("{} time", case.op));
            }
            if peak > MEMORY + 128 * elements {
                fault(format!("takes {} MB", peak >> 20), format!("{} memory", case.op));
            }
            match result {
                Err(_) => {
                    let place = std::mem::take(&mut *PANIC.lock().unwrap());
                    fault(format!("panics at {place}"), place.split(": ").next().unwrap_or_default().to_string());
                }
                Ok(Err(why)) if why.trim().is_empty() || why.contains("fault of spgraph itself") => {
                    fault(format!("is refused with `{why}`"), format!("{} words", case.op));
                }
                Ok(Err(_)) => {}
                Ok(Ok(taken)) => {
                    accepted += 1;
                    if let Err(why) = trial::compare(&*ort, &mutant, &taken) {
                        fault(why.clone(), format!("{} {}", case.op, why.chars().take(24).collect::<String>()));
                    }
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    println!("{tried} mutants, {accepted} taken, in {:.0} s", begun.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{} kinds of faults:\n{}", wrong.len(), wrong.into_values().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_operator_has_an_example() {
    let covered: BTreeSet<String> = all().iter().map(|c| c.covers().to_string()).collect();
    let known = table::OPERATORS.iter().filter(|o| !matches!(o.status(), Status::Refused(_)) && !o.takes_sequences());
    let missing: Vec<_> = known.map(|o| o.op_type()).filter(|o| !covered.contains(*o) && *o != "SequenceEmpty").collect();
    assert!(missing.is_empty(), "no example of {missing:?}; add one to tests/hostile/others.rs");
}
