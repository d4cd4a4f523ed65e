//! Reads which classes of a new head start as copies of which classes of the old one.
//!
//! A text file with one `new = old` on each line, each side a label (a number from 0) or a class name; `#` starts a comment.

use crate::bundle::class_names;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx::SourceModel;
use crate::storage::regular;
use std::path::Path;

/// Pairs of a new label and an old one, of the classes of that output. `names` are the new classes' names, as far as they are known.
pub fn read(path: &Path, (source, output): (&SourceModel, &str), names: &[String], new: usize, old: usize) -> Result<Vec<(usize, usize)>> {
    let text = regular::read_text(path, "cannot read the head map")?;
    let known = class_names(&source.proto, output)?;
    parse(&text, (names, new), (&known.choose(&[], Some(old), &source.path)?, old))
        .map_err(|why| Error::option(Field::HEAD_MAP, format!(" {}: {why}", path.display())))
}

/// Each side is the class names and the number of classes.
fn parse(text: &str, new: (&[String], usize), old: (&[String], usize)) -> std::result::Result<Vec<(usize, usize)>, String> {
    let mut pairs: Vec<(usize, usize)> = vec![];
    for (number, line) in (1usize..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let at = |why: String| format!("line {number}: {why}");
        let (left, right) = line.split_once('=').ok_or_else(|| at(format!("`{line}` is not `new = old`")))?;
        let pair = (
            label(left.trim(), new, "new classes", "option `classes` gives them").map_err(at)?,
            label(right.trim(), old, "the model's classes", "the model does not tell them").map_err(at)?,
        );
        if pairs.iter().any(|p| p.0 == pair.0) {
            return Err(at(format!("the new class `{}` stands there twice", left.trim())));
        }
        pairs.push(pair);
    }
    if pairs.is_empty() { Err("it holds no line `new = old`".into()) } else { Ok(pairs) }
}

fn label(text: &str, (names, count): (&[String], usize), what: &str, unknown: &str) -> std::result::Result<usize, String> {
    if let Some(label) = names.iter().position(|n| n == text) {
        return Ok(label);
    }
    match text.parse::<usize>() {
        Ok(label) if label < count => Ok(label),
        Ok(label) => Err(match count.checked_sub(1) {
            Some(last) => format!("{label} is no label: {what} are 0 to {last}"),
            None => format!("{label} is no label: there are no {what}"),
        }),
        Err(_) if names.is_empty() => Err(format!("`{text}` is no number, and the names of {what} are not known ({unknown})")),
        Err(_) => Err(format!("`{text}` is none of {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn labels_and_names_can_be_mixed() {
        let (new, old) = (names(&["tabby cat", "boat"]), names(&["dog", "tabby cat", "7"]));
        let pairs = parse("tabby cat = tabby cat # the same\n\n# nothing\n1 = 0\n", (&new, 2), (&old, 3));
        assert_eq!(pairs, Ok(vec![(0, 1), (1, 0)]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, reason) in [
            ("0 = 3", "line 1: 3 is no label"),
            ("\n2 = 0", "line 2: 2 is no label"),
            ("cat = 0", "names of new classes are not known"),
            ("0 = 1\n0 = 2", "line 2: the new class `0` stands there twice"),
            ("0", "is not `new = old`"),
            ("# nothing", "holds no line"),
        ] {
            let error = parse(text, (&[], 2), (&[], 3)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
