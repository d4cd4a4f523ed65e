//! One command from a model to a tuned model.

use crate::finetune::{numbers, record, state};
use crate::support::{Lab, RUN_FILES, fixture, names, shared};
use std::path::Path;

/// `photos`: 3 classes, divided where it is asked for.
fn photos(lab: &Lab, parts: &[&str]) {
    for part in parts {
        for class in ["bricks", "cells", "plaid"] {
            let to = lab.path("photos").join(part).join(class);
            std::fs::create_dir_all(&to).unwrap();
            for (i, name) in names(&Path::new(&shared().images).join(class)).iter().enumerate() {
                // No picture is in two parts.
                if parts.len() == 1 || i % parts.len() == parts.iter().position(|p| p == part).unwrap() {
                    std::fs::copy(Path::new(&shared().images).join(class).join(name), to.join(name)).unwrap();
                }
            }
        }
    }
}

fn model(lab: &Lab) {
    std::fs::copy(&shared().model, lab.path("net.onnx")).unwrap();
}

#[test]
fn a_model_and_a_folder_are_enough() {
    let lab = Lab::new();
    model(&lab);
    photos(&lab, &["."]);
    let args = ["finetune", "net.onnx", "--data", "photos", "--epochs", "1", "--batch", "4", "--engine", "tract", "--threads", "1"];
    let outcome = lab.run(&args);
    for part in
        ["head        new, 3 classes", "classes     bricks, cells, plaid", "penalty     l2-sp", "runs/net-photos/tuned.onnx", "--epochs +5"]
    {
        assert!(outcome.out.contains(part), "no `{part}` in {}", outcome.out);
    }
    outcome.ok();
    let run = lab.path("runs/net-photos");
    assert_eq!(names(&run), [&RUN_FILES[..], &["tuned.onnx"]].concat());
    assert_eq!(names(&lab.path("runs")), ["net-photos"], "nothing is left over");
    // The exported file is the run.
    let eval = |what: &str| lab.run(&["eval", what, "--data", "photos", "--engine", "tract", "--json"]).json()["accuracy"].clone();
    assert_eq!(eval("runs/net-photos"), eval("runs/net-photos/tuned.onnx"));
    // As in two commands.
    lab.run(&["rewrite", "net.onnx", "--classes", "3", "--class-names-from", "photos", "--batch", "4", "-o", "b"]).ok();
    let two = ["finetune", "b", "--data", "photos", "--epochs", "1", "--engine", "tract", "--threads", "1"];
    lab.run(&two).ok();
    assert_eq!(numbers(&run), numbers(&lab.path("runs/b")));
    // Never overwritten.
    lab.run(&args).ok();
    lab.run(&two).ok();
    assert_eq!(names(&lab.path("runs")), ["b", "b-2", "net-photos", "net-photos-2"]);
    lab.run(&[&args[..], &["--name", "my run/../x"]].concat()).ok();
    assert!(lab.path("runs/my-run-..-x").is_dir(), "{:?}", names(&lab.path("runs")));
}

#[test]
fn parts_of_a_folder_have_their_uses() {
    let lab = Lab::new();
    model(&lab);
    photos(&lab, &["train", "val", "test"]);
    let args = ["finetune", "net.onnx", "--data", "photos", "--epochs", "2", "--batch", "2", "--engine", "tract", "--threads", "1"];
    let outcome = lab.run(&args);
    for part in ["validation  accuracy", "test        accuracy", "the best by validation, after step"] {
        assert!(outcome.out.contains(part), "no `{part}` in {}", outcome.out);
    }
    outcome.ok();
    let run = lab.path("runs/net-photos");
    let test: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("test.json")).unwrap()).unwrap();
    let eval = |what: &str, more: &[&str]| {
        lab.run(&[&["eval", what, "--data", "photos/test", "--engine", "tract", "--json"], more].concat()).json()["accuracy"].clone()
    };
    assert_eq!(test["accuracy"], eval("runs/net-photos", &["--state", "best"]));
    assert_eq!(test["accuracy"], eval("runs/net-photos/tuned.onnx", &[]));
}

