//! The tables of a report.

use super::collection::{Collection, Measure, PairName, Place, drift, source, target};
use super::sheet::Sheet;
use crate::evaluation::cell::Settings;
use crate::evaluation::method;
use crate::evaluation::selection::choose;
use crate::evaluation::statistics::{Comparison, Summary, summary};

/// `84.2 ± 0.6`, with the number of seeds where it is not `usual`.
pub(super) fn shown(found: Option<Summary>, usual: usize) -> String {
    match found {
        None => "–".into(),
        Some(s) if s.n == 1 => format!("{:.1} (1)", s.mean),
        Some(s) if s.n == usual => format!("{:.1} ± {:.1}", s.mean, s.deviation),
        Some(s) => format!("{:.1} ± {:.1} ({})", s.mean, s.deviation, s.n),
    }
}

pub(super) fn p(value: f64) -> String {
    if value < 0.001 { "< 0.001".into() } else { format!("{value:.3}") }
}

pub(super) fn signed(value: f64) -> String {
    format!("{value:+.2}")
}

pub(super) fn interval(c: &Comparison) -> String {
    format!("{:+.2} to {:+.2}", c.interval[0], c.interval[1])
}

fn slug(pair: &PairName) -> String {
    format!("{}-{}", pair.0, pair.1)
}

/// Seeds that most places have.
fn seeds(all: &Collection, pair: &PairName) -> usize {
    let images = all.images(pair);
    let counts = all.methods().into_iter().flat_map(|method| images.iter().map(move |&images| (method, images)));
    counts.map(|(method, images)| all.at(Place { pair, images, method, variant: None }).len()).max().unwrap_or(0)
}

/// A measure by method and number of images.
fn by_images(all: &Collection, pair: &PairName, measure: Measure, name: &str, title: &str, note: &str) -> Sheet {
    let images = all.images(pair);
    let usual = seeds(all, pair);
    let columns = std::iter::once("method".into()).chain(images.iter().map(|n| format!("{n} images a class"))).collect();
    let note = format!("{note} Mean ± standard deviation over {usual} seeds; in brackets, where there were fewer.");
    let mut sheet = Sheet::new(format!("{name}-{}", slug(pair)), format!("{} → {}: {title}", pair.0, pair.1), note, columns);
    for method in all.methods() {
        let cells: Vec<String> =
            images.iter().map(|&images| shown(all.mean(Place { pair, images, method, variant: None }, measure), usual)).collect();
        if cells.iter().any(|c| c != "–") {
            sheet.rows.push(std::iter::once(method.to_string()).chain(cells).collect());
        }
    }
    sheet
}

fn before(all: &Collection, pair: &PairName) -> String {
    let found = all.cells.iter().filter(|c| (&c.cell.source, &c.cell.target) == (&pair.0, &pair.1)).find_map(|c| c.source.as_ref());
    found.map_or(String::new(), |s| format!(" Before tuning it is {:.1} % of {} images.", 100.0 * s.before.accuracy, s.before.images))
}

/// Every measure of the main table, for a pair.
pub(super) fn main(all: &Collection, pair: &PairName) -> Vec<Sheet> {
    let left = format!(
        "Share of source images that the source's own classifier tells right on the tuned features, in per cent.{}",
        before(all, pair)
    );
    vec![
        by_images(
            all,
            pair,
            target,
            "accuracy",
            "accuracy on the target",
            "Share of the target's test images that are told right, in per cent.",
        ),
        by_images(all, pair, source, "source", "what is left of the source task", &left),
        by_images(
            all,
            pair,
            drift,
            "drift",
            "distance from the starting point",
            "‖w − w⁰‖ in per cent of ‖w⁰‖, over all shared parameters.",
        ),
    ]
}

