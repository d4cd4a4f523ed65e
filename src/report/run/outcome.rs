//! What came out of a run: figures, classes, confusion, calibration, distance.

use super::RunData;
use crate::error::Result;
use crate::report::confusion_plot;
use crate::report::html::{Bar, BarChart, HtmlTable, LineChart, Page, Series, escape, number};
use crate::report::table::Align;
use crate::shell::word;
use crate::train::{Evaluation, Regression, Status};

/// Classes that a matrix shows; of more there is a list of what is confused most.
const MATRIX: usize = 40;
/// Bars that are seen at once.
const BARS: usize = 80;

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), percent)
}

/// `12.3 s`, `5 min 10 s`, `2 h 4 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The figures that count, and the next commands.
pub fn headline(run: &RunData) -> String {
    let record = &run.record;
    let status = match record.status {
        Status::Complete => "complete",
        Status::Running => "not finished: running, or killed",
        Status::Interrupted => "stopped by its user, can be resumed",
        Status::Failed => "ended by an error",
    };
    let classes = run.manifest.classes.len();
    let mut out = Page::paragraph(&format!(
        "{} on {} training images{} in {}, {status}.",
        run.manifest.source.file,
        record.images.training,
        if classes > 0 { format!(" of {classes} classes") } else { String::new() },
        record.training.data.display()
    ));
    let mut cards: Vec<(String, String)> = vec![];
    if let Some(found) = &run.evaluation {
        let first = found.headline();
        cards.push((first.figure(), format!("{} on {} held-out images", first.name(), found.images)));
        cards.extend(found.top5.map(|t| (percent(t), "among the first five".to_string())));
        match &found.regression {
            Some(numbers) => cards.extend(numbers.r2.map(|r2| (number(r2), "R², share of the variance".to_string()))),
            None => cards.push((percent(found.averages.plain.f1), "F1, mean over the classes".into())),
        }
        cards.extend(found.calibration.as_ref().map(|c| (percent(c.ece), "calibration error".to_string())));
    }
    if let Some(found) = &run.tested {
        let first = found.headline();
        cards.push((first.figure(), format!("{} on {} test images that nothing was chosen by", first.name(), found.images)));
    }
    if let Some(r) = &record.results {
        if !r.accuracy.is_nan() {
            cards.push((percent(r.accuracy), "training accuracy in the last epoch".into()));
        }
        cards.push((number(r.data_loss), format!("data loss, and {} penalty", number(r.penalty))));
        cards.push((percent(r.distance.relative), format!("distance from the start, of its norm{}", r.of_best())));
        cards.push((r.steps.to_string(), "steps".into()));
        cards.push((duration(r.seconds), format!("{:.0} images/s, {:.1} % waiting", r.images_per_second, 100.0 * r.wait)));
    }
    let card = |(figure, words): &(String, String)| format!("<li><b>{}</b><span>{}</span></li>", escape(figure), escape(words));
    if !cards.is_empty() {
        out.push_str(&format!("<ul class=\"cards\">{}</ul>\n", cards.iter().map(card).collect::<String>()));
    }
    if run.evaluation.is_none() && run.tested.is_none() {
        out.push_str(&Page::paragraph(
            "No images were held out, so nothing here says how good the network is on new images: evaluate it on images that it has not seen, or train \
             with a validation set.",
        ));
    }
    let path = word(run.folder.path());
    let next = match record.status {
        Status::Complete => format!(
            "spgraph eval {path} --data FOLDER\nspgraph predict {path} IMAGES\nspgraph export {path} -o tuned.onnx\nspgraph report {path} --data FOLDER"
        ),
        _ => format!("spgraph finetune --resume -o {path}"),
    };
    out + "<h2>Next</h2>\n" + &Page::verbatim(&next)
}

/// What the finished network is worth on images that nothing was chosen by.
pub fn tested(found: &Evaluation) -> Result<String> {
    let first = found.headline();
    let words = Page::paragraph(&format!("{} images that nothing was chosen by: {first}, loss {:.4}.", found.images, found.loss));
    Ok(words
        + &match &found.regression {
            Some(numbers) => self::numbers(numbers),
            None if found.several => several(found),
            None => classes(found)?,
        })
}

