//! Ctrl-C and worse.

use crate::finetune::{numbers, record, state, train};
use crate::support::{ENGINES, Lab, Outcome, names, shared};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// Long work that knows no better ends at once, whatever it was writing.
#[test]
fn ctrl_c_removes_what_is_unfinished() {
    let lab = Lab::new();
    let mut child = lab.command(&["synth", "--task", "source", "--per-class", "100000", "--size", "128", "-o", "out"]).spawn().unwrap();
    while names(lab.0.path()).is_empty() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(lab.0.path()), [""; 0]);
}

const STEPS: &str = "150";

/// What makes a run: with augmentation and validation, so that all random numbers and the best state matter.
fn options<'a>() -> Vec<&'a str> {
    vec!["--steps", STEPS, "--augment", "flip-crop:2+color:0.2", "--val-split", "0.25", "--log", "jsonl"]
}

/// Starts a run and waits until it has done so many steps.
fn started(lab: &Lab, engine: &str, more: &[&str], steps: usize) -> Child {
    begun(lab, &[&train(engine, "run", &options())[..], more].concat(), steps)
}

/// Starts a command that trains and waits until it has done so many steps.
fn begun(lab: &Lab, args: &[&str], steps: usize) -> Child {
    let mut child = lab.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    while seen < steps {
        let line = lines.next().expect("the run ended too early").unwrap();
        seen += line.contains("\"kind\":\"step\"") as usize;
    }
    // Read to the end by nobody: the run goes on all the same.
    child
}

fn signal(child: &Child, number: i32) {
    // SAFETY: a signal to a process of our own that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, number) }, 0);
}

/// A run that is being trained is no run that was lost: who trains it is said, how far it is, and what can be had meanwhile.
#[test]
fn a_run_in_training_says_so() {
    let lab = Lab::new();
    let child = started(&lab, "tract", &[], 2);
    let who = format!("being trained by process {}", child.id());
    lab.run(&["export", "run", "-o", "x.onnx"]).refused(2, &[&who, "at step ", "Wait for its end", "no checkpoint yet"]);
    lab.run(&["export", "run", "--state", "checkpoint", "-o", "x.onnx"]).refused(2, &[&who, "Wait for its first checkpoint"]);
    let said = lab.run(&["inspect", "run"]);
    assert!(said.out.contains(&who) && !said.out.contains("--state checkpoint"), "{}", said.out);
    signal(&child, libc::SIGINT);
    Outcome::of(child.wait_with_output().unwrap()).refused(130, &["stopped after step"]);
    let said = lab.run(&["inspect", "run"]).ok();
    assert!(!said.contains("being trained") && said.contains("--state checkpoint"), "{said}");
}

