//! The verdicts of `inspect` are what the other commands then do, and its JSON is as documented.

use crate::support::{Lab, Outcome, fixture, shared};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn small_models() -> Vec<PathBuf> {
    fn walk(dir: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(path, found),
                false if path.extension().is_some_and(|e| e == "onnx") && path.metadata().unwrap().len() < 150_000 => found.push(path),
                false => {}
            }
        }
    }
    let mut found = vec![];
    walk(PathBuf::from(fixture("")), &mut found);
    found.sort();
    found
}

/// The printed command, typed: with 3 for N.
fn typed(lab: &Lab, command: &str) -> Outcome {
    let line = command.replace(" N ", " 3 ").replacen("spgraph", crate::support::BINARY, 1);
    let mut shell = std::process::Command::new("sh");
    Outcome::of(shell.args(["-c", &line]).current_dir(lab.0.path()).output().unwrap())
}

/// For every model of the fixtures: after a yes the printed command works, and after a no the rewriting refuses for the same reason.
#[test]
fn a_verdict_is_what_rewriting_does() {
    let models = small_models();
    assert!(models.len() > 50, "{}", models.len());
    let (mut yes, mut no) = (0, 0);
    for model in &models {
        let (lab, shown) = (Lab::new(), model.display().to_string());
        let found = lab.run(&["inspect", &shown, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&found.out).unwrap_or_else(|e| panic!("{shown}: {e} {}", found.err));
        let verdict = &json["verdict"];
        let possible = verdict["possible"].as_bool().unwrap();
        assert_eq!(found.code, if possible { 0 } else { 1 }, "{shown}");
        if possible {
            let commands: Vec<&str> = json["commands"].as_array().unwrap().iter().map(|c| c["command"].as_str().unwrap()).collect();
            // Training in one command comes first, where the network is one of images.
            assert!(commands.len() == 1 || commands[0].starts_with("spgraph finetune "), "{commands:?}");
            let command = *commands.iter().find(|c| c.starts_with("spgraph rewrite ")).unwrap();
            let made = typed(&lab, command);
            assert_eq!(made.code, 0, "{command}: {}", made.err);
            assert!(verdict["memory"]["peak_bytes"].as_u64().unwrap() > 0, "{shown}");
            yes += 1;
        } else {
            let refused = lab.run(&["rewrite", &shown, "-o", "b"]);
            assert!(refused.code != 0, "{shown} is refused by inspect alone");
            let reason = verdict["reasons"][0].as_str().unwrap();
            assert!(refused.err.contains(reason), "{shown}: inspect says {reason}, rewrite {}", refused.err);
            assert_eq!(json["commands"], serde_json::json!([]), "{shown}");
            no += 1;
        }
    }
    assert!(yes > 40, "{yes} yes, {no} no");
}

/// The fields that docs/inspect.md lists, of one of its tables.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(format!("{}/docs/inspect.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.trim_start().lines().take_while(|l| l.starts_with('|')).skip(2);
    let cells = rows.map(|l| l.split('|').nth(1).unwrap());
    cells.flat_map(|c| c.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>()).collect()
}

#[test]
fn the_json_is_as_documented() {
    let lab = Lab::new();
    for (path, kind) in [(&shared().model, "model"), (&shared().bundle, "bundle"), (&shared().run, "run")] {
        let json = lab.run(&["inspect", path, "--json"]).json();
        assert_eq!(json["kind"], kind);
        let mut found: BTreeSet<String> = json.as_object().unwrap().keys().filter(|k| *k != "verdict").cloned().collect();
        found.extend(json["verdict"].as_object().unwrap().keys().map(|k| format!("verdict.{k}")));
        let mut expected = documented("Of all three:");
        expected.extend(documented(&format!("Of a {kind}:")));
        // Left out where there is nothing to say.
        ["assumed_shape", "dropout"].iter().for_each(|field| assert!(!expected.remove(*field) || kind == "model"));
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn a_bundle_and_its_damage() {
    let lab = Lab::new();
    let json = lab.run(&["inspect", &shared().bundle, "--json"]).json();
    assert_eq!(json["source"]["file"], "m.onnx");
    assert_eq!(json["options"], serde_json::json!({"batch": 4}));
    assert_eq!(json["scalars"]["alpha"], 0.1);
    let text = lab.run(&["inspect", &shared().bundle]).ok();
    assert!(text.contains("verdict     yes") && text.contains("spgraph finetune ") && text.contains("batch = 4"), "{text}");
    for (file, damage) in [("step.onnx", 1000), ("init.onnx", 5000), ("eval.onnx", 0), ("template.onnx", 77)] {
        let copy = format!("copy-{file}");
        assert!(std::process::Command::new("cp").args(["-r", &shared().bundle]).arg(lab.path(&copy)).status().unwrap().success());
        let whole = std::fs::read(lab.path(&copy).join(file)).unwrap();
        std::fs::write(lab.path(&copy).join(file), &whole[..damage]).unwrap();
        let error = lab.run(&["inspect", &copy]);
        assert_eq!(error.code, 1, "{file}: {error:?}");
        assert!(error.out.contains("verdict     no") && error.out.contains("spgraph rewrite") && error.err.contains(file), "{error:?}");
        std::fs::remove_file(lab.path(&copy).join(file)).unwrap();
        let error = lab.run(&["inspect", &copy]);
        assert!(error.code == 1 && error.err.contains(file), "{file}: {error:?}");
    }
    lab.refuses(&["inspect", &shared().images], 1, &["is a folder"]);
    lab.refuses(&["inspect", &shared().bundle, "--input-shape", "3x8x8"], 2, &["--input-shape", "for models"]);
}

#[test]
fn a_run_and_its_damage() {
    let lab = Lab::new();
    let json = lab.run(&["inspect", &shared().run, "--json"]).json();
    assert_eq!((&json["status"], &json["step"]), (&serde_json::json!("complete"), &serde_json::json!(6)));
    let text = lab.run(&["inspect", &shared().run]).ok();
    assert!(text.contains("complete, step 6") && text.contains("spgraph export "), "{text}");
    // Its commands work.
    for next in json["commands"].as_array().unwrap() {
        let line = next["command"].as_str().unwrap().replace("FOLDER", &shared().images);
        if line.contains("eval") || line.contains("export") {
            let done = typed(&lab, &line);
            assert_eq!(done.code, 0, "{line}: {}", done.err);
        }
    }
    let copy = lab.path("copy");
    assert!(std::process::Command::new("cp").args(["-r", &shared().run]).arg(&copy).status().unwrap().success());
    let state = std::fs::read(copy.join("state.safetensors")).unwrap();
    for damaged in [&state[..state.len() / 2], &[], b"nothing"] {
        std::fs::write(copy.join("state.safetensors"), damaged).unwrap();
        let found = lab.run(&["inspect", "copy"]);
        assert!(found.code == 1 && found.out.contains("verdict     no") && found.err.contains("state.safetensors"), "{found:?}");
    }
    std::fs::remove_file(copy.join("state.safetensors")).unwrap();
    assert_eq!(lab.run(&["inspect", "copy"]).code, 1);
    std::fs::write(copy.join("state.safetensors"), &state).unwrap();
}
