//! What is written: whole or not at all, never over anything that spgraph did not write.

use crate::support::{BINARY, Lab, Outcome, Shared, files, fixture, names, shared};
use std::path::Path;
use std::process::Command;

#[test]
fn existing_files_need_force() {
    let lab = Lab::new();
    let commands: [&[&str]; 2] =
        [&["new", "resnet20", "--classes", "2", "--input", "3x8x8", "-o", "a.onnx"], &["export", &shared().run, "-o", "a.onnx"]];
    for args in commands {
        lab.write("a.onnx", "precious");
        lab.refuses(args, 2, &["a.onnx exists already", "--force"]);
        lab.run(&[args, &["--force"]].concat()).ok();
        assert!(lab.run(&["inspect", "a.onnx"]).ok().contains("conv1.weight"));
    }
    lab.write("folder/x", "precious");
    for target in ["folder", "missing/a.onnx", "/dev/null"] {
        lab.refuses(&["export", &shared().run, "-o", target, "--force"], 2, &[target]);
    }
    lab.refuses(&["export", &shared().run, "-o", "missing/a.onnx"], 2, &["there is no folder missing", "Make it first"]);
}

#[test]
fn existing_folders_need_force_and_foreign_ones_are_safe() {
    let lab = Lab::new();
    let data = shared().images.as_str();
    let rewrite: &[&str] = &["rewrite", &fixture("basic.onnx"), "-o", "out"];
    let finetune: &[&str] = &["finetune", &shared().bundle, "--data", data, "--steps", "1", "--engine", "ort", "-o", "out"];
    let synth: &[&str] = &["synth", "--task", "target-a", "--per-class", "1", "--size", "8", "-o", "out"];
    for args in [rewrite, finetune, synth] {
        let forced = [args, &["--force"]].concat();
        let fresh = || {
            let _ = std::fs::remove_dir_all(lab.path("out"));
        };
        // An empty folder is no obstacle, a full one is.
        fresh();
        std::fs::create_dir(lab.path("out")).unwrap();
        lab.run(args).ok();
        let error = lab.refuses(args, 2, &["out", "--force"]);
        assert!(error.contains("exists") || error.contains("holds a run already"), "{error}");
        lab.run(&forced).ok();
        assert_eq!(names(lab.0.path()), ["out"]);
        // Something of the user's.
        fresh();
        lab.write("out/thesis.tex", "precious");
        lab.refuses(args, 2, &["out"]);
        lab.refuses(&forced, 2, &["out"]);
        // Another program's manifest and run record.
        fresh();
        lab.write("out/manifest.json", "{ \"name\": \"web application\" }").write("out/run.json", "{}").write("out/index.html", "");
        lab.refuses(&forced, 2, &["out", "spgraph"]);
        // A folder within what is ours.
        fresh();
        lab.run(args).ok();
        lab.write("out/mine/thesis.tex", "precious");
        lab.refuses(&forced, 2, &["out", "mine", "force"]);
        fresh();
        lab.write("out", "a file");
        lab.refuses(&forced, 2, &["out is a file", "name of a folder"]);
        std::fs::remove_file(lab.path("out")).unwrap();
    }
    // A photo in the folder of a synthetic class.
    lab.run(synth).ok();
    lab.write("out/heart/holiday.png", "precious");
    lab.refuses(&[synth, &["--force"]].concat(), 2, &["heart/holiday.png", "not even by force"]);
    // A bundle is no run, and a run no bundle.
    lab.run(&["rewrite", &fixture("basic.onnx"), "-o", "bundle"]).ok();
    lab.refuses(&["finetune", &shared().bundle, "--data", data, "--steps", "1", "-o", "bundle", "--force"], 2, &["bundle", "run.json"]);
}

/// Runs spgraph where no file can grow beyond a few kilobytes.
fn limited(lab: &Lab, args: &[&str]) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", BINARY]).args(args).current_dir(lab.0.path());
    Outcome::of(command.output().unwrap())
}