/// How far numbers are from the right ones.
pub fn numbers(found: &Regression) -> String {
    let r2 = found.r2.map_or("not defined, for the targets are all the same".into(), number);
    Page::paragraph(&format!("Root of the mean squared error {}, mean absolute error {}, R² {r2}.", number(found.rmse), number(found.mae)))
}

/// Of images with several classes each.
pub fn several(found: &Evaluation) -> String {
    let numbers = ["images", "average precision", "precision", "recall", "F1"].map(|name| (name, Align::Right));
    let mut table = HtmlTable::new("Each class by itself", std::iter::once(("class", Align::Left)).chain(numbers));
    let mut sorted: Vec<_> = found.classes.iter().collect();
    sorted.sort_by(|a, b| {
        a.average_precision.unwrap_or(2.0).total_cmp(&b.average_precision.unwrap_or(2.0)).then_with(|| a.name.cmp(&b.name))
    });
    for c in &sorted {
        let shares = [c.average_precision, c.precision, c.recall, c.f1].map(share);
        table.row([c.name.clone(), c.images.to_string()].into_iter().chain(shares));
    }
    let words = Page::paragraph(&format!(
        "Mean average precision {}. Of {} images exactly their classes have a probability of a half or more, which is where precision, recall and F1 draw the line. \
         The class with the lowest average precision comes first.",
        share(found.mean_average_precision),
        percent(found.accuracy)
    ));
    match sorted.len() {
        0..=60 => words + &table.markup(),
        n => words + &Page::folded(&format!("All {n} classes"), &table.markup()),
    }
}

/// Precision, recall and F1 of each class.
pub fn classes(found: &Evaluation) -> Result<String> {
    let numbers = ["images", "precision", "recall", "F1"].map(|name| (name, Align::Right));
    let columns = std::iter::once(("class", Align::Left)).chain(numbers);
    let mut table = HtmlTable::new("Precision, recall and F1 by class", columns);
    let mut sorted: Vec<_> = found.classes.iter().filter(|c| c.images > 0 || c.predicted > 0).collect();
    sorted.sort_by(|a, b| a.f1.unwrap_or(0.0).total_cmp(&b.f1.unwrap_or(0.0)).then_with(|| a.name.cmp(&b.name)));
    for c in &sorted {
        table.row([c.name.clone(), c.images.to_string(), share(c.precision), share(c.recall), share(c.f1)]);
    }
    let (plain, weighted) = (found.averages.plain, found.averages.weighted);
    let images = || found.images.to_string();
    table.row(["mean over classes".into(), images(), percent(plain.precision), percent(plain.recall), percent(plain.f1)]);
    table.row(["mean by images".into(), images(), percent(weighted.precision), percent(weighted.recall), percent(weighted.f1)]);
    let absent = found.classes.len().saturating_sub(sorted.len());
    let note = if absent > 0 { format!(" {absent} classes have no images here and were never predicted.") } else { String::new() };
    let words = Page::paragraph(&format!(
        "Balanced accuracy (mean recall) {}. The class with the lowest F1 comes first; what is not defined counts as 0 in the means.{note}",
        percent(found.averages.balanced_accuracy)
    ));
    Ok(match sorted.len() {
        0..=60 => words + &table.markup(),
        n => words + &Page::folded(&format!("All {n} classes"), &table.markup()),
    })
}

/// The matrix, where it can be seen, and what is confused most.
pub fn confusion(found: &Evaluation) -> Result<String> {
    let mut out = String::new();
    if found.classes.len() <= MATRIX {
        let plot = confusion_plot(found)?.svg()?;
        out.push_str(&Page::figure(
            &plot,
            "Rows are the right classes, columns what was predicted; a cell is the stronger the larger its share of its row.",
        ));
    }
    let name = |label: usize| found.classes.get(label).map_or(String::new(), |c| c.name.clone());
    let columns = [("right class", Align::Left), ("predicted", Align::Left), ("images", Align::Right), ("of the class", Align::Right)];
    let mut table = HtmlTable::new("What is confused most", columns);
    for cell in found.confusion.mistakes().iter().take(15) {
        let of = found.classes.get(cell.label).map_or(0, |c| c.images).max(1) as f64;
        table.row([name(cell.label), name(cell.prediction), cell.images.to_string(), percent(cell.images as f64 / of)]);
    }
    out.push_str(&if table.is_empty() { Page::paragraph("Nothing was confused.") } else { table.markup() });
    Ok(out)
}

