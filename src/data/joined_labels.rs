//! Several labels in one column of a list, as fastai's `label_delim` reads them: `animal;bird`.

use super::csv_list::{List, Row};
use super::labels::KnownClasses;
use super::listing::few;
use super::targets::TargetKind;
use crate::field::Field;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What may stand between labels.
const SIGNS: [char; 4] = [';', '|', ',', ' '];

/// Divides fields that hold several labels where images may have several, and says so; where they have one class each, says what it looks like.
pub(super) fn divide(path: &Path, list: &mut List, known: &KnownClasses) {
    // Empty fields, as spreadsheets leave them behind the last column, are no labels and speak for nothing.
    let given = |row: &Row| row.labels.iter().filter(|label| !label.is_empty()).count();
    let fields: BTreeSet<&str> =
        list.rows.iter().flat_map(|row| &row.labels).map(String::as_str).filter(|label| !label.is_empty()).collect();
    if matches!(known.targets, Some(TargetKind::Numbers(_))) {
        return;
    }
    let name = |label: &str| known.names.iter().any(|name| name == label);
    let joins = |sign: char| match known.names.is_empty() {
        true => stands_between(&fields, sign),
        false => !fields.iter().all(|field| name(field)) && fields.iter().all(|field| labels(field, sign).all(name)),
    };
    let Some(sign) = SIGNS.into_iter().find(|&sign| joins(sign)) else { return };
    let joined: Vec<String> = fields.iter().filter(|field| field.contains(sign)).map(|field| format!("`{field}`")).collect();
    let (path, joined) = (path.display(), few(&joined));
    let sign_shown = if sign == ' ' { "blanks".to_string() } else { format!("`{sign}`") };
    if let Some(row) = list.rows.iter().find(|row| given(row) > 1) {
        list.notes.push(format!(
            "{path}: {joined} look like several labels, with {sign_shown} between them, and are one class each: others stand in columns of their own (line {}: {})",
            row.line,
            row.labels.join(",")
        ));
        return;
    }
    if known.targets != Some(TargetKind::Several) && !known.several {
        let note = format!(
            "{path}: {joined} look like several labels, with {sign_shown} between them, and are one class each; several need {}",
            Field::LOSS
        );
        list.notes.push(format!("{note} bce"));
        return;
    }
    for row in &mut list.rows {
        row.labels = row.labels.iter().flat_map(|field| labels(field, sign)).map(String::from).collect();
    }
    list.notes.push(format!("{path}: labels are divided at {sign_shown} ({joined})"));
}

fn labels(field: &str, sign: char) -> impl Iterator<Item = &str> {
    field.split(sign).map(str::trim).filter(|label| !label.is_empty())
}

/// Whether the sign joins labels: most of what it divides stands in other fields, too. In a name such as `tench, Tinca tinca` it does not.
fn stands_between(fields: &BTreeSet<&str>, sign: char) -> bool {
    let mut met: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for field in fields {
        let joins = labels(field, sign).nth(1).is_some();
        for label in labels(field, sign).collect::<BTreeSet<_>>() {
            let (count, joined) = met.entry(label).or_default();
            *count = count.saturating_add(1);
            *joined |= joins;
        }
    }
    let joined: Vec<usize> = met.values().filter(|(_, joined)| *joined).map(|(count, _)| *count).collect();
    let elsewhere = joined.iter().filter(|count| **count > 1).count();
    elsewhere.saturating_mul(2) > joined.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(fields: &[&str]) -> Option<char> {
        let fields: BTreeSet<&str> = fields.iter().copied().collect();
        SIGNS.into_iter().find(|&sign| stands_between(&fields, sign))
    }

    #[test]
    fn joined_labels_are_told_from_names() {
        assert_eq!(sign(&["animal;bird", "animal", "bird", "animal; fish"]), Some(';'));
        assert_eq!(sign(&["a|b", "b|c", "a"]), Some('|'));
        assert_eq!(sign(&["animal,bird", "animal", "bird"]), Some(','));
        assert_eq!(sign(&["haze primary", "clear primary", "clear primary water", "haze"]), Some(' '));
        // Names of classes.
        assert_eq!(sign(&["tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark, white shark"]), None);
        assert_eq!(sign(&["golden retriever", "tabby cat", "persian cat"]), None);
        assert_eq!(sign(&["cat", "dog"]), None);
    }
}
