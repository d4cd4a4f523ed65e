//! Class names by label: in a file, or in what a model says about itself, as spgraph and others write them.

use super::class_tables::{self, Tables};
use super::literal::{self, Literal};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx::pb;
use crate::storage::regular;
use std::path::Path;

/// Metadata key: class names by label, a JSON list.
pub const CLASSES_KEY: &str = "spgraph.classes";

/// Keys under which others keep class names, in lower case: Ultralytics, Hugging Face, and what people write by hand.
const KEYS: [&str; 15] = [
    "names",
    "class_names",
    "classnames",
    "classes",
    "labels",
    "label_names",
    "class_labels",
    "id2label",
    "idx_to_class",
    "idx2label",
    "categories",
    "label2id",
    "class_to_idx",
    "label_map",
    "labels_map",
];

/// No network comes near this many classes.
const MOST: usize = 1_000_000;

/// What a model says its classes are called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassNames {
    /// By label; empty where the model does not say.
    pub names: Vec<String>,
    /// What says it, for people: an entry of the metadata, or a node.
    pub place: String,
    /// Why what the model says cannot be used.
    pub doubt: Option<String>,
}

impl ClassNames {
    /// `given` by the user, or the model's names, for a network of `count` classes. Fails where their number is another one, and where what
    /// the model says cannot be used.
    pub fn choose(&self, given: &[String], count: Option<usize>, path: &Path) -> Result<Vec<String>> {
        let (shown, field) = (path.display(), Field::CLASS_NAMES);
        let wrong = |names: &[String]| count.filter(|&n| !names.is_empty() && n != names.len());
        if !given.is_empty() {
            return match wrong(given) {
                Some(classes) => {
                    let why = format!(
                        ": {} class names do not fit {shown}, whose network has {classes} classes. Give one for each label",
                        given.len()
                    );
                    Err(Error::option(field, why))
                }
                None => Ok(given.to_vec()),
            };
        }
        if let Some(doubt) = &self.doubt {
            return Err(Error::model(format!(
                "{shown} does not say clearly what its classes are called: {doubt}. Name them by label with {field}"
            )));
        }
        match wrong(&self.names) {
            Some(classes) => Err(Error::model(format!(
                "the {} of {shown} names {} classes, and its network has {classes}. Name them by label with {field}",
                self.place,
                self.names.len()
            ))),
            None => Ok(self.names.clone()),
        }
    }
}