#[test]
fn a_file_that_cannot_grow_leaves_nothing() {
    let lab = Lab::new();
    lab.write("kept.onnx", "precious");
    lab.run(&["rewrite", &fixture("basic.onnx"), "-o", "kept"]).ok();
    let before = lab.files();
    let basic = fixture("resnet101.bn.onnx");
    let commands: [(&[&str], &str); 7] = [
        (&["rewrite", &basic, "-o", "new"], "cannot write new/"),
        (&["rewrite", &basic, "-o", "new", "--external-data", "--split"], "cannot write new/"),
        (&["rewrite", &basic, "-o", "kept", "--force"], "cannot write kept/"),
        (&["new", "resnet20", "--classes", "2", "-o", "new.onnx"], "cannot write new.onnx"),
        (&["export", &shared().run, "-o", "kept.onnx", "--force"], "cannot write kept.onnx"),
        (&["synth", "--task", "source", "--per-class", "1", "--size", "256", "-o", "new"], "cannot write"),
        (&["finetune", &shared().bundle, "--data", &shared().images, "--steps", "1", "--engine", "ort", "-o", "new"], "cannot write new/"),
    ];
    for (args, what) in commands {
        limited(&lab, args).refused(1, &[what, "File too large", "ulimit -f"]);
        assert_eq!(lab.files(), before, "{args:?}");
    }
}

/// Runs a script in a folder of its own file system of so many kB; `None` where this machine does not allow that.
fn on_small_disk(size: usize, script: &str, arguments: &[&str]) -> Option<Outcome> {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("disk")).unwrap();
    let mount = format!("mount -t tmpfs -o size={size}k none disk && cd disk && echo mounted && {script}");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, BINARY]).args(arguments).current_dir(lab.0.path());
    let outcome = command.output().ok().map(Outcome::of)?;
    outcome.out.starts_with("mounted").then_some(outcome)
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let Shared { model, bundle, images, run, .. } = shared();
    let commands: [(usize, &[&str]); 14] = [
        (512, &["rewrite", model, "-o", "new"]),
        (512, &["rewrite", model, "--artifact", "single", "-o", "new"]),
        (512, &["new", "resnet20", "--classes", "2", "-o", "new.onnx"]),
        (512, &["export", run, "-o", "new.onnx"]),
        (512, &["export", run, "--preprocess", "--softmax", "-o", "new.onnx"]),
        (512, &["interpolate", run, "--to", "0.5", "-o", "new.onnx"]),
        (512, &["convert", bundle, "--to", "single", "-o", "new"]),
        (512, &["fisher", model, "--data", images, "--samples", "2", "--engine", "ort", "-o", "new.fisher"]),
        (4, &["grad", &fixture("basic.onnx"), "--wrt", "params", "--of", "logits,scalar", "-o", "new.onnx"]),
        (4, &["data", images, "--show", "new.png"]),
        (4, &["eval", run, "--data", images, "--engine", "ort", "--json", "new.json"]),
        (4, &["predict", run, images, "--engine", "ort", "--features", "new.npz"]),
        (16, &["synth", "--task", "source", "--per-class", "9", "--size", "64", "-o", "new"]),
        (16, &["man", "new"]),
    ];
    for (size, args) in commands {
        match on_small_disk(size, "\"$0\" \"$@\"; code=$?; echo what is left:; ls -A; exit $code", args) {
            None => println!("skipped: this machine lets no user mount a small tmpfs"),
            Some(outcome) => {
                let left: Vec<&str> = outcome.out.lines().skip_while(|line| *line != "what is left:").skip(1).collect();
                assert!(left.is_empty() || args[0] == "man", "{args:?} left {left:?}");
                outcome.refused(1, &["new", "No space left on device", "The disk is full: free some space"]);
            }
        }
    }
    // A page that there is stays as it was.
    let again = "cp -r \"$3\" run && dd if=/dev/zero of=fill bs=1k 2>/dev/null; b=$(cksum < run/report.html); \"$0\" report run; code=$?; \
                 test \"$b\" = \"$(cksum < run/report.html)\" && ls -A run | grep -c spgraph-; exit $code";
    if let Some(outcome) = on_small_disk(16384, again, &["report", "run", run]) {
        assert!(outcome.out.ends_with("0\n"), "{outcome:?}");
        outcome.refused(1, &["report.html", "The disk is full"]);
    }
    // A run keeps what was whole before.
    let train = &["finetune", &shared().bundle, "--data", &shared().images, "--steps", "2", "--engine", "ort", "-o", "new"];
    if let Some(outcome) = on_small_disk(512, "\"$0\" \"$@\"; code=$?; ls -A new; exit $code", train) {
        let left: Vec<&str> = outcome.out.lines().skip(1).collect();
        assert!(left.is_empty() || (left.contains(&"run.json") && left.contains(&"metrics.jsonl")), "{outcome:?}");
        assert!(!left.contains(&"state.safetensors"), "{outcome:?}");
        outcome.refused(1, &["cannot write new/", "The disk is full"]);
    }
}