/// The reliability diagram.
pub fn calibration(found: &Evaluation) -> Result<String> {
    let Some(c) = &found.calibration else {
        return Ok(Page::paragraph("What the network gives are no probabilities, so nothing can be said about them."));
    };
    let bins = c.bins.iter().filter(|b| b.images > 0);
    let chart = LineChart {
        title: "Reliability diagram: accuracy over confidence".into(),
        x: "confidence".into(),
        y: "accuracy".into(),
        series: vec![
            Series::new("this network", bins.map(|b| (b.confidence, b.accuracy))).marked(),
            Series::new("as often right as it says", [(0.0, 0.0), (1.0, 1.0)]),
        ],
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        size: Some((480, 360)),
        ..LineChart::default()
    };
    let words = format!(
        "Mean confidence {}, accuracy {}: expected calibration error {} over {} bins of equal width, largest error of a bin {}. Brier score {:.4} (sum over the \
         classes, from 0 to 2). Below the straight line the network is surer than it should be.",
        percent(c.confidence),
        percent(found.accuracy),
        percent(c.ece),
        c.bins.len(),
        percent(c.mce),
        c.brier
    );
    let mut table = HtmlTable::new("Bins", ["confidence", "images", "mean confidence", "accuracy"].map(|name| (name, Align::Right)));
    for b in c.bins.iter().filter(|b| b.images > 0) {
        table.row([format!("{:.2} to {:.2}", b.low, b.high), b.images.to_string(), percent(b.confidence), percent(b.accuracy)]);
    }
    Ok(Page::figure(&chart.svg()?, &words) + &Page::folded("The bins as a table", &table.markup()))
}

/// ‖w − w⁰‖/‖w⁰‖ of the layers.
pub fn drift(run: &RunData) -> Result<String> {
    let Some(distance) = run.record.results.as_ref().map(|r| &r.distance) else {
        return Ok(Page::paragraph("Measured when the run is complete."));
    };
    let weights: Vec<_> = distance.layers.iter().filter(|l| l.unmoved.of_channels > 0).collect();
    let shown: Vec<_> = if weights.is_empty() { distance.layers.iter().collect() } else { weights };
    let bars = shown.iter().map(|l| Bar { name: l.name.clone(), value: l.relative, error: 0.0, colour: 0 }).collect();
    let chart =
        BarChart { title: "Distance of each layer's weight from its starting point".into(), bars, unit: Some((100.0, " %".into())) };
    let plot = Page::figure(
        &chart.svg()?,
        "‖w − w⁰‖ / ‖w⁰‖ of each layer's weight, from the input to the output of the network. Layers that the new task needs most move most.",
    );
    let columns = [("parameter", Align::Left), ("‖w − w⁰‖", Align::Right), ("of its norm", Align::Right), ("unmoved", Align::Right)];
    let mut table = HtmlTable::new("Distance of every parameter with a starting point", columns);
    for l in &distance.layers {
        let still = format!("{} of {}", l.unmoved.elements, l.unmoved.of_elements);
        table.row([l.name.clone(), number(l.distance), percent(l.relative), still]);
    }
    let all = Page::paragraph(&format!(
        "All together: ‖w − w⁰‖ = {}, {} of ‖w⁰‖; {} of {} elements are exactly where they started.",
        number(distance.total),
        percent(distance.relative),
        distance.unmoved.elements,
        distance.unmoved.of_elements
    ));
    let plot = if shown.len() > BARS { Page::folded(&format!("{} layers as a plot", shown.len()), &plot) } else { plot };
    Ok(all + &plot + &Page::folded("Every parameter as a table", &table.markup()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_people() {
        assert_eq!([12.34, 75.0, 7_500.0].map(duration), ["12.3 s", "1 min 15 s", "2 h 5 min"]);
    }
}
