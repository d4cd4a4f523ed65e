//! No command replaces what it reads, whatever that is called.

use crate::support::{Lab, fixture, shared};
use prost::Message;
use spgraph::onnx::pb;
use std::os::unix::fs::symlink;

/// A place with a model of its own, its bundle, a run and images, and other names for them.
fn place() -> Lab {
    let lab = Lab::new();
    let s = shared();
    std::fs::create_dir_all(lab.path("w")).unwrap();
    std::fs::copy(&s.model, lab.path("w/m.onnx")).unwrap();
    std::fs::copy(fixture("external.onnx"), lab.path("w/external.onnx")).unwrap();
    for class in ["bricks", "cells", "plaid"] {
        for file in std::fs::read_dir(format!("{}/{class}", s.images)).unwrap().map(|f| f.unwrap()) {
            let to = lab.path("images").join(class).join(file.file_name());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(file.path(), to).unwrap();
        }
    }
    lab.run(&["rewrite", "w/m.onnx", "--batch", "4", "-o", "b"]).ok();
    lab.run(&["finetune", "b", "--data", "images", "--engine", "tract", "--steps", "2", "-o", "run"]).ok();
    // A folder that may be replaced, with the model in it.
    lab.run(&["rewrite", "w/m.onnx", "--batch", "4", "-o", "w/b"]).ok();
    std::fs::copy(lab.path("w/m.onnx"), lab.path("w/b/m.onnx")).unwrap();
    lab.write("names.json", r#"["bricks", "cells", "plaid"]"#);
    lab.write("list.csv", "image,label\nimages/bricks/bricks-s0-00000.png,bricks\nimages/cells/cells-s0-00000.png,cells\n");
    symlink("w/m.onnx", lab.path("link.onnx")).unwrap();
    symlink("w/b", lab.path("link")).unwrap();
    std::fs::hard_link(lab.path("w/m.onnx"), lab.path("hard.onnx")).unwrap();
    std::fs::hard_link(lab.path("run/state.safetensors"), lab.path("hard.safetensors")).unwrap();
    lab
}

#[test]
fn no_command_replaces_what_it_reads() {
    let lab = place();
    let fisher = |output| vec!["fisher", "w/m.onnx", "--data", "images", "--engine", "tract", "--force", "-o", output];
    let eval = |flag, output| vec!["eval", "run", "--data", "images", "--engine", "tract", "--force", flag, output];
    let table: Vec<Vec<&str>> = vec![
        vec!["rewrite", "w/b/m.onnx", "--force", "-o", "w/b"],
        vec!["rewrite", "w/b/m.onnx", "--force", "-o", "link"],
        vec!["rewrite", "link/m.onnx", "--force", "-o", "w/b"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "--force", "-o", "b"],
        vec!["finetune", "run/bundle", "--data", "images", "--steps", "1", "--force", "-o", "run"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "-o", "images/run"],
        fisher("w/m.onnx"),
        fisher("link.onnx"),
        fisher("hard.onnx"),
        fisher("images/bricks/bricks-s0-00000.png"),
        vec!["export", "run", "--force", "-o", "run/state.safetensors"],
        vec!["export", "run", "--force", "-o", "hard.safetensors"],
        vec!["export", "run", "--force", "-o", "run/bundle/eval.onnx"],
        vec!["export", "b", "--force", "-o", "b/template.onnx"],
        vec!["interpolate", "run", "--to", "0.5", "--force", "-o", "run/state.safetensors"],
        vec!["attention", "run", "--data", "images", "--force", "-o", "run/state.safetensors"],
        vec!["profile", "b", "--engine", "ort", "--trace", "b/step.onnx", "--force"],
        eval("--json", "run/run.json"),
        eval("--json", "run/notes.json"),
        eval("--csv", "run/metrics.csv"),
        vec!["eval", "w/data.onnx", "--data", "images", "--json", "w/data.json", "--force"],
        vec!["eval", "run", "--data", "images", "--class-names", "names.json", "--json", "names.json", "--force"],
        vec!["eval", "run", "--data", "images", "--head-from", "w/data.onnx", "--json", "w/data.json", "--force"],
        vec!["predict", "w/data.onnx", "images/bricks", "--json", "w/data.json", "--force"],
        vec!["predict", "run", "images/bricks", "--json", "run/manifest.json", "--force"],
        vec!["predict", "run", "images/bricks", "--class-names", "names.json", "--json", "names.json", "--force"],
        vec!["data", "images", "--show", "images/bricks/bricks-s0-00000.png", "--force"],
        vec!["data", "list.csv", "--show", "list.csv", "--force"],
        vec!["data", "list.csv", "--show", "images/bricks/bricks-s0-00000.png", "--force"],
        vec!["data", "images", "--for", "run", "--show", "run/state.safetensors", "--force"],
        vec!["data", "images", "--for", "run", "--class-names", "names.json", "--show", "names.json", "--force"],
        vec!["fisher", "w/data.onnx", "--data", "images", "--force", "-o", "w/data.json"],
        vec!["fisher", "w/data.onnx", "--data", "images", "--force", "--graph", "w/data.json", "-o", "new.safetensors"],
        vec!["fisher", "w/m.onnx", "--data", "images", "--class-names", "names.json", "--force", "-o", "names.json"],
        vec!["fisher", "w/m.onnx", "--data", "list.csv", "--force", "-o", "images/bricks/bricks-s0-00000.png"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "--cache-dir", "images/bricks", "-o", "new"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "--cache-dir", "images/cache", "-o", "new"],
        eval("--confusion", "images/bricks/x.csv"),
    ];
    // A model whose weights lie in a file with the name of results.
    let mut model = pb::ModelProto::decode(&*std::fs::read(lab.path("w/external.onnx")).unwrap()).unwrap();
    let entries = model.graph.iter_mut().flat_map(|g| &mut g.initializer).flat_map(|t| &mut t.external_data);
    entries.filter(|entry| entry.key() == "location").for_each(|entry| entry.value = Some("data.json".into()));
    lab.write("w/data.onnx", model.encode_to_vec());
    std::fs::copy(fixture("external.weights"), lab.path("w/data.json")).unwrap();
    for args in &table[..table.len() - 1] {
        lab.refuses(args, 2, &["is read"]);
    }
    // A file among the images is none of them.
    lab.run(&table[table.len() - 1]).ok();
    for _ in 0..2 {
        lab.run(&["data", "images", "--show", "images/sheet.png", "--force"]).ok();
    }
}

/// A step that no memory can hold, and shapes that nothing can.
#[test]
fn what_cannot_fit_is_refused_before_it_is_tried() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "dynamic", "-o", "b"]).ok();
    let args = ["finetune", "b", "--data", &s.images, "--engine", "tract", "--steps", "1", "--batch", "100000000", "-o", "r"];
    lab.refuses(&args, 2, &["100000000 images would take about", "--batch", "--force-memory"]);
    let manifest = lab.path("b/manifest.json");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let mut plain = whole.clone();
    ["blake3", "sealed", "files"].iter().for_each(|field| drop(plain.as_object_mut().unwrap().remove(*field)));
    let huge = serde_json::json!([1u64 << 63, 2]);
    let edits: [(&str, serde_json::Value); 9] = [
        ("/state/0/shape", huge.clone()),
        ("/state/0/shape", serde_json::json!([1u64 << 40])),
        ("/state/0/shape", serde_json::json!([-3])),
        ("/state/0/shape", serde_json::json!([1.5])),
        ("/data/input/shape", huge),
        ("/data/input/shape", serde_json::json!([])),
        ("/data/input/shape", serde_json::json!([-1, -5, 16, 16])),
        ("/state", serde_json::json!({})),
        ("/scalars/0/default", serde_json::json!(null)),
    ];
    for (place, value) in edits {
        let mut edited = plain.clone();
        *edited.pointer_mut(place).unwrap() = value.clone();
        std::fs::write(&manifest, serde_json::to_string_pretty(&edited).unwrap()).unwrap();
        lab.refuses(&["export", "b", "-o", "x.onnx"], 1, &["manifest.json"]);
    }
    for field in plain.as_object().unwrap().keys() {
        let mut edited = plain.clone();
        edited.as_object_mut().unwrap().remove(field);
        std::fs::write(&manifest, serde_json::to_string_pretty(&edited).unwrap()).unwrap();
        let outcome = lab.run(&["export", "b", "--force", "-o", "x.onnx"]);
        assert!(matches!(outcome.code, 0 | 1), "{field}: {outcome:?}");
    }
}

