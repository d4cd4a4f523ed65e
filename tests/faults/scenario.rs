//! The commands that write, each with what is there before and what a user does after a fault.

use serde_json::Value;
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
        root
    })
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
            if path.is_dir() {
                found.insert(name, b"folder".into());
                walk(root, &path, found);
            } else {
                found.insert(name, steady(&path));
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

fn steady(path: &Path) -> Vec<u8> {
    let data = std::fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
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
