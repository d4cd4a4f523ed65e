//! A small study: planned, stopped and gone on with, by `sweep` and by make, and reported.

use crate::support::{BINARY, Lab, names};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

const STUDY: &str = r#"
title = "small"
methods = [["l2", "l2-sp"], ["wise-ft"]]
strengths = { l2 = [0.001], l2-sp = [0.1], wise-ft = [0.5] }

[sources.net]
model = "net.onnx"
test = { synthetic = "source", per-class = 2, seed = 1 }

[targets.shapes]
images = { synthetic = "target-a", per-class = 8, seed = 2 }
test-per-class = 3
validation-per-class = 2

[[pairs]]
source = "net"
target = "shapes"
images = [2]
select-with = 2

[training]
steps = 2
batch = 4
augment = "flip-crop:2"
batch-norm = "frozen"
seeds = [0, 1]

[selection]
rates = [0.01]
betas = [0.01]
seeds = [100]

[[comparisons]]
name = "freezing"
methods = ["l2-sp"]
images = [2]
freeze-stages = [2]
"#;

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("study.toml", STUDY);
    lab.run(&["new", "resnet20", "--classes", "10", "--input", "3x16x16", "-o", "net.onnx"]).ok();
    lab
}

/// Records with the time at which they were written.
fn records(lab: &Lab) -> BTreeMap<String, SystemTime> {
    let dir = lab.path("r/cells");
    if !dir.is_dir() {
        return BTreeMap::new();
    }
    names(&dir).into_iter().map(|n| (n.clone(), std::fs::metadata(dir.join(n)).unwrap().modified().unwrap())).collect()
}

const SWEEP: [&str; 8] = ["sweep", "study.toml", "-o", "r", "--jobs", "2", "--kernels", "standard"];