#[test]
fn replaced_images_are_noticed() {
    let lab = place();
    let run = |args: &[&str]| lab.run(&[&["finetune", "b", "--data", "images", "--engine", "tract", "-o", "r"], args].concat());
    run(&["--steps", "2"]).ok();
    let image = lab.path("images/bricks/bricks-s0-00000.png");
    let content = std::fs::read(&image).unwrap();
    let go_on = |more: &[&str]| lab.run(&[&["finetune", "--resume", "-o", "r", "--steps", "+1"], more].concat());
    go_on(&[]).ok();
    // Written again: another time, the same content.
    std::fs::write(&image, &content).unwrap();
    go_on(&[]).refused(1, &["images", "were changed or replaced", "--verify-data"]);
    go_on(&["--verify-data"]).ok();
    go_on(&[]).ok();
    std::fs::copy(lab.path("images/bricks/bricks-s0-00001.png"), &image).unwrap();
    go_on(&[]).refused(1, &["were changed or replaced"]);
    go_on(&["--verify-data"]).refused(1, &["have other contents"]);
}

/// Links in the folder of a run, which nobody named: what they lead to stays as it is.
#[test]
fn nothing_is_written_through_links_in_a_run() {
    let lab = place();
    let args = ["--data", "images", "--engine", "tract", "--checkpoint-every", "1"];
    lab.run(&[&["finetune", "b", "--steps", "2", "-o", "r"], &args[..]].concat()).ok();
    let own = ["notes.json", "metrics.csv", "metrics.jsonl", "events.out.tfevents.spgraph", "report.html"];
    for (to, content) in [("victim", Some(b"precious")), ("gone", None)] {
        content.into_iter().for_each(|text| std::fs::write(lab.path(to), text).unwrap());
        for name in own {
            let path = lab.path("r").join(name);
            let _ = std::fs::remove_file(&path);
            symlink(lab.path(to), &path).unwrap();
        }
        lab.run(&["finetune", "--resume", "-o", "r", "--steps", "+2"]).ok();
        lab.run(&["report", "r"]).ok();
        assert_eq!(std::fs::read(lab.path(to)).ok().as_deref(), content.map(|text| &text[..]));
        assert!(own.iter().all(|name| !lab.path("r").join(name).is_symlink()), "{:?}", crate::support::names(&lab.path("r")));
    }
    // A link that the user names stays one.
    std::fs::write(lab.path("kept.json"), b"").unwrap();
    symlink("kept.json", lab.path("named.json")).unwrap();
    lab.run(&["eval", "run", "--data", "images", "--engine", "tract", "--json", "named.json", "--force"]).ok();
    assert!(lab.path("named.json").is_symlink() && std::fs::read(lab.path("kept.json")).unwrap().len() > 9);
}