/// Each method against a reference, seed by seed.
pub(super) fn tests(all: &Collection, pair: &PairName, reference: &str) -> Vec<Sheet> {
    let measures: [(&str, &str, Measure); 2] = [("target", "accuracy on the target", target), ("source", "source task left", source)];
    let one = |(name, what, measure): (&str, &str, Measure)| {
        let columns = ["method", "images", "seeds", "difference", "95 % interval", "p (t)", "p (sign flips)", "effect g"];
        let note = format!(
            "Differences to `{reference}` in percentage points, seed by seed: mean, interval and p of the paired t test, p of the exact sign-flip test (with 5 seeds at least 0.0625), Hedges' g of the paired differences."
        );
        let title = format!("{} → {}: against {reference}, {what}", pair.0, pair.1);
        let mut sheet = Sheet::new(format!("tests-{name}-{reference}-{}", slug(pair)), title, note, columns.map(String::from).to_vec());
        for images in all.images(pair) {
            for method in all.methods().into_iter().filter(|m| *m != reference) {
                let place = |method| Place { pair, images, method, variant: None };
                let Some(c) = all.compared(place(method), place(reference), measure) else { continue };
                let flips = c.p_flip.map_or("–".into(), p);
                let numbers = [images.to_string(), c.n.to_string(), signed(c.difference), interval(&c), p(c.p_t), flips, signed(c.effect)];
                sheet.rows.push(std::iter::once(method.to_string()).chain(numbers).collect());
            }
        }
        sheet
    };
    measures.into_iter().map(one).filter(|s| !s.rows.is_empty()).collect()
}

/// What was varied beside the main table.
pub(super) fn variants(all: &Collection, pair: &PairName) -> Option<Sheet> {
    let columns = ["variant", "method", "images", "target", "difference", "95 % interval", "source left"];
    let note = "Settings are those that were chosen for the main table; differences are to it, seed by seed, in percentage points.";
    let title = format!("{} → {}: variants", pair.0, pair.1);
    let mut sheet = Sheet::new(format!("variants-{}", slug(pair)), title, note, columns.map(String::from).to_vec());
    let mut images: Vec<usize> = all.cells.iter().map(|c| c.cell.images).collect();
    images.sort();
    images.dedup();
    let usual = seeds(all, pair);
    for images in images {
        for variant in all.variants(pair, images) {
            for method in all.methods() {
                let place = |variant| Place { pair, images, method, variant };
                let own = place(Some(&variant));
                let Some(found) = all.mean(own, target) else { continue };
                let c = all.compared(own, place(None), target);
                let (difference, reach) = c.map_or(("–".into(), "–".into()), |c| (signed(c.difference), interval(&c)));
                let left = shown(all.mean(own, source), usual);
                sheet.rows.push(vec![
                    variant.name(),
                    method.into(),
                    images.to_string(),
                    shown(Some(found), usual),
                    difference,
                    reach,
                    left,
                ]);
            }
        }
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}

/// What the selection chose, and from what.
pub(super) fn chosen(all: &Collection, pair: &PairName) -> Option<Sheet> {
    let columns = ["method", "rate", "β", "strength", "validation accuracy", "combinations tried", "range", "failed"];
    let note = "By validation images: the highest mean accuracy, then the lowest loss, then the weakest. At the `edge` of its grid something further might be better. `range` is that of all combinations; failed ones had a loss that is no number.";
    let title = format!("{} → {}: chosen settings", pair.0, pair.1);
    let mut sheet = Sheet::new(format!("settings-{}", slug(pair)), title, note, columns.map(String::from).to_vec());
    for method in method::names() {
        let cells: Vec<_> = all.selection(pair, method).into_iter().cloned().collect();
        let Some(best) = choose(&cells) else { continue };
        let score =
            |settings| summary(&cells.iter().filter(|c| c.settings == settings).map(|c| 100.0 * c.target.accuracy).collect::<Vec<_>>());
        let sound: Vec<f64> = cells.iter().filter(|c| c.failed.is_none()).map(|c| 100.0 * c.target.accuracy).collect();
        let (low, high) = sound.iter().fold((f64::MAX, 0.0f64), |(low, high), &v| (low.min(v), high.max(v)));
        let mut tried: Vec<_> = vec![];
        cells.iter().for_each(|c| {
            if !tried.contains(&c.settings) {
                tried.push(c.settings);
            }
        });
        let edge = |of: fn(&Settings) -> Option<f64>| {
            let values: Vec<f64> = tried.iter().filter_map(of).collect();
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)));
            let Some(own) = of(&best) else { return "–".into() };
            let mark = if low < high && (own == low || own == high) { " (edge)" } else { "" };
            format!("{own}{mark}")
        };
        let own = score(best).map_or(0.0, |s| s.mean);
        let failed = cells.len().saturating_sub(sound.len());
        let numbers = [
            edge(|s| Some(s.rate)),
            best.beta.to_string(),
            edge(|s| s.strength),
            format!("{own:.1}"),
            tried.len().to_string(),
            format!("{low:.1} to {high:.1}"),
            failed.to_string(),
        ];
        sheet.rows.push(std::iter::once(method.to_string()).chain(numbers).collect());
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}
