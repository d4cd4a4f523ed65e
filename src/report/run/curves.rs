//! How a run went, step by step.

use super::RunData;
use crate::error::Result;
use crate::report::html::{LineChart, Page, Series};
use crate::train::Headline;
use serde::Deserialize;
use serde_json::Value;

/// Points of a line; of a longer run each is the mean of its neighbours.
const POINTS: usize = 400;

/// Plots of the loss and its parts, the accuracy, and the learning rate.
pub fn curves(run: &RunData) -> Result<String> {
    let steps: Vec<&Value> = run.of("step").collect();
    let validations: Vec<&Value> = run.of("validation").collect();
    if steps.is_empty() {
        return Ok(Page::paragraph("The run has no steps yet."));
    }
    let each = steps.len().div_ceil(POINTS);
    let smooth = if each > 1 { format!(" Each point is the mean of {each} steps.") } else { String::new() };
    let per_epoch = steps.iter().filter(|s| s["epoch"] == 1).count();
    let epochs = format!("An epoch has {per_epoch} steps.{smooth}");
    let line = |name: &str, key: &str| Series::new(name, steps.iter().filter_map(|s| pair(s, key))).thinned(POINTS);
    let held_out = |name: &str, key: &str| Series::new(name, validations.iter().filter_map(|s| pair(s, key))).marked();
    let chart = |title: &str, y: &str, series: Vec<Series>| LineChart {
        title: title.into(),
        x: "step".into(),
        y: y.into(),
        series,
        ..LineChart::default()
    };
    let loss = chart(
        "Loss over the steps, and its parts",
        "loss",
        vec![line("loss", "loss"), line("data loss", "data_loss"), line("penalty", "penalty"), held_out("validation", "loss")],
    );
    let right = Series::new("training", steps.iter().filter_map(|s| accuracy(s))).thinned(POINTS.min(per_epoch_points(&steps, per_epoch)));
    let shares = LineChart {
        y_range: Some((0.0, 1.0)),
        ..chart("Share of images told right", "accuracy", vec![right, held_out("validation", "accuracy")])
    };
    let measured = validations.iter().filter_map(|v| Some((v["step"].as_f64()?, Headline::deserialize(v.get("measure")?).ok()?)));
    let measured: Vec<(f64, Headline)> = measured.collect();
    let measure = match measured.first() {
        None => String::new(),
        Some((_, first)) => {
            let points = measured.iter().map(|(step, measure)| (*step, measure.value()));
            let plot = chart("What validations are compared by", first.name(), vec![Series::new("validation", points).marked()]);
            Page::figure(&plot.svg()?, &format!("The {} of the validation images, by which the best state is chosen.", first.name()))
        }
    };
    let rate = LineChart { size: Some((720, 180)), ..chart("Learning rate over the steps", "learning rate", vec![line("", "lr")]) };
    let moved = run.of("epoch").filter_map(|line| Some((line.get("step")?.as_f64()?, line.pointer("/distance/relative")?.as_f64()?)));
    let moved = Series::new("", moved).marked();
    let distance = match moved.points.len() {
        0 | 1 => String::new(),
        _ => {
            let plot = chart("Distance from the starting point over the steps", "‖w − w⁰‖ / ‖w⁰‖", vec![moved]);
            let plot = LineChart { size: Some((720, 220)), ..plot };
            Page::figure(&plot.svg()?, "The distance of all parameters with a starting point from it, of its norm.")
        }
    };
    let accuracy = match steps.iter().any(|s| accuracy(s).is_some()) {
        false => String::new(),
        true => Page::figure(
            &shares.svg()?,
            "Share of images told right: of training images as they passed (augmented, before the step that they are part of).",
        ),
    };
    Ok(Page::figure(
        &loss.svg()?,
        &format!("What is minimised, and its two parts: the loss on the images, and the penalty with its strengths. {epochs}"),
    ) + &accuracy
        + &measure
        + &Page::figure(&rate.svg()?, "The learning rate.")
        + &distance)
}

/// Of single batches the accuracy jumps: a point for each epoch, where there are some.
fn per_epoch_points(steps: &[&Value], per_epoch: usize) -> usize {
    let epochs = steps.len().checked_div(per_epoch).unwrap_or(steps.len());
    if epochs >= 8 { epochs } else { 80 }
}

fn pair(line: &Value, key: &str) -> Option<(f64, f64)> {
    Some((line["step"].as_f64()?, line[key].as_f64()?))
}

fn accuracy(line: &Value) -> Option<(f64, f64)> {
    Some((line["step"].as_f64()?, line["correct"].as_f64()? / line["images"].as_f64()?.max(1.0)))
}
