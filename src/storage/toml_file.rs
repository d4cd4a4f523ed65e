//! Options in a TOML file. Which keys there are, and of which type, is known to serde alone: what it says of a mistake is completed by the line, the table
//! and the key that was meant.

use crate::error::{Error, Result};
use crate::nearest::{nearest, same};
use crate::storage::regular;
use crate::storage::run_folder::RunFolder;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// A name that no options have, to be told which ones there are.
const NOBODY: &str = "?";

/// Reads the options in a file. Where nothing is said they have `T`'s defaults.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = content(path)?;
    toml::from_str(&text).map_err(|error| wrong::<T>(path, &text, &error))
}

fn wrong<T: DeserializeOwned>(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    Error::usage(format!("{}, {}", path.display(), explained::<T>(text, error)))
}

/// What stands in the file. Of a run's folder its configuration is meant.
fn content(path: &Path) -> Result<String> {
    if path.is_dir() {
        let inside = RunFolder::new(path).configuration();
        let way = if inside.is_file() {
            format!("give {}", inside.display())
        } else {
            "give a file in TOML, such as the config.toml of a run".into()
        };
        return Err(Error::usage(format!("the configuration {} is a folder; {way}", path.display())));
    }
    regular::read_text(path, "cannot read the configuration")
}

/// Whether the file says anything of that key. Fails where [`read`] does not get as far as the options.
pub fn has(path: &Path, way: &[&str]) -> Result<bool> {
    let text = content(path)?;
    // What `read` parses by: values of the other kind of table have no room for integers from 2^63 on.
    let document = DeTable::parse(&text).map_err(|error| wrong::<IgnoredAny>(path, &text, &error))?;
    let Some((key, above)) = way.split_last() else { return Ok(true) };
    let table = above.iter().try_fold(document.get_ref(), |table, key| match table.get(*key)?.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    });
    Ok(table.is_some_and(|table| table.contains_key(*key)))
}

/// What the file says something of: `training.batch`. Fails where [`read`] does not get as far as the options.
pub fn said(path: &Path) -> Result<Vec<String>> {
    let text = content(path)?;
    let document = DeTable::parse(&text).map_err(|error| wrong::<IgnoredAny>(path, &text, &error))?;
    let mut all = vec![];
    entries(document.get_ref(), &[], &mut all);
    Ok(all.iter().map(|entry| entry.way.join(".")).collect())
}

/// A key of the document.
struct Entry {
    /// From the outermost table on, the key last; places in lists as numbers.
    way: Vec<String>,
    at: Range<usize>,
    value: Range<usize>,
    leaf: bool,
}

impl Entry {
    fn key(&self) -> &str {
        self.way.last().map_or("", String::as_str)
    }

    fn table(&self) -> &[String] {
        self.way.split_last().map_or(&[], |(_, table)| table)
    }
}

fn entries(table: &DeTable, way: &[String], found: &mut Vec<Entry>) {
    for (key, value) in table.iter() {
        let way = [way, &[key.get_ref().to_string()]].concat();
        entry(value, &way, key.span(), found);
    }
}

fn entry(value: &Spanned<DeValue>, way: &[String], at: Range<usize>, found: &mut Vec<Entry>) {
    let leaf = !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
    found.push(Entry { way: way.to_vec(), at, value: value.span(), leaf });
    match value.get_ref() {
        DeValue::Table(table) => entries(table, way, found),
        DeValue::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                entry(value, &[way, &[i.to_string()]].concat(), value.span(), found);
            }
        }
        _ => {}
    }
}