#[test]
fn a_sweep_is_stopped_and_goes_on_and_is_reported() {
    let lab = lab();
    let planned = lab.run(&["plan", "study.toml", "--names"]).ok();
    let planned: Vec<&str> = planned.lines().collect();
    assert_eq!(planned.len(), 3 + 3 * 2 + 2, "{planned:?}");

    let mut sweep = lab.command(&SWEEP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while records(&lab).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no record after two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &sweep.id().to_string()]).status().unwrap().success());
    assert_eq!(sweep.wait().unwrap().code(), Some(130));
    let first = records(&lab);
    assert!(first.len() < planned.len(), "it was over before it could be stopped");

    let out = lab.run(&SWEEP).ok();
    assert!(out.contains(&format!("{} cells: {} there before", planned.len(), first.len())), "{out}");
    let all = records(&lab);
    assert_eq!(all.len(), planned.len());
    assert!(first.iter().all(|(name, time)| all[name] == *time), "a record was written again");
    // Whatever asks for a cell again gets what is there.
    let again = lab.run(&["cell", "study.toml", planned[0], "-o", "r"]);
    assert!(again.err.contains("is there"), "{again:?}");
    assert_eq!(lab.run(&["plan", "study.toml", "-o", "r", "--missing"]).ok(), "");
    // A record that was damaged is none, and is made again; what was measured of the source as well.
    let record = lab.path("r/cells").join(all.keys().find(|name| name.contains("final")).unwrap());
    let whole = std::fs::read(&record).unwrap();
    let digit = whole.windows(11).position(|text| text == b"accuracy\": ").unwrap() + 11;
    let mut damaged = whole.clone();
    damaged[digit] ^= 1;
    for content in [&damaged[..], &whole[..whole.len() / 2], b""] {
        std::fs::write(&record, content).unwrap();
        lab.run(&["report", "r"]).refused(1, &["r/cells/", "is no result of a cell", "Remove it"]);
        assert_eq!(lab.run(&["plan", "study.toml", "-o", "r", "--missing", "--names"]).ok().lines().count(), 1);
    }
    let before = names(&lab.path("r/work")).into_iter().find(|name| name.starts_with("before-")).unwrap();
    let before = lab.path("r/work").join(before);
    let measured = std::fs::read(&before).unwrap();
    std::fs::write(&before, String::from_utf8(measured.clone()).unwrap().replace("\"images\": ", "\"images\": 1")).unwrap();
    lab.run(&SWEEP).ok();
    assert!(std::fs::read(&before).unwrap() == measured);
    let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    let (made, once) = (value(&std::fs::read(&record).unwrap()), value(&whole));
    assert!(["target", "source", "drift"].iter().all(|key| made[key] == once[key]), "{made} {once}");
    // Nothing unfinished is left, and half of the way from the start is half of the drift.
    let leftovers: Vec<String> = names(&lab.path("r/work/runs")).into_iter().filter(|n| n.starts_with('.')).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");

    let told = lab.run(&["report", "r", "--collect", "records.json"]).ok();
    assert!(told.starts_with("8 final cells, 3 of the selection\n"), "{told}");
    let one = format!("r/cells/{}", names(&lab.path("r/cells"))[0]);
    for args in [
        vec!["plan", "study.toml", "-o", "r", "--to", "study.toml"],
        vec!["plan", "study.toml", "-o", "r", "--to", &one],
        vec!["report", "r", "--collect", &one],
        vec!["report", "r", "--study", "study.toml", "--collect", "study.toml"],
        vec!["report", "records.json", "-o", "again", "--collect", "records.json"],
    ] {
        lab.refuses(&args, 2, &["is read"]);
    }
    let report = lab.path("r/report");
    let read = |name: &str| std::fs::read_to_string(report.join(name)).unwrap();
    let page = read("report.html");
    assert!(page.contains("<svg") && page.contains("l2-sp"), "no figures");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("<script"), "the page needs others");
    let markdown = read("report.md");
    for part in ["what is left of the source task", "the paper's claims", "freeze2", "against l2"] {
        assert!(markdown.contains(part), "no `{part}` in {markdown}");
    }
    let claims = csv_rows(&report.join("claims-net-shapes.csv"));
    let told = |words: &str| claims.iter().find(|row| row["claim"].contains(words)).unwrap_or_else(|| panic!("no claim of {words}"));
    let medians = |method: &str, seed: u64| -> f64 {
        let found =
            names(&lab.path("r/cells")).into_iter().find(|n| n.starts_with(&format!("final.net.shapes.2.{method}.seed{seed}."))).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("r/cells").join(found)).unwrap()).unwrap();
        let layers = record["similarity"].as_array().unwrap();
        layers.iter().map(|l| l["quartiles"][1].as_f64().unwrap()).sum::<f64>() / layers.len() as f64
    };
    let nearer = [0, 1].iter().map(|&seed| 50.0 * (medians("l2-sp", seed) - medians("l2", seed))).sum::<f64>();
    assert_eq!(told("activations stay nearer")["difference"], format!("{nearer:+.2}"));
    // The collected records make the same tables.
    lab.run(&["report", "records.json", "-o", "again"]).ok();
    let table = "accuracy-net-shapes.csv";
    assert_eq!(std::fs::read_to_string(lab.path("again").join(table)).unwrap(), read(table));
    assert_eq!(read("cells.csv").lines().count(), 1 + planned.len());
    several_results_make_one_report(&lab);
    let cells = csv_rows(&report.join("cells.csv"));
    assert!(cells.iter().all(|row| row["failed"].is_empty() && row["accuracy"].parse::<f64>().unwrap() <= 1.0));
    assert!(cells.iter().filter(|r| r["phase"] == "final").all(|r| !r["source_after"].is_empty() && r["rate"] == "0.01"));
}

