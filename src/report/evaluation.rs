//! An evaluation as text, as CSV and as a plot.

use super::html::Matrix;
use super::table::{Align, Table};
use crate::error::{Error, Result};
use crate::train::{ClassResult, Evaluation};

/// Classes of which a terminal shows a line each.
const LINES: usize = 60;
/// Where there are more: so many of them.
const WORST: usize = 20;
/// Classes that a plot can show.
const MOST_PLOTTED: usize = 200;

/// `87.25 %`
fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A share, or `-` for one that is not defined.
fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), percent)
}

/// What is not defined comes last.
fn by_f1(classes: &[ClassResult]) -> Vec<&ClassResult> {
    let mut sorted: Vec<&ClassResult> = classes.iter().filter(|c| c.f1.is_some()).collect();
    sorted.sort_by(|a, b| a.f1.unwrap_or(0.0).total_cmp(&b.f1.unwrap_or(0.0)));
    sorted
}

/// For a terminal. `speed` says what it ran on.
pub fn evaluation_text(found: &Evaluation, speed: &str) -> String {
    let rate = found.images as f64 / found.seconds.max(1e-9);
    let speed = format!("speed        {rate:.0} images/s, {speed}\n");
    let views = if found.views > 1 { format!(" (averaged over {} views)", found.views) } else { String::new() };
    if let Some(r) = &found.regression {
        let r2 = r.r2.map_or("not defined, for the targets are all the same".into(), |r2| format!("{r2:.4}"));
        return format!(
            "images       {}{views}\nRMSE         {:.4}\nMAE          {:.4}\nR2           {r2}\nloss         {:.4}, {}\n{speed}",
            found.images, r.rmse, r.mae, found.loss, found.loss_name
        );
    }
    if found.several {
        return several_text(found, &views) + &speed;
    }
    let headings = ["class", "images", "correct", "recall", "precision", "F1"];
    let mut table = Table::new(headings.into_iter().zip([Align::Left].into_iter().chain(std::iter::repeat(Align::Right))));
    let all: Vec<&ClassResult> = found.classes.iter().collect();
    let (shown, more) = if all.len() <= LINES { (all, String::new()) } else { worst(found) };
    for c in shown {
        table.row([c.name.clone(), c.images.to_string(), c.correct.to_string(), share(c.recall), share(c.precision), share(c.f1)]);
    }
    let mut out = format!("{table}{more}\nimages       {}\naccuracy     {}", found.images, percent(found.accuracy));
    if let Some(top5) = found.top5 {
        out.push_str(&format!(", {} among the first five", percent(top5)));
    }
    for top in &found.top {
        out.push_str(&format!(", {} among the first {}", percent(top.accuracy), top.k));
    }
    if found.views > 1 {
        out.push_str(&format!(" (probabilities averaged over {} views)", found.views));
    }
    let (plain, weighted) = (found.averages.plain, found.averages.weighted);
    out.push_str(&format!(
        "\naverages     recall {}, precision {}, F1 {}; by images {}, {}, {}\nbalanced     {}\nloss         {:.4}, {}\n",
        percent(plain.recall),
        percent(plain.precision),
        percent(plain.f1),
        percent(weighted.recall),
        percent(weighted.precision),
        percent(weighted.f1),
        percent(found.averages.balanced_accuracy),
        found.loss,
        found.loss_name
    ));
    if let Some(c) = &found.calibration {
        let bins = c.bins.len();
        let (ece, sure, brier) = (percent(c.ece), percent(c.confidence), c.brier);
        out.push_str(&format!("calibration  off by {ece} (ECE, {bins} bins), mean confidence {sure}, Brier score {brier:.4}\n"));
    }
    if let Some(map) = found.mean_average_precision {
        out.push_str(&format!("mean AP      {}\n", percent(map)));
    }
    let confused: Vec<String> = found
        .confusion
        .mistakes()
        .iter()
        .take(5)
        .map(|c| format!("{} as {} {}", name(found, c.label), name(found, c.prediction), c.images))
        .collect();
    if !confused.is_empty() {
        out.push_str(&format!("confused     {}\n", confused.join(", ")));
    }
    out + &speed
}

/// Of images with several classes each.
fn several_text(found: &Evaluation, views: &str) -> String {
    let headings = ["class", "images", "found", "recall", "precision", "F1", "AP"];
    let mut table = Table::new(headings.into_iter().zip([Align::Left].into_iter().chain(std::iter::repeat(Align::Right))));
    let all: Vec<&ClassResult> = found.classes.iter().collect();
    let (shown, more) = if all.len() <= LINES { (all, String::new()) } else { worst(found) };
    for c in shown {
        let counts = [c.images.to_string(), c.correct.to_string()];
        let shares = [c.recall, c.precision, c.f1, c.average_precision].map(share);
        table.row(std::iter::once(c.name.clone()).chain(counts).chain(shares));
    }
    let plain = found.averages.plain;
    format!(
        "{table}{more}\nimages       {}{views}\nmean AP      {}\naverages     recall {}, precision {}, F1 {}\nall right    {} (exactly their classes have a probability of a half or more)\n\
         loss         {:.4}, {}\n",
        found.images,
        share(found.mean_average_precision),
        percent(plain.recall),
        percent(plain.precision),
        percent(plain.f1),
        percent(found.accuracy),
        found.loss,
        found.loss_name
    )
}

