//! Small files of text: names, records, configurations, studies.

use super::bundles::{a_bundle, unsealed};
use super::{read_file, words, written};
use spgraph::bundle::read_class_names;
use spgraph::evaluation::Study;
use spgraph::report;
use spgraph::train::{Configuration, RunRecord};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub fn names() -> Vec<Vec<u8>> {
    let texts = ["cat\ndog\nbird\n", "[\"cat\", \"dog\"]", "{\"0\": \"cat\", \"1\": \"dog\"}", "{\"cat\": 0, \"dog\": 1}"];
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

pub fn read_names(bytes: &[u8], work: &Path) -> Result<(), String> {
    read_class_names(&written(bytes, work.join("names.txt"))).map(drop).map_err(words)
}

/// Of two steps, made once by the command.
fn a_run() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let made = RUN.get_or_init(|| {
        let work = tempfile::tempdir().unwrap();
        let shape = &a_bundle().manifest.data.input.shape;
        let (classes, side) = (a_bundle().class_count().unwrap().unwrap_or(2), shape[2] as u32);
        for class in 0..classes {
            let dir = work.path().join("images").join(class.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            let color = class as u8 * 20;
            let image = image::RgbImage::from_fn(side, side, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, color]));
            image.save(dir.join("a.png")).unwrap();
        }
        let out = work.path().join("run");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_spgraph"));
        command.arg("finetune").arg(&a_bundle().dir).arg("--data").arg(work.path().join("images"));
        let output = command.args(["--steps", "2", "--engine", "tract", "-o"]).arg(&out).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (work, out)
    });
    &made.1
}

pub fn records() -> Vec<Vec<u8>> {
    vec![serde_json::to_vec_pretty(&unsealed(&a_run().join("run.json"))).unwrap()]
}

pub fn read_record(bytes: &[u8], work: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(a_run()).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::symlink(&path, work.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::remove_file(work.join("run.json")).unwrap();
    written(bytes, work.join("run.json"));
    RunRecord::read(work).map_err(words)?;
    Configuration::of_run(work).map_err(words)?;
    report::inspect_run(work).map(drop).map_err(words)
}

pub fn configurations() -> Vec<Vec<u8>> {
    let whole = read_file(a_run().join("config.toml"));
    let text = "model = \"m.onnx\"\n\n[rewriting]\nhead = 3\nbatch = 8\npenalize = \"weights\"\nlr-mult = [{ pattern = \"fc.*\", value = 10 }]\n\n[training]\ndata = \"images\"\n";
    let small = "bundle = \"b\"\n\n[training]\nseed = 3\n";
    let mut found = vec![whole, small.as_bytes().to_vec()];
    // Not every version has the same options.
    let work = tempfile::tempdir().unwrap();
    found.extend(Some(text.as_bytes().to_vec()).filter(|t| read_configuration(t, work.path()).is_ok()));
    found
}

pub fn read_configuration(bytes: &[u8], work: &Path) -> Result<(), String> {
    Configuration::read(&written(bytes, work.join("config.toml"))).map(drop).map_err(words)
}

pub fn studies() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("evaluation");
    ["synthetic.toml", "real.toml"].iter().map(|name| read_file(folder.join(name))).collect()
}

pub fn read_study(bytes: &[u8], work: &Path) -> Result<(), String> {
    let study = Study::read(&written(bytes, work.join("study.toml"))).map_err(words)?;
    study.methods().map(drop).map_err(words)
}
