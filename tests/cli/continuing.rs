//! A run that goes on: longer or shorter than it was asked to be, with its momenta, wherever its bundle is.

use crate::finetune::{metrics, numbers, record, state, train};
use crate::support::{ENGINES, Lab, names, shared};
use serde_json::Value;

fn rates(lab: &Lab, run: &str) -> Vec<f64> {
    let steps = metrics(&lab.path(run)).into_iter().filter(|r| r["kind"] == "step");
    steps.map(|r| r["lr"].as_f64().unwrap()).collect()
}

#[test]
fn five_epochs_and_five_more_are_ten() {
    let usual = ["--schedule", "constant", "--warmup", "0", "--augment", "flip-crop:2+color:0.2", "--val-split", "0.25", "--log", "none"];
    for engine in ENGINES {
        let lab = Lab::new();
        let with = |run, length: [&'static str; 2]| lab.run(&[&train(engine, run, &usual)[..], &length].concat()).ok();
        with("whole", ["--epochs", "4"]);
        with("parts", ["--epochs", "1"]);
        // In its own folder it has all that it needs; the second time from another place.
        lab.run(&["finetune", "--resume", "-o", "parts", "--epochs", "+1", "--log", "none"]).ok();
        std::fs::create_dir(lab.path("else")).unwrap();
        std::fs::rename(lab.path("parts"), lab.path("else/where")).unwrap();
        lab.run(&["finetune", "--resume", "-o", "else/where", "--epochs", "+2", "--log", "none"]).ok();
        let (whole, parts) = (lab.path("whole"), lab.path("else/where"));
        assert!(state(&whole) == state(&parts), "{engine}: other weights");
        // How far the weights have gone is measured at the end of each part as well.
        let steps = |run| numbers(run).into_iter().filter(|r| r["kind"] != "epoch").collect::<Vec<_>>();
        assert_eq!(steps(&whole), steps(&parts));
        assert_eq!(names(&whole), names(&parts));
        for name in ["optimizer.safetensors", "best.safetensors"] {
            assert!(std::fs::read(whole.join(name)).unwrap() == std::fs::read(parts.join(name)).unwrap(), "{engine}: {name}");
        }
        let (a, b) = (record(&whole), record(&parts));
        assert_eq!((&a["training"], &a["results"]["best"]), (&b["training"], &b["results"]["best"]), "what was asked is the same");
    }
}

#[test]
fn the_rate_follows_the_schedule_over_the_new_length() {
    let lab = Lab::new();
    // Six steps in an epoch: the drop comes after 8 of 12 steps, and after 16 of 24.
    lab.run(&train("tract", "run", &["--epochs", "2", "--lr", "0.01", "--log", "none"])).ok();
    let more = lab.run(&["finetune", "--resume", "-o", "run", "--epochs", "+2", "--log", "lines"]);
    for part in ["4 epochs long now, where it was 2 epochs", "1.000e-2 in step 13", "1.000e-3 in the last one", "1.000e-3 in step 24"] {
        assert!(more.err.contains(part), "{part}: {}", more.err);
    }
    more.ok();
    let rates = rates(&lab, "run");
    let drop = |steps: usize, at: usize| (0..steps).map(move |s| if s >= at { 0.001 } else { 0.01 });
    let expected: Vec<f64> = drop(12, 8).chain(drop(24, 16).skip(12)).collect();
    assert_eq!(rates.len(), 24);
    assert!(rates.iter().zip(&expected).all(|(a, b): (&f64, &f64)| (a - b).abs() < 1e-15), "{rates:?}");
    // What it was asked before is remembered, and steps may follow epochs.
    let training = &record(&lab.path("run"))["training"];
    assert_eq!(training["earlier"], serde_json::json!([{"until": 12, "length": {"epochs": 2}}]));
    lab.run(&["finetune", "--resume", "-o", "run", "--steps", "+1", "--log", "none"]).ok();
    let training = &record(&lab.path("run"))["training"];
    assert_eq!((&training["length"], &training["earlier"][1]["until"]), (&serde_json::json!({"steps": 25}), &24.into()));
}

#[test]
fn a_stopped_run_may_become_longer_or_shorter() {
    for (asked, expected) in [(["--epochs", "3"], 18), (["--epochs", "+1"], 5006), (["--steps", "20"], 20)] {
        let lab = Lab::new();
        let more = ["--steps", "5000", "--checkpoint-every", "2", "--log", "jsonl"];
        let args = train("ort", "run", &more);
        let mut child = lab.command(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
        while !lab.path("run/checkpoint.safetensors").is_file() {
            assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if expected > 100 {
            // It begins, with the new length; how it ends is the same as for the others.
            let mut child = lab.command(&["finetune", "--resume", "-o", "run", asked[0], asked[1], "--log", "none"]).spawn().unwrap();
            let length = || record(&lab.path("run"))["training"]["length"].clone();
            while length() != serde_json::json!({ "steps": expected }) {
                assert!(child.try_wait().unwrap().is_none());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let outcome = lab.run(&["finetune", "--resume", "-o", "run", asked[0], asked[1], "--log", "lines"]);
        if outcome.code == 2 {
            // It had come further when it was killed.
            assert!(outcome.err.contains("cannot end after"), "{}", outcome.err);
            continue;
        }
        assert!(outcome.err.contains("long now, where it was 5000 steps"), "{}", outcome.err);
        outcome.ok();
        assert_eq!(record(&lab.path("run"))["results"]["steps"], expected);
    }
}

#[test]
fn a_run_stays_whole_without_its_bundle() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "4", "-o", "b"]).ok();
    lab.run(&["finetune", "b", "--data", &s.images, "--steps", "3", "--engine", "tract", "--log", "none", "-o", "run"]).ok();
    // No second copy of the weights.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(lab.path("run/bundle/init.onnx")).unwrap().nlink(), 2);
    let before = lab.run(&["eval", "run", "--data", &s.images, "--engine", "tract", "--json"]).json();
    std::fs::remove_dir_all(lab.path("b")).unwrap();
    std::fs::rename(lab.path("run"), lab.path("moved")).unwrap();
    let after = lab.run(&["eval", "moved", "--data", &s.images, "--engine", "tract", "--json"]).json();
    assert_eq!((&before["accuracy"], &before["loss"]), (&after["accuracy"], &after["loss"]));
    lab.run(&["export", "moved", "-o", "tuned.onnx"]).ok();
    lab.run(&["finetune", "--resume", "-o", "moved", "--steps", "+2", "--log", "none"]).ok();
    // A run is replaced with the bundle in it, but not while that is read; and its bundle is one to begin with.
    let again = |bundle: &str, run: &str, more: &[&str]| {
        let args = ["finetune", bundle, "--data", &s.images, "--steps", "3", "--engine", "tract", "--log", "none", "-o", run];
        lab.run(&[&args[..], more].concat())
    };
    again("moved/bundle", "second", &[]).ok();
    again("moved/bundle", "moved", &["--force"]).refused(2, &["moved/bundle, which is read"]);
    again("second/bundle", "moved", &[]).refused(2, &["holds a run already"]);
    again("second/bundle", "moved", &["--force"]).ok();
    assert!(state(&lab.path("moved")) == state(&lab.path("second")));
}

#[test]
fn a_run_of_an_older_version_names_its_bundle() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "4", "-o", "b"]).ok();
    lab.run(&["finetune", "b", "--data", &s.images, "--steps", "3", "--engine", "tract", "--log", "none", "-o", "run"]).ok();
    std::fs::remove_dir_all(lab.path("run/bundle")).unwrap();
    std::fs::remove_file(lab.path("run/optimizer.safetensors")).unwrap();
    let mut old: Value = record(&lab.path("run"));
    // Without the hash that older records lack.
    old.as_object_mut().unwrap().retain(|key, _| key != "blake3" && key != "sealed");
    old["bundle"]["relative"] = "../b".into();
    old["bundle"]["absolute"] = "/nowhere".into();
    lab.write("run/run.json", old.to_string());
    lab.run(&["eval", "run", "--data", &s.images, "--engine", "tract"]).ok();
    std::fs::rename(lab.path("b"), lab.path("c")).unwrap();
    lab.refuses(&["export", "run", "-o", "x.onnx"], 1, &["needs its bundle", "/nowhere", "run/bundle"]);
    std::fs::rename(lab.path("c"), lab.path("b")).unwrap();
    lab.refuses(&["finetune", "--resume", "-o", "run", "--steps", "+2"], 2, &["did not keep the state of its optimizer"]);
}

