//! What was decided, by whom and why, and everything that repeats the run.

use super::RunData;
use crate::report::html::{HtmlTable, Page, number};
use crate::report::table::Align;
use crate::storage::{presence, regular};
use serde_json::Value;

/// Choices, and what was assumed or noticed.
pub fn decisions(run: &RunData) -> String {
    let (m, record) = (&run.manifest, &run.record);
    let mut table = HtmlTable::new("Choices", [("what", Align::Left), ("as it was", Align::Left)]);
    let penalty = serde_json::to_value(&m.penalty).unwrap_or_default();
    let optimizer = serde_json::to_value(m.optimizer).unwrap_or_default();
    let source = &m.source;
    table.row(["network", &format!("{}, opset {}, written by {}; SHA-256 {}", source.file, source.opset, source.producer, source.sha256)]);
    table.row(["penalty", &words(&penalty)]);
    let scalars = m.scalars.iter().map(|s| {
        let value = record.training.scalars.get(&s.meaning).copied();
        format!("{} {}{}", s.meaning, number(value.unwrap_or(s.default)), if value.is_some() { " (as asked)" } else { "" })
    });
    table.row(["strengths and rate", &scalars.collect::<Vec<_>>().join(", ")]);
    table.row(["optimizer", &words(&optimizer)]);
    table.row(["batch norm", &words(&serde_json::to_value(m.batch_norm).unwrap_or_default())]);
    if let Some(mode) = m.rewriting.as_ref().map(|r| r.options.dropout).filter(|mode| !mode.is_off()) {
        table.row(["dropout", &words(&serde_json::to_value(mode).unwrap_or_default())]);
    }
    table.row(["images", &words(&serde_json::to_value(&m.preprocessing).unwrap_or_default())]);
    let held_out = match record.images.validation {
        0 => "none held out".to_string(),
        n => format!("{n} held out for validation"),
    };
    let skipped = if record.images.skipped > 0 { format!(", {} could not be read", record.images.skipped) } else { String::new() };
    table.row(["data", &format!("{} images to train on, {held_out}{skipped}", record.images.training)]);
    table.row(["engine", &record.engine]);
    table.row(["spgraph", &record.spgraph]);
    let notes = match run.notes.is_empty() {
        true => Page::paragraph("Nothing had to be assumed, and nothing was left out."),
        false => {
            let mut list = HtmlTable::new("What was assumed, noticed or left out", [("", Align::Left)]);
            for note in &run.notes {
                list.row([note.clone()]);
            }
            list.markup()
        }
    };
    table.markup() + &notes
}

/// The fields of a value in one line: those that hold lists of names or nothing are left to the configuration.
fn words(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, v)| !v.is_null() && !v.is_object() && v.as_array().is_none_or(|a| a.len() <= 4));
            shown.map(|(name, v)| format!("{} {}", name.replace('_', " "), words(v))).collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// The configuration file of the run; for runs without one what they were asked.
pub fn configuration(run: &RunData) -> String {
    let path = run.folder.configuration();
    let asked = || serde_json::to_string_pretty(&run.record.training).unwrap_or_default();
    let text = match presence::at(&path).and_then(|found| found.map(|_| regular::read_text(&path, "cannot read")).transpose()) {
        Ok(file) => file.unwrap_or_else(asked),
        Err(why) => format!("{why}. What the record of the run has:\n\n{}", asked()),
    };
    let rewriting = run.manifest.rewriting.as_ref().and_then(|r| serde_json::to_string_pretty(r).ok());
    let bundle = rewriting.map_or(String::new(), |text| Page::folded("How the bundle was made", &Page::verbatim(&text)));
    Page::verbatim(&text) + &bundle
}
