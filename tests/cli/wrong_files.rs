//! Files of the wrong kind in each place: what they are, and what to give.

use crate::support::{Lab, shared};

/// A file that is no model is not called one, whatever is asked of it.
#[test]
fn what_is_no_model_is_no_model_for_export_either() {
    let lab = Lab::new();
    lab.write("page.onnx", "<!DOCTYPE html><html>404</html>").write("net.pt", b"PK\x03\x04\0\0net/data.pkl").write("zeros.onnx", [0; 64]);
    for (file, part) in [("page.onnx", "web page"), ("net.pt", "torch.onnx.export"), ("zeros.onnx", "nothing but zeros")] {
        for args in [&["export", file, "-o", "x.onnx"][..], &["inspect", file], &["eval", file, "--data", &shared().images]] {
            lab.refuses(args, 1, &[file, part]);
        }
    }
}

/// A folder that is none of spgraph's: the model in it is named, and other frameworks' folders are known.
#[test]
fn a_folder_with_a_model_says_which_file_to_give() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("downloaded")).unwrap();
    std::fs::copy(&shared().model, lab.path("downloaded/model.onnx")).unwrap();
    lab.write("tf/saved_model.pb", b"\x08\x01").write("hf/model.safetensors", b"").write("empty/x.txt", b"");
    let images = shared().images.as_str();
    for (folder, part) in [
        ("downloaded", "the model in it is downloaded/model.onnx: give that"),
        ("tf", "SavedModel of TensorFlow"),
        ("hf", "Hugging Face"),
        ("empty", "give "),
    ] {
        for args in [&["inspect", folder][..], &["eval", folder, "--data", images], &["finetune", folder, "--data", images]] {
            lab.refuses(args, 1, &[folder, part]);
        }
        lab.refuses(&["rewrite", folder, "-o", "b"], 1, &[folder, part]);
    }
}

/// The folder of a run in the place of its configuration.
#[test]
fn a_folder_is_no_configuration_and_the_file_in_it_is_named() {
    let lab = Lab::new();
    let run = shared().run.as_str();
    lab.refuses(&["finetune", "--config", run], 2, &["is a folder", "run/config.toml"]);
    lab.write("bytes.toml", [0xff, 0xfe]);
    lab.refuses(&["finetune", "--config", "bytes.toml"], 1, &["bytes.toml", "no text in UTF-8"]);
}

/// What is given as images and is none.
#[test]
fn what_is_no_data_set_says_what_it_is() {
    let lab = Lab::new();
    lab.write("page.csv", "<html>404</html>").write("lfs.npz", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
    lab.write("list.json", "[{\"path\": \"a.jpg\", \"label\": \"x\"}]").write("empty.zip", [b"PK\x05\x06".as_slice(), &[0; 18]].concat());
    for (file, part) in
        [("page.csv", "web page"), ("lfs.npz", "git lfs pull"), ("list.json", "is JSON"), ("empty.zip", "no arrays: unpack it")]
    {
        lab.refuses(&["data", file], 1, &[file, part]);
        lab.refuses(&["finetune", &shared().model, "--data", file], 1, &[file, part]);
    }
}

/// Images of kinds that are not read are not "no images".
#[test]
fn images_of_kinds_that_are_not_read_are_said_to_be_images() {
    let lab = Lab::new();
    for class in ["a", "b"] {
        std::fs::create_dir_all(lab.path(&format!("photos/{class}"))).unwrap();
        image::RgbImage::new(8, 8).save(lab.path(&format!("photos/{class}/1.png"))).unwrap();
    }
    lab.write("photos/a/2.HEIC", b"x").write("photos/b/notes.txt", b"x");
    let said = lab.run(&["data", "photos"]).ok();
    assert!(said.contains("1 .heic (images of a kind that is not read: convert them to JPEG or PNG), 1 .txt"), "{said}");
}

/// In JSON as in CSV an image that could not be read has its line, with the reason.
#[test]
fn predictions_in_json_have_the_images_that_could_not_be_read() {
    let lab = Lab::new();
    image::RgbImage::new(16, 16).save(lab.path("good.png")).unwrap();
    lab.write("bad.png", b"x");
    let outcome = lab.run(&["predict", &shared().model, "good.png", "bad.png", "--engine", "tract", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, found.as_array().unwrap().len()), (1, 2), "{found}");
    assert!(found[0]["image"] == "good.png" && found[0]["guesses"].is_array() && found[0]["error"].is_null(), "{found}");
    assert!(found[1]["image"] == "bad.png" && found[1]["error"].as_str().unwrap().contains("bad.png"), "{found}");
}

/// Every image that cannot be read has one reason; the advice stands once.
#[test]
fn many_bad_images_are_one_list() {
    let lab = Lab::new();
    for class in ["a", "b"] {
        std::fs::create_dir_all(lab.path(&format!("photos/{class}"))).unwrap();
        image::RgbImage::new(8, 8).save(lab.path(&format!("photos/{class}/1.png"))).unwrap();
        lab.write(&format!("photos/{class}/bad.png"), b"x");
    }
    let outcome = lab.run(&["data", "photos"]);
    let said = outcome.no();
    assert!(said.contains("2 of the 4 training images cannot be read: photos/a/bad.png: ") && !said.contains("Convert it"), "{said}");
    let args = ["finetune", &shared().model, "--data", "photos", "--steps", "1", "--batch", "2", "--engine", "tract", "-o", "run"];
    let outcome = lab.run(&[&args[..], &["--on-bad-image", "skip"]].concat());
    assert!(outcome.err.contains("2 of the 4 images of") && !outcome.err.contains("Convert it"), "{}", outcome.err);
}