/// Its checkpoint and its best state are used as those of any other run, and what it lacks is said with when it comes.
#[test]
fn a_run_in_training_lends_what_it_has() {
    let lab = Lab::new();
    let image = format!("{}/cells", shared().images);
    // Without validation images there never is a best state; a validation at the end is long to come.
    for (held_out, best) in
        [(&[][..], "no validation images to find the best by (--val-data or --val-split)"), (&["--val-split", "0.25"][..], "")]
    {
        let more = ["--steps", STEPS, "--checkpoint-every", "3", "--log", "jsonl"];
        let child = begun(&lab, &[&train("tract", "run", &more)[..], held_out].concat(), 12);
        // It stands still, and has its folder all the same.
        signal(&child, libc::SIGSTOP);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let before = lab.files();
        let who = format!("being trained by process {}", child.id());
        lab.run(&["export", "run", "-o", "x.onnx"]).refused(2, &[&who, "Wait for its end, or take --state checkpoint"]);
        match best {
            "" => assert!(lab.run(&["eval", "run", "--data", &shared().images, "--state", "best"]).ok().contains("accuracy")),
            why => {
                let ways = "wait for its end and take --state final, or take --state checkpoint";
                lab.run(&["eval", "run", "--data", &shared().images, "--state", "best"]).refused(2, &[&who, why, ways]);
            }
        }
        let said = lab.run(&["inspect", "run"]).ok();
        assert!(
            said.contains(&who) && said.contains("spgraph eval run --data FOLDER --state checkpoint") && !said.contains("--resume"),
            "{said}"
        );
        assert_eq!(lab.files(), before, "the run is its own");
        let known = lab.run(&["eval", "run", "--data", &shared().images, "--state", "checkpoint", "--engine", "tract", "--json"]).json();
        let told = lab.run(&["predict", "run", &image, "--state", "checkpoint", "--engine", "tract", "--json"]).json();
        assert_eq!(told.as_array().unwrap().len(), 8);
        lab.run(&["export", "run", "--state", "checkpoint", "-o", "x.onnx"]).ok();
        let exported = lab.run(&["eval", "x.onnx", "--data", &shared().images, "--engine", "tract", "--json"]).json();
        assert_eq!((&known["accuracy"], known["images"].as_u64()), (&exported["accuracy"], Some(24)));
        signal(&child, libc::SIGCONT);
        signal(&child, libc::SIGINT);
        Outcome::of(child.wait_with_output().unwrap()).refused(130, &["stopped after step"]);
        std::fs::remove_dir_all(lab.path("run")).unwrap();
        std::fs::remove_file(lab.path("x.onnx")).unwrap();
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_end() {
    for engine in ENGINES {
        let lab = Lab::new();
        lab.run(&train(engine, "whole", &options())).ok();
        let child = started(&lab, engine, &[], 7);
        signal(&child, libc::SIGINT);
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        outcome.refused(130, &["stopped after step", "checkpoint.safetensors", "spgraph finetune --resume -o run"]);
        let run = lab.path("run");
        assert_eq!(record(&run)["status"], "interrupted");
        assert!(!run.join("state.safetensors").exists() && run.join("checkpoint.safetensors").is_file());
        lab.refuses(&["export", "run", "-o", "x.onnx"], 2, &["did not come to its end", "--resume"]);
        lab.run(&["export", "run", "--state", "checkpoint", "-o", "x.onnx"]).ok();

        // Nothing but the folder is needed: engine and threads are those of before.
        let resumed = lab.run(&["finetune", "--resume", "-o", "run"]);
        assert!(resumed.err.contains("resume  after step") && !resumed.err.contains("the run began on"), "{}", resumed.err);
        resumed.ok();
        assert_eq!(record(&run)["engine"], record(&lab.path("whole"))["engine"]);
        assert!(state(&run) == state(&lab.path("whole")), "{engine}: the weights differ");
        assert_eq!(std::fs::read(run.join("best.safetensors")).unwrap(), std::fs::read(lab.path("whole/best.safetensors")).unwrap());
        assert_eq!(numbers(&run), numbers(&lab.path("whole")));
        assert_eq!(names(&run), names(&lab.path("whole")));
        assert_eq!(record(&run)["results"]["loss"], record(&lab.path("whole"))["results"]["loss"]);
    }
}

#[test]
fn a_killed_run_goes_on_from_its_checkpoint() {
    let lab = Lab::new();
    lab.run(&train("tract", "whole", &options())).ok();
    let mut child = started(&lab, "tract", &["--checkpoint-every", "10"], 17);
    signal(&child, libc::SIGKILL);
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(record(&lab.path("run"))["status"], "running");
    let text = lab.run(&["finetune", "--resume", "-o", "run"]);
    let after: u64 = text.err.split("resume  after step ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(after >= 10 && after.is_multiple_of(10), "{after}");
    text.ok();
    assert!(state(&lab.path("run")) == state(&lab.path("whole")));
    assert_eq!(numbers(&lab.path("run")), numbers(&lab.path("whole")));
}

#[test]
fn another_engine_may_go_on_and_says_so() {
    let lab = Lab::new();
    let child = started(&lab, "tract", &[], 3);
    signal(&child, libc::SIGINT);
    assert_eq!(Outcome::of(child.wait_with_output().unwrap()).code, 130);
    let text = lab.run(&["finetune", "--resume", "-o", "run", "--engine", "ort"]);
    assert!(text.err.contains("note: the run began on tract") && text.err.contains("goes on on ONNX Runtime"), "{}", text.err);
    text.ok();
}

/// A checkpoint belongs to no kind of kernels.
#[test]
fn the_other_kernels_may_go_on() {
    let lab = Lab::new();
    let child = started(&lab, "ort", &["--kernels", "native"], 3);
    signal(&child, libc::SIGINT);
    assert_eq!(Outcome::of(child.wait_with_output().unwrap()).code, 130);
    let text = lab.run(&["finetune", "--resume", "-o", "run", "--kernels", "standard"]);
    assert!(text.err.contains("note: the run began on") && text.err.contains("native kernels"), "{}", text.err);
    text.ok();
}

#[test]
fn the_second_ctrl_c_ends_at_once_and_leaves_no_temporary_files() {
    let lab = Lab::new();
    let mut child = started(&lab, "tract", &[], 3);
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    signal(&child, libc::SIGINT);
    assert!(stderr.any(|line| line.unwrap().contains("Ctrl-C again ends at once")));
    // It may have ended by the first already.
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(lab.0.path()), ["run"]);
    assert!(names(&lab.path("run")).iter().all(|name| !name.starts_with('.')), "{:?}", names(&lab.path("run")));
}
