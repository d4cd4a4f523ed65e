//! Images in memory are those of files: the same training, the same refusals.

use ndarray::{Array2, Array4};
use spgraph::prelude::*;
use std::path::Path;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/basic.bn.onnx");

fn tract() -> EngineOptions {
    EngineOptions { choice: spgraph::engine::EngineChoice::Tract, threads: Some(1), ..EngineOptions::default() }
}

fn pixels(count: usize) -> Array4<u8> {
    Array4::from_shape_fn((count, 40, 36, 3), |(i, y, x, c)| ((i * 53 + y * (3 + i % 3) + x * (2 + i % 2) + 29 * c) % 256) as u8)
}

fn rewrite() -> Rewrite {
    Rewrite::new().classes(3).batch(4).batch_norm(BatchNormMode::Frozen)
}

/// The same images as PNG files, a folder for each class, in an order that is that of the labels.
fn write(folder: &Path, images: &Array4<u8>, labels: &[usize]) {
    for (i, label) in labels.iter().enumerate() {
        let to = folder.join(["a", "b", "c"][*label]);
        std::fs::create_dir_all(&to).unwrap();
        let bytes: Vec<u8> = images.index_axis(ndarray::Axis(0), i).iter().copied().collect();
        image::RgbImage::from_raw(36, 40, bytes).unwrap().save(to.join(format!("{i:03}.png"))).unwrap();
    }
}

#[test]
fn a_training_from_memory_is_the_one_from_files() {
    let out = tempfile::tempdir().unwrap();
    let (images, labels) = (pixels(12), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    write(&out.path().join("photos"), &images, &labels);
    let memory = ImageSet::labelled(images.view(), &labels, &["a", "b", "c"]).unwrap();
    for source in [Source::from(out.path().join("photos")), memory.into()] {
        let run = out.path().join(if matches!(source, Source::Path(_)) { "files" } else { "memory" });
        let augment = "flip-crop:2".parse().unwrap();
        Finetune::model(MODEL, source).rewriting(rewrite()).augment(augment).steps(4).engine(tract()).output(run).run().unwrap();
    }
    let answers = ["files", "memory"].map(|run| {
        let of = Predict::of(out.path().join(run)).engine(tract()).top(3);
        let found = of.images(&ImageSet::labelled(images.view(), &labels, &["a", "b", "c"]).unwrap()).unwrap();
        found.into_iter().map(|p| p.guesses).collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1], "the same images train the same network, to the bit");
}

#[test]
fn a_run_from_memory_goes_on_with_the_same_images_only() {
    let out = tempfile::tempdir().unwrap();
    let (images, labels) = (pixels(8), [0, 1, 2, 0, 1, 2, 0, 1]);
    let set = |images: &Array4<u8>| ImageSet::labelled(images.view(), &labels, &["a", "b", "c"]).unwrap();
    let run = out.path().join("run");
    Finetune::model(MODEL, set(&images)).rewriting(rewrite()).epochs(1).engine(tract()).output(&run).run().unwrap();
    let more = || Finetune::resume(&run).unwrap().more_epochs(1);
    let lost = more().run().unwrap_err().to_string();
    assert!(lost.contains("in memory"), "{lost}");
    let other = more().data(set(&images.mapv(|v| 255 - v))).run().unwrap_err().to_string();
    assert!(other.contains("has changed since"), "{other}");
    assert_eq!(more().data(set(&images)).run().unwrap().run.results.steps, 4);
    let again = Finetune::configured(run.join("config.toml")).unwrap().output(out.path().join("again")).run().unwrap_err().to_string();
    assert!(again.contains("in memory"), "{again}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let images = pixels(3);
    let why = |result: Result<ImageSet>| result.unwrap_err().to_string();
    assert!(why(ImageSet::labelled(images.view(), &[0, 1], &["a", "b"])).contains("2 targets do not go with 3 images"));
    assert!(why(ImageSet::labelled(images.view(), &[0, 1, 2], &["a", "b"])).contains("image 2 has 2"));
    assert!(why(ImageSet::labelled(pixels(0).view(), &[], &["a", "b"])).contains("is empty"));
    let two = Array4::<u8>::zeros((2, 4, 4, 2));
    assert!(why(ImageSet::labelled(two.view(), &[0, 1], &["a", "b"])).contains("2 channels"));
    let numbers = |value: f32| Targets::Numbers(Array2::from_elem((3, 1), value));
    assert!(why(ImageSet::of_pixels(images.view(), numbers(f32::NAN), vec![])).contains("no number"));
    let values = Array4::from_elem((1, 3, 32, 32), f32::INFINITY);
    assert!(why(ImageSet::of_values(values, Targets::Classes(vec![0]), vec!["a".into()])).contains("no number"));

    let out = tempfile::tempdir().unwrap();
    let bundle = out.path().join("bundle");
    rewrite().class_names(["a", "b", "c"]).write(MODEL, &bundle).unwrap();
    let set = |names: &[&str]| ImageSet::labelled(images.view(), &[0, 1, 1], names).unwrap();
    let run = |images: ImageSet| Finetune::bundle(&bundle, images).steps(1).engine(tract()).output(out.path().join("run")).run();
    assert!(run(set(&["a", "b"])).unwrap_err().to_string().contains("2 classes, and the network has 3"));
    assert!(run(set(&["a", "c", "b"])).unwrap_err().to_string().contains("label 1 is called c, and the network's is b"));
    let of_numbers = ImageSet::of_pixels(images.view(), numbers(0.5), vec![]).unwrap();
    assert!(run(of_numbers).unwrap_err().to_string().contains("one class for each image"));
    assert!(!out.path().join("run").exists(), "nothing was written");
    let rewritten = Finetune::bundle(&bundle, set(&["a", "b", "c"])).rewriting(Rewrite::new()).output(out.path().join("run")).run();
    assert!(rewritten.unwrap_err().to_string().contains("decided"));
}

#[test]
fn numbers_and_several_labels_are_learnt_from_memory() {
    let out = tempfile::tempdir().unwrap();
    let images = pixels(12);
    let numbers = Targets::Numbers(Array2::from_shape_fn((12, 2), |(i, k)| (i as f32 - 6.0) * if k == 0 { 0.1 } else { -0.2 }));
    let several = Targets::Several((0..12u32).map(|i| (0..3).filter(|k| (i >> k) & 1 == 1).collect::<Vec<u32>>().into()).collect());
    for (name, targets, classes, loss) in
        [("numbers", numbers, vec![], Loss::Mse), ("several", several, ["x", "y", "z"].map(String::from).to_vec(), Loss::Bce)]
    {
        let set = ImageSet::of_pixels(images.view(), targets, classes).unwrap();
        let run = out.path().join(name);
        let asked = Finetune::model(MODEL, set.clone()).rewriting(Rewrite::new().batch(4).loss(loss).batch_norm(BatchNormMode::Frozen));
        let result = asked.validation(set.clone()).test(set.clone()).epochs(2).engine(tract()).output(&run).run().unwrap();
        let (best, test) = (result.run.results.best.unwrap(), result.test.unwrap());
        assert_eq!(best.headline(), test.headline(), "the best state on the same images");
        let found = Evaluate::of(&run).engine(tract()).on(set).unwrap();
        assert_eq!(found.headline(), best.headline());
        assert_eq!((found.regression.is_some(), found.several), (name == "numbers", name == "several"));
    }
}
