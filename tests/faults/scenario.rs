//! The commands that write, each with what is there before and what a user does after a fault.

use crate::models;
use serde_json::Value;
use spgraph::onnx::pb;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The program under test; `SPGRAPH_UNDER_TEST` names another build of it.
pub fn binary() -> PathBuf {
    std::env::var_os("SPGRAPH_UNDER_TEST").map_or_else(|| env!("CARGO_BIN_EXE_spgraph").into(), PathBuf::from)
}

/// What a user does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The command again, with `--force` where something is there.
    Again,
    /// The same, with nothing added.
    Same,
    /// The same; what is written are files that stand for themselves.
    Files,
    /// Goes on with the run of that name where there is one, or starts it again.
    Resume(&'static str),
}

/// A command that writes. `@` in front of a name is the folder of shared inputs.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// Commands that make what is there before.
    pub before: &'static [&'static str],
    pub command: &'static str,
    pub next: Next,
}

const fn scenario(name: &'static str, before: &'static [&'static str], command: &'static str, next: Next) -> Scenario {
    Scenario { name, before, command, next }
}

const TRAIN: &str =
    "finetune @b --data @images --engine tract --threads 1 --workers 1 --val-split 0.25 --steps 5 --checkpoint-every 2 -o run";

const CELL: &str = "cell @study.toml selection.net.plain.1.l2-sp.lr0.01-beta0.01-strength0.1.seed100 -o r --engine tract --threads 1";

/// A study of two cells.
const STUDY: &str = r#"
title = "small"
methods = [["l2-sp"]]
strengths = { l2-sp = [0.1] }

[sources.net]
model = "m.onnx"
test = { folder = "own" }

[targets.plain]
images = { folder = "images" }
test-per-class = 1
validation-per-class = 1

[[pairs]]
source = "net"
target = "plain"
images = [1]
select-with = 1

[training]
steps = 2
batch = 2
batch-norm = "frozen"
seeds = [0]

[selection]
rates = [0.01]
betas = [0.01]
seeds = [100]
"#;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("rewrite", &[], "rewrite @m.onnx --classes 2 --batch 2 --split --external-data -o out", Next::Again),
    scenario(
        "rewrite --force",
        &["rewrite @m.onnx --classes 3 --batch 4 -o out"],
        "rewrite @m.onnx --classes 2 --batch 2 --force -o out",
        Next::Again,
    ),
    scenario("finetune BUNDLE", &[], TRAIN, Next::Resume("run")),
    scenario(
        "finetune BUNDLE --force",
        &["finetune @b --data @images --engine tract --threads 1 --steps 2 -o run"],
        "finetune @b --data @images --engine tract --threads 1 --workers 1 --val-split 0.25 --steps 5 --checkpoint-every 2 --force -o run",
        Next::Same,
    ),
    scenario(
        "finetune MODEL",
        &[],
        "finetune @m.onnx --data @images --engine tract --threads 1 --workers 1 --batch 2 --val-split 0.25 --steps 3 -o run",
        Next::Resume("run"),
    ),
    scenario(
        "finetune MODEL without a name",
        &[],
        "finetune @m.onnx --data @images --engine tract --threads 1 --workers 1 --batch 2 --steps 3 --checkpoint-every 1",
        Next::Resume("runs/m-images"),
    ),
    scenario(
        "finetune --cache-dir",
        &[],
        "finetune @b --data @images --engine tract --threads 1 --workers 1 --val-split 0.25 --steps 4 --checkpoint-every 2 --cache-dir cache -o run",
        Next::Resume("run"),
    ),
    scenario("finetune --resume", &["HALF"], "finetune --resume -o run", Next::Resume("run")),
    scenario(
        "finetune --epochs +1",
        &["finetune @b --data @images --engine tract --threads 1 --workers 1 --epochs 1 -o run"],
        "finetune --resume -o run --epochs +1",
        Next::Resume("run"),
    ),
    scenario("export", &[], "export @run -o out.onnx", Next::Again),
    scenario("export --force", &["export @run --state final -o out.onnx"], "export @run --state best --force -o out.onnx", Next::Again),
    scenario("fisher", &[], "fisher @m.onnx --data @images --engine tract --threads 1 -o out.safetensors", Next::Again),
    scenario("attention", &[], "attention @run --data @images --engine tract --threads 1 -o out.safetensors", Next::Again),
    scenario("interpolate", &["export @run -o out.onnx"], "interpolate @run --to 0.5 --force -o out.onnx", Next::Again),
    scenario("eval", &[], "eval @run --data @images --engine tract --threads 1 --json out.json --confusion out.csv", Next::Again),
    scenario("predict", &[], "predict @run @images/plaid --engine tract --threads 1 --json", Next::Same),
    scenario("data --show", &[], "data @images --show out.png", Next::Again),
    scenario("report", &["finetune @b --data @images --engine tract --threads 1 --steps 2 -o run"], "report run", Next::Same),
    scenario("synth", &[], "synth --task target-a --per-class 1 --size 16 -o out", Next::Again),
    scenario(
        "new",
        &["new resnet20 --classes 2 --input 3x16x16 -o out.onnx"],
        "new resnet20 --classes 3 --input 3x16x16 --force -o out.onnx",
        Next::Again,
    ),
    scenario("drift", &[], "drift @b @run --json", Next::Same),
    scenario("inspect", &[], "inspect @run --json", Next::Same),
    scenario("man", &[], "man out", Next::Files),
    scenario("rewrite --artifact single", &[], "rewrite @m.onnx --classes 2 --batch 2 --artifact single -o out.onnx", Next::Again),
    scenario("rewrite --artifact training-info", &[], "rewrite @m.onnx --classes 2 --batch 2 --artifact training-info -o out", Next::Again),
    scenario(
        "rewrite --artifact ort-training --force",
        &["rewrite @m.onnx --classes 3 --batch 4 --artifact ort-training -o out"],
        "rewrite @m.onnx --classes 2 --batch 2 --artifact ort-training --force -o out",
        Next::Again,
    ),
    scenario("rewrite --artifact native", &[], "rewrite @m.onnx --classes 2 --batch 2 --artifact native -o out", Next::Again),
    scenario("convert --to bundle", &[], "convert @run --to bundle -o out", Next::Again),
    scenario("convert --to single", &["convert @run --to single -o out.onnx"], "convert @b --to single --force -o out.onnx", Next::Again),
    scenario("convert --to training-info", &[], "convert @run --to training-info -o out", Next::Again),
    scenario("convert --to ort-training", &[], "convert @run --to ort-training -o out", Next::Again),
    scenario("convert --to native", &["convert @b --to native -o out"], "convert @run --to native --force -o out", Next::Again),
    scenario("import-checkpoint", &[], "import-checkpoint @b @ort/checkpoint -o out", Next::Again),
    scenario(
        "import-checkpoint --force",
        &["import-checkpoint @b @ort/checkpoint -o out"],
        "import-checkpoint @b @ort/checkpoint --force -o out",
        Next::Again,
    ),
    scenario(
        "grad",
        &["grad @m.onnx --wrt input --of logits -o out.onnx"],
        "grad @m.onnx --wrt params --of logits --force -o out.onnx",
        Next::Again,
    ),
    scenario("lower", &[], "lower @gradient.onnx -o out.onnx", Next::Again),
    scenario("runtime install", &[], "runtime install --from @library", Next::Files),
    scenario("plan", &["plan @study.toml --names --to out.txt"], "plan @study.toml --make --to out.txt", Next::Same),
    scenario("cell", &[], CELL, Next::Files),
    scenario(
        "cell of the final phase",
        &[CELL],
        "cell @study.toml final.net.plain.1.l2-sp.seed0 -o r --engine tract --threads 1",
        Next::Files,
    ),
    scenario("sweep", &[], "sweep @study.toml -o r --jobs 1 --engine tract --threads 1", Next::Files),
    scenario("report of a study", &[], "report @results -o out --collect records.json", Next::Files),
    scenario("completions", &[], "completions bash", Next::Same),
];

