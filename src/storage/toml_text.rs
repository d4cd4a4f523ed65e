//! Options as the text of a TOML file, all of them: TOML has no word for what is not given, so that a comment says it.

use crate::error::{Error, Result};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Begins the comment that lists what a table could have and has not.
const ABSENT: &str = "# Not given: ";

/// The options as text; numbers read back to the same bits. What is not given is listed behind the keys of its table.
pub fn text(options: &impl Serialize) -> Result<String> {
    let failed = |why: &dyn std::fmt::Display| Error::usage(format!("the options cannot be kept in a file: {why}"));
    let text = toml::to_string_pretty(options).map_err(|e| failed(&e))?;
    let mut absent = BTreeMap::new();
    find_absent(&serde_json::to_value(options).map_err(|e| failed(&e))?, "", &mut absent);
    let mut texts = vec![];
    let document = DeTable::parse(&text).map_err(|e| failed(&e))?;
    document.get_ref().iter().for_each(|(_, value)| find_values(value, &mut texts));
    texts.sort_by_key(|span| span.start);
    Ok(Commented { absent, texts, counts: BTreeMap::new() }.of(&text))
}

/// By table the names of what it has not.
fn find_absent(value: &Value, table: &str, found: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Null => found.entry(table.to_string()).or_default().push(name.clone()),
                    _ if table.is_empty() => find_absent(value, name, found),
                    _ => find_absent(value, &format!("{table}.{name}"), found),
                }
            }
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| find_absent(value, &format!("{table}.{i}"), found)),
        _ => {}
    }
}

/// Where values stand that are no tables: what looks like a table's head within one is none.
fn find_values(value: &Spanned<DeValue>, found: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().for_each(|(_, value)| find_values(value, found)),
        DeValue::Array(list) => list.iter().for_each(|value| find_values(value, found)),
        _ => found.push(value.span()),
    }
}

struct Commented {
    absent: BTreeMap<String, Vec<String>>,
    texts: Vec<Range<usize>>,
    /// Of each list of tables how many there were so far.
    counts: BTreeMap<String, usize>,
}

impl Commented {
    fn of(mut self, text: &str) -> String {
        let (mut out, mut table, mut at) = (String::new(), String::new(), 0usize);
        for line in text.split_inclusive('\n') {
            let before = self.texts.partition_point(|span| span.start < at);
            let within = before.checked_sub(1).and_then(|last| self.texts.get(last)).is_some_and(|span| at < span.end);
            if let Some(head) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|_| !within) {
                self.say(&table, &mut out);
                table = self.named(head);
            }
            out.push_str(line);
            at = at.saturating_add(line.len());
        }
        self.say(&table, &mut out);
        out
    }

    /// The table of that head, with places in the lists that it is in.
    fn named(&mut self, head: &str) -> String {
        let list = head.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(list) = list {
            let count = self.counts.entry(list.to_string()).or_default();
            *count = count.saturating_add(1);
        }
        let (mut plain, mut placed) = (String::new(), String::new());
        for part in list.unwrap_or(head).split('.') {
            for text in [&mut plain, &mut placed] {
                text.push_str(if text.is_empty() { "" } else { "." });
                text.push_str(part);
            }
            if let Some(count) = self.counts.get(&plain) {
                placed.push_str(&format!(".{}", count.saturating_sub(1)));
            }
        }
        placed
    }

    /// Behind the last line that is not empty.
    fn say(&mut self, table: &str, out: &mut String) {
        let Some(names) = self.absent.remove(table) else { return };
        let empty = out.len().saturating_sub(out.trim_end().len()) > 1;
        out.truncate(out.trim_end().len());
        let before = if out.is_empty() { "" } else { "\n" };
        out.push_str(&format!("{before}{ABSENT}{}\n{}", names.join(", "), if empty { "\n" } else { "" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_given_is_said_in_its_table() {
        let options = json!({
            "name": null,
            "text": "a\n[engine]\nb",
            "engine": {"path": null, "choice": "ort", "deep": {"x": null}},
            "list": [{"a": 1, "b": null}, {"a": 2, "b": 3}, {"a": null, "b": 3}],
            "nothing": {"x": null, "y": null},
        });
        // TOML has no null; who leaves it away are options' own types.
        fn without(value: &Value) -> Value {
            match value {
                Value::Object(fields) => {
                    Value::Object(fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without(v))).collect())
                }
                Value::Array(list) => Value::Array(list.iter().map(without).collect()),
                other => other.clone(),
            }
        }
        struct Options(Value);
        impl Serialize for Options {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                // JSON has words for what is absent, and is asked for it.
                if std::any::type_name::<S>().contains("serde_json") { self.0.serialize(to) } else { without(&self.0).serialize(to) }
            }
        }
        let text = text(&Options(options)).unwrap();
        let expected = "text = \"\"\"\na\n[engine]\nb\"\"\"\n# Not given: name\n\n[engine]\nchoice = \"ort\"\n# Not given: path\n\n[engine.deep]\n# Not given: x\n\n\
            [[list]]\na = 1\n# Not given: b\n\n[[list]]\na = 2\nb = 3\n\n[[list]]\nb = 3\n# Not given: a\n\n[nothing]\n# Not given: x, y\n";
        assert_eq!(text, expected);
    }
}
