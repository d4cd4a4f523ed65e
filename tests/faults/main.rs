//! Faults at every system call of every command that writes: errors of the system, a full disk, half a write, and a kill; and kills at random moments.
//!
//! Without more, a slice. `STRESS_MINUTES` gives the time for all of it (`make stress`), `STRESS_SEED` the order, `STRESS_ONLY` a part of the name of
//! what to try, and `SPGRAPH_UNDER_TEST` another build of the program.
#![cfg(target_os = "linux")]

mod advisories;
mod bad_inputs;
mod bite;
mod external_data;
mod judge;
mod kills;
mod measure;
#[path = "../cli/models.rs"]
#[allow(dead_code)]
mod models;
mod scenario;
mod supervisor;
mod syscalls;

use judge::Trial;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use scenario::{SCENARIOS, Scenario};
use std::time::{Duration, Instant};
use supervisor::{Call, Fault};

/// Faults of each command in the slice.
const SLICE: usize = 8;
/// Kills of each way to train in the slice.
const KILLS: usize = 3;

/// The time for everything, where it is given.
fn time() -> Option<Duration> {
    let minutes = std::env::var("STRESS_MINUTES").ok()?;
    Some(Duration::from_secs_f64(60.0 * minutes.parse::<f64>().expect("STRESS_MINUTES is no number")))
}

/// Random numbers: the same ones each time in the slice.
fn random() -> ChaCha8Rng {
    let given = std::env::var("STRESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u32 = given.unwrap_or_else(|| if time().is_some() { rand::random() } else { 1 });
    println!("STRESS_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed.into())
}

/// Every fault that can happen at the calls of the undisturbed course.
fn points(trial: &Trial) -> Vec<(usize, Fault)> {
    let of = |(at, call): (usize, &Call)| call.faults().into_iter().map(move |fault| (at, fault));
    trial.calls.iter().enumerate().flat_map(of).collect()
}

/// Tries a command until the time is over, or a slice; all that was wrong.
fn sweep(scenario: &Scenario, time: Option<Duration>, random: &mut ChaCha8Rng) -> Vec<String> {
    let trial = Trial::new(scenario);
    // The undisturbed course takes no time from the faults, and each command meets one at least.
    let end = time.map(|time| Instant::now() + time);
    let mut points = points(&trial);
    points.shuffle(random);
    let (all, mut tried, mut wrong) = (points.len(), 0, vec![]);
    for (at, fault) in points {
        let judged = tried + wrong.len();
        if end.map_or(judged >= SLICE, |end| judged > 0 && Instant::now() > end) {
            break;
        }
        match trial.judge(at, fault) {
            Ok(hit) => tried += usize::from(hit.is_some()),
            Err(why) => {
                println!("WRONG {why}");
                wrong.push(why);
            }
        }
    }
    println!("{}: {} calls, {tried} of {all} faults right, {} wrong", scenario.name, trial.calls.len(), wrong.len());
    wrong
}

#[test]
fn every_fault_ends_old_or_new() {
    let only = std::env::var("STRESS_ONLY").unwrap_or_default();
    let mut scenarios: Vec<_> = SCENARIOS.iter().filter(|s| s.name.contains(&only)).collect();
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("without ORT_DYLIB_PATH there is no library to install");
        scenarios.retain(|s| !s.command.starts_with("runtime install"));
    }
    let mut random = random();
    // Half of the time is for the kills.
    let share = time().map(|time| time / 2 / scenarios.len().max(1) as u32);
    let wrong: Vec<String> = scenarios.into_iter().flat_map(|scenario| sweep(scenario, share, &mut random)).collect();
    assert!(wrong.is_empty(), "{} wrong, the first: {}", wrong.len(), wrong[0]);
}

#[test]
fn killed_runs_end_as_if_they_were_not() {
    let mut random = random();
    let most = std::env::var("STRESS_KILLS").ok().and_then(|n| n.parse().ok());
    match time() {
        Some(time) => kills::all(time / 2, most.unwrap_or(usize::MAX), &mut random),
        None => kills::all(Duration::from_secs(600), KILLS * kills::WAYS.len(), &mut random),
    }
}
