//! Which label a class folder has: by name, by number, by order; and what is said of it.

use crate::support::{Lab, fixture};
use spgraph::onnx::{self, pb};

/// The palette of `tests/generate/conventions.py`, label by label.
pub const PALETTE: [[u8; 3]; 12] = [
    [250, 10, 10],
    [10, 250, 10],
    [10, 10, 250],
    [250, 250, 10],
    [250, 10, 250],
    [10, 250, 250],
    [250, 250, 250],
    [10, 10, 10],
    [130, 130, 130],
    [130, 10, 10],
    [10, 130, 10],
    [10, 10, 130],
];

const NAMES: [&str; 12] =
    ["red", "green", "blue", "yellow", "magenta", "cyan", "white", "black", "grey", "dark red", "dark green", "dark blue"];

/// The network that knows the palette, with an entry in its metadata.
fn model(lab: &Lab, name: &str, metadata: &[(&str, &str)]) {
    let mut proto = onnx::read(fixture("conventions/nchw.onnx")).unwrap().proto;
    let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) };
    proto.metadata_props.extend(metadata.iter().map(entry));
    onnx::write(lab.path(name), &proto).unwrap();
}

/// Two images of each colour, in folders called by `name` of the label; no folder where that is empty.
pub fn colours(lab: &Lab, folder: &str, name: impl Fn(usize) -> String) {
    for (label, colour) in PALETTE.iter().enumerate() {
        let class = name(label);
        for i in 0..if class.is_empty() { 0 } else { 2 } {
            let path = lab.path(&format!("{folder}/{class}/{i}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(12, 8, image::Rgb(*colour)).save(path).unwrap();
        }
    }
}

fn eval<'a>(subject: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", subject, "--data", data, "--json", "--engine", "tract", "--resize", "8"], more].concat()
}

/// Demands that every image is told right, and gives what was said on stderr.
fn right(lab: &Lab, args: &[&str]) -> String {
    let outcome = lab.run(args);
    let err = outcome.err.clone();
    let found = outcome.json();
    assert_eq!(found["accuracy"].as_f64(), Some(1.0), "{args:?}: {found} {err}");
    err
}

#[test]
fn folders_called_by_numbers_are_their_labels() {
    let lab = Lab::new();
    model(&lab, "m.onnx", &[]);
    colours(&lab, "numbers", |label| label.to_string());
    let said = right(&lab, &eval("m.onnx", "numbers", &[]));
    assert!(said.contains("labels assumed: the numbers") && said.contains("(0 to 11)"), "{said}");
    colours(&lab, "zeros", |label| format!("{label:03}"));
    right(&lab, &eval("m.onnx", "zeros", &[]));
    // Classes without a folder leave a gap.
    colours(&lab, "gaps", |label| if label % 3 == 2 { String::new() } else { label.to_string() });
    let said = right(&lab, &eval("m.onnx", "gaps", &[]));
    assert!(said.contains("4 of the 12 classes have no folder"), "{said}");
    // With names they are labels as well.
    lab.write("names.txt", NAMES.join("\n"));
    let said = right(&lab, &eval("m.onnx", "gaps", &["--class-names", "names.txt"]));
    assert!(said.contains("labels assumed") && said.contains("10 dark green"), "{said}");

    colours(&lab, "from_one", |label| (label + 1).to_string());
    lab.refuses(&eval("m.onnx", "from_one", &[]), 1, &["1 to 12", "counted from 1", "0 to 11", "--class-names", "--classes 12"]);
    lab.refuses(&eval("m.onnx", "from_one", &["--class-names", "names.txt"]), 1, &["counted from 1"]);
    colours(&lab, "large", |label| (10 * label).to_string());
    lab.refuses(&eval("m.onnx", "large", &[]), 1, &["0 to 110", "12 classes"]);
    colours(&lab, "numbers", |label| if label == 3 { "03".into() } else { String::new() });
    lab.refuses(&eval("m.onnx", "numbers", &[]), 1, &["`03` and `3`", "one number"]);
}

#[test]
fn a_kept_head_is_trained_with_its_own_labels() {
    let lab = Lab::new();
    model(&lab, "m.onnx", &[]);
    colours(&lab, "numbers", |label| label.to_string());
    lab.run(&["rewrite", "m.onnx", "--resize", "8", "--batch", "4", "-o", "b"]).ok();
    let train = ["finetune", "b", "--data", "numbers", "--steps", "1", "--lr", "0", "--engine", "tract", "-o", "run"];
    let outcome = lab.run(&train);
    assert!(outcome.err.contains("labels assumed"), "{}", outcome.err);
    assert!(outcome.ok().contains("accuracy 100.00 %"));
    right(&lab, &eval("run", "numbers", &[]));
    lab.run(&["export", "run", "-o", "tuned.onnx"]).ok();
    let said = right(&lab, &["eval", "tuned.onnx", "--data", "numbers", "--json", "--engine", "tract"]);
    assert!(!said.contains("assumed"), "{said}");
    // A new head takes the folders in the order of their numbers, whatever they are.
    colours(&lab, "tens", |label| (10 * label).to_string());
    lab.run(&["rewrite", "m.onnx", "--classes", "12", "--resize", "8", "--batch", "4", "-o", "new"]).ok();
    let outcome = lab.run(&["finetune", "new", "--data", "tens", "--steps", "1", "--engine", "tract", "-o", "other"]);
    assert!(!outcome.err.contains("labels assumed"), "{}", outcome.err);
    outcome.ok();
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("other/manifest.json")).unwrap()).unwrap();
    let classes: Vec<String> = (0..12).map(|label| (10 * label).to_string()).collect();
    assert_eq!(manifest["classes"], serde_json::json!(classes));
}

