//! What is promised of files: one process for a run, hashes on everything that is read back, the checkpoint before the last, and `--force`.

use crate::finetune::{numbers, record, state, train};
use crate::support::{Lab, Outcome, names, shared, unsealed};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

/// Starts a long run in `run` and waits until it has done so many steps.
fn started(lab: &Lab, more: &[&str], steps: usize) -> Child {
    started_for(lab, "400", more, steps)
}

/// A run of that length, which has done so many steps.
fn started_for(lab: &Lab, length: &str, more: &[&str], steps: usize) -> Child {
    let args = [&train("tract", "run", &["--steps", length, "--log", "jsonl"])[..], more].concat();
    let mut child = lab.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok).filter(|line| line.contains("\"kind\":\"step\"")).take(steps) {
        drop(line);
    }
    child
}

fn signal(child: &Child, number: i32) {
    // SAFETY: a signal to a process of our own that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, number) }, 0);
}

fn killed(mut child: Child) {
    signal(&child, libc::SIGKILL);
    child.wait().unwrap();
}

#[test]
fn one_process_at_a_time_has_a_run() {
    let lab = Lab::new();
    let child = started(&lab, &["--checkpoint-every", "5"], 12);
    let who = format!("process {}", child.id());
    for args in [&["finetune", "--resume", "-o", "run"][..], &train("tract", "run", &["--steps", "4", "--force"])] {
        lab.run(args).refused(2, &["the run run is in use by", &who]);
    }
    // Reading is no harm.
    lab.run(&["export", "run", "--state", "checkpoint", "-o", "half.onnx"]).ok();
    killed(child);
    lab.run(&["finetune", "--resume", "-o", "run"]).ok();
    lab.run(&train("tract", "whole", &["--steps", "400"])).ok();
    assert!(state(&lab.path("run")) == state(&lab.path("whole")));
    assert_eq!(numbers(&lab.path("run")), numbers(&lab.path("whole")));
    assert_eq!(names(&lab.path("run")), names(&lab.path("whole")));
}

/// A run that was stopped after step 20, with checkpoints of 10 and 20.
fn stopped(lab: &Lab) {
    let child = started(lab, &["--checkpoint-every", "10"], 27);
    killed(child);
}

