//! What the number of images decides, the learning rate over time, when a run ends, and classes of different size.

use crate::finetune::{metrics, record, state, train};
use crate::support::{Lab, names, shared};
use serde_json::Value;

fn steps(lab: &Lab, run: &str) -> Vec<Value> {
    metrics(&lab.path(run)).into_iter().filter(|r| r["kind"] == "step").collect()
}

fn bundle(lab: &Lab, name: &str, batch: &str) {
    lab.run(&["rewrite", &shared().model, "--batch", batch, "-o", name]).ok();
}

#[test]
fn every_image_is_seen_in_every_epoch() {
    let lab = Lab::new();
    let images = &shared().images;
    bundle(&lab, "five", "5");
    let run = |bundle: &str, out: &str, more: &[&str]| {
        lab.run(&[&["finetune", bundle, "--data", images, "--epochs", "2", "--engine", "ort", "-o", out], more].concat())
    };
    let told = run("five", "a", &[]);
    assert!(told.err.contains("has 4 of 5 images") && told.err.contains("BatchNorm's statistics"), "{}", told.err);
    let count = |out: &str| steps(&lab, out).iter().map(|r| r["images"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(count("a"), [5, 5, 5, 5, 4, 5, 5, 5, 5, 4]);
    assert!(steps(&lab, "a").iter().all(|r| r["correct"].as_u64() <= r["images"].as_u64()));
    run("five", "dropped", &["--drop-last"]).ok();
    assert_eq!(count("dropped"), [5; 8]);
    // More than there are: a bundle for any batch takes them all at once, another one has them several times.
    bundle(&lab, "any", "dynamic");
    assert!(run("any", "all", &[]).err.contains("24 images per step, for there are no more"));
    assert_eq!(count("all"), [24, 24]);
    bundle(&lab, "thirty", "30");
    assert!(run("thirty", "filled", &[]).err.contains("24 images do not fill a batch of 30"));
    assert_eq!(count("filled"), [24, 24]);
    let refused = ["finetune", "thirty", "--data", images, "--drop-last", "-o", "none"];
    lab.refuses(&refused, 2, &["--drop-last", "24 images", "--batch 24"]);
    // Two records of epochs, with the distance at the end, and means over the images.
    let epochs: Vec<Value> = metrics(&lab.path("a")).into_iter().filter(|r| r["kind"] == "epoch").collect();
    assert_eq!(epochs.iter().map(|r| r["images"].as_u64().unwrap()).collect::<Vec<_>>(), [24, 24]);
    let own: Vec<Value> = steps(&lab, "a").into_iter().filter(|r| r["epoch"] == 2).collect();
    let mean = own.iter().map(|r| r["loss"].as_f64().unwrap() * r["images"].as_f64().unwrap()).sum::<f64>() / 24.0;
    assert!((epochs[1]["loss"].as_f64().unwrap() - mean).abs() < 1e-9);
    let relative = epochs[1]["distance"]["relative"].as_f64().unwrap();
    assert!((relative - record(&lab.path("a"))["results"]["distance"]["relative"].as_f64().unwrap()).abs() < 1e-12);
    assert!(epochs[1]["distance"]["layers"].as_array().unwrap().len() > 10);
}

#[test]
fn length_and_warm_up_come_from_the_number_of_images_and_are_said() {
    let lab = Lab::new();
    let told = lab.run(&train("ort", "auto", &["--patience", "1", "--min-delta", "0.9", "--val-split", "0.5", "--lr", "0"]));
    assert!(told.err.contains("100 epochs, 300 steps") && told.err.contains("at least 300 steps"), "{}", told.err);
    assert!(told.err.contains("warm-up over 30 steps"), "{}", told.err);
    let training = &record(&lab.path("auto"))["training"];
    assert_eq!((&training["length"]["epochs"], &training["warmup"]), (&100.into(), &30.into()));
    // It ended early, for nothing gains that much.
    assert!(told.err.contains("ended after step 6 of 300: 1 validations"), "{}", told.err);
    let results = &record(&lab.path("auto"))["results"];
    assert_eq!((&results["ended_early"], &results["steps"]), (&true.into(), &6.into()));

    let few = lab.run(&train("ort", "few", &["--steps", "20"]));
    assert!(few.err.contains("20 steps are few"), "{}", few.err);
    let rates: Vec<f64> = steps(&lab, "few").iter().map(|r| r["lr"].as_f64().unwrap()).collect();
    assert_eq!((rates[0], rates[1], rates[19]), (0.005, 0.01, 0.001));
    let unseen = lab.run(&train("ort", "unseen", &["--steps", "2", "--warmup", "0", "--schedule", "constant"]));
    assert!(unseen.err.contains("16 of 24 images are never seen"), "{}", unseen.err);
    assert!(steps(&lab, "unseen").iter().all(|r| r["lr"] == 0.01));
    for (more, parts) in [
        (&["--patience", "2"][..], &["--patience", "--val-data or --val-split"][..]),
        (&["--patience", "0", "--val-split", "0.5"], &["--patience 0"]),
        (&["--min-delta", "0.1", "--val-split", "0.5"], &["--min-delta", "--patience"]),
        (&["--min-delta", "2", "--patience", "1", "--val-split", "0.5"], &["--min-delta 2"]),
        (&["--class-weights", "none", "--sampling", "balanced", "--criterion", "loss"], &["--criterion", "validation images"]),
    ] {
        lab.refuses(&train("ort", "x", &[&["--steps", "20"], more].concat()), 2, parts);
    }
}

#[test]
fn a_loss_that_rises_is_said() {
    let lab = Lab::new();
    let told = lab.run(&train("ort", "run", &["--steps", "60", "--warmup", "0", "--schedule", "constant", "--lr", "3"]));
    assert!(told.err.contains("the loss rose to") && told.err.contains("lower --lr"), "{}", told.err);
    let rise = &record(&lab.path("run"))["results"]["rise"];
    assert!(rise["highest"].as_f64().unwrap() > 1.5 * rise["start"].as_f64().unwrap(), "{rise}");
    let told = lab.run(&train("ort", "healthy", &["--steps", "60"]));
    assert!(!told.err.contains("the loss rose"), "{}", told.err);
    assert_eq!(record(&lab.path("healthy"))["results"]["rise"], Value::Null);
}

#[test]
fn the_rate_is_found_by_a_range_test() {
    let lab = Lab::new();
    // Steps of all images: batches of four differ more than their loss falls.
    bundle(&lab, "any", "dynamic");
    let train = |run: &str, lr: &str| {
        let base = ["finetune", "any", "--data", &shared().images, "--steps", "20", "--engine", "ort", "--threads", "1", "-o", run];
        lab.run(&[&base[..], &["--lr", lr]].concat())
    };
    let told = train("a", "auto");
    assert!(told.err.contains("learning rate") && told.err.contains("range test"), "{}", told.err);
    let lr = record(&lab.path("a"))["training"]["scalars"]["lr"].as_f64().unwrap();
    assert!((1e-6..1.0).contains(&lr) && record(&lab.path("a"))["training"]["find_lr"] == false, "{lr}");
    let files = names(&lab.path("a"));
    assert!(["lr_find.csv", "lr_find.svg"].iter().all(|f| files.iter().any(|name| name == f)), "{files:?}");
    let table = std::fs::read_to_string(lab.path("a/lr_find.csv")).unwrap();
    assert!(table.starts_with("lr,loss,smoothed\n1e-6,") && table.lines().count() > 30, "{table}");
    assert!(std::fs::read_to_string(lab.path("a/lr_find.svg")).unwrap().contains("</svg>"));
    // The test leaves nothing behind: the run is that of the rate that it found, and both are found again.
    train("b", "auto").ok();
    train("c", &lr.to_string()).ok();
    assert!(state(&lab.path("a")) == state(&lab.path("b")) && state(&lab.path("a")) == state(&lab.path("c")));
    lab.refuses(&["rewrite", &shared().model, "--lr", "auto", "-o", "x"], 2, &["--lr auto", "spgraph finetune"]);
}

#[test]
fn classes_of_different_size_weigh_or_come_equally() {
    let lab = Lab::new();
    for (class, count) in [("bricks", 8), ("cells", 4), ("plaid", 2)] {
        for i in names(&std::path::Path::new(&shared().images).join(class)).iter().take(count) {
            lab.write(&format!("images/{class}/{i}"), std::fs::read(format!("{}/{class}/{i}", shared().images)).unwrap());
        }
    }
    lab.write("same.json", r#"{"bricks": 2.5, "cells": 2.5, "plaid": 2.5}"#).write("some.csv", "bricks,1\ncells,2\n");
    let run = |out: &str, more: &[&str]| {
        let base = ["finetune", &shared().bundle, "--data", "images", "--steps", "12", "--engine", "ort", "--threads", "1", "-o", out];
        lab.run(&[&base[..], more].concat())
    };
    run("plain", &[]).ok();
    run("same", &["--class-weights", "same.json"]).ok();
    run("balanced", &["--class-weights", "balanced"]).ok();
    run("sampled", &["--sampling", "balanced"]).ok();
    run("phases", &["--class-weights", "balanced", "--head-first", "3"]).refused(2, &["--head-first", "--classes"]);
    let losses = |out: &str| steps(&lab, out).iter().map(|r| r["data_loss"].as_f64().unwrap()).collect::<Vec<_>>();
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(0.1));
    assert!(close(&losses("plain")[..4], &losses("same")[..4]), "weights that are all the same change nothing");
    assert!(!close(&losses("plain")[..4], &losses("balanced")[..4]) && !close(&losses("plain"), &losses("sampled")));
    run("x", &["--class-weights", "some.csv"]).refused(2, &["--class-weights", "no weight for plaid"]);
    let missing = run("x", &["--class-weights", "none.csv"]);
    assert!(missing.code == 2 && missing.err.contains("neither balanced nor none"), "{}", missing.err);
}

/// Of a run that validated, what is evaluated and exported is the best state, and that is said.
#[test]
fn the_best_state_is_the_usual_one() {
    let lab = Lab::new();
    let s = shared();
    // At this rate the last state is hardly the best.
    lab.run(&train("ort", "run", &["--epochs", "6", "--val-data", &s.images, "--lr", "0.2", "--criterion", "loss"])).ok();
    let results = record(&lab.path("run"))["results"].clone();
    let (best, last) = (results["best"]["step"].as_u64().unwrap(), results["steps"].as_u64().unwrap());
    let eval = |more: &[&str]| lab.run(&[&["eval", "run", "--data", s.images.as_str(), "--engine", "ort", "--json"], more].concat());
    // How far the network went that is given, not the last one.
    let moved = results["distance"]["layers"].as_array().unwrap();
    let drift = lab.run(&["drift", &s.bundle, "run", "--json"]).json();
    let mut compared = 0;
    for layer in drift["layers"].as_array().unwrap() {
        let Some(own) = moved.iter().find(|own| own["name"] == layer["name"]) else { continue };
        let (a, b) = (own["distance"].as_f64().unwrap(), layer["distance"].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-9 * b.max(1e-9), "{layer} and {own}");
        compared += 1;
    }
    assert!(compared > 5, "{drift}");
    let usual = eval(&[]);
    assert_eq!(usual.err.contains("the state that validation found best"), best != last, "{}", usual.err);
    let explicit = eval(&["--state", "best"]);
    assert!(!explicit.err.contains("validation found best"), "{}", explicit.err);
    assert_eq!(usual.json()["loss"], explicit.json()["loss"]);
    let told = lab.run(&["export", "run", "-o", "usual.onnx"]);
    assert_eq!(told.err.contains(&format!("that after step {best} of {last}")), best != last, "{}", told.err);
    lab.run(&["export", "run", "--state", "best", "-o", "best.onnx"]).ok();
    assert!(std::fs::read(lab.path("usual.onnx")).unwrap() == std::fs::read(lab.path("best.onnx")).unwrap());
}