#[test]
fn what_cannot_go_on_is_refused() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&train("tract", "run", &["--steps", "6", "--log", "none"])).ok();
    let resume = |more: &[&str], parts: &[&str]| lab.refuses(&[&["finetune", "--resume", "-o", "run"], more].concat(), 2, parts);
    resume(&[], &["is complete", "--epochs +5", "spgraph export run"]);
    resume(&["--steps", "5"], &["is complete with 6 steps", "cannot end after 5 (5 steps", "--epochs +5"]);
    resume(&["--epochs", "1"], &["is complete with 6 steps", "cannot end after 6 (1 epoch"]);
    resume(&["--steps", "+2", "--seed", "4"], &["--seed: 0 before, 4 now", "start another run", "without --resume"]);
    resume(
        &["--steps", "+2", "--lr", "0.5", "--schedule", "cosine"],
        &["--lr: not given before, 0.5 now", "--schedule: \"step:0.1@0.6666666666666666\" before"],
    );
    let parsed = lab.run(&["finetune", "--resume", "-o", "run", "--steps", "+x"]);
    assert!(parsed.code == 2 && parsed.err.contains("+5 for so many more"), "{}", parsed.err);
    lab.refuses(&train("tract", "new", &["--steps", "+2"]), 2, &["+N", "--resume"]);
    lab.run(&["rewrite", &s.model, "--batch", "4", "--penalty", "l2", "-o", "other"]).ok();
    resume(&["other", "--steps", "+1"], &["its bundle is another one"]);
    // What does not matter for the result is free.
    lab.run(&["finetune", "--resume", "-o", "run", "--steps", "+1", "--workers", "1", "--checkpoint-every", "3", "--log", "jsonl"]).ok();
    lab.run(&train("tract", "small", &["--steps", "2", "--discard-optimizer", "--log", "none"])).ok();
    assert!(!names(&lab.path("small")).contains(&"optimizer.safetensors".to_string()));
    lab.refuses(&["finetune", "--resume", "-o", "small", "--steps", "+2"], 2, &["did not keep the state of its optimizer"]);
}

