//! Files that are no models, and models that cannot be trained.

use crate::models::{classifier, copy_with, node, with_graph};
use crate::support::{Lab, fixture, shared};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{self, pb};

/// Every command that takes a model must say the same of it.
fn refused_everywhere(lab: &Lab, model: &str, parts: &[&str]) {
    let images = shared().images.as_str();
    lab.refuses(&["inspect", model], 1, parts);
    lab.refuses(&["inspect", model, "--json"], 1, parts);
    lab.refuses(&["rewrite", model, "-o", "bundle"], 1, parts);
    lab.refuses(&["rewrite", model], 1, parts);
    lab.refuses(&["eval", model, "--data", images, "--engine", "tract"], 1, parts);
    lab.refuses(&["eval", &shared().run, "--data", images, "--head-from", model, "--engine", "tract"], 1, parts);
    let image = format!("{images}/cells/cells-s0-00000.png");
    lab.refuses(&["predict", model, &image, "--engine", "tract"], 1, parts);
}

#[test]
fn what_is_no_model_is_named_for_what_it_is() {
    let lab = Lab::new();
    let whole = std::fs::read(&shared().model).unwrap();
    let weights = std::fs::read(format!("{}/state.safetensors", shared().run)).unwrap();
    lab.write("text.onnx", "hello\n").write("empty.onnx", "").write("cut.onnx", &whole[..whole.len() / 2]);
    lab.write("page.onnx", "<!DOCTYPE html><html>404</html>").write("weights.onnx", weights);
    lab.write("lfs.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n");
    lab.write("noise.onnx", [0x9f, 0x01, 0xc3, 0x55, 0x80, 0xfe].repeat(100)).write("folder/a", "");
    for (model, parts) in [
        ("missing.onnx", vec!["missing.onnx", "Check the path"]),
        ("text.onnx", vec!["text.onnx", "text file", "export"]),
        ("empty.onnx", vec!["empty.onnx is empty", "export"]),
        ("cut.onnx", vec!["cut.onnx", "truncated", "download it again"]),
        ("page.onnx", vec!["web page"]),
        ("weights.onnx", vec!["safetensors", "export the network"]),
        ("lfs.onnx", vec!["git lfs pull"]),
        ("noise.onnx", vec!["noise.onnx is not an ONNX model"]),
    ] {
        if model == "missing.onnx" {
            // `eval` takes runs and bundles too and says so.
            lab.refuses(&["eval", model, "--data", &shared().images], 1, &["missing.onnx does not exist", "ONNX model"]);
            lab.refuses(&["inspect", model], 1, &parts);
            lab.refuses(&["rewrite", model], 1, &parts);
        } else {
            refused_everywhere(&lab, model, &parts);
        }
    }
    lab.refuses(&["inspect", "folder"], 1, &["folder is a folder", ".onnx file in it"]);
    lab.refuses(&["rewrite", "/dev/zero", "-o", "bundle"], 1, &["/dev/zero is not a regular file"]);
}

#[test]
fn graphs_of_a_bundle_are_no_networks_to_rewrite() {
    let lab = Lab::new();
    let graph = |name: &str| format!("{}/{name}.onnx", shared().bundle);
    lab.refuses(&["rewrite", &graph("step"), "-o", "b"], 1, &["one input", "input, target, lr, alpha, beta, …", "Export the network"]);
    lab.refuses(&["rewrite", &graph("init"), "-o", "b"], 1, &["one input", "has 0 (none)"]);
    lab.refuses(&["rewrite", &graph("template"), "-o", "b"], 1, &["conv1.weight", "has 0"]);
    lab.refuses(&["eval", &graph("eval"), "--data", &shared().images, "--engine", "tract"], 1, &["eval.onnx has 108 inputs"]);
}

#[test]
fn a_model_cut_anywhere_is_refused() {
    let lab = Lab::new();
    let whole = std::fs::read(fixture("basic.onnx")).unwrap();
    let step = whole.len() / 24;
    for length in (1..whole.len() - 1).step_by(step).chain([whole.len() - 1]) {
        lab.write("cut.onnx", &whole[..length]);
        lab.refuses(&["rewrite", "cut.onnx", "-o", "bundle"], 1, &["cut.onnx"]);
    }
}