/// What there is of a run goes on once there is room, and that is what its message says.
#[test]
fn a_run_on_a_full_disk_is_told_how_to_go_on() {
    let train = ["--steps", "40", "--checkpoint-every", "1", "--engine", "tract", "--threads", "1", "--log", "none", "-o", "new"];
    let train = [&["finetune", &shared().bundle, "--data", &shared().images][..], &train].concat();
    let fill = "{ (for i in $(seq 600); do test -s new/checkpoint.safetensors && break; sleep 0.1; done; dd if=/dev/zero of=fill bs=1k) 2>/dev/null & }; \"$0\" \"$@\"; code=$?; \
                test -s new/checkpoint.safetensors || code=9; exit $code";
    match on_small_disk(6144, fill, &train) {
        None => println!("skipped: this machine lets no user mount a small tmpfs"),
        Some(outcome) => {
            outcome.refused(
                1,
                &["cannot write new/", "The disk is full: free some space, then go on with the run: spgraph finetune --resume -o new"],
            );
        }
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return println!("skipped: there is no /dev/full") };
    let lab = Lab::new();
    let output = lab.command(&["inspect", &fixture("basic.onnx")]).stdout(full).output().unwrap();
    Outcome::of(output).refused(1, &["stdout", "The disk is full"]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let lab = Lab::new();
    let commands: [&[&str]; 3] =
        [&["inspect", &fixture("resnet101.bn.onnx")], &["inspect", &fixture("resnet101.bn.onnx"), "--json"], &["runtime"]];
    for args in commands {
        let mut child = lab.command(args).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let lab = Lab::new();
    for (name, seed) in [("a.onnx", "7"), ("b.onnx", "7"), ("c.onnx", "8")] {
        lab.run(&["new", "resnet20", "--classes", "3", "--input", "3x8x8", "--seed", seed, "-o", name]).ok();
    }
    let read = |name: &str| std::fs::read(lab.path(name)).unwrap();
    assert!(read("a.onnx") == read("b.onnx") && read("a.onnx") != read("c.onnx"));
    for (name, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        lab.run(&["synth", "--task", "target-a", "--per-class", "2", "--size", "16", "--seed", seed, "-o", name]).ok();
    }
    let pictures = |name: &str| files(&lab.path(name));
    assert_eq!(pictures("a").values().filter(|data| data.starts_with(b"\x89PNG")).count(), 12);
    assert!(pictures("a") == pictures("b") && pictures("a") != pictures("c"));
    // A bundle too, wherever it is written.
    for (name, seed) in [("x", "7"), ("y", "7"), ("z", "8")] {
        lab.run(&["rewrite", "a.onnx", "--classes", "5", "--seed", seed, "-o", name]).ok();
    }
    assert!(files(&lab.path("x")) == files(&lab.path("y")) && files(&lab.path("x")) != files(&lab.path("z")));
    assert!(Path::new(&lab.path("x")).join("manifest.json").is_file());
}