/// Images that were moved are those of the run where their contents are, whatever their times say.
#[test]
fn images_at_another_place_are_known_by_their_contents() {
    let lab = Lab::new();
    let s = shared();
    let place = |at: &str, i: usize, class: &str| lab.path(&format!("{at}/{class}/{i}.png"));
    for class in names(std::path::Path::new(&s.images)) {
        std::fs::create_dir_all(lab.path(&format!("a/{class}"))).unwrap();
        for (i, file) in names(&std::path::Path::new(&s.images).join(&class)).iter().take(4).enumerate() {
            std::fs::copy(format!("{}/{class}/{file}", s.images), place("a", i, &class)).unwrap();
        }
    }
    let quick = ["--engine", "tract", "--threads", "1", "--log", "none"];
    let start = ["finetune", &s.bundle, "--data", "a", "--epochs", "1", "--val-split", "0.25", "-o", "run"];
    lab.run(&[&start[..], &quick].concat()).ok();
    std::fs::rename(lab.path("a"), lab.path("b")).unwrap();
    let on = |more: &[&str]| lab.run(&[&["finetune", "--resume", "-o", "run", "--epochs", "+1", "--log", "lines"], more].concat());
    on(&[]).refused(1, &["does not exist"]);
    let touched = std::fs::File::options().append(true).open(place("b", 0, "bricks")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let said = on(&["--data", "b"]);
    assert!(said.err.contains("were at another place before, and are the same"), "{}", said.err);
    said.ok();
    // A run without test images gets none on its way.
    on(&["--test-data", "b"]).refused(2, &["--test-data: not given before"]);
    // From now on they are there.
    on(&[]).ok();
    std::fs::rename(lab.path("b"), lab.path("c")).unwrap();
    let other = [std::fs::read(place("c", 0, "bricks")).unwrap(), b"more".to_vec()].concat();
    std::fs::write(place("c", 0, "bricks"), other).unwrap();
    on(&["--data", "c"]).refused(1, &["other contents"]);
}

/// As those that are trained on, images of the test are known by their contents.
#[test]
fn test_images_may_be_at_another_place() {
    let lab = Lab::new();
    let s = shared();
    for class in names(std::path::Path::new(&s.images)) {
        std::fs::create_dir_all(lab.path(&format!("t/{class}"))).unwrap();
        for file in names(&std::path::Path::new(&s.images).join(&class)).iter().take(2) {
            std::fs::copy(format!("{}/{class}/{file}", s.images), lab.path(&format!("t/{class}/{file}"))).unwrap();
        }
    }
    let quick = ["--engine", "tract", "--threads", "1", "--log", "none"];
    lab.run(&[&["finetune", &s.bundle, "--data", &s.images, "--test-data", "t", "--steps", "1", "-o", "run"][..], &quick].concat()).ok();
    let on = |more: &[&str]| lab.run(&[&["finetune", "--resume", "-o", "run", "--steps", "+1", "--log", "lines"], more].concat());
    std::fs::rename(lab.path("t"), lab.path("u")).unwrap();
    on(&[]).refused(1, &["/t does not exist"]);
    let said = on(&["--test-data", "u"]);
    assert!(said.err.contains("were at another place before, and are the same"), "{}", said.err);
    said.ok();
    // It knows the new place, and what lies there.
    on(&[]).ok();
    std::fs::rename(lab.path("u"), lab.path("v")).unwrap();
    let class = names(&lab.path("v"))[0].clone();
    let image = lab.path(&format!("v/{class}/{}", names(&lab.path(&format!("v/{class}")))[0]));
    let other = [std::fs::read(&image).unwrap(), b"more".to_vec()].concat();
    std::fs::write(&image, other).unwrap();
    on(&["--test-data", "v"]).refused(1, &["the test images in", "v have other contents", "spgraph eval"]);
    std::fs::remove_file(&image).unwrap();
    on(&["--test-data", "v"]).refused(1, &["began with 6 test images, and there are 5 now"]);
}