/// `line 3: …`
fn explained<T: DeserializeOwned>(text: &str, error: &toml::de::Error) -> String {
    let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count().saturating_add(1));
    let message = error.message().trim();
    let mut all = vec![];
    match DeTable::parse(text) {
        Ok(document) => entries(document.get_ref(), &[], &mut all),
        // It is no TOML at all.
        Err(_) => return format!("line {}: {message}", line(error.span().map_or(0, |span| span.start))),
    }
    let span = error.span().unwrap_or(0..0);
    let Some(found) = culprit::<T>(text, message, &span, &all) else { return format!("line {}: {message}", line(span.start)) };
    let (key, place) = (found.key(), shown(found.table()));
    let unknown = quoted(message).first() == Some(&key) && !key.is_empty();
    if !(unknown && (message.starts_with("unknown field") || message.starts_with("unknown variant"))) {
        return format!("line {}: `{key}` {place} is wrong: {message}", line(found.at.start));
    }
    let known: Vec<&str> = quoted(message).into_iter().skip(1).collect();
    let way = match (nearest(key, &known), elsewhere::<T>(key, found.table())) {
        // The very name in another table says more than one that is merely near.
        (meant, Some(there)) if meant.is_none_or(|meant| same(key, &[meant]).is_none()) => format!(". It belongs {}", shown(&there)),
        (Some(meant), _) => format!(". Did you mean `{meant}`?"),
        (None, _) => String::new(),
    };
    format!(
        "line {}: there is no option `{key}` {place}{way}{} The options there are {}",
        line(found.at.start),
        end(&way),
        known.join(", ")
    )
}

fn end(way: &str) -> &'static str {
    if way.ends_with('?') { "" } else { "." }
}

/// `in the table [training]`
fn shown(table: &[String]) -> String {
    if table.is_empty() { "outside of the tables".into() } else { format!("in the table [{}]", table.join(".")) }
}

/// What stands between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// The entry that the message is about. serde loses the place within values that it has to look at twice; there the entry is the culprit without which
/// another message comes, or none.
fn culprit<'a, T: DeserializeOwned>(text: &str, message: &str, span: &Range<usize>, all: &'a [Entry]) -> Option<&'a Entry> {
    let exact = all.iter().find(|e| e.at == *span && e.at != e.value || e.leaf && e.value == *span);
    let within = |entry: &&Entry| {
        let holder = all.iter().find(|e| e.value == *span);
        holder.is_none_or(|holder| entry.way.len() > holder.way.len() && entry.way.starts_with(&holder.way))
    };
    let other = |entry: &&Entry| {
        let Ok(mut table) = text.parse::<Table>() else { return false };
        remove(&mut table, &entry.way);
        T::deserialize(Value::Table(table)).err().is_none_or(|e| e.message().trim() != message)
    };
    let named = all.iter().filter(within).find(|e| message.starts_with("unknown field") && quoted(message).first() == Some(&e.key()));
    // What the message says it found, in the quotes of text and numbers alike.
    let shows = |entry: &&Entry| {
        let written = text.get(entry.value.clone()).unwrap_or_default().trim_matches(['\'', '"']);
        !written.is_empty() && [format!("\"{written}\""), format!("`{written}`")].iter().any(|shown| message.contains(shown))
    };
    let leaves = || all.iter().filter(within).filter(|e| e.leaf);
    let shown = || leaves().filter(shows).find(other);
    exact.or(named).or_else(shown).or_else(|| leaves().find(other)).or_else(|| all.iter().find(|e| e.value == *span))
}

fn remove(table: &mut Table, way: &[String]) {
    match way {
        [] => {}
        [key] => drop(table.remove(key)),
        [key, rest @ ..] => match table.get_mut(key) {
            Some(Value::Table(below)) => remove(below, rest),
            Some(Value::Array(list)) => {
                if let [place, rest @ ..] = rest
                    && let Some(Value::Table(below)) = place.parse::<usize>().ok().and_then(|i| list.get_mut(i))
                {
                    remove(below, rest);
                }
            }
            _ => {}
        },
    }
}

/// The keys of the table there, which are found out by asking for one that nobody has, where the answer begins with `complaint`.
pub(crate) fn keys<T: DeserializeOwned>(way: &[String], complaint: &str) -> Vec<String> {
    let mut table = Table::from_iter([(NOBODY.to_string(), Value::Integer(0))]);
    for key in way.iter().rev() {
        table = Table::from_iter([(key.clone(), Value::Table(table))]);
    }
    let Err(error) = T::deserialize(Value::Table(table)) else { return vec![] };
    match quoted(error.message())[..] {
        [NOBODY, ref names @ ..] if error.message().starts_with(complaint) => names.iter().map(|name| name.to_string()).collect(),
        _ => vec![],
    }
}