/// A new folder where bringing something to the disk costs nothing, if there is such a place.
pub fn scratch(name: &str) -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    tempfile::Builder::new().prefix(&format!("faults-{name}-")).tempdir_in(place).unwrap()
}

/// What commands read, made once by the program itself.
pub fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        sweep();
        // Nobody drops what is static; the next run of the tests removes it.
        let root = scratch(&format!("shared-{}", std::process::id())).keep();
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/basic.bn.onnx"), root.join("m.onnx")).unwrap();
        let run = |line: &str| ok(&mut command(&root, &words(line, &root)));
        run("synth --task target-b --per-class 4 --size 16 -o five");
        for class in ["bricks", "plaid"] {
            std::fs::create_dir_all(root.join("images")).unwrap();
            std::fs::rename(root.join("five").join(class), root.join("images").join(class)).unwrap();
        }
        std::fs::remove_dir_all(root.join("five")).unwrap();
        run("rewrite m.onnx --classes 2 --batch 2 -o b");
        run("finetune b --data images --engine tract --threads 1 --val-split 0.25 --steps 4 -o run");
        run("convert b --to ort-training -o ort");
        spgraph::onnx::write(root.join("gradient.onnx"), &gradient()).unwrap();
        run("synth --task target-b --per-class 1 --size 16 -o own");
        if let Some(library) = std::env::var_os("ORT_DYLIB_PATH") {
            std::fs::copy(library, root.join("library")).unwrap();
        }
        std::fs::write(root.join("study.toml"), STUDY).unwrap();
        run("sweep study.toml -o results --jobs 1 --engine tract --threads 1");
        root
    })
}

