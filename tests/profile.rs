//! `spgraph profile`: a table by operator and one by layer, from ONNX Runtime's record of its nodes.
//!
//! ONNX Runtime is found as `spgraph runtime` finds it; without one these tests fail.

use std::path::Path;
use std::process::{Command, Output};

fn spgraph(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spgraph")).args(arguments).current_dir(dir).output().unwrap()
}

/// A folder with a bundle of the small test network, `b`.
fn bundle(more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bottleneck.bn.onnx");
    let made = spgraph(&[&["rewrite", model.to_str().unwrap(), "-o", "b"], more].concat(), dir.path());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
}

#[test]
fn layers_are_those_of_the_source() {
    let dir = bundle(&["--batch", "2", "--batch-norm", "train"]);
    let run =
        spgraph(&["profile", "b", "--engine", "ort", "--steps", "2", "--threads", "1", "--json", "--trace", "trace.json"], dir.path());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let found: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(found["steps"], 2);
    let layers = found["layers"].as_array().unwrap();
    let model = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bottleneck.bn.onnx")).unwrap();
    let text = String::from_utf8_lossy(&model);
    let mut all_parts = 0;
    for layer in layers {
        let name = layer["layer"].as_str().unwrap();
        let last = name.rsplit('.').next().unwrap();
        assert!(["loss", "scalars", "penalty", "runtime"].contains(&name) || text.contains(last), "{name} is no layer of the source");
        assert!(!name.contains("_inlfunc_"), "{name}");
        let ms = |part: &str| layer[part].as_f64().unwrap();
        assert!((ms("forward_ms") + ms("backward_ms") + ms("update_ms") - ms("ms")).abs() < 1e-9);
        all_parts += (ms("forward_ms") > 0.0 && ms("backward_ms") > 0.0 && ms("update_ms") > 0.0) as usize;
    }
    assert!(all_parts > 3, "convolutions have a forward, a backward and an update part: {layers:?}");
    // Both tables count the same nodes.
    let total = |table: &str| found[table].as_array().unwrap().iter().map(|r| r["ms"].as_f64().unwrap()).sum::<f64>();
    assert!((total("operators") - total("layers")).abs() < 1e-6 && total("layers") <= found["step_ms"].as_f64().unwrap());
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("trace.json")).unwrap()).unwrap();
    assert!(trace.as_array().unwrap().iter().any(|e| e["cat"] == "Node"));
}

#[test]
fn weights_in_a_file_of_their_own_are_found() {
    let dir = bundle(&["--batch", "dynamic", "--external-data"]);
    let run = spgraph(&["profile", "b", "--engine", "ort", "--steps", "1", "--batch", "3"], dir.path());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(text.contains("operator") && text.contains("layer") && text.contains("backward"), "{text}");
}

/// Peak resident memory of a command, in bytes.
#[cfg(target_os = "linux")]
#[expect(clippy::zombie_processes, reason = "wait4 waits for the child, and gives its peak as well")]
fn peak_memory(arguments: &[&str], dir: &Path) -> u64 {
    let child =
        Command::new(env!("CARGO_BIN_EXE_spgraph")).args(arguments).current_dir(dir).stdout(std::process::Stdio::null()).spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: waits for a child of this process, once, and fills the two places, which live as long as the call; all zeros is a `rusage`.
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    assert_eq!(status, 0, "{arguments:?}");
    usage.ru_maxrss as u64 * 1024
}

/// What `inspect --memory` predicts is a part of what a step takes, and most of it where the batch is large: with either kernels.
#[cfg(target_os = "linux")]
#[test]
fn predicted_memory_is_most_of_what_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["new", "resnet20", "--classes", "10", "-o", "m.onnx"][..],
        &["rewrite", "m.onnx", "--batch", "256", "--batch-norm", "train", "-o", "b"],
    ] {
        assert!(spgraph(arguments, dir.path()).status.success(), "{arguments:?}");
    }
    for kernels in ["native", "standard"] {
        let plan = spgraph(&["inspect", "b", "--memory", "--json", "--kernels", kernels], dir.path());
        let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
        let predicted = plan["peak_bytes"].as_u64().unwrap();
        let measured =
            peak_memory(&["profile", "b", "--engine", "ort", "--kernels", kernels, "--steps", "1", "--threads", "2"], dir.path());
        assert!(predicted < measured && 2 * predicted > measured, "{kernels}: {predicted} predicted, {measured} measured");
    }
}

#[test]
fn what_cannot_be_profiled_is_refused() {
    let dir = bundle(&["--batch", "2"]);
    for (arguments, code, message) in [
        (vec!["profile", "b", "--engine", "tract"], 2, "--engine ort"),
        (vec!["profile", "b", "--engine", "ort", "--batch", "5"], 2, "rewritten for batches of 2"),
        (vec!["profile", "nowhere"], 1, "does not exist"),
    ] {
        let run = spgraph(&arguments, dir.path());
        let said = String::from_utf8_lossy(&run.stderr).to_string();
        assert_eq!(run.status.code(), Some(code), "{said}");
        assert!(said.contains(message), "{said}");
    }
}