#[test]
fn names_come_from_the_model_s_metadata() {
    let lab = Lab::new();
    let python = format!("{{{}}}", NAMES.iter().enumerate().map(|(i, n)| format!("{i}: '{n}'")).collect::<Vec<_>>().join(", "));
    let json = serde_json::to_string(&NAMES).unwrap();
    let classes: serde_json::Map<String, serde_json::Value> = NAMES.iter().enumerate().map(|(i, n)| (n.to_string(), i.into())).collect();
    let backwards = serde_json::to_string(&classes).unwrap();
    colours(&lab, "images", |label| NAMES[label].into());
    // As file systems have it, and with some classes only.
    colours(&lab, "varied", |label| if label < 7 { String::new() } else { NAMES[label].replace(' ', "_").to_uppercase() });
    for (key, value) in [("names", &python), ("classes", &json), ("class_to_idx", &backwards)] {
        model(&lab, "m.onnx", &[("author", "somebody"), (key, value)]);
        let said = right(&lab, &eval("m.onnx", "images", &[]));
        assert!(!said.contains("labels assumed"), "{said}");
        let said = right(&lab, &eval("m.onnx", "varied", &[]));
        assert!(said.contains("`DARK_RED` is `dark red`"), "{said}");
        let guess = lab.run(&["predict", "m.onnx", "images/dark green/0.png", "--resize", "8", "--engine", "tract"]).ok();
        assert!(guess.contains("dark green"), "{guess}");
        let text = lab.run(&["rewrite", "m.onnx", "--resize", "8", "--batch", "4", "--force", "-o", "b"]).ok();
        assert!(text.contains("classes     red, green, blue, yellow, magenta, cyan, …"), "{text}");
        let said = right(&lab, &eval("b", "images", &[]));
        assert!(!said.contains("labels assumed"), "{said}");
    }
    // What is exported under a new head no longer has the old names, in no form.
    lab.run(&["rewrite", "m.onnx", "--classes", "3", "--resize", "8", "--batch", "4", "-o", "new"]).ok();
    lab.run(&["export", "new", "-o", "new.onnx"]).ok();
    let exported = onnx::read(lab.path("new.onnx")).unwrap().proto;
    let keys: Vec<&str> = exported.metadata_props.iter().map(|p| p.key()).collect();
    assert_eq!(keys, ["author", "spgraph.prediction", "spgraph.preprocessing", "spgraph.provenance"]);
}

#[test]
fn labels_in_sorted_order_are_said_to_be_assumed() {
    let lab = Lab::new();
    model(&lab, "m.onnx", &[]);
    // Called so that their order is that of the labels.
    colours(&lab, "images", |label| format!("n{label:02}"));
    let said = right(&lab, &eval("m.onnx", "images", &[]));
    assert!(said.contains("labels assumed: 0 n00, 1 n01") && said.contains("sorted order") && said.contains("--class-names"), "{said}");
    colours(&lab, "named", |label| NAMES[label].into());
    lab.write("names.json", serde_json::to_string(&NAMES).unwrap());
    right(&lab, &eval("m.onnx", "named", &["--class-names", "names.json"]));
    lab.run(&["rewrite", "m.onnx", "--resize", "8", "--batch", "4", "-o", "b"]).ok();
    let train = ["finetune", "b", "--data", "named", "--class-names", "names.json", "--steps", "1", "--lr", "0", "--engine", "tract"];
    assert!(lab.run(&[&train[..], &["-o", "run"]].concat()).ok().contains("accuracy 100.00 %"));
    right(&lab, &eval("run", "named", &[]));
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let lab = Lab::new();
    model(&lab, "m.onnx", &[]);
    colours(&lab, "images", |label| NAMES[label].into());
    lab.write("eleven.txt", NAMES[..11].join("\n"))
        .write("bad.json", "{\"0\": ")
        .write("other.json", "[[1], [2]]")
        .write("empty.txt", "\n");
    let with = |file: &'static str| eval("m.onnx", "images", &["--class-names", file]);
    lab.refuses(&with("eleven.txt"), 2, &["--class-names", "11 class names", "12 classes"]);
    lab.refuses(&["rewrite", "m.onnx", "--class-names", "eleven.txt", "-o", "b"], 2, &["11 class names", "12 classes", "--classes 11"]);
    lab.refuses(&with("bad.json"), 1, &["bad.json", "no valid JSON"]);
    lab.refuses(&with("other.json"), 1, &["other.json", "no list of names"]);
    lab.refuses(&with("empty.txt"), 1, &["empty.txt", "no class names"]);
    model(&lab, "three.onnx", &[("names", "['a', 'b', 'c']")]);
    lab.refuses(&eval("three.onnx", "images", &[]), 1, &["`names`", "names 3 classes", "has 12", "--class-names"]);
    lab.refuses(&["rewrite", "three.onnx", "-o", "b"], 1, &["`names`", "names 3 classes", "--class-names"]);
    model(&lab, "broken.onnx", &[("names", "{0: 'a', 1: 'b'")]);
    lab.refuses(&eval("broken.onnx", "images", &[]), 1, &["does not say clearly", "`names`", "--class-names"]);
    std::fs::rename(lab.path("images/red"), lab.path("images/crimson")).unwrap();
    lab.write("names.txt", NAMES.join("\n"));
    lab.refuses(&with("names.txt"), 1, &["`crimson`", "`red`, `green`", "Rename"]);
    let twice = [&NAMES[..11], &["green"]].concat().join("\n");
    std::fs::remove_dir_all(lab.path("images/crimson")).unwrap();
    lab.write("twice.txt", twice);
    lab.refuses(&with("twice.txt"), 1, &["`green` twice", "1 and 11"]);
}
