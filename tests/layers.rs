//! Every folder of src/ imports only stages to its left, in the order that docs/architecture.md gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Stages from left to right; those on one line do not import each other.
const STAGES: &[&[&str]] = &[
    &["unfinished"],
    &["error"],
    &["fs", "ir"],
    &["tensor_file", "onnx"],
    &["fisher_file"],
    &["attention_file"],
    &["ops"],
    &["grad", "forms", "loss", "penalty", "optim"],
    &["manifest"],
    &["import", "zoo"],
    &["emit"],
    &["rewrite"],
    &["engine"],
    &["data"],
    &["train"],
    &["fisher", "attention"],
    &["report"],
    &["cli"],
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_imports_leftwards() {
    let rank: BTreeMap<&str, usize> = STAGES.iter().enumerate().flat_map(|(i, names)| names.iter().map(move |n| (*n, i))).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let mut wrong = vec![];
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let stage = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if stage == "lib" || stage == "main" {
            continue;
        }
        let own = *rank
            .get(stage)
            .unwrap_or_else(|| panic!("src/{stage} has no place in the order: give it one here and in docs/architecture.md"));
        let text = std::fs::read_to_string(&file).unwrap();
        // A file's own tests may use what they like.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if name != stage && rank.get(name.as_str()).is_some_and(|&r| r >= own) {
                    wrong.push(format!("{}: {}", inside.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports from the right:\n{}", wrong.join("\n"));
}
