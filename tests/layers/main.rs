//! What holds the house up: every folder of src/ imports only stages to its left, in the order that docs/architecture.md gives; the files
//! of one folder import each other in no circle; no file is longer than can be read at once; the document has every pass; texts of the library name no flags.

mod sources;
mod texts;

use sources::{Module, Sources, code_files};
use std::collections::{BTreeMap, BTreeSet};

/// Stages from left to right; those on one line do not import each other.
const STAGES: &[&[&str]] = &[
    &["storage/pending_outputs"],
    &["ir/types"],
    &["ir/element"],
    &["field"],
    &["nearest"],
    &["kinds"],
    &["shell"],
    &["error"],
    &["ir"],
    &["storage"],
    &["onnx"],
    &["operator"],
    &["ops"],
    &["grad", "loss", "penalty", "optim"],
    &["functions"],
    &["pass"],
    &["import", "zoo"],
    &["emit"],
    &["bundle"],
    &["rewrite"],
    &["engine"],
    &["artifact"],
    &["data"],
    &["train"],
    &["fisher", "channel_attention"],
    &["report"],
    &["evaluation"],
    &["prelude"],
    &["cli", "main"],
];

/// Lines that a file may have, except the generated protobuf code.
const LONGEST: usize = 400;

/// The place of a module in [`STAGES`]: that of its longest prefix.
fn stage(module: &[String]) -> Option<(usize, &'static str)> {
    (1..=module.len()).rev().find_map(|n| {
        let path = module[..n].join("/");
        STAGES.iter().enumerate().find_map(|(i, names)| names.iter().find(|name| **name == path).map(|name| (i, *name)))
    })
}

#[test]
fn nothing_imports_leftwards() {
    let sources = Sources::read();
    let mut wrong = vec![];
    for (module, source) in sources.0.iter().filter(|(m, _)| !m.is_empty()) {
        let Some((own, name)) = stage(module) else {
            panic!("src/{} has no place in the order: give it one here and in docs/architecture.md", source.file.display())
        };
        for read in sources.reads(module) {
            if let Some((other, other_name)) = stage(read)
                && other >= own
                && other_name != name
            {
                wrong.push(format!("{} reads {}", source.file.display(), read.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "imports from the right:\n{}", wrong.join("\n"));
}

/// Circles of files, each as its members. That a folder's `mod.rs` puts its own files together, in a table or a facade, is no part of one: they may
/// read what it defines.
fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let edges: BTreeMap<&Module, BTreeSet<&Module>> =
        sources.0.keys().map(|m| (m, sources.reads(m).into_iter().filter(|read| !read.starts_with(m)).collect())).collect();
    let reached = |from: &Module| -> BTreeSet<&Module> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&Module> = edges.get(from).into_iter().flatten().copied().collect();
        while let Some(m) = open.pop() {
            if found.insert(m) {
                open.extend(edges.get(m).into_iter().flatten().copied());
            }
        }
        found
    };
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|m| (*m, reached(m))).collect();
    let mut seen = BTreeSet::new();
    let mut found = vec![];
    for (&module, there) in &reach {
        if there.contains(module) && seen.insert(module) {
            let members: Vec<&Module> = there.iter().copied().filter(|m| reach[*m].contains(module)).collect();
            seen.extend(members.iter().copied());
            found.push(members.iter().map(|m| m.join("::")).collect());
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles(&Sources::read());
    let text: Vec<String> = found.iter().map(|c| c.join(", ")).collect();
    assert!(found.is_empty(), "circles between files:\n{}", text.join("\n"));
}

#[test]
fn files_are_short() {
    let lines = code_files().into_iter().map(|(file, text)| (text.lines().count(), file));
    let long: Vec<String> = lines.filter(|(n, _)| *n > LONGEST).map(|(n, file)| format!("{} has {n} lines", file.display())).collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines:\n{}", long.join("\n"));
}

/// The architecture's table of passes is whole.
#[test]
fn every_pass_is_in_the_architecture() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md")).unwrap();
    let mut found = 0;
    for (file, text) in code_files() {
        // At the beginning of a line: tests have passes of their own within their modules.
        for line in text.lines().filter(|line| line.starts_with("impl") && line.contains("Pass for ")) {
            let name = line.split("Pass for ").nth(1).unwrap().split(['<', ' ']).next().unwrap();
            let private = match name {
                "TrainBatchNorm" => "train_batch_norm",
                "DropElements" => "drop_elements",
                public => public,
            };
            assert!(
                document.contains(&format!("| `{private}` |")),
                "docs/architecture.md does not say what `{private}` ({}) does",
                file.display()
            );
            found += 1;
        }
    }
    assert!(found > 20, "only {found} passes are found");
}
