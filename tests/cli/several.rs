//! Images with several classes each, or with numbers: trained, chosen by, tested and evaluated from lists.

use crate::run_files::agree;
use crate::support::{Lab, fixture};
use serde_json::Value;

const TRACT: [&str; 4] = ["--engine", "tract", "--threads", "1"];

/// 24 images, whose brightness, redness and stripes the lists tell.
fn photos(lab: &Lab) {
    std::fs::create_dir_all(lab.path("photos")).unwrap();
    let (mut several, mut numbers) = ("path,label\n".to_string(), "path,brightness,redness\n".to_string());
    for i in 0..24u32 {
        let (light, red) = ((i * 7 % 24) * 10, (i * 5 % 24) * 4);
        let pixel = |x: u32, y: u32| {
            let stripe = if i % 3 == 0 && (x / 4).is_multiple_of(2) { 20 } else { 0 };
            let grey = (light + stripe + y % 3).min(255) as u8;
            image::Rgb([grey.saturating_add(red as u8), grey, grey])
        };
        let file = format!("photos/{i:02}.png");
        image::RgbImage::from_fn(32, 32, pixel).save(lab.path(&file)).unwrap();
        let names: Vec<&str> = [(light > 115, "light"), (red > 45, "red"), (i % 3 == 0, "striped")]
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| name)
            .collect();
        // Of none of the classes: an empty label.
        several.push_str(&format!("{file},{}\n", if names.is_empty() { String::new() } else { names.join(",") }));
        numbers.push_str(&format!("{file},{},{}\n", f64::from(light) / 240.0, f64::from(red) / 96.0));
    }
    lab.write("several.csv", several);
    lab.write("numbers.csv", numbers);
}

/// `Σ (R_n − R_{n−1})·P_n`, by counting for each image how many come before it.
fn average_precision(scores: &[f64], right: &[bool]) -> f64 {
    let positives = right.iter().filter(|r| **r).count() as f64;
    let at = |threshold: f64| {
        let above: Vec<bool> = scores.iter().zip(right).filter(|(s, _)| **s >= threshold).map(|(_, r)| *r).collect();
        (above.iter().filter(|r| **r).count() as f64, above.len() as f64)
    };
    // Each positive image adds 1/P times the precision at its own score.
    scores.iter().zip(right).filter(|(_, r)| **r).map(|(s, _)| at(*s)).map(|(hit, all)| hit / all).sum::<f64>() / positives
}

fn columns(lab: &Lab, csv: &str, of: &str) -> (Vec<Vec<f64>>, Vec<String>) {
    let mut reader = csv::Reader::from_path(lab.path(csv)).unwrap();
    let heads = reader.headers().unwrap().clone();
    let places: Vec<usize> = (0..heads.len()).filter(|&i| heads[i].starts_with(of)).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let column = |&i: &usize| rows.iter().map(|row| row[i].parse().unwrap()).collect();
    (places.iter().map(column).collect(), places.iter().map(|&i| heads[i].to_string()).collect())
}

fn close(a: &Value, b: f64) {
    assert!((a.as_f64().unwrap() - b).abs() < 1e-9, "{a} and {b}");
}