#[test]
fn all_unsupported_operators_are_listed_with_their_nodes() {
    let lab = Lab::new();
    let mut foreign = node("Frob", "acme_1", &["e"], "features");
    foreign.domain = Some("com.acme".into());
    let nodes = vec![
        node("NonZero", "nonzero_1", &["x"], "nz"),
        node("Det", "", &["x"], "det_out"),
        node("NonMaxSuppression", "nms_1", &["x"], "e"),
        node("NoSuchOperator", "made_up", &["x"], "made_up_out"),
        foreign,
    ];
    onnx::write(lab.path("m.onnx"), &classifier(nodes, vec![])).unwrap();
    let names = ["NonZero (node `nonzero_1`)", "`det_out`", "NonMaxSuppression (node `nms_1`)", "NoSuchOperator (node `made_up`)"];
    let error = lab.refuses(&["rewrite", "m.onnx"], 1, &names);
    assert!(error.contains("com.acme.Frob (node `acme_1`)") && error.contains("5 nodes") && error.contains("docs/operators.md"), "{error}");
    // `inspect` shows it all the same.
    let text = lab.run(&["inspect", "m.onnx"]).no();
    assert!(text.contains("verdict     no") && text.contains("5 nodes") && text.contains("acme_1"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&lab.run(&["inspect", "m.onnx", "--json"]).no()).unwrap();
    let refused: Vec<&str> = json["refused"].as_array().unwrap().iter().map(|r| r["node"].as_str().unwrap()).collect();
    assert_eq!(refused, ["nonzero_1", "det_out", "nms_1", "made_up", "acme_1"]);
    let gradient = |name: &str| json["operators"].as_array().unwrap().iter().find(|o| o["name"] == name).unwrap()["gradient"].clone();
    assert_eq!((gradient("com.acme.Frob"), gradient("MatMul")), ("refused".into(), "yes".into()));
}

#[test]
fn quantized_models_are_refused_as_such() {
    let lab = Lab::new();
    let scalar = |name: &str, dtype, bytes: Vec<u8>| onnx::to_proto(name, &Tensor::new(dtype, vec![], bytes).unwrap());
    let constants = vec![
        onnx::to_proto("s", &Tensor::from_f32(&[], &[0.1])),
        scalar("z", DType::U8, vec![3]),
        onnx::to_proto("wq", &Tensor::new(DType::I8, vec![3, 3, 1, 1], vec![1; 9]).unwrap()),
        scalar("wz", DType::I8, vec![0]),
    ];
    let nodes = vec![
        node("QuantizeLinear", "quantize_1", &["x", "s", "z"], "xq"),
        node("QLinearConv", "conv_q", &["xq", "s", "z", "wq", "s", "wz", "s", "z"], "cq"),
        node("DequantizeLinear", "dequantize_1", &["cq", "s", "z"], "features"),
    ];
    onnx::write(lab.path("q.onnx"), &classifier(nodes, constants)).unwrap();
    let parts =
        ["QuantizeLinear (node `quantize_1`)", "QLinearConv (node `conv_q`)", "DequantizeLinear (node `dequantize_1`)", "float model"];
    let error = lab.refuses(&["rewrite", "q.onnx"], 1, &parts);
    assert!(error.contains("quantized to integers"), "{error}");
    let json: serde_json::Value = serde_json::from_str(&lab.run(&["inspect", "q.onnx", "--json"]).no()).unwrap();
    assert_eq!(json["refused"].as_array().unwrap().len(), 3);
}

#[test]
fn control_flow_is_refused_as_such() {
    let lab = Lab::new();
    let yes = onnx::to_proto("yes", &Tensor::new(DType::Bool, vec![], vec![1]).unwrap());
    let count = onnx::to_proto("count", &Tensor::from_i64(&[], &[2]));
    let nodes = vec![
        // A branch whose condition is known beforehand is taken.
        node("Greater", "greater", &["x", "x"], "which"),
        with_graph(node("If", "branch_1", &["which"], "a"), &["then_branch", "else_branch"]),
        with_graph(node("Loop", "loop_1", &["count", "yes", "a"], "features"), &["body"]),
    ];
    onnx::write(lab.path("flow.onnx"), &classifier(nodes, vec![yes, count])).unwrap();
    let error = lab.refuses(&["rewrite", "flow.onnx"], 1, &["If (node `branch_1`)", "Loop (node `loop_1`)", "without control flow"]);
    assert!(error.contains("2 nodes"), "{error}");
    assert!(lab.run(&["inspect", "flow.onnx"]).no().contains("loop_1"));
}

#[test]
fn external_data_stays_in_its_folder_and_is_whole() {
    let lab = Lab::new();
    let (model, weights) = (fixture("external.onnx"), std::fs::read(fixture("external.weights")).unwrap());
    let located = |to: &str, location: &str| {
        copy_with(&model, &lab.path(to), |t| {
            t.external_data
                .iter_mut()
                .filter(|e| e.key() == "location")
                .for_each(|e: &mut pb::StringStringEntryProto| e.value = Some(location.into()))
        })
    };
    lab.write("outside.bin", &weights).write("sub/x", "");
    let rewrite = |name: &str, parts: &[&str]| {
        lab.refuses(&["rewrite", name, "-o", "bundle"], 1, parts);
        // `inspect` describes the rest and gives the reason.
        assert!(lab.run(&["inspect", name]).no().contains("external data that cannot be used"));
    };
    located("sub/missing.onnx", "gone.bin");
    rewrite("sub/missing.onnx", &["external data", "sub/gone.bin is missing", "put it beside the model"]);
    located("sub/short.onnx", "short.bin");
    lab.write("sub/short.bin", &weights[..weights.len() - 1]);
    rewrite("sub/short.onnx", &["short.bin", "truncated"]);
    located("sub/absolute.onnx", &lab.path("outside.bin").display().to_string());
    rewrite("sub/absolute.onnx", &["outside.bin", "leaves the model's folder"]);
    located("sub/above.onnx", "../outside.bin");
    rewrite("sub/above.onnx", &["../outside.bin", "leaves the model's folder"]);
    located("sub/inside_out.onnx", "deeper/../../outside.bin");
    rewrite("sub/inside_out.onnx", &["leaves the model's folder"]);
    located("sub/link.onnx", "link.bin");
    std::os::unix::fs::symlink("../outside.bin", lab.path("sub/link.bin")).unwrap();
    rewrite("sub/link.onnx", &["link.bin is a symbolic link", "cp -L"]);
    located("sub/link_folder.onnx", "up/outside.bin");
    std::os::unix::fs::symlink("..", lab.path("sub/up")).unwrap();
    rewrite("sub/link_folder.onnx", &["symbolic link"]);
    // And where nothing is wrong it works.
    located("sub/good.onnx", "good.bin");
    lab.write("sub/good.bin", &weights);
    lab.run(&["rewrite", "sub/good.onnx", "-o", "bundle"]).ok();
}

/// What a rounding hides from the loss is said, and refused where it is all.
#[test]
fn parameters_behind_a_rounding_are_named() {
    let lab = Lab::new();
    let kernel = |name: &str| onnx::to_proto(name, &Tensor::from_f32(&[3, 3, 1, 1], &[0.3, -0.2, 0.7, 0.5, 0.1, -0.6, 0.4, 0.9, -0.8]));
    let rounded = vec![
        node("Conv", "first", &["x", "k0"], "c"),
        node("Round", "to_grid", &["c"], "r"),
        node("Conv", "second", &["r", "k1"], "features"),
    ];
    onnx::write(lab.path("m.onnx"), &classifier(rounded, vec![kernel("k0"), kernel("k1")])).unwrap();
    let text = lab.run(&["rewrite", "m.onnx", "-o", "bundle", "--batch", "2"]).ok();
    assert!(
        text.contains(
            "trained     18 of 27 elements\n            not k0: behind Round (node `to_grid`), whose gradient is zero everywhere"
        ),
        "{text}"
    );
    let mut all = classifier(vec![node("Conv", "first", &["x", "k0"], "features")], vec![kernel("k0")]);
    let graph = all.graph.as_mut().unwrap();
    graph.node.last_mut().unwrap().output = vec!["logits".into()];
    graph.node.push(node("Floor", "down", &["logits"], "y"));
    onnx::write(lab.path("all.onnx"), &all).unwrap();
    lab.refuses(&["rewrite", "all.onnx"], 1, &["behind Floor (node `down`), whose gradient is zero everywhere", "up to its logits"]);
}
