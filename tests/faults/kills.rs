//! Kills at random moments: a run that is killed again and again, and goes on each time, ends as one that was left alone, to the bit.

use crate::scenario::{command, content, difference, ok, scratch, shared, words};
use rand::{Rng, RngExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How a run is trained: the bundle's options, and the run's.
pub const WAYS: [(&str, &str, &str); 7] = [
    ("SGD, tract", "", "--engine tract"),
    ("AdamW with averages, tract", "--optimizer adamw --ema 0.9", "--engine tract"),
    ("head first, tract", "", "--engine tract --head-first 1"),
    ("proximal step, tract", "--penalty gl-sp --prox", "--engine tract --augment flip-crop:2+color:0.2"),
    ("SGD, native kernels", "", "--engine ort --kernels native"),
    ("AdamW with averages, native kernels", "--optimizer adamw --ema 0.9", "--engine ort --kernels native --head-first 1"),
    ("SGD, standard kernels", "", "--engine ort --kernels standard"),
];

/// What a series of kills came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    pub runs: usize,
    pub kills: usize,
    /// Of these by SIGTERM, which is a request.
    pub requests: usize,
    /// Before there was a checkpoint.
    pub early: usize,
}

/// Kills runs trained that way until the time is over or there were so many kills. Fails where one ends otherwise than the run that was left alone.
pub fn series(way: (&str, &str, &str), until: Instant, most: usize, random: &mut impl Rng) -> Result<Count, String> {
    let (name, rewriting, training) = way;
    let lab = scratch("kills");
    let path = |name: &str| lab.path().join(name);
    ok(&mut command(lab.path(), &words(&format!("rewrite @m.onnx --classes 2 --batch 2 {rewriting} -o b"), shared())));
    let common = "--threads 1 --workers 1 --val-split 0.25 --epochs 8 --checkpoint-every 3";
    let train = |run: &str| words(&format!("finetune b --data @images {common} {training} -o {run}"), shared());
    std::fs::create_dir(path("whole")).unwrap();
    let begin = Instant::now();
    ok(&mut command(lab.path(), &train("whole/run")));
    let length = begin.elapsed();
    let whole = content(&path("whole"));
    let mut count = Count::default();
    while Instant::now() < until && count.kills < most {
        let _ = std::fs::remove_dir_all(path("killed"));
        std::fs::create_dir(path("killed")).unwrap();
        let mut history = vec![];
        loop {
            let begun = path("killed/run/run.json").is_file();
            let args = if begun { words("finetune --resume -o killed/run", lab.path()) } else { train("killed/run") };
            let mut child = command(lab.path(), &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            // A run that has to come to its end once is left alone at last.
            let wait = length.mul_f64(random.random_range(0.0..1.2)) * if history.len() > 40 || count.kills >= most { 1000 } else { 1 };
            let ended = wait_for(&mut child, wait);
            if !ended {
                let gentle = random.random_bool(0.25);
                // SAFETY: a child of this process that has not been waited for.
                unsafe { libc::kill(child.id() as i32, if gentle { libc::SIGTERM } else { libc::SIGKILL }) };
                count.kills += 1;
                count.requests += usize::from(gentle);
                history.push((wait, gentle));
            }
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let wrong = |why: &str| Err(format!("{name}: {why} after {history:?}: {text}"));
            match output.status.code() {
                Some(0) => break,
                // Complete already: killed behind the last thing that it had to do.
                Some(2) if text.contains("is complete") => break,
                Some(143) if !ended => {}
                None if !ended => {}
                code => return wrong(&format!("it ends with {code:?}")),
            }
            if !path("killed/run/checkpoint.safetensors").is_file() {
                count.early += 1;
            }
        }
        count.runs += 1;
        if let Some(why) = difference(&content(&path("killed")), &whole) {
            return Err(format!("{name}: after {history:?} {why}"));
        }
    }
    Ok(count)
}

/// Whether the process ends in that time.
fn wait_for(child: &mut Child, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.try_wait().unwrap().is_some()
}

/// All ways, one after the other, for the time given or until so many kills.
pub fn all(time: Duration, most: usize, random: &mut impl Rng) {
    let (mut kills, mut runs) = (0, 0);
    let runtime = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| Path::new(&path).is_file());
    let ways: Vec<_> = WAYS.into_iter().filter(|way| runtime || !way.2.contains("ort")).collect();
    for (i, way) in ways.iter().enumerate() {
        let end = Instant::now() + time / ways.len() as u32;
        let most = most.saturating_sub(kills).div_ceil(ways.len() - i);
        let found = series(*way, end, most, random).unwrap_or_else(|why| panic!("{why}"));
        println!(
            "{}: {} runs, {} kills ({} by SIGTERM, {} before a checkpoint), none wrong, nothing left behind",
            way.0, found.runs, found.kills, found.requests, found.early
        );
        kills += found.kills;
        runs += found.runs;
    }
    println!("{kills} kills of {runs} runs");
    assert!(kills > 0);
}