/// A classifier with the gradient of its images, by ONNX's preview operator.
fn gradient() -> pb::ModelProto {
    let mut model = models::classifier(vec![models::node("Relu", "relu", &["x"], "features")], vec![]);
    let attribute = |name: &str, s: Option<&str>, strings: &[&str]| pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(if s.is_some() { 3 } else { 8 }),
        s: s.map(|s| s.as_bytes().to_vec()),
        strings: strings.iter().map(|s| s.as_bytes().to_vec()).collect(),
        ..Default::default()
    };
    let mut node = models::node("Gradient", "gradient", &["x"], "dx");
    node.domain = Some("ai.onnx.preview.training".into());
    node.attribute = vec![attribute("xs", None, &["x"]), attribute("y", Some("y"), &[])];
    model.opset_import.push(pb::OperatorSetIdProto { domain: node.domain.clone(), version: Some(1) });
    model.graph.as_mut().unwrap().node.push(node);
    model
}

/// Removes the shared inputs of tests that have ended.
fn sweep() {
    let place = scratch("place");
    for entry in std::fs::read_dir(place.path().parent().unwrap()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("faults-shared-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A line as arguments, with the folder of shared inputs in the place of `@`.
pub fn words(line: &str, shared: &Path) -> Vec<String> {
    line.split_whitespace().map(|w| w.strip_prefix('@').map_or(w.to_string(), |name| shared.join(name).display().to_string())).collect()
}

/// The program in `lab`, which has nothing of this machine but the library that it is told of.
pub fn command(lab: &Path, args: &[String]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).current_dir(lab).env("TMPDIR", lab).env("HOME", lab).env("XDG_CACHE_HOME", lab.join(".cache"));
    command
}

pub fn ok(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Files and what is in them.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a folder without what changes from run to run: numbers of processes, times, and texts made of them.
pub fn content(root: &Path) -> Tree {
    fn walk(root: &Path, dir: &Path, found: &mut Tree) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            if path.is_symlink() {
                found.insert(name, b"link".into());
            } else if path.is_dir() {
                found.insert(name, b"folder".into());
                walk(root, &path, found);
            } else {
                found.insert(name, steady(root, &path));
            }
        }
    }
    let mut found = Tree::new();
    walk(root, root, &mut found);
    found
}

/// Fields that say when and how fast, or which run by chance.
const VOLATILE: [&str; 8] = ["absolute", "id", "blake3", "seconds", "images_per_second", "wait", "decoding", "date"];

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn steady(root: &Path, path: &Path) -> Vec<u8> {
    let mut data = std::fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    // Each course has a folder of its own, which options may name.
    if let (true, Ok(text)) = (name.ends_with(".json") || name.ends_with(".toml"), std::str::from_utf8(&data)) {
        data = text.replace(&root.display().to_string(), "").into_bytes();
    }
    let json = |text: &str| {
        serde_json::from_str::<Value>(text).map(|mut v| {
            strip(&mut v);
            v.to_string()
        })
    };
    match name.as_str() {
        // Texts of times, or of how often a run was begun.
        "report.html" | "metrics.csv" | "events.out.tfevents.spgraph" | "notes.json" => {
            if data.is_empty() {
                vec![]
            } else {
                b"text".into()
            }
        }
        "metrics.jsonl" => {
            let text = String::from_utf8_lossy(&data).into_owned();
            text.lines().map(|l| json(l).unwrap_or_else(|_| l.into())).collect::<Vec<_>>().join("\n").into_bytes()
        }
        _ if name.ends_with(".json") => json(&String::from_utf8_lossy(&data)).map_or(data, String::into_bytes),
        _ => data,
    }
}

/// A copy of a folder with all below it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// The first difference between two folders.
pub fn difference(found: &Tree, wanted: &Tree) -> Option<String> {
    let names: std::collections::BTreeSet<&PathBuf> = found.keys().chain(wanted.keys()).collect();
    names.into_iter().find_map(|name| match (found.get(name), wanted.get(name)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(_), None) => Some(format!("{} is there", name.display())),
        (None, _) => Some(format!("{} is missing", name.display())),
        (Some(a), Some(b)) => {
            let at = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
            let around =
                |data: &[u8]| String::from_utf8_lossy(&data[at.saturating_sub(30).min(data.len())..(at + 50).min(data.len())]).into_owned();
            Some(format!("{} differs at byte {at}: {:?} where {:?} is wanted", name.display(), around(a), around(b)))
        }
    })
}