fn flip(path: &Path, byte: usize) {
    let mut data = std::fs::read(path).unwrap();
    data[byte] ^= 4;
    std::fs::write(path, data).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_one_before_it() {
    let lab = Lab::new();
    stopped(&lab);
    let (last, before) = (lab.path("run/checkpoint.safetensors"), lab.path("run/checkpoint.previous.safetensors"));
    assert!(last.is_file() && before.is_file());
    let length = std::fs::metadata(&last).unwrap().len() as usize;
    flip(&last, length / 2);
    lab.refuses(&["export", "run", "--state", "checkpoint", "-o", "x.onnx"], 1, &["run/checkpoint.safetensors", "hash"]);
    let kept = [last.as_path(), &before].map(|p| std::fs::read(p).unwrap());
    flip(&before, length / 3);
    lab.run(&["finetune", "--resume", "-o", "run"]).refused(1, &["checkpoint.safetensors", "checkpoint.previous.safetensors", "--force"]);
    std::fs::write(&before, &kept[1]).unwrap();
    let outcome = lab.run(&["finetune", "--resume", "-o", "run"]);
    assert!(outcome.err.contains("the checkpoint before the last"), "{}", outcome.err);
    outcome.ok();
    lab.run(&train("tract", "whole", &["--steps", "400"])).ok();
    assert!(state(&lab.path("run")) == state(&lab.path("whole")));
    assert_eq!(numbers(&lab.path("run")), numbers(&lab.path("whole")));
    assert_eq!(names(&lab.path("run")), names(&lab.path("whole")));
}

#[test]
fn a_checkpoint_belongs_to_its_run() {
    let lab = Lab::new();
    stopped(&lab);
    std::fs::rename(lab.path("run"), lab.path("other")).unwrap();
    stopped(&lab);
    std::fs::remove_file(lab.path("run/checkpoint.previous.safetensors")).unwrap();
    std::fs::copy(lab.path("other/checkpoint.safetensors"), lab.path("run/checkpoint.safetensors")).unwrap();
    lab.run(&["finetune", "--resume", "-o", "run"]).refused(1, &["run/checkpoint.safetensors is the checkpoint of another run"]);
    lab.refuses(&["export", "run", "--state", "checkpoint", "-o", "x.onnx"], 1, &["the checkpoint of another run"]);
    // Weights of a run of the same bundle, with another rate.
    for (name, lr) in [("a", "0.01"), ("b", "0.02")] {
        lab.run(&train("tract", name, &["--steps", "4", "--lr", lr])).ok();
    }
    std::fs::copy(lab.path("a/state.safetensors"), lab.path("b/state.safetensors")).unwrap();
    lab.refuses(&["export", "b", "-o", "x.onnx"], 1, &["b/state.safetensors is not the file that this run wrote"]);
}

#[test]
fn force_keeps_a_run_until_the_new_one_has_weights() {
    let lab = Lab::new();
    lab.run(&train("tract", "run", &["--steps", "4"])).ok();
    let old = lab.files();
    // Killed before its first checkpoint.
    killed(started(&lab, &["--force"], 3));
    assert_eq!(record(&lab.path("run.replaced"))["status"], "complete");
    lab.run(&["export", "run", "-o", "x.onnx"]).refused(2, &["run.replaced"]);
    let text = lab.run(&train("tract", "run", &["--steps", "4"]));
    assert!(text.err.contains("the old one again") || text.code == 2, "{text:?}");
    assert_eq!(lab.files(), old);
    // Stopped before its first checkpoint, and by an error.
    let diverging = train("tract", "run", &["--steps", "400", "--lr", "1e30", "--force"]);
    let text = lab.run(&diverging);
    assert!(text.code == 1 && text.err.contains("run is the run that was there before"), "{text:?}");
    assert_eq!(lab.files(), old);
    // Killed after it.
    killed(started(&lab, &["--force", "--checkpoint-every", "5"], 12));
    assert_eq!(names(lab.0.path()), ["run"]);
    assert!(lab.path("run/checkpoint.safetensors").is_file());
    // And one that ends.
    lab.run(&train("tract", "run", &["--steps", "4", "--force"])).ok();
    assert_eq!(names(lab.0.path()), ["run"]);
    assert_eq!(lab.files().keys().collect::<Vec<_>>(), old.keys().collect::<Vec<_>>());
}

/// Whatever has the name under which a run waits to be replaced is touched only where spgraph put it there.
#[test]
fn a_folder_with_the_name_of_a_replaced_run_stays() {
    let lab = Lab::new();
    lab.run(&train("tract", "run", &["--steps", "4"])).ok();
    lab.run(&train("tract", "run.replaced", &["--steps", "2"])).ok();
    let more = train("tract", "run", &["--steps", "4"]);
    lab.refuses(&more, 2, &["run holds a run already"]);
    lab.refuses(&[&more[..], &["--force"]].concat(), 2, &["run.replaced", "there is something of that name"]);
    let kept = |lab: &Lab| lab.files().into_iter().filter(|(path, _)| path.starts_with("run.replaced")).collect::<Vec<_>>();
    let before = kept(&lab);
    lab.run(&["finetune", "--resume", "-o", "run", "--steps", "+2"]).ok();
    assert!(kept(&lab) == before);
    std::fs::rename(lab.path("run"), lab.path("elsewhere")).unwrap();
    lab.refuses(&["export", "run", "-o", "x.onnx"], 1, &["run does not exist"]);
    lab.run(&more).ok();
    assert!(kept(&lab) == before && names(lab.0.path()) == ["elsewhere", "run", "run.replaced"]);
    // The same of what a folder is called between two renames.
    lab.run(&["rewrite", &shared().model, "--batch", "4", "-o", "b.spgraph-old"]).ok();
    let said = lab.run(&["export", "b", "-o", "x.onnx"]);
    assert!(said.code == 1 && said.err.contains("b does not exist") && said.err.contains("may be b.spgraph-old"), "{said:?}");
    let before = lab.files();
    lab.run(&["rewrite", &shared().model, "--batch", "4", "-o", "b"]).ok();
    let after = lab.files();
    assert!(before.iter().all(|(path, data)| after.get(path) == Some(data)));
}

/// One bit in any file of a run and its bundle: who reads it refuses with its name.
#[test]
fn every_flipped_bit_is_noticed() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "4", "--split", "--external-data", "-o", "b"]).ok();
    let args = ["finetune", "b", "--data", &s.images, "--engine", "tract", "--val-split", "0.25", "--steps", "4", "-o", "run"];
    lab.run(&args).ok();
    let mut noticed = 0;
    for folder in ["b", "run"] {
        for name in names(&lab.path(folder)) {
            let file = format!("{folder}/{name}");
            let path = lab.path(&file);
            // Text for people, and what nobody reads.
            if path.is_dir() || ["jsonl", "csv", "toml", "html", "spgraph"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                continue;
            }
            let whole = std::fs::read(&path).unwrap();
            let commands: &[&[&str]] = match (folder, name.as_str()) {
                ("run", "optimizer.safetensors") => &[&["finetune", "--resume", "-o", "run", "--steps", "+1"]],
                ("run", "best.safetensors") => &[&["export", "run", "--state", "best", "-o", "x.onnx"]],
                ("run", "state.safetensors") => &[&["export", "run", "--state", "final", "-o", "x.onnx"]],
                ("run", "run.json" | "manifest.json") => &[&["export", "run", "-o", "x.onnx"]],
                ("run", "evaluation.json" | "notes.json") => &[&["report", "run"]],
                ("b", "step.onnx") => &[&["inspect", "b", "--memory"]],
                ("b", "grad.onnx" | "apply.onnx") => &[&["inspect", &file]],
                ("b", "weights.bin") => &[&["finetune", "b", "--data", &s.images, "--engine", "tract", "--steps", "1", "-o", "new"]],
                ("b", _) => &[&["export", "b", "-o", "x.onnx"]],
                _ => panic!("nobody reads {file}"),
            };
            // Both ends, the header, and places between.
            let places = [9, 60, whole.len() / 3, whole.len() - 4];
            for (turn, &byte) in places.iter().enumerate().filter(|&(_, &b)| b < whole.len()) {
                let mut data = whole.clone();
                data[byte] ^= 1 << (turn % 8);
                std::fs::write(&path, data).unwrap();
                for command in commands {
                    let outcome = lab.run(command);
                    assert_eq!(outcome.code, 1, "{file}, byte {byte}, {command:?}: {outcome:?}");
                    outcome.refused(1, &[&file]);
                    noticed += 1;
                }
            }
            std::fs::write(&path, whole).unwrap();
        }
    }
    assert!(noticed > 35, "{noticed}");
    lab.run(&["export", "run", "-o", "x.onnx"]).ok();
}