/// Of two studies with other targets, and with `wise-ft` told as `none`, so that there is what the family is measured against.
fn several_results_make_one_report(lab: &Lab) {
    let records = std::fs::read_to_string(lab.path("records.json")).unwrap().replace("wise-ft", "none");
    lab.write("shapes.json", &records);
    lab.write("forms.json", records.replace("\"shapes\"", "\"forms\""));
    lab.run(&["report", "shapes.json", "forms.json", "-o", "both"]).ok();
    let accuracy: BTreeMap<(String, String, String), f64> = csv_rows(&lab.path("both/cells.csv"))
        .into_iter()
        .filter(|row| row["phase"] == "final" && row["variant"].is_empty())
        .map(|row| ((row["target"].clone(), row["method"].clone(), row["seed"].clone()), 100.0 * row["accuracy"].parse::<f64>().unwrap()))
        .collect();
    let table = csv_rows(&lab.path("both/family-target.csv"));
    assert_eq!(table.iter().map(|row| row["method"].as_str()).collect::<Vec<_>>(), ["l2", "l2-sp"]);
    for row in &table {
        for target in ["shapes", "forms"] {
            let at = |method: &str, seed: &str| accuracy[&(target.into(), method.into(), seed.into())];
            let mean = ["0", "1"].iter().map(|seed| at(&row["method"], seed) - at("none", seed)).sum::<f64>() / 2.0;
            let shown = &row[&format!("net → {target}, 2")];
            assert!(shown.starts_with(&format!("{mean:+.2} (")), "{target}: {mean} is shown as {shown}");
        }
    }
    // Of one place it would say again what the first table says.
    lab.run(&["report", "shapes.json", "-o", "one"]).ok();
    assert!(lab.path("one/family.csv").is_file() && !lab.path("one/family-target.csv").exists());
    // The same cells twice are no two seeds, and several results have no folder of their own.
    lab.run(&["report", "shapes.json", "shapes.json", "-o", "twice"]).refused(2, &["two records of"]);
    lab.run(&["report", "shapes.json", "forms.json"]).refused(2, &["--out"]);
}

