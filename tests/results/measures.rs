//! Measures against formulas in numpy's float64 (`tests/generate/measures.py`), to the last digits that an order of summation leaves.

use serde_json::Value;
use spgraph::train::measures::{Averages, Calibration, ClassResult, Confusion, Regression, brier, mean_average_precision};

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(floats).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn same(ours: f64, theirs: &Value, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= 1e-13 * theirs.abs().max(1e-3), "{what}: {ours}, not {theirs}");
}

fn same_option(ours: Option<f64>, theirs: &Value, what: &str) {
    assert_eq!(ours.is_none(), theirs.is_null(), "{what}");
    ours.into_iter().for_each(|ours| same(ours, theirs, what));
}

#[test]
fn classification_is_as_in_numpy() {
    let all = fixture("measures.json");
    for case in all["classification"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let p = rows(&case["probabilities"]);
        let labels: Vec<usize> = case["labels"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        let mut confusion = Confusion::default();
        let mut answers = vec![];
        for (p, &label) in p.iter().zip(&labels) {
            let said = (1..p.len()).fold(0, |best, k| if p[k] > p[best] { k } else { best });
            confusion.add(label, said);
            answers.push((p[said], said == label, brier(p, label)));
        }
        let count = p[0].len();
        for (r, row) in case["confusion"].as_array().unwrap().iter().enumerate() {
            for (c, n) in row.as_array().unwrap().iter().enumerate() {
                assert_eq!(confusion.at(r, c), n.as_u64().unwrap(), "{name}: {r} as {c}");
            }
        }
        let classes = ClassResult::of(&confusion, (0..count).map(|k| k.to_string()));
        for (k, class) in classes.iter().enumerate() {
            same_option(class.precision, &case["precision"][k], name);
            same_option(class.recall, &case["recall"][k], name);
            same_option(class.f1, &case["f1"][k], name);
        }
        let averages = Averages::of(&classes);
        for (means, key) in [(averages.plain, "macro"), (averages.weighted, "weighted")] {
            for (i, ours) in [means.precision, means.recall, means.f1].into_iter().enumerate() {
                same(ours, &case[key][i], &format!("{name}: {key} {i}"));
            }
        }
        same(averages.balanced_accuracy, &case["balanced"], name);
        let calibration = Calibration::of(&answers, 15).unwrap();
        for (ours, key) in
            [(calibration.ece, "ece"), (calibration.mce, "mce"), (calibration.brier, "brier"), (calibration.confidence, "confidence")]
        {
            same(ours, &case[key], &format!("{name}: {key}"));
        }
        for (i, bin) in calibration.bins.iter().enumerate() {
            assert_eq!(bin.images as u64, case["bins"][i][0].as_u64().unwrap(), "{name}: bin {i}");
            same(bin.confidence, &case["bins"][i][1], name);
            same(bin.accuracy, &case["bins"][i][2], name);
        }
        let positive: Vec<Vec<bool>> = labels.iter().map(|&l| (0..count).map(|k| k == l).collect()).collect();
        same(mean_average_precision(&p, &positive).unwrap(), &case["map"], name);
    }
}

#[test]
fn regression_is_as_in_numpy() {
    for case in fixture("measures.json")["regression"].as_array().unwrap() {
        let found = Regression::of(&rows(&case["outputs"]), &rows(&case["targets"])).unwrap();
        same(found.mae, &case["mae"], "mae");
        same(found.rmse, &case["rmse"], "rmse");
        same_option(found.r2, &case["r2"], "r2");
    }
    assert!(Regression::of(&[], &[]).is_none());
}

#[test]
fn what_is_no_probability_has_no_calibration() {
    assert!(Calibration::of(&[], 15).is_none());
    assert!(Calibration::of(&[(0.5, true, 0.1), (1.2, true, 0.1)], 15).is_none());
    assert!(Calibration::of(&[(f64::NAN, true, 0.1)], 15).is_none());
    assert!(mean_average_precision(&[vec![0.3]], &[vec![false]]).is_none());
}
