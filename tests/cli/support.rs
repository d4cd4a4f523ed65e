//! A folder to work in, small inputs that all tests share, and what is asked of every refusal.

use assert_cmd::Command;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub const BINARY: &str = env!("CARGO_BIN_EXE_spgraph");

/// The files of a complete run, in order.
pub const RUN_FILES: [&str; 11] = [
    "bundle",
    "config.toml",
    "events.out.tfevents.spgraph",
    "manifest.json",
    "metrics.csv",
    "metrics.jsonl",
    "notes.json",
    "optimizer.safetensors",
    "report.html",
    "run.json",
    "state.safetensors",
];

pub fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(output: std::process::Output) -> Outcome {
        Outcome {
            code: output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}")),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Demands success; stdout.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Demands the verdict no: the exit code 1 after a whole answer; stdout.
    pub fn no(self) -> String {
        assert!(self.code == 1 && self.err.contains("error: ") && !self.err.contains("panicked"), "{self:?}");
        self.out
    }

    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Demands an error of spgraph's own: the exit code, one paragraph, all of `parts` in it, and no trace of the inside.
    pub fn refused(self, code: i32, parts: &[&str]) -> String {
        assert_eq!(self.code, code, "{self:?}");
        let errors: Vec<&str> = self.err.match_indices("error: ").map(|(at, _)| &self.err[at..]).collect();
        let [error] = errors[..] else { panic!("not one error: {self:?}") };
        assert!(!error.trim_end().contains("\n\n"), "more than a paragraph: {error}");
        for part in parts {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
        for part in ["panicked", "RUST_BACKTRACE", ".spgraph-", "os error 2). Check the path: "] {
            assert!(!self.err.contains(part), "`{part}` in: {}", self.err);
        }
        error.to_string()
    }
}

/// A folder that a test has for itself; commands run in it.
pub struct Lab(pub tempfile::TempDir);

impl Lab {
    pub fn new() -> Lab {
        Lab(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, data: impl AsRef<[u8]>) -> &Lab {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
        self
    }

    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(BINARY);
        command.args(args).current_dir(self.0.path());
        with_signals(&mut command);
        command
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(Command::from_std(self.command(args)).output().unwrap())
    }

    /// Runs what must be refused, see [`Outcome::refused`], and must leave the folder as it was.
    pub fn refuses(&self, args: &[&str], code: i32, parts: &[&str]) -> String {
        let before = self.files();
        let error = self.run(args).refused(code, parts);
        assert_eq!(self.files(), before, "{args:?} changed the folder");
        error
    }

    /// Everything in the folder: relative path and content (folders and links: what they are).
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(self.0.path())
    }
}

/// What runs the tests may ignore signals, as `nohup` does and a shell in the background, and children would too.
fn with_signals(command: &mut std::process::Command) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: between fork and exec nothing but `signal` is called, which may be.
        unsafe {
            command.pre_exec(|| {
                for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
                    libc::signal(number, libc::SIG_DFL);
                }
                Ok(())
            });
        }
    }
}

pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            if path.is_symlink() {
                found.insert(name, b"link".into());
            } else if path.is_dir() {
                found.insert(name, b"folder".into());
                walk(root, &path, found);
            } else {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// A safetensors file of spgraph's as another program would write it: without its hash.
pub fn unsealed(file: &[u8]) -> Vec<u8> {
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&file[8..header]).unwrap();
    let from = text.find("\\\"blake3").unwrap();
    let to = from + text[from..].find(',').unwrap() + 1;
    let text = format!("{}{}", &text[..from], &text[to..]).replace(",\\\"sealed\\\":true", "");
    let width = text.trim_end().len().next_multiple_of(8);
    let text = format!("{:<width$}", text.trim_end());
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &file[header..]].concat()
}

/// Names of the files in a folder.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Inputs that tests read and never change. Made by the commands under test, once.
pub struct Shared {
    /// ResNet-20 for 3 classes and 3×16×16 images, with fresh weights.
    pub model: String,
    /// Its bundle: all defaults but a batch of 4.
    pub bundle: String,
    /// 3 classes with 8 images each; `bricks`, `cells`, `plaid`.
    pub images: String,
    /// 5 classes with 8 images each; the three above among them.
    pub five: String,
    /// A complete run: 6 steps on `images`.
    pub run: String,
}

pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let at = |name: &str| root.join(name).display().to_string();
        let shared = Shared { model: at("m.onnx"), bundle: at("m.spgraph"), images: at("images"), five: at("five"), run: at("run") };
        let run = |args: &[&str]| Outcome::of(Command::new(BINARY).args(args).output().unwrap()).ok();
        run(&["new", "resnet20", "--classes", "3", "--input", "3x16x16", "-o", &shared.model]);
        run(&["synth", "--task", "target-b", "--per-class", "8", "--size", "16", "-o", &shared.five]);
        for class in ["bricks", "cells", "plaid"] {
            let (from, to) = (Path::new(&shared.five).join(class), Path::new(&shared.images).join(class));
            std::fs::create_dir_all(&to).unwrap();
            for name in names(&from) {
                std::fs::copy(from.join(&name), to.join(&name)).unwrap();
            }
        }
        run(&["rewrite", &shared.model, "--batch", "4", "-o", &shared.bundle]);
        run(&["finetune", &shared.bundle, "--data", &shared.images, "--steps", "6", "--engine", "ort", "-o", &shared.run]);
        shared
    })
}

/// Both engines; `make test` sees to it that there is an ONNX Runtime.
pub const ENGINES: [&str; 2] = ["tract", "ort"];