#[test]
fn several_labels_from_a_list() {
    let lab = Lab::new();
    photos(&lab);
    let model = fixture("basic.bn.onnx");
    let args = ["finetune", &model, "--data", "several.csv", "--loss", "bce", "--val-split", "0.25", "--test-data", "several.csv"];
    let more = ["--epochs", "6", "--batch", "6", "--batch-norm", "frozen", "-o", "run"];
    let said = lab.run(&[&args[..], &more, &TRACT].concat());
    for part in ["head        new, 3 classes", "validation  mean AP", "test        mean AP", "images that nothing was chosen by"] {
        assert!(said.out.contains(part), "no `{part}` in {said:?}");
    }
    said.ok();
    let eval = ["eval", "run", "--data", "several.csv", "--json", "e.json", "--csv", "e.csv"];
    lab.run(&[&eval[..], &TRACT].concat()).ok();
    let found: Value = serde_json::from_slice(&std::fs::read(lab.path("e.json")).unwrap()).unwrap();
    let tested: Value = serde_json::from_slice(&std::fs::read(lab.path("run/test.json")).unwrap()).unwrap();
    assert_eq!(found["mean_average_precision"], tested["mean_average_precision"], "the run's test is the evaluation of its best state");
    assert_eq!(found["several"], true);
    assert!(found["averages"].is_object());
    // The measures are those of what was said of each image.
    let ((targets, heads), (outputs, _)) = (columns(&lab, "e.csv", "target "), columns(&lab, "e.csv", "output "));
    assert_eq!(heads, ["target light", "target red", "target striped"]);
    let mut mean = 0.0;
    for (k, class) in found["classes"].as_array().unwrap().iter().enumerate() {
        let right: Vec<bool> = targets[k].iter().map(|y| *y == 1.0).collect();
        let ap = average_precision(&outputs[k], &right);
        close(&class["average_precision"], ap);
        mean += ap / 3.0;
        let both = right.iter().zip(&outputs[k]).filter(|(r, p)| **r && **p >= 0.5).count() as f64;
        close(&class["recall"], both / right.iter().filter(|r| **r).count() as f64);
    }
    close(&found["mean_average_precision"], mean);
    let exact = (0..24).filter(|&i| (0..3).all(|k| (targets[k][i] == 1.0) == (outputs[k][i] >= 0.5))).count();
    close(&found["accuracy"], exact as f64 / 24.0);
    agree(&lab.path("run"));
    let page = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    for part in ["What validations are compared by", "Each class by itself", "mean AP on", "Test images"] {
        assert!(page.contains(part), "no `{part}` in the page");
    }
    // The exported file is read in the same way, by its own metadata.
    let text = lab.run(&[&["eval", "run/tuned.onnx", "--data", "several.csv"][..], &TRACT].concat()).ok();
    assert!(text.contains("mean AP      ") && text.contains("all right"), "{text}");
    lab.refuses(&[&["eval", "run", "--data", "several.csv", "--confusion", "c.csv"][..], &TRACT].concat(), 2, &["one class each"]);
}

/// One column may hold several labels. That a loss of one class each takes them for classes is said.
#[test]
fn labels_that_are_joined_in_one_column() {
    let lab = Lab::new();
    photos(&lab);
    let model = fixture("basic.bn.onnx");
    let text = std::fs::read_to_string(lab.path("several.csv")).unwrap();
    let joined = |sign: &str| {
        let rows = text.lines().map(|line| line.split_once(',').unwrap()).filter(|(_, labels)| !labels.is_empty());
        rows.map(|(file, labels)| format!("{file},\"{}\"\n", labels.replace(',', sign))).collect::<String>()
    };
    for (sign, shown) in [(";", "`;`"), (" ", "blanks"), (",", "`,`")] {
        lab.write("joined.csv", joined(sign));
        let args = ["finetune", &model, "--data", "joined.csv", "--steps", "2", "--batch", "6", "-o", "run", "--force"];
        let said = lab.run(&[&args[..], &["--loss", "bce"], &TRACT].concat());
        assert!(said.out.contains("new, 3 classes") && said.err.contains(&format!("divided at {shown}")), "{said:?}");
        said.ok();
        let said = lab.run(&[&args[..], &TRACT].concat());
        assert!(said.err.contains("look like several labels") && said.err.contains("--loss bce"), "{said:?}");
        said.ok();
    }
    // Neither is drawn by class, nor weighed by it.
    let args = ["finetune", &model, "--data", "several.csv", "--loss", "bce", "--steps", "2", "--batch", "6", "-o", "other"];
    lab.refuses(&[&args[..], &["--sampling", "balanced"], &TRACT].concat(), 2, &["--sampling", "several labels"]);
    lab.refuses(&[&args[..], &["--class-weights", "balanced"], &TRACT].concat(), 2, &["--class-weights", "their one class"]);
}

