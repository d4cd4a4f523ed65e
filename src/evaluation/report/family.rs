//! Which of the family is worth using: each method against plain training, over everything and place by place.

use super::collection::{Collection, Measure, PairName, Place, drift, source, step_time, target};
use super::sheet::Sheet;
use super::tables::{interval, signed};
use crate::evaluation::statistics::{Comparison, compare, summary};

/// One table over everything; and, where more than one place was run, one for each measure with a column for each place.
pub(super) fn family(all: &Collection) -> Vec<Sheet> {
    let measures: [(&str, &str, Measure); 2] = [("target", "accuracy on the target", target), ("source", "source task left", source)];
    overall(all).into_iter().chain(measures.into_iter().filter_map(|m| by_place(all, m))).collect()
}

/// Every pair with every number of images.
fn places(all: &Collection) -> Vec<(PairName, usize)> {
    all.pairs().into_iter().flat_map(|pair| all.images(&pair).into_iter().map(move |n| (pair.clone(), n))).collect()
}

/// Differences to `none` and their intervals, place by place: not every method need have been run everywhere.
fn by_place(all: &Collection, (name, what, measure): (&str, &str, Measure)) -> Option<Sheet> {
    let places = places(all);
    let title = format!("Which of the family is worth using: {what}, place by place");
    let note = "Differences to `none` in percentage points, seed by seed: mean, and in brackets Student's 95 % interval; `*` where it excludes 0. Nothing is corrected for the number of comparisons.";
    let heading = |(pair, images): &(PairName, usize)| format!("{} → {}, {images}", pair.0, pair.1);
    let columns = std::iter::once("method".into()).chain(places.iter().map(heading)).collect();
    let mut sheet = Sheet::new(format!("family-{name}"), title, note, columns);
    for method in all.methods().into_iter().filter(|m| *m != "none") {
        let cell = |(pair, images): &(PairName, usize)| {
            let place = |method| Place { pair, images: *images, method, variant: None };
            let Some(c) = all.compared(place(method), place("none"), measure) else { return "–".into() };
            let mark = if c.interval[0] > 0.0 || c.interval[1] < 0.0 { " *" } else { "" };
            format!("{} ({}){mark}", signed(c.difference), interval(&c))
        };
        let cells: Vec<String> = places.iter().map(cell).collect();
        if cells.iter().any(|c| c != "–") {
            sheet.rows.push(std::iter::once(method.to_string()).chain(cells).collect());
        }
    }
    (places.len() > 1 && !sheet.rows.is_empty()).then_some(sheet)
}

/// Against plain training, over all pairs, numbers of images and seeds.
fn overall(all: &Collection) -> Option<Sheet> {
    let columns = ["method", "worth using", "target", "95 % interval", "source left", "95 % interval", "drift", "step time", "cells"];
    let note = "Against `none`, over all pairs, numbers of images and seeds that the method was run with (`cells`; rows with other numbers of cells are of other places): mean differences in percentage points with Student's intervals (cells of one pair share test images: the intervals are rather too narrow); drift in per cent of the weights' norm; step time as the median ratio, by the clock. Worth using: where an interval lies above 0, unless the other lies below.";
    let mut sheet = Sheet::new("family", "Which of the family is worth using", note, columns.map(String::from).to_vec());
    let places = places(all);
    let gather = |method: &str, measure: Measure| -> Vec<(f64, f64)> {
        let of = |(pair, images): &(PairName, usize)| {
            let place = |method| Place { pair, images: *images, method, variant: None };
            all.paired(place(method), place("none"), measure)
        };
        places.iter().flat_map(of).collect()
    };
    for method in all.methods() {
        let drifts: Vec<f64> = gather(method, drift).into_iter().map(|d| d.0).collect();
        let moved = summary(&drifts).map_or("–".into(), |s| format!("{:.1}", s.mean));
        let mut ratios: Vec<f64> = gather(method, step_time).into_iter().map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let time = ratios.get(ratios.len() / 2).map_or("–".into(), |r| format!("{r:.2}"));
        let pairs = gather(method, target);
        let (on_target, on_source) = (compare(&pairs), compare(&gather(method, source)));
        let numbers = |c: &Option<Comparison>| c.as_ref().map_or(["–".into(), "–".into()], |c| [signed(c.difference), interval(c)]);
        let worth = if method == "none" { "the reference".into() } else { verdict(on_target.as_ref(), on_source.as_ref()) };
        let [t, t_interval] = numbers(&on_target);
        let [s, s_interval] = numbers(&on_source);
        sheet.rows.push(vec![method.into(), worth, t, t_interval, s, s_interval, moved, time, pairs.len().to_string()]);
    }
    (sheet.rows.len() > 1).then_some(sheet)
}

fn verdict(on_target: Option<&Comparison>, on_source: Option<&Comparison>) -> String {
    let way = |c: Option<&Comparison>| match c {
        Some(c) if c.interval[0] > 0.0 => 1,
        Some(c) if c.interval[1] < 0.0 => -1,
        _ => 0,
    };
    match (way(on_target), way(on_source)) {
        (1, 1) => "yes, for both",
        (1, 0) => "yes, for the target",
        (0, 1) => "yes, for the source",
        (1, -1) => "for the target, at the source's cost",
        (-1, 1) => "for the source, at the target's cost",
        (0, 0) => "not told apart",
        _ => "no",
    }
    .into()
}