fn worst(found: &Evaluation) -> (Vec<&ClassResult>, String) {
    let shown: Vec<&ClassResult> = by_f1(&found.classes).into_iter().take(WORST).collect();
    let more = format!("the {} classes with the lowest F1 of {}; JSON and CSV have all of them\n", shown.len(), found.classes.len());
    (shown, more)
}

fn name(found: &Evaluation, label: usize) -> &str {
    found.classes.get(label).map_or("", |c| c.name.as_str())
}

/// For `map_err`: rows go into memory, where nothing fails.
fn failed(error: csv::Error) -> Error {
    Error::internal(format!("a table could not be written: {error}"))
}

/// Bytes of a table with these rows.
pub(crate) fn table_bytes(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut out = csv::WriterBuilder::new().flexible(true).from_writer(vec![]);
    rows.into_iter().try_for_each(|row| out.write_record(&row)).map_err(failed)?;
    out.into_inner().map_err(|e| Error::internal(format!("a table could not be written: {e}")))
}

/// A line for each image: its file, the right class, what was said and how surely.
pub fn answers_csv(found: &Evaluation) -> Result<Vec<u8>> {
    if found.regression.is_some() || found.several {
        return readings_csv(found);
    }
    let headings =
        ["image", "label", "class", "prediction", "predicted_class", "correct", "probability", "label_probability", "rank", "loss"];
    let rows = found.answers.iter().map(|a| {
        vec![
            a.image.clone(),
            a.label.to_string(),
            name(found, a.label).to_string(),
            a.prediction.to_string(),
            name(found, a.prediction).to_string(),
            u8::from(a.rank == 0).to_string(),
            a.probability.to_string(),
            a.label_probability.to_string(),
            a.rank.saturating_add(1).to_string(),
            a.loss.to_string(),
        ]
    });
    table_bytes(std::iter::once(headings.map(String::from).to_vec()).chain(rows))
}

/// A line for each image: its file, its loss, and for each class or number what is right and what was said.
fn readings_csv(found: &Evaluation) -> Result<Vec<u8>> {
    let columns = found.readings.first().map_or(0, |r| r.targets.len());
    let named = |k: usize| found.classes.get(k).map_or_else(|| k.to_string(), |c| c.name.clone());
    let heads = (0..columns).map(|k| format!("target {}", named(k))).chain((0..columns).map(|k| format!("output {}", named(k))));
    let head: Vec<String> = ["image", "loss"].map(String::from).into_iter().chain(heads).collect();
    let rows = found.readings.iter().map(|r| {
        let numbers = r.targets.iter().chain(&r.outputs).map(f64::to_string);
        [r.image.clone(), r.loss.to_string()].into_iter().chain(numbers).collect::<Vec<_>>()
    });
    table_bytes(std::iter::once(head).chain(rows))
}

/// Fails where answers are no single classes.
fn one_class_each(found: &Evaluation) -> Result<()> {
    match found.regression.is_some() || found.several {
        true => Err(Error::usage("a confusion matrix is of images with one class each, and these have several, or numbers")),
        false => Ok(()),
    }
}

/// The confusion matrix with its zeros: rows are right classes, columns what was said.
pub fn confusion_csv(found: &Evaluation) -> Result<Vec<u8>> {
    one_class_each(found)?;
    let names = || found.classes.iter().map(|c| c.name.clone());
    let head: Vec<String> = std::iter::once("class".to_string()).chain(names()).collect();
    let count = found.classes.len();
    let rows = names()
        .enumerate()
        .map(|(label, name)| std::iter::once(name).chain((0..count).map(|p| found.confusion.at(label, p).to_string())).collect::<Vec<_>>());
    table_bytes(std::iter::once(head).chain(rows))
}

/// The confusion matrix for a plot. Fails for more classes than a plot can show.
pub fn confusion_plot(found: &Evaluation) -> Result<Matrix> {
    one_class_each(found)?;
    let count = found.classes.len();
    if count > MOST_PLOTTED {
        return Err(Error::usage(format!(
            "{count} classes are too many for a plot, which shows {MOST_PLOTTED}: give a name that ends in .csv"
        )));
    }
    Ok(Matrix {
        title: format!("Confusion matrix of {} images", found.images),
        rows: "right class".into(),
        columns: "predicted class".into(),
        names: found.classes.iter().map(|c| c.name.clone()).collect(),
        counts: (0..count).map(|label| (0..count).map(|p| found.confusion.at(label, p)).collect()).collect(),
    })
}
