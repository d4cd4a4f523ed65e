//! One network in the conventions in which networks want their images gives the same accuracy and the same training, whatever the convention.

use crate::labels::{PALETTE, colours};
use crate::support::{ENGINES, Lab, fixture};
use serde_json::Value;
use spgraph::onnx::{self, pb};

/// Files of `tests/generate/conventions.py` with the options that they need.
const CASES: [(&str, &[&str]); 7] = [
    ("nchw", &[]),
    // The same network on another scale of numbers.
    ("nchw", &["--scale", "255", "--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"]),
    ("nhwc", &[]),
    ("bgr", &["--channels", "bgr", "--mean", "0.406,0.456,0.485", "--std", "0.225,0.224,0.229"]),
    ("raw", &["--scale", "255"]),
    ("bytes", &[]),
    ("bytes_nhwc", &[]),
];

/// Pictures that are no single colour: a gradient over each class's colour, larger than the network's input.
fn pictures(lab: &Lab) {
    for (label, colour) in PALETTE.iter().enumerate() {
        for i in 0..3u32 {
            let pixel = |x: u32, y: u32| {
                let shade = |c: usize| (colour[c] as f32 * 0.8 + (x * (c as u32 + 1) + 2 * y + 5 * i) as f32).min(255.0) as u8;
                image::Rgb([shade(0), shade(1), shade(2)])
            };
            let path = lab.path(&format!("pictures/{label}/{i}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_fn(18, 12, pixel).save(path).unwrap();
        }
    }
}

fn losses(lab: &Lab, run: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(lab.path(run).join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|r| r["kind"] == "step");
    records.map(|r| r["data_loss"].as_f64().unwrap()).collect()
}

#[test]
fn every_convention_gives_the_same_accuracy_and_the_same_training() {
    for engine in ENGINES {
        let lab = Lab::new();
        colours(&lab, "colours", |label| label.to_string());
        pictures(&lab);
        let mut reference: Option<(f64, Vec<f64>)> = None;
        for (i, (name, flags)) in CASES.iter().enumerate() {
            let (model, bundle, run, tuned) =
                (fixture(&format!("conventions/{name}.onnx")), format!("b{i}"), format!("r{i}"), format!("t{i}.onnx"));
            let eval = |subject: &str, data: &str, more: &[&str]| {
                lab.run(&[&["eval", subject, "--data", data, "--json", "--engine", engine], more].concat()).json()
            };
            let with = [&["--resize", "8"], *flags].concat();
            assert_eq!(eval(&model, "colours", &with)["accuracy"], 1.0, "{name} {flags:?}");
            let predict = [&["predict", model.as_str(), "colours/4/0.png", "--json", "--engine", engine], &with[..]].concat();
            assert_eq!(lab.run(&predict).json()[0]["guesses"][0]["label"], 4, "{name} {flags:?}");
            let trained = ["--train", "conv.*", "fc.*", "--batch", "6", "--lr", "0.003"];
            lab.run(&[&["rewrite", model.as_str(), "-o", &bundle], &with[..], &trained].concat()).ok();
            let train =
                ["finetune", bundle.as_str(), "--data", "pictures", "--epochs", "2", "--augment", "flip-crop:1", "--engine", engine];
            lab.run(&[&train[..], &["-o", &run]].concat()).ok();
            // The run and what is exported from it know the convention by themselves.
            let found = eval(&run, "pictures", &[]);
            lab.run(&["export", &run, "-o", &tuned]).ok();
            let exported = eval(&tuned, "pictures", &[]);
            assert_eq!(found["accuracy"], exported["accuracy"], "{name}");
            let (loss, losses) = (found["loss"].as_f64().unwrap(), losses(&lab, &run));
            assert_eq!(losses.len(), 12);
            match &reference {
                None => reference = Some((loss, losses)),
                Some((right, all)) => {
                    let close = |a: f64, b: f64| (a - b).abs() <= 2e-4 * b.abs().max(0.1);
                    assert!(close(loss, *right), "{name} {flags:?}: {loss}, not {right}");
                    assert!(losses.iter().zip(all).all(|(&a, &b)| close(a, b)), "{name} {flags:?}: {losses:?}, not {all:?}");
                }
            }
        }
        // A network that normalises its images itself says what they are.
        let accuracy = |name: &str, flags: &[&str]| {
            let model = fixture(&format!("conventions/{name}.onnx"));
            let eval = ["eval", model.as_str(), "--data", "colours", "--json", "--engine", engine, "--resize", "8"];
            lab.run(&[&eval[..], flags].concat()).json()["accuracy"].as_f64().unwrap()
        };
        assert_eq!(accuracy("raw", &[]), 1.0);
        // What the wrong convention gives is another number: the comparison can fail.
        let imagenet = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];
        let wrong = [accuracy("bgr", &[]), accuracy("raw", &imagenet)];
        assert!(wrong.iter().all(|&accuracy| accuracy < 0.8), "{wrong:?}");
    }
}

#[test]
fn what_the_model_says_needs_no_options() {
    let lab = Lab::new();
    colours(&lab, "colours", |label| label.to_string());
    let said: [(&str, &[(&str, &str)]); 3] = [
        ("bgr", &[("mean", "[0.406, 0.456, 0.485]"), ("std", "[0.225, 0.224, 0.229]"), ("color_format", "BGR")]),
        ("raw", &[("Image.BitmapPixelFormat", "Rgb8"), ("Image.NominalPixelRange", "NominalRange_0_255")]),
        ("nchw", &[("mean", "0.485,0.456,0.406"), ("std", "0.229,0.224,0.225")]),
    ];
    for (name, metadata) in said {
        let mut proto = onnx::read(fixture(&format!("conventions/{name}.onnx"))).unwrap().proto;
        let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) };
        proto.metadata_props.extend(metadata.iter().map(entry));
        onnx::write(lab.path("m.onnx"), &proto).unwrap();
        let outcome = lab.run(&["eval", "m.onnx", "--data", "colours", "--json", "--engine", "tract", "--resize", "8"]);
        assert!(!outcome.err.contains("does not say"), "{}", outcome.err);
        assert_eq!(outcome.json()["accuracy"], 1.0, "{name}");
    }
}

