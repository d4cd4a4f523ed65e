//! What a run does once, and what it says of what can be chosen.

use crate::support::{Lab, fixture, shared};
use spgraph::data::augment::OPERATIONS;

/// A run makes its bundle once, with a record of everything that was decided: who makes it again from that record gets the same files.
#[test]
fn the_bundle_of_a_run_is_what_its_record_says() {
    let lab = Lab::new();
    let model = fixture("basic.bn.onnx");
    let args = ["finetune", &model, "--data", &shared().images, "--steps", "1", "--batch", "4", "--penalty", "l1-sp", "--engine", "tract"];
    lab.run(&[&args[..], &["-o", "run"]].concat()).ok();
    lab.run(&["rewrite", &model, "--from-manifest", "run/bundle/manifest.json", "-o", "again"]).ok();
    for name in ["manifest.json", "init.onnx", "step.onnx", "eval.onnx", "template.onnx"] {
        let read = |dir: &str| std::fs::read(lab.path(dir).join(name)).unwrap();
        assert!(read("run/bundle") == read("again"), "{name}");
    }
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("again/manifest.json")).unwrap()).unwrap();
    let options = &manifest["rewriting"]["options"];
    assert!(options["alpha"].is_number() && options["lr"].is_number() && options["preprocessing"].is_object(), "{options}");
}

#[test]
fn help_lists_the_changes_to_images() {
    // However it is wrapped.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(&Lab::new().run(&["finetune", "--help"]).ok());
    for operation in OPERATIONS {
        let operation = operation();
        assert!(text.contains(operation.name()) && text.contains(&words(operation.meaning())), "{}", operation.name());
    }
}

#[test]
fn the_batch_follows_the_memory() {
    let lab = Lab::new();
    let model = fixture("basic.bn.onnx");
    let said = lab.run(&["rewrite", &model, "--classes", "3", "--batch", "auto", "-o", "b"]).ok();
    assert!(said.contains("float32 32x3"), "a small network has what it wants: {said}");
    lab.refuses(&["finetune", "b", "--data", &shared().images, "--batch", "auto"], 2, &["--batch auto", "for a model"]);
    let many = lab.run(&["rewrite", &model, "--batch", "many", "-o", "c"]);
    assert!(many.code == 2 && many.err.contains("`dynamic` or `auto`"), "{many:?}");
}

#[test]
fn of_moving_pictures_the_first_is_taken_and_that_is_said() {
    let lab = Lab::new();
    for (class, shade) in [("a", 40), ("b", 200)] {
        for i in 0..3 {
            let path = lab.path(&format!("photos/{class}/{i}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(20, 20, image::Rgb([shade, i * 40, 9])).save(path).unwrap();
        }
    }
    let frames = [10, 250].map(|shade| image::Frame::new(image::RgbaImage::from_pixel(20, 20, image::Rgba([shade, 0, 0, 255]))));
    let mut bytes = vec![];
    image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
    lab.write("photos/a/moves.gif", bytes);
    let what = "1 of the 7 images of";
    for args in [
        vec!["data", "photos"],
        vec!["finetune", &shared().model, "--data", "photos", "--steps", "1", "--batch", "2", "--engine", "tract", "-o", "run"],
    ] {
        let outcome = lab.run(&args);
        let said = format!("{}{}", outcome.out, outcome.err);
        assert!(outcome.code == 0 && said.contains(what) && said.contains("the first is taken") && said.contains("moves.gif"), "{said}");
    }
}
