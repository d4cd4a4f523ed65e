//! What `spgraph doctor` finds, and what it says to do.

use crate::support::{Lab, Outcome};

#[test]
fn a_machine_is_examined() {
    let lab = Lab::new();
    let found = lab.run(&["doctor", "--json"]).json();
    assert!(found["machine"]["threads"].as_u64().unwrap() > 0 && found["machine"]["memory"].as_u64().unwrap() > 1 << 28, "{found}");
    let used = found["libraries"].as_array().unwrap().iter().find(|l| l["chosen"] == true).unwrap();
    assert!(used["sha256"].as_str().unwrap().len() == 64 && used["owner"]["uid"].is_u64(), "{found}");
    assert!(found["engine"].as_str().unwrap().starts_with("ONNX Runtime 1."), "{found}");
    let text = lab.run(&["doctor"]).ok();
    for part in ["processor", "memory", "ONNX Runtime", "cache", "temporary", used["path"].as_str().unwrap()] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn what_is_missing_comes_with_what_to_do() {
    let lab = Lab::new();
    let bare = |more: &[&str]| {
        let mut command = lab.command(&[&["doctor"], more].concat());
        command.env("ORT_DYLIB_PATH", lab.path("nowhere.so"));
        Outcome::of(command.output().unwrap())
    };
    let found = bare(&["--json"]);
    assert_eq!(found.code, 1, "{found:?}");
    let json: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    let finding = &json["findings"][0];
    assert!(finding["fatal"] == true && finding["what"].as_str().unwrap().contains("nowhere.so"), "{json}");
    let text = bare(&[]);
    assert!(text.out.contains("error: ") && text.out.contains("  -> "), "{text:?}");
    let mut command = lab.command(&["doctor", "--engine", "tract"]);
    command.env_remove("HOME").env_remove("SPGRAPH_CACHE").env_remove("XDG_CACHE_HOME").env("ORT_DYLIB_PATH", "");
    let text = Outcome::of(command.output().unwrap()).ok();
    assert!(text.contains("SPGRAPH_CACHE") && text.contains("tract"), "{text}");
    let mut command = lab.command(&["doctor", "--engine", "tract"]);
    command.env("TMPDIR", "/proc/none");
    let text = Outcome::of(command.output().unwrap());
    assert_eq!(text.code, 1, "{text:?}");
    assert!(text.out.contains("TMPDIR"), "{text:?}");
}
