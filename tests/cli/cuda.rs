//! What is said of the CUDA device where something of it is missing, with a stand-in for NVIDIA's driver that a C compiler makes.

use crate::support::{Lab, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A driver that answers as the environment says (`STAND_IN_CUDA_…`).
fn driver() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libcuda.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/stand_in/cuda.c");
        let status = Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(source).status().unwrap();
        assert!(status.success());
        (dir, library)
    });
    &built.1
}

const LIBRARIES: [&str; 6] =
    ["libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcufft.so.12", "libcudnn.so.9"];

/// A folder with a driver, CUDA's libraries but for `without`, and an ONNX Runtime that has a CUDA provider beside it by its name.
fn machine(lab: &Lab, without: &[&str]) -> (PathBuf, PathBuf) {
    let cuda = lab.path("cuda-libraries");
    std::fs::create_dir_all(&cuda).unwrap();
    std::fs::copy(driver(), cuda.join("libcuda.so.1")).unwrap();
    for name in LIBRARIES.iter().filter(|name| !without.contains(name)) {
        std::fs::copy(driver(), cuda.join(name)).unwrap();
    }
    let found = lab.run(&["runtime", "--json"]).json();
    let used = found.as_array().unwrap().iter().find(|l| l["chosen"] == true).unwrap()["path"].as_str().unwrap().to_string();
    let library = lab.path("libonnxruntime.so.9");
    std::fs::copy(used, &library).unwrap();
    std::fs::write(lab.path("libonnxruntime_providers_cuda.so"), "").unwrap();
    (cuda, library)
}

fn said(lab: &Lab, place: &(PathBuf, PathBuf), args: &[&str], settings: &[(&str, &str)]) -> Outcome {
    let mut command = lab.command(args);
    command.env("LD_LIBRARY_PATH", &place.0).env("ORT_DYLIB_PATH", &place.1).env_remove("VIRTUAL_ENV").envs(settings.iter().copied());
    Outcome::of(command.output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_missing_of_cuda_is_said_with_what_mends_it() {
    let lab = Lab::new();
    let whole = machine(&lab, &[]);
    let doctor = ["doctor", "--device", "cuda"];
    /// What is asked, what the stand-in is told, and what must be said.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case; 5] = [
        (&doctor, &[("STAND_IN_CUDA_DRIVER", "12040")], &["too old", "CUDA 12.4", "driver 580"]),
        (&doctor, &[("STAND_IN_CUDA_INIT", "803")], &["803", "nvidia-smi"]),
        (&doctor, &[("STAND_IN_CUDA_DEVICES", "0")], &["no CUDA device 0", "none"]),
        (&["doctor", "--device", "cuda:1"], &[], &["no CUDA device 1", "0 (stand-in)"]),
        (&doctor, &[("STAND_IN_CUDA_CAPABILITY", "61")], &["6.1", "7.5"]),
    ];
    for (args, settings, parts) in cases {
        let outcome = said(&lab, &whole, args, settings);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        for part in parts {
            assert!(outcome.out.contains(part), "no `{part}` in {outcome:?}");
        }
    }
    let found = said(&lab, &whole, &["runtime", "doctor", "--device", "cuda", "--json"], &[("STAND_IN_CUDA_FREE", "123456789")]);
    let json: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((&json["cuda"]["driver"], &json["cuda"]["devices"][0]["free"]), (&13000.into(), &123456789.into()), "{json}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_training_says_what_is_missing_and_auto_goes_on_without() {
    let lab = Lab::new();
    let place = machine(&lab, &["libcudnn.so.9"]);
    let s = crate::support::shared();
    let train = |device: &'static str| {
        ["finetune", s.bundle.as_str(), "--data", &s.images, "--steps", "1", "--force", "-o", "run", "--device", device]
    };
    said(&lab, &place, &train("cuda"), &[]).refused(1, &["libcudnn.so.9", "pip install nvidia-cudnn-cu13"]);
    let auto = train("auto");
    let outcome = said(&lab, &place, &[&auto[..], &["--cuda-graph"]].concat(), &[]);
    assert!(outcome.code == 0 && outcome.err.contains("steps are not recorded: --cuda-graph is for the CUDA device"), "{outcome:?}");
    assert!(std::fs::read_to_string(lab.path("run/run.json")).unwrap().contains("\"cuda_graph\": false"));
    let outcome = said(&lab, &place, &auto, &[]);
    assert!(outcome.code == 0 && outcome.err.contains("CPU: libraries of CUDA 13 and cuDNN 9 are missing"), "{outcome:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn an_epoch_that_ends_with_a_smaller_step_is_not_recorded() {
    let lab = Lab::new();
    let place = machine(&lab, &[]);
    let s = crate::support::shared();
    lab.run(&["rewrite", &s.model, "--batch", "dynamic", "--batch-norm", "frozen", "-o", "open.spgraph"]).ok();
    let train = ["finetune", "open.spgraph", "--data", &s.images, "--epochs", "1", "-o", "run", "--device", "cuda", "--cuda-graph"];
    let parts = ["--cuda-graph needs as many images in every step", "rewrite the model with --batch", "--drop-last"];
    said(&lab, &place, &[&train[..], &["--batch", "7"]].concat(), &[]).refused(2, &parts);
    assert!(!lab.path("run").exists());
}

#[test]
fn a_wheel_of_another_version_is_not_installed() {
    let lab = Lab::new();
    lab.write("onnxruntime_gpu-1.30.0.whl", "another");
    let mut command = lab.command(&["runtime", "install", "--device", "cuda", "--from", "onnxruntime_gpu-1.30.0.whl"]);
    command.env("SPGRAPH_CACHE", lab.path("cache"));
    Outcome::of(command.output().unwrap())
        .refused(1, &["onnxruntime_gpu-1.30.0.whl", "not the wheel of onnxruntime-gpu 1.31.1", "pip download"]);
    assert!(!lab.path("cache").join("onnxruntime-gpu-1.31.1").exists());
}

#[test]
fn a_step_is_shown_node_by_node() {
    let lab = Lab::new();
    let s = crate::support::shared();
    let text = lab.run(&["inspect", &s.bundle, "--device", "cuda"]).ok();
    assert!(text.contains("CUDAExecutionProvider") && text.contains("on the CUDA device, no copies between"), "{text}");
}