/// The table, not deeper than three, that has an option of that name; the outermost first.
fn elsewhere<T: DeserializeOwned>(key: &str, not: &[String]) -> Option<Vec<String>> {
    let mut level: Vec<Vec<String>> = vec![vec![]];
    for _ in 0..4 {
        let mut below = vec![];
        for way in level {
            let names = keys::<T>(&way, "unknown");
            if way != not && same(key, &names.iter().map(String::as_str).collect::<Vec<_>>()).is_some() {
                return Some(way);
            }
            below.extend(names.into_iter().map(|name| [&way[..], &[name]].concat()));
        }
        level = below;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::toml_text::text;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct All {
        name: Option<String>,
        inner: Inner,
        list: Vec<Kind>,
        other: Other,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        seed: u64,
        rate: f64,
        mean: Vec<f32>,
        map: BTreeMap<String, f64>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Other {
        length: Length,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Length {
        Epochs(u64),
        Steps(u64),
    }

    impl Default for Length {
        fn default() -> Self {
            Length::Epochs(1)
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Kind {
        Sgd(Sgd),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Sgd {
        momentum: f64,
    }

    #[test]
    fn numbers_read_back_to_the_same_bits() {
        for bits in (0..2000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let (rate, single) = (f64::from_bits(bits), f32::from_bits((bits >> 32) as u32));
            if !rate.is_finite() || !single.is_finite() {
                continue;
            }
            let inner = Inner { seed: bits, rate, mean: vec![single], map: [("alpha:a.*".to_string(), rate / 3.0)].into() };
            let all = All { inner, ..All::default() };
            assert_eq!(toml::from_str::<All>(&text(&all).unwrap()).unwrap(), all);
        }
    }

    #[test]
    fn a_key_is_found_whatever_stands_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        for seed in [0, i64::MAX as u64, 1 << 63, u64::MAX] {
            std::fs::write(&path, format!("name = 'x'\n[inner]\nseed = {seed}\n[inner.map]\na = 1.0\n")).unwrap();
            assert_eq!(read::<All>(&path).unwrap().inner.seed, seed);
            for (way, there) in [
                (&["name"][..], true),
                (&["inner", "seed"], true),
                (&["inner", "map", "a"], true),
                (&["inner", "rate"], false),
                (&["name", "seed"], false),
                (&["other", "seed"], false),
            ] {
                assert_eq!(has(&path, way).unwrap(), there, "{seed} {way:?}");
            }
        }
        std::fs::write(&path, "[inner").unwrap();
        assert!(has(&path, &["inner"]).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn mistakes_are_shown_with_line_table_and_what_was_meant() {
        for (text, parts) in [
            ("nmae = 'x'", &["line 1: there is no option `nmae` outside of the tables", "Did you mean `name`?", "name, inner"][..]),
            ("\n[inner]\nsead = 1", &["line 3: there is no option `sead` in the table [inner]", "`seed`?"]),
            ("[inner]\nlength = 1", &["line 2", "`length` in the table [inner]. It belongs in the table [other]."]),
            ("[other]\nepochs = 1", &["line 2", "It belongs in the table [other.length]."]),
            ("seed = 1", &["line 1", "It belongs in the table [inner]."]),
            ("[iner]\nseed = 1", &["line 1", "`iner`", "`inner`?"]),
            ("[inner]\n\nrate = 'fast'", &["line 3: `rate` in the table [inner] is wrong", "string \"fast\", expected f64"]),
            ("[inner]\nseed = -1", &["line 2: `seed`", "-1"]),
            ("[inner.map]\nx = 'a'", &["line 2: `x` in the table [inner.map]"]),
            ("[[list]]\nkind = 'sgd'\n\nmomentun = 1.0", &["line 4", "`momentun` in the table [list.0]", "`momentum`?"]),
            ("[[list]]\nkind = 'sgd'\n\nmomentum = 'x'", &["line 4: `momentum` in the table [list.0]", "expected f64"]),
            ("list = [{kind = 'sgd'},\n {kind = 'sgx'}]", &["line 2", "sgx"]),
            ("[other]\nlength = {epoch = 1}", &["line 2", "`epoch` in the table [other.length]", "`epochs`?"]),
            ("[inner]\nseed = 1\nseed = 2", &["line 3", "duplicate key"]),
            ("[inner", &["line 1", "unclosed"]),
        ] {
            let error = explained::<All>(text, &toml::from_str::<All>(text).unwrap_err());
            parts.iter().for_each(|part| assert!(error.contains(part), "{text:?}: no `{part}` in: {error}"));
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