#[test]
fn sigterm_and_sighup_are_as_ctrl_c() {
    for number in [libc::SIGTERM, libc::SIGHUP] {
        let lab = Lab::new();
        // Long enough that a busy machine does not see its end first.
        let child = started_for(&lab, "50000", &[], 3);
        signal(&child, number);
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        outcome.refused(143, &["stopped after step", "--resume"]);
        assert_eq!(record(&lab.path("run"))["status"], "interrupted");
        assert!(names(&lab.path("run")).iter().all(|name| !name.starts_with('.') && name != "run.lock"));
    }
}

/// Files of the version before hashes, made by taking them away.
#[test]
fn files_without_hashes_are_read_and_that_is_said() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "4", "-o", "b"]).ok();
    let manifest = lab.path("b/manifest.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    for field in ["blake3", "sealed", "files"] {
        assert!(value.as_object_mut().unwrap().remove(field).is_some());
    }
    std::fs::write(&manifest, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    let outcome = lab.run(&["export", "b", "-o", "x.onnx"]);
    assert_eq!(outcome.err.matches("b/manifest.json has no hash").count(), 1, "{}", outcome.err);
    outcome.ok();
}

/// An estimate that says nothing is none.
#[test]
fn an_estimate_of_zeros_is_refused() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["fisher", &s.model, "--data", &s.images, "--samples", "2", "--engine", "ort", "-o", "f.safetensors"]).ok();
    let mut data = std::fs::read(lab.path("f.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(data[..8].try_into().unwrap()) as usize;
    data[header..].fill(0);
    lab.write("damaged.safetensors", &data).write("zeros.safetensors", unsealed(&data));
    for (file, why) in [("damaged.safetensors", "hash"), ("zeros.safetensors", "all of its entries are 0")] {
        lab.refuses(&["rewrite", &s.model, "--penalty", "l2-sp-fisher", "--fisher", file, "-o", "b"], 1, &[file, why]);
    }
}

/// Killed in the middle of writing; the next command that writes there takes the rest away, and leaves what a living one has.
#[test]
fn what_a_killed_process_left_goes_with_the_next_start() {
    let lab = Lab::new();
    let begun = |lab: &Lab| {
        let before = names(lab.0.path());
        let child = lab.command(&["synth", "--task", "source", "--per-class", "100000", "--size", "128", "-o", "large"]).spawn().unwrap();
        while names(lab.0.path()).iter().all(|name| before.contains(name)) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child
    };
    killed(begun(&lab));
    assert_eq!(names(lab.0.path()).len(), 1, "a process that is killed cannot clean up");
    let living = begun(&lab);
    let left = names(lab.0.path());
    assert_eq!(left.len(), 1, "{left:?}");
    lab.run(&["synth", "--task", "source", "--per-class", "1", "-o", "small"]).ok();
    assert_eq!(names(lab.0.path()), [left[0].as_str(), "small"]);
    killed(living);
    lab.run(&["new", "resnet20", "--classes", "3", "--input", "3x16x16", "-o", "m.onnx"]).ok();
    assert_eq!(names(lab.0.path()), ["m.onnx", "small"]);
}