#[test]
fn the_options_of_both_are_taken() {
    let lab = Lab::new();
    model(&lab);
    photos(&lab, &["."]);
    let usual = ["finetune", "net.onnx", "--data", "photos", "--steps", "2", "--batch", "4", "--engine", "tract", "--log", "none", "-o"];
    let run = |name: &str, more: &[&str]| lab.run(&[&usual[..], &[name], more].concat()).ok();
    run(
        "a",
        &[
            "--head",
            "keep",
            "--penalty",
            "l1-sp",
            "--prox",
            "--alpha",
            "0.3",
            "--lr",
            "0.02",
            "--schedule",
            "constant",
            "--freeze",
            "conv1*",
        ],
    );
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("a/bundle/manifest.json")).unwrap()).unwrap();
    assert_eq!((&manifest["penalty"]["kind"], &manifest["rewriting"]["options"]["head"]), (&"l1-sp".into(), &"keep".into()));
    assert_eq!(manifest["rewriting"]["options"]["lr"], 0.02);
    assert_eq!(crate::finetune::metrics(&lab.path("a"))[0]["lr"], 0.02);
    run("b", &["--optimizer", "adamw", "--beta1", "0.8", "--seed", "3", "--regularizer", "bss=0.5"]);
    let r = record(&lab.path("b"));
    assert_eq!(r["training"]["seed"], 3);
    // What is wrong is refused before anything is there.
    let refuses = |more: &[&str], code: i32, parts: &[&str]| lab.refuses(&[&usual[..], &["new"], more].concat(), code, parts);
    refuses(&["--penalty", "l3"], 2, &["l3", "l2-sp"]);
    refuses(&["--classes", "5"], 2, &["--classes 5", "3 classes"]);
    lab.refuses(&["finetune", "net.onnx", "--data", "nowhere"], 1, &["nowhere"]);
    lab.refuses(&["finetune", "net.onnx"], 2, &["--data is missing"]);
    lab.refuses(&["finetune", "absent.onnx", "--data", "photos"], 1, &["absent.onnx does not exist"]);
    lab.refuses(&["finetune"], 2, &["give what to train"]);
    lab.refuses(&["finetune", "a", "--data", "photos"], 2, &["a is a run", "--resume -o a", "a/bundle"]);
    let bundle = &["finetune", "a/bundle", "--data", "photos", "--steps", "2", "--penalty", "l2", "--batch-norm", "frozen"];
    lab.refuses(bundle, 2, &["is a bundle", "--penalty", "--batch-norm", "give the model"]);
    lab.write(
        "one/only/x.png",
        std::fs::read(Path::new(&shared().images).join("cells").join(&names(&Path::new(&shared().images).join("cells"))[0])).unwrap(),
    );
    lab.refuses(&["finetune", "net.onnx", "--data", "one"], 1, &["one class only, only"]);
}