#[test]
fn numbers_from_a_list() {
    let lab = Lab::new();
    photos(&lab);
    let model = fixture("basic.bn.onnx");
    let args = ["finetune", &model, "--data", "numbers.csv", "--loss", "mse", "--val-split", "0.25", "--test-data", "numbers.csv"];
    let more = ["--epochs", "6", "--batch", "6", "--batch-norm", "frozen", "--lr", "0.001", "-o", "run"];
    let said = lab.run(&[&args[..], &more, &TRACT].concat());
    for part in ["validation  RMSE", "test        RMSE"] {
        assert!(said.out.contains(part), "no `{part}` in {said:?}");
    }
    assert!(!said.out.contains("accuracy") && !said.err.contains("accuracy") && !said.out.contains("NaN"), "{said:?}");
    said.ok();
    let lines = std::fs::read_to_string(lab.path("run/metrics.jsonl")).unwrap();
    assert!(!lines.contains("accuracy") && !lines.contains("correct") && lines.contains("rmse"), "no share of numbers is right: {lines}");
    let eval = ["eval", "run", "--data", "numbers.csv", "--json", "e.json", "--csv", "e.csv"];
    lab.run(&[&eval[..], &TRACT].concat()).ok();
    let found: Value = serde_json::from_slice(&std::fs::read(lab.path("e.json")).unwrap()).unwrap();
    let ((targets, _), (outputs, _)) = (columns(&lab, "e.csv", "target "), columns(&lab, "e.csv", "output "));
    let pairs: Vec<(f64, f64)> = targets.concat().into_iter().zip(outputs.concat()).collect();
    let mean = |f: &dyn Fn(f64) -> f64| pairs.iter().map(|(y, o)| f(o - y)).sum::<f64>() / pairs.len() as f64;
    assert!(found.get("averages").is_none(), "numbers are no classes");
    close(&found["regression"]["mae"], mean(&f64::abs));
    close(&found["regression"]["rmse"], mean(&|d| d * d).sqrt());
    close(&found["loss"], mean(&|d| d * d));
    let page = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    assert!(page.contains("RMSE on") && page.contains("What validations are compared by") && !page.contains("NaN"));
    agree(&lab.path("run"));
    let text = lab.run(&[&["predict", "run", "photos/00.png", "photos/01.png"][..], &TRACT].concat()).ok();
    assert!(text.contains("numbers") && !text.contains("probability"), "{text}");
    // One column of whole numbers is a target as well, for this loss.
    let ages: String = (0..24).map(|i| format!("photos/{i:02}.png,{}\n", i % 5)).collect();
    lab.write("ages.csv", ages);
    let args = ["finetune", &model, "--data", "ages.csv", "--loss", "mse", "--steps", "2", "--batch", "6", "-o", "ages"];
    lab.run(&[&args[..], &TRACT].concat()).ok();
    let text = lab.run(&[&["eval", "ages", "--data", "ages.csv"][..], &TRACT].concat()).ok();
    assert!(text.contains("RMSE"), "{text}");
}

#[test]
fn a_network_of_single_classes_is_not_evaluated_on_several() {
    let lab = Lab::new();
    photos(&lab);
    let list = std::fs::read_to_string(lab.path("several.csv")).unwrap();
    let named: Vec<&str> = list.lines().filter(|line| !line.ends_with(',')).collect();
    lab.write("several.csv", named.join("\n"));
    let args = ["eval", &fixture("basic.bn.onnx"), "--data", "several.csv"];
    lab.refuses(&[&args[..], &TRACT].concat(), 1, &["several labels"]);
    lab.refuses(&[&["finetune", &fixture("basic.bn.onnx"), "--data", "several.csv"][..], &TRACT].concat(), 1, &["several labels", "bce"]);
}