/// Pipes in the folder of a run.
#[test]
fn pipes_in_a_run_hold_nothing_up() {
    let lab = place();
    let pipe = |name: &str| {
        let path = lab.path("run").join(name);
        let _ = std::fs::remove_file(&path);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    };
    pipe("config.toml");
    lab.run(&["report", "run"]).ok();
    assert!(std::fs::read_to_string(lab.path("run/report.html")).unwrap().contains("not a regular file"));
    lab.run(&["finetune", "--config", "run/config.toml"]).refused(1, &["run/config.toml", "not a regular file"]);
    pipe("metrics.jsonl");
    lab.run(&["report", "run"]).refused(1, &["run/metrics.jsonl", "not a regular file"]);
    lab.run(&["finetune", "--resume", "-o", "run", "--steps", "+1"]).refused(2, &["not a regular file"]);
}

/// A process that may open nothing leaves a temporary that the next one knows to be of a process that is no more.
#[test]
fn what_a_process_without_descriptors_left_goes() {
    let lab = place();
    for limit in 4..12 {
        let command = format!("ulimit -n {limit}; exec {} rewrite w/m.onnx --batch 4 -o new", env!("CARGO_BIN_EXE_spgraph"));
        let mut shell = std::process::Command::new("sh");
        let ended = shell.args(["-c", &command]).current_dir(lab.0.path()).output().unwrap();
        lab.run(&["rewrite", "w/m.onnx", "--batch", "4", "-o", "new", "--force"]).ok();
        let left: Vec<String> = crate::support::names(lab.0.path()).into_iter().filter(|name| name.starts_with(".spgraph")).collect();
        assert!(left.is_empty(), "{limit}: {left:?} {ended:?}");
        std::fs::remove_dir_all(lab.path("new")).unwrap();
    }
}

/// A pipe under the name of something that is read.
#[test]
fn pipes_hold_nothing_up() {
    let lab = Lab::new();
    let s = shared();
    rustix::fs::mkfifoat(rustix::fs::CWD, lab.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for (args, code) in [
        (vec!["inspect", "pipe"], 1),
        (vec!["rewrite", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--classes", "3", "--class-names", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--penalty", "l2-sp-fisher", "--fisher", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--from-manifest", "pipe", "-o", "b"], 1),
        (vec!["eval", &s.run, "--data", &s.images, "--class-names", "pipe"], 1),
        (vec!["predict", &s.run, "pipe"], 1),
        (vec!["finetune", "--config", "pipe"], 1),
        (vec!["finetune", &s.model, "--data", &s.images, "--class-weights", "pipe"], 2),
        (vec!["finetune", &s.model, "--data", "pipe"], 1),
        (vec!["data", "pipe"], 1),
        (vec!["report", "pipe"], 1),
        (vec!["plan", "pipe"], 1),
        (vec!["report", &s.run, "--data", "pipe"], 1),
        (vec!["eval", &s.bundle, "--weights", "pipe", "--data", &s.images], 1),
    ] {
        let text = lab.run(&args);
        assert_eq!(text.code, code, "{args:?}: {text:?}");
        assert!(text.err.contains("pipe"), "{args:?}: {text:?}");
    }
}