fn csv_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn make_runs_what_is_missing() {
    let lab = lab();
    lab.run(&["plan", "study.toml", "-o", "r", "--make", "--program", BINARY, "--with", "--kernels $KIND", "--to", "cells.mk"]).ok();
    let text = std::fs::read_to_string(lab.path("cells.mk")).unwrap();
    let target = text.lines().find(|l| l.starts_with("r/cells/final.net.shapes.2.l2.seed0")).unwrap();
    let (target, before) = target.split_once(':').unwrap();
    assert!(before.contains("| r/cells/selection.net.shapes.2.l2."), "{before}");
    let make = |args: &[&str]| {
        let mut command = std::process::Command::new("make");
        let output = command
            .args(["-f", "cells.mk"])
            .args(args)
            .current_dir(lab.0.path())
            .env_remove("MAKEFLAGS")
            .env("KIND", "standard")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // The cell that chooses its settings comes first.
    make(&["-j", "2", target]);
    assert_eq!(records(&lab).len(), 2);
    assert!(!make(&["-n", "cells"]).contains("final.net.shapes.2.l2.seed0"));
    // A larger grid keeps what was tried, and chooses anew.
    lab.write("study.toml", STUDY.replace("l2 = [0.001]", "l2 = [0.001, 0.01]"));
    let missing = lab.run(&["plan", "study.toml", "-o", "r", "--missing", "--names"]).ok();
    assert_eq!(missing.lines().count(), 11);
    assert!(missing.contains("l2.seed0") && !missing.contains("l2.lr0.01-beta0.01-strength0.001."), "{missing}");
    // A record of before, beside one of now, is no second seed.
    lab.run(&["cell", "study.toml", "selection.net.shapes.2.l2.lr0.01-beta0.01-strength0.01.seed100", "-o", "r", "--kernels", "standard"])
        .ok();
    lab.run(&["cell", "study.toml", "final.net.shapes.2.l2.seed0", "-o", "r", "--kernels", "standard"]).ok();
    assert_eq!(records(&lab).len(), 4);
    lab.run(&["report", "r"]).refused(2, &["two records of final.net.shapes.2.l2.seed0"]);
    assert!(lab.run(&["report", "r", "--study", "study.toml"]).ok().starts_with("1 final cells, 2 of the selection\n"));
    // A study that changed has other records.
    lab.write("study.toml", STUDY.replace("steps = 2", "steps = 3"));
    assert_eq!(lab.run(&["plan", "study.toml", "-o", "r", "--missing"]).ok().lines().count(), 11);
}

#[test]
fn a_study_that_makes_no_sense_says_what_is_wrong() {
    let lab = lab();
    let cases = [
        ("l2-sp\"]", "l2-ps\"]", "there is no method `l2-ps`; choose from none, l2"),
        ("steps = 2", "step = 2", "unknown field `step`"),
        ("seeds = [100]", "seeds = [1]", "seed 1 is both for selection and for final cells"),
        ("source = \"net\"", "source = \"nett\"", "there is no source `nett`, only `net`"),
        ("rates = [0.01]", "rates = []", "`selection.rates` is empty"),
        ("l2 = [0.001]", "l2 = [-1.0]", "-1 is no strength or rate"),
        ("flip-crop:2", "flop", "flop"),
        ("\"target-a\"", "\"target-z\"", "target-z"),
        ("[targets.shapes]", "[targets.\"a b\"]", "`a b` names files"),
    ];
    for (from, to, part) in cases {
        assert!(STUDY.contains(from), "{from}");
        lab.write("wrong.toml", STUDY.replace(from, to));
        lab.refuses(&["plan", "wrong.toml"], 2, &["wrong.toml makes no sense", part]);
    }
    lab.refuses(&["plan", "nothing.toml"], 1, &["nothing.toml"]);
    lab.refuses(&["cell", "study.toml", "final.net.shapes.2.l2.seed7", "-o", "r"], 2, &["no cell", "final.net.shapes.2.l2.seed0"]);
    lab.refuses(
        &["cell", "study.toml", "final.net.shapes.2.l2.seed0", "-o", "r"],
        2,
        &["chosen by 1 cells", "1 of them have not been run"],
    );
    lab.refuses(&["report", "."], 1, &["holds no results"]);
    lab.write("small.toml", STUDY.replace("test-per-class = 3", "test-per-class = 7"));
    let few = lab.run(&["cell", "small.toml", "selection.net.shapes.2.l2.lr0.01-beta0.01-strength0.001.seed100", "-o", "few"]);
    few.refused(1, &["has 8 images", "make 11"]);
}

/// Paths that begin as options do stay paths, in what is printed and in what a sweep starts.
#[test]
fn names_that_look_like_options_are_none() {
    let lab = Lab::new();
    lab.write("--study.toml", STUDY);
    let planned = lab.run(&["plan", "./--study.toml", "--out=--out", "--base=."]).ok();
    assert!(
        !planned.is_empty() && planned.lines().all(|line| line.contains(" ./--study.toml ") && line.ends_with(" --out ./--out --base .")),
        "{planned}"
    );
    let planned = lab.run(&["plan", "--out=--out", "--base=.", "--", "--study.toml"]).ok();
    assert!(planned.lines().all(|line| line.contains(" ./--study.toml ") && line.ends_with(" --out ./--out --base .")), "{planned}");
    lab.run(&["new", "resnet20", "--classes", "10", "--input", "3x16x16", "-o", "net.onnx"]).ok();
    lab.run(&["sweep", "--out=--out", "--", "--study.toml"]).ok();
    // What only newer shells can write is in no makefile.
    lab.write("a\u{202e}b.toml", STUDY);
    assert!(lab.run(&["plan", "a\u{202e}b.toml"]).ok().contains(r#" "$(printf 'a\342\200\256b.toml')" "#));
    assert!(lab.run(&["plan", "a\u{202e}b.toml", "--make"]).ok().contains(r#" "$$(printf 'a\342\200\256b.toml')" "#));
    lab.write("b.toml\n", STUDY);
    lab.refuses(&["plan", "b.toml\n", "--make"], 2, &["make's shell has no way to write", "rename it"]);
}
