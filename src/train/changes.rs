//! What differs between two sets of options, field by field: the names are those that they have in files.

use crate::error::{Error, Result};
use crate::field::Field;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// An option with another value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The way to it: `seed`, `scalars.lr`, `optimizer.momentum`.
    pub path: String,
    pub before: Value,
    pub now: Value,
}

impl std::fmt::Display for Change {
    /// `seed: 1 before, 2 now`, with the option as a [`Field`] where it is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Value| if value.is_null() { "not given".to_string() } else { value.to_string() };
        write!(f, "{}: {} before, {} now", named(&self.path), shown(&self.before), shown(&self.now))
    }
}

/// An option as messages name it.
pub(super) fn named(path: &str) -> String {
    let find = |name: &str| Field::ALL.iter().find(|field| field.name() == name);
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    // Values of the step's inputs have the names of the options that they come from, strengths by pattern but one.
    let scalar = if rest.starts_with("alpha:") { find(Field::STRENGTHS.name()) } else { find(rest) };
    match find(path).or(scalar.filter(|_| first == "scalars")).or(find(first)) {
        Some(field) => field.to_string(),
        None => path.to_string(),
    }
}

/// What of `now` is not as in `before`.
pub(super) fn between<T: Serialize>(before: &T, now: &T) -> Result<Vec<Change>> {
    let value = |options: &T| serde_json::to_value(options).map_err(|e| Error::usage(format!("an option cannot be kept in a file: {e}")));
    let mut found = vec![];
    walk("", value(before)?, value(now)?, &mut found);
    Ok(found)
}

fn walk(path: &str, before: Value, now: Value, found: &mut Vec<Change>) {
    match (before, now) {
        (before, now) if before == now => {}
        (Value::Object(mut before), Value::Object(mut now)) => {
            let names: BTreeSet<String> = before.keys().chain(now.keys()).cloned().collect();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&below, before.remove(&name).unwrap_or_default(), now.remove(&name).unwrap_or_default(), found);
            }
        }
        (before, now) => found.push(Change { path: path.into(), before, now }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Options;
    use crate::train::options::Training;
    use serde_json::json;

    /// So that a message never has a key where a flag was given.
    #[test]
    fn every_option_is_named_as_one() {
        let keys = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let all =
            [keys(serde_json::to_value(Options::default()).unwrap()), keys(serde_json::to_value(Training::new("x")).unwrap())].concat();
        // What nobody gives: how a run was lengthened before, tables and what holds settings.
        let others = ["earlier", "scalars", "early_stopping"];
        for key in all.iter().filter(|key| !others.contains(&key.as_str())) {
            assert!(named(key).starts_with("option `"), "`{key}` is no `Field`");
        }
    }

    #[test]
    fn what_comes_what_goes_and_what_changes_is_named() {
        let before = json!({"seed": 0, "scalars": {"lr": 0.1}, "validation": {"split": 0.2}, "same": [1]});
        let now = json!({"seed": 3, "scalars": {"beta": 1, "alpha:a.*": 2}, "validation": {"split": 0.3}, "same": [1], "unheard": true});
        let found: Vec<String> = between(&before, &now).unwrap().iter().map(Change::to_string).collect();
        assert_eq!(
            found,
            [
                "option `strengths`: not given before, 2 now",
                "option `beta`: not given before, 1 now",
                "option `lr`: 0.1 before, not given now",
                "option `seed`: 0 before, 3 now",
                "unheard: not given before, true now",
                "option `validation`: 0.2 before, 0.3 now",
            ]
        );
    }
}