#[test]
fn what_is_assumed_and_what_is_chosen_is_printed() {
    let lab = Lab::new();
    let rewrite = |name: &str, flags: &[&str]| {
        let model = fixture(&format!("conventions/{name}.onnx"));
        let text = lab.run(&[&["rewrite", model.as_str(), "--force", "--batch", "2", "-o", "b"], flags].concat()).ok();
        text.lines().find_map(|line| line.strip_prefix("images      ")).unwrap().to_string()
    };
    let imagenet = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";
    assert_eq!(rewrite("nchw", &[]), format!("--resize 8 {imagenet} --channels rgb --scale 1 (assumed: the model does not say)"));
    assert_eq!(
        rewrite("nhwc", &[]),
        format!("--resize 8 {imagenet} --channels rgb --scale 1 --layout nhwc (assumed: the model does not say)")
    );
    let all = ["--resize", "9", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--channels", "bgr"];
    assert_eq!(rewrite("nchw", &all), "--resize 9 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --channels bgr");
    assert_eq!(
        rewrite("bytes", &["--resize", "8"]),
        "--resize 8 --mean 0,0,0 --std 1,1,1 --channels rgb --scale 255 (assumed: --channels)"
    );
    assert_eq!(
        rewrite("raw", &["--scale", "255"]),
        "--resize 8 --mean 0,0,0 --std 1,1,1 --channels rgb --scale 255 (assumed: the model does not say)"
    );
    let again: Value = serde_json::from_slice(&std::fs::read(lab.path("b/manifest.json")).unwrap()).unwrap();
    assert_eq!(again["preprocessing"]["scale"], 255);
    lab.run(&["rewrite", &fixture("conventions/raw.onnx"), "--from-manifest", "b/manifest.json", "-o", "c"]).ok();
    assert!(std::fs::read(lab.path("b/manifest.json")).unwrap() == std::fs::read(lab.path("c/manifest.json")).unwrap());
}

#[test]
fn conventions_that_cannot_be_are_refused() {
    let lab = Lab::new();
    colours(&lab, "colours", |label| label.to_string());
    let (nchw, bytes) = (fixture("conventions/nchw.onnx"), fixture("conventions/bytes.onnx"));
    let both = |model: &str, flags: &[&str], parts: &[&str]| {
        lab.refuses(&[&["rewrite", model, "-o", "b"], flags].concat(), 2, parts);
        lab.run(&[&["eval", model, "--data", "colours", "--engine", "tract"], flags].concat()).refused(2, parts);
    };
    both(&nchw, &["--scale", "128"], &["--scale 128", "from 0 to 1, or from 0 to 255"]);
    both(&nchw, &["--mean", "123.7,116.3,103.5"], &["--mean", "not for pixels from 0 to 1", "--scale 255"]);
    both(&bytes, &["--mean", "0.5,0.5,0.5"], &["bytes (uint8)", "inside the network"]);
    both(&bytes, &["--scale", "1"], &["bytes (uint8)"]);
    lab.refuses(&["rewrite", &nchw, "--layout", "nhwc", "--resize", "8", "-o", "b"], 2, &["[batch, height, width, 3]", "--layout"]);
}