#[test]
fn a_run_of_a_model_goes_on() {
    let lab = Lab::new();
    model(&lab);
    photos(&lab, &["."]);
    let usual = [
        "finetune",
        "net.onnx",
        "--data",
        "photos",
        "--batch",
        "4",
        "--schedule",
        "constant",
        "--warmup",
        "0",
        "--engine",
        "tract",
        "--log",
        "none",
    ];
    lab.run(&[&usual[..], &["--epochs", "2", "-o", "whole"]].concat()).ok();
    lab.run(&[&usual[..], &["--epochs", "1", "-o", "run"]].concat()).ok();
    let before = std::fs::read(lab.path("run/tuned.onnx")).unwrap();
    let resume = |more: &[&str]| lab.run(&[&["finetune", "--resume", "-o", "run"], more].concat());
    resume(&["--epochs", "+1", "--penalty", "l2"]).refused(2, &["with other options", "--penalty: \"l2-sp\" before, \"l2\" now"]);
    resume(&["--epochs", "+1", "--lr", "0.5"]).refused(2, &["with other options", "--lr: 0.01 before, 0.5 now"]);
    // Those of the rewriting and those of the training in one message, each with both values.
    let both = [
        "--epochs",
        "+1",
        "--lr",
        "0.5",
        "--augment",
        "hflip",
        "--seed",
        "3",
        "--warmup",
        "2",
        "--patience",
        "2",
        "--prox",
        "--penalty",
        "l1-sp",
    ];
    let all = [
        "--lr: 0.01 before, 0.5 now",
        "--augment: \"none\" before, \"hflip",
        "--seed: 0 before, 3 now",
        "--warmup: 0 before, 2 now",
        "--patience: not given before, 2 now",
        "--penalty: \"l2-sp\" before, \"l1-sp\" now",
        "--prox or --decoupled: \"gradient\" before, \"proximal\" now",
    ];
    let said = resume(&both).refused(2, &all);
    assert_eq!(said.matches("--seed").count(), 1, "{said}");
    std::fs::copy(fixture("basic.onnx"), lab.path("other.onnx")).unwrap();
    resume(&["other.onnx", "--epochs", "+1"]).refused(2, &["other.onnx", "made of another model"]);
    // It needs the model no more.
    std::fs::remove_file(lab.path("net.onnx")).unwrap();
    resume(&["--epochs", "+1", "--log", "none"]).ok();
    assert!(state(&lab.path("run")) == state(&lab.path("whole")));
    let after = std::fs::read(lab.path("run/tuned.onnx")).unwrap();
    assert!(after != before && after == std::fs::read(lab.path("whole/tuned.onnx")).unwrap());
}

/// The commands that a reader sees first, in order: indented lines, and those between backticks.
fn first_commands() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let part = readme.split("\n## Build").next().unwrap();
    let mut found = vec![];
    for line in part.lines() {
        match line.strip_prefix("    spgraph ") {
            Some(command) => found.push(command.to_string()),
            None => found.extend(line.split('`').skip(1).step_by(2).filter_map(|c| c.strip_prefix("spgraph ")).map(String::from)),
        }
    }
    found
}

/// What PyTorch exports by default is a model for one image; the folder has fifty, of twelve classes; nothing else is given.
#[test]
fn the_first_commands_of_the_readme_work_as_printed() {
    let lab = Lab::new();
    std::fs::copy(fixture("bottleneck.one_image.onnx"), lab.path("resnet50.onnx")).unwrap();
    let images = Path::new(&shared().five);
    let classes: Vec<std::path::PathBuf> = names(images).iter().map(|class| images.join(class)).collect();
    let pictures: Vec<std::path::PathBuf> =
        classes.iter().flat_map(|class| names(class).into_iter().map(|name| class.join(name))).collect();
    for i in 0..62usize {
        // Fifty to train on, and one of each class to test on.
        let to = if i < 50 { format!("photos/class{:02}/{i}.png", i % 12) } else { format!("test/class{:02}/{i}.png", i - 50) };
        lab.write(&to, std::fs::read(&pictures[i % pictures.len()]).unwrap());
    }
    std::fs::copy(fixture("data/turned.jpg"), lab.path("image.jpg")).unwrap();
    let commands = first_commands();
    assert!(commands.len() >= 4 && commands.iter().any(|c| c.starts_with("finetune")), "{commands:?}");
    for command in &commands {
        let args: Vec<&str> = command.split_whitespace().collect();
        let outcome = lab.run(&args);
        assert_eq!(outcome.code, 0, "{command}: {outcome:?}");
    }
    // And the one command that stands for all of them.
    let outcome = lab.run(&["finetune", "resnet50.onnx", "--data", "photos/"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    lab.run(&["eval", "runs/resnet50-photos", "--data", "test/"]).ok();
    lab.run(&["predict", "runs/resnet50-photos/tuned.onnx", "image.jpg"]).ok();
}
