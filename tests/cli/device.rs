//! Runtimes and devices: what is found, and that nothing is replaced silently.

use crate::support::{Lab, shared};

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let s = shared();
    [&["finetune", s.bundle.as_str(), "--data", &s.images, "--steps", "1", "-o", "run"][..], more].concat()
}

#[test]
fn cuda_is_refused_where_there_is_none() {
    let lab = Lab::new();
    lab.refuses(&train(&["--device", "cuda", "--engine", "tract"]), 2, &["tract", "CPU only", "--engine ort", "--device cpu"]);
    let libraries = lab.run(&["runtime", "--json"]).json();
    if libraries.as_array().unwrap().iter().any(|l| l["has_cuda"] == true) {
        return println!("skipped: there is an ONNX Runtime with CUDA");
    }
    for engine in [&[][..], &["--engine", "ort"]] {
        let args = train(&[&["--device", "cuda"], engine].concat());
        lab.refuses(&args, 1, &["CUDA"]);
    }
    let s = shared();
    lab.refuses(&["eval", &s.run, "--data", &s.images, "--device", "cuda"], 1, &["CUDA"]);
    lab.refuses(&["predict", &s.run, &format!("{}/cells/cells-s0-00000.png", s.images), "--device", "cuda"], 1, &["CUDA"]);
    let text = lab.run(&["runtime", "--device", "cuda"]).ok();
    assert!(text.contains("--device cuda cannot be used"), "{text}");
}

#[test]
fn recorded_steps_are_refused_where_there_are_none() {
    let lab = Lab::new();
    let s = shared();
    for more in [&[][..], &["--device", "cpu"], &["--engine", "tract"], &["--device", "cpu", "--engine", "ort"]] {
        lab.refuses(&train(&[&["--cuda-graph"], more].concat()), 2, &["--cuda-graph", "CPU", "leave it out", "--device cuda"]);
    }
    lab.refuses(&train(&["--cuda-graph", "--device", "cuda", "--engine", "tract"]), 2, &["tract runs on the CPU only", "--engine ort"]);
    lab.write("asked.toml", "[engine]\ncuda_graph = true\n");
    lab.refuses(&train(&["--config", "asked.toml"]), 2, &["`engine.cuda_graph`", "--device cuda"]);
    let profile = ["profile", &s.bundle, "--cuda-graph", "--device", "cuda"];
    lab.refuses(&profile, 2, &["no times of their own", "profile without --cuda-graph"]);
    assert!(!lab.path("run").exists());
}

#[test]
fn native_kernels_are_refused_where_there_are_none() {
    let lab = Lab::new();
    let native = train(&["--kernels", "native", "--engine", "tract"]);
    lab.refuses(&native, 2, &["--kernels native", "tract takes no native kernels", "--engine ort"]);
}

#[test]
fn the_run_says_which_kernels_it_had() {
    let lab = Lab::new();
    for (kernels, native) in [("native", true), ("standard", false)] {
        lab.run(&train(&["--engine", "ort", "--kernels", kernels, "--force"])).ok();
        let record = std::fs::read_to_string(lab.path("run").join("run.json")).unwrap();
        assert_eq!(record.contains("native kernels"), native, "{record}");
    }
}

#[test]
fn a_library_that_cannot_be_used_is_refused_and_not_replaced() {
    let lab = Lab::new();
    lab.write("lib.so", "no library");
    lab.refuses(&train(&["--ort-lib", "nowhere.so"]), 1, &["--ort-lib", "nowhere.so", "no such file"]);
    lab.refuses(&train(&["--ort-lib", "lib.so", "--engine", "ort"]), 1, &["--ort-lib", "lib.so", "no library"]);
    let mut command = lab.command(&train(&[]));
    let output = command.env("ORT_DYLIB_PATH", lab.path("lib.so")).output().unwrap();
    crate::support::Outcome::of(output).refused(1, &["ORT_DYLIB_PATH", "lib.so"]);
    assert!(!lab.path("run").exists());
}

#[test]
fn runtime_lists_what_is_found_and_why() {
    let lab = Lab::new();
    let libraries = lab.run(&["runtime", "--json"]).json();
    let chosen: Vec<_> = libraries.as_array().unwrap().iter().filter(|l| l["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1, "{libraries}");
    let text = lab.run(&["runtime"]).ok();
    let line = text.lines().find(|l| l.starts_with('*')).unwrap();
    assert!(line.contains(chosen[0]["path"].as_str().unwrap()) && line.contains(chosen[0]["version"].as_str().unwrap()), "{text}");
    assert!(text.contains("--engine auto uses the library marked *"), "{text}");
    let text = lab.run(&["runtime", "--ort-lib", "nowhere.so"]).ok();
    assert!(text.contains("there is no such file") && text.contains("--engine auto uses tract"), "{text}");
}