/// Class names from a text file with one on each line, or with a list or object in JSON (names by label, or labels by name).
pub fn read_class_names(path: &Path) -> Result<Vec<String>> {
    let text = regular::read_text(path, "cannot read the class names")?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let names = match text.starts_with(['[', '{']) {
        true => names_of(&literal::parse(text).ok_or_else(|| {
            Error::data(format!(
                "the class names in {} are no valid JSON. Give a list, an object, or one name on each line",
                path.display()
            ))
        })?)
        .ok_or_else(|| {
            Error::data(format!(
                "the class names in {} are no list of names and no object of names by label. Give one of these, or one name on each line",
                path.display()
            ))
        })?,
        false => lines(text),
    };
    match names.is_empty() {
        true => Err(Error::data(format!("{} holds no class names. Give one on each line, in the order of the labels", path.display()))),
        false => Ok(names),
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect()
}

/// What the model calls the classes of one of its outputs, in its metadata or by its nodes. Fails where spgraph's own entry is damaged.
pub fn class_names(model: &pb::ModelProto, output: &str) -> Result<ClassNames> {
    let mut found = find(model)?;
    let own = model.metadata_props.iter().any(|p| p.key() == CLASSES_KEY);
    let Some(graph) = model.graph.as_ref().filter(|_| !own && found.doubt.is_none()) else { return Ok(found) };
    let Tables { found: tables, unread } = class_tables::find(graph, output);
    let words = tables.iter().any(|t| t.words) || !found.names.is_empty();
    if !words && unread.is_some() {
        return Ok(ClassNames { doubt: unread, ..found });
    }
    for table in tables.into_iter().filter(|t| t.words || !words) {
        if found.names.is_empty() {
            (found.names, found.place) = (table.names, table.place);
        } else if found.names != table.names {
            found.doubt = Some(format!("its {} and its {} name different classes", found.place, table.place));
        }
    }
    Ok(found)
}

/// What the model's metadata says. Fails where spgraph's own is damaged.
pub(super) fn find(model: &pb::ModelProto) -> Result<ClassNames> {
    if let Some(own) = model.metadata_props.iter().find(|p| p.key() == CLASSES_KEY) {
        let names = serde_json::from_str(own.value())
            .map_err(|e| Error::model(format!("the model's metadata `{CLASSES_KEY}` is damaged ({e}): export it again")))?;
        return Ok(ClassNames { names, place: format!("metadata `{CLASSES_KEY}`"), doubt: None });
    }
    let mut found = ClassNames::default();
    for entry in &model.metadata_props {
        let (names, unclear) = names_in(entry.key(), entry.value());
        if unclear {
            found.doubt.get_or_insert(format!("its metadata `{}` is no list of names by label", entry.key()));
        }
        let Some(names) = names.filter(|n| !n.is_empty()) else { continue };
        if found.names.is_empty() {
            (found.names, found.place) = (names, format!("metadata `{}`", entry.key()));
        } else if found.names != names {
            found.doubt = Some(format!("its {} and `{}` name different classes", found.place, entry.key()));
        }
    }
    Ok(found)
}

/// Names by label in an entry of a file's metadata, where it has some; and whether it should have and is no list of them.
pub(crate) fn names_in(key: &str, text: &str) -> (Option<Vec<String>>, bool) {
    let named = KEYS.contains(&key.to_lowercase().as_str());
    let value = literal::parse(text);
    let names = match (&value, named) {
        (Some(value @ (Literal::List(_) | Literal::Dict(_))), true) => names_of(value),
        // A whole configuration, as of Hugging Face.
        (Some(value), _) => value.get(&KEYS).and_then(names_of),
        (None, true) => text_names(text),
        (None, false) => None,
    };
    let unclear = named && names.is_none() && text.trim_start().starts_with(['[', '{', '(']);
    (names, unclear)
}

/// Removes names of classes that are no longer the model's.
pub(super) fn remove(model: &mut pb::ModelProto) {
    model.metadata_props.retain(|p| !is_one(p));
}

/// Whether the entry is where class names are kept.
pub(super) fn is_one(entry: &pb::StringStringEntryProto) -> bool {
    entry.key() == CLASSES_KEY || KEYS.contains(&entry.key().to_lowercase().as_str())
}

/// `cat,dog`, with another separator, or one name on each line, all behind their labels or none; `None` for a single word, which may mean anything.
fn text_names(text: &str) -> Option<Vec<String>> {
    if text.trim_start().starts_with(['[', '{', '(']) {
        return None;
    }
    let text = text.trim();
    let separator = ['\n', ';', '|', '\t', ','].into_iter().find(|&c| text.contains(c))?;
    let names: Vec<String> = match separator {
        '\n' => lines(text),
        _ => text.trim_end_matches(separator).split(separator).map(|n| n.trim().to_string()).collect(),
    };
    let names = unnumbered(&names).unwrap_or(names);
    (names.len() > 1 && names.iter().all(|n| !n.is_empty())).then_some(names)
}

/// The names where each stands behind its label: `0: cat`, `1: dog`.
fn unnumbered(names: &[String]) -> Option<Vec<String>> {
    let name = |(label, text): (usize, &String)| {
        let rest = text.strip_prefix(&label.to_string())?.strip_prefix([':', '=', ' ', '\t', ',', '.'])?.trim();
        (!rest.is_empty()).then(|| rest.to_string())
    };
    names.iter().enumerate().map(name).collect()
}

/// Names by label from a list of names, a list of objects with `id` and `name`, names by label, or labels by name.
fn names_of(value: &Literal) -> Option<Vec<String>> {
    match value {
        Literal::List(items) => match items.iter().map(|i| i.scalar().map(String::from)).collect() {
            Some(names) => Some(names),
            None => {
                let one = |i: &Literal| Some((i.get(&["id", "index"])?.index()?, i.get(&["name", "label"])?.scalar()?.to_string()));
                by_label(items.iter().map(one).collect::<Option<_>>()?)
            }
        },
        Literal::Dict(pairs) => {
            let forward = pairs.iter().map(|(label, name)| Some((label.index()?, name.scalar()?.to_string()))).collect::<Option<_>>();
            let backward = || pairs.iter().map(|(name, label)| Some((label.index()?, name.scalar()?.to_string()))).collect::<Option<_>>();
            by_label(forward.or_else(backward)?)
        }
        _ => None,
    }
}

/// Labels without a name are called by their number.
fn by_label(pairs: Vec<(usize, String)>) -> Option<Vec<String>> {
    let count = match pairs.iter().map(|(label, _)| *label).max() {
        Some(last) => last.checked_add(1).filter(|&count| count <= MOST)?,
        None => 0,
    };
    let mut names = vec![None; count];
    for (label, name) in pairs {
        if names.get_mut(label)?.replace(name).is_some() {
            return None;
        }
    }
    Some(names.into_iter().enumerate().map(|(label, name)| name.unwrap_or_else(|| label.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(entries: &[(&str, &str)]) -> pb::ModelProto {
        let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) };
        pb::ModelProto { metadata_props: entries.iter().map(entry).collect(), ..Default::default() }
    }

    fn found(entries: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let found = find(&model(entries)).unwrap();
        (found.names, found.doubt)
    }

    #[test]
    fn names_are_found_as_others_write_them() {
        let cases: [&[(&str, &str)]; 15] = [
            &[("author", "Ultralytics"), ("names", "{0: 'cat', 1: 'dog', 2: 'it''s'}".replace("''", "\\'").leak())],
            &[("classes", r#"["cat", "dog", "it's"]"#)],
            &[("Labels", "cat,dog,it's")],
            &[("class_names", "cat\ndog\nit's\n")],
            &[("labels", "cat; dog; it's;")],
            &[("labels", "cat|dog|it's")],
            &[("labels", "0: cat, 1: dog, 2: it's")],
            &[("labels", "0 cat\r\n1 dog\r\n2 it's")],
            &[("id2label", r#"{"0": "cat", "2": "it's", "1": "dog"}"#)],
            &[("label2id", r#"{"cat": 0, "it's": 2, "dog": 1}"#)],
            &[("class_to_idx", "{'dog': 1, 'cat': 0, \"it's\": 2}")],
            &[("categories", r#"[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}, {"id": 2, "name": "it's"}]"#)],
            &[("config", r#"{"model": "vit", "id2label": {"0": "cat", "1": "dog", "2": "it's"}}"#)],
            &[("names", "('cat', 'dog', \"it's\")"), ("classes", "3"), ("labels", r#"["cat", "dog", "it's"]"#)],
            &[("spgraph.classes", r#"["cat", "dog", "it's"]"#), ("names", "{0: 'old'}")],
        ];
        for case in cases {
            assert_eq!(found(case), (vec!["cat".to_string(), "dog".into(), "it's".into()], None), "{case:?}");
        }
        assert_eq!(found(&[("id2label", "{1: 'a', 3: 'b'}")]).0, ["0", "a", "2", "b"]);
    }

    #[test]
    fn what_is_no_list_of_names_is_none_or_said() {
        for nothing in [&[("classes", "1000")][..], &[("labels", "imagenet")], &[("description", "cat,dog")], &[("imgsz", "[224, 224]")]] {
            assert_eq!(found(nothing), (vec![], None), "{nothing:?}");
        }
        for unclear in ["{0: 'cat', 1: 'dog'", "{0: 'cat', 0: 'dog'}", "[['a'], ['b']]", "{'a': 'b'}"] {
            assert!(found(&[("names", unclear)]).1.unwrap().contains("`names`"), "{unclear}");
        }
        // Labels that no number of names reaches.
        for label in [usize::MAX, usize::MAX - 1, i64::MAX as usize, MOST, MOST + 1] {
            for unclear in
                [format!("{{0: 'cat', {label}: 'dog'}}"), format!("{{'cat': {label}}}"), format!("[{{'id': {label}, 'name': 'cat'}}]")]
            {
                assert!(found(&[("names", &unclear)]).1.unwrap().contains("`names`"), "{unclear}");
            }
        }
        assert!(found(&[("names", "['a', 'b']"), ("classes", "['b', 'a']")]).1.unwrap().contains("different"));
    }
}
