//! `fisher` and `interpolate`: what they refuse and what they leave behind.

use crate::support::{ENGINES, Lab, names, shared};

#[test]
fn fisher_refuses_what_it_cannot_use() {
    let lab = Lab::new();
    let s = shared();
    let fisher = |model: &str, data: &str, more: &[&str], code: i32, parts: &[&str]| {
        let args = [&["fisher", model, "--data", data, "--engine", "ort", "-o", "f.safetensors"], more].concat();
        lab.refuses(&args, code, parts);
    };
    lab.write("text.onnx", "hello");
    fisher("missing.onnx", &s.images, &[], 1, &["missing.onnx", "Check the path"]);
    fisher("text.onnx", &s.images, &[], 1, &["text file"]);
    fisher(&s.model, "nowhere", &[], 1, &["nowhere does not exist"]);
    fisher(&s.model, &s.images, &["--samples", "0"], 2, &["--samples"]);
    let cuda = ["fisher", &s.model, "--data", &s.images, "--device", "cuda", "--engine", "tract", "-o", "f.safetensors"];
    lab.refuses(&cuda, 2, &["CPU only"]);
    lab.write("f.safetensors", "precious");
    fisher(&s.model, &s.images, &[], 2, &["f.safetensors", "--force"]);
    lab.refuses(&["rewrite", &s.model, "--penalty", "l2-sp-fisher", "-o", "b"], 2, &["--fisher", "spgraph fisher"]);
    lab.refuses(&["rewrite", &s.model, "--penalty", "l2-sp-fisher", "--fisher", "f.safetensors", "-o", "b"], 1, &["f.safetensors"]);
}

#[test]
fn fisher_repeats_itself() {
    for engine in ENGINES {
        let lab = Lab::new();
        let s = shared();
        let fisher = |output: &str| {
            let common = ["fisher", &s.model, "--data", &s.images, "--samples", "4", "--threads", "1", "--engine", engine, "-o", output];
            lab.run(&common).ok();
            std::fs::read(lab.path(output)).unwrap()
        };
        assert!(fisher("a.safetensors") == fisher("b.safetensors"));
        assert_eq!(names(lab.0.path()), ["a.safetensors", "b.safetensors"]);
    }
}

#[test]
fn interpolation_has_exact_ends() {
    let lab = Lab::new();
    let s = shared();
    for (to, state) in [("0", "start"), ("1", "final")] {
        lab.run(&["interpolate", &s.run, "--to", to, "-o", "between.onnx", "--force"]).ok();
        lab.run(&["export", &s.run, "--state", state, "-o", "end.onnx", "--force"]).ok();
        // But for where it comes from, which an export says.
        let plain = |name: &str| {
            let mut model = spgraph::onnx::open(lab.path(name)).unwrap().proto;
            model.metadata_props.retain(|p| p.key() != "spgraph.provenance");
            model
        };
        assert!(plain("between.onnx") == plain("end.onnx"), "{to}");
    }
    lab.refuses(&["interpolate", &s.run, "--to", "1.5", "-o", "x.onnx"], 2, &["--to 1.5"]);
    lab.refuses(&["interpolate", &s.bundle, "--to", "0.5", "-o", "x.onnx"], 2, &["a run of `spgraph finetune`"]);
    lab.refuses(&["interpolate", &s.run, "--to", "0.5", "-o", "end.onnx"], 2, &["end.onnx exists already", "--force"]);
    lab.refuses(&["interpolate", "nowhere", "--to", "0.5", "-o", "x.onnx"], 1, &["nowhere does not exist"]);
}
