//! What the columns of a list are, by the names in its first row: the path, the labels, and the part of the data that an image is for.

use super::listing::{few, quoted};
use super::parts::Part;
use super::row_faults::Faults;
use crate::error::{Error, Result};
use csv::ByteRecord;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

/// What a column of paths is called; of several the one that is named here first.
const PATHS: [&str; 15] = [
    "path",
    "paths",
    "filepath",
    "file_path",
    "image_path",
    "filename",
    "file_name",
    "file",
    "files",
    "image",
    "images",
    "img",
    "image_name",
    "image_id",
    "id",
];

/// What a column of labels is called, with or without a number behind it, where other columns are none.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "classname",
    "class_id",
    "class_index",
    "label_name",
    "label_id",
    "category",
    "target",
];

/// What a column of parts is called, where its values are names of parts.
const PARTS: [&str; 8] = ["split", "subset", "partition", "part", "set", "usage", "phase", "fold"];

/// Rows with their lines.
pub(super) type Records = Vec<(u64, ByteRecord)>;

/// Which column is what. Columns beyond the named ones are labels.
pub(super) struct Columns {
    pub path: usize,
    /// The column that says for which part an image is.
    pub part: Option<usize>,
    /// Columns of which nothing is read.
    unread: Vec<usize>,
    /// What the columns are called, where the first row says it.
    header: Option<Vec<String>>,
    pub notes: Vec<String>,
}

impl Columns {
    /// Of the list at `path`; takes the first row away where it is a header.
    pub fn of(path: &Path, rows: &mut Records) -> Result<Columns> {
        let header = rows.first().filter(|(_, row)| is_header(row, crate::storage::files::parent(path))).map(|(_, row)| texts(row));
        let mut columns = Columns { path: 0, part: None, unread: vec![], header: None, notes: vec![] };
        let Some(names) = header else { return Ok(columns) };
        rows.remove(0);
        let lower: Vec<String> = names.iter().map(|name| plain(name)).collect();
        columns.path = PATHS.iter().find_map(|known| lower.iter().position(|name| name == known)).unwrap_or(0);
        let others: Vec<usize> = (0..names.len()).filter(|&k| k != columns.path).collect();
        for &k in others.iter().filter(|&&k| lower.get(k).is_some_and(|name| PARTS.contains(&name.as_str()))) {
            if divides(path, rows, k, names.get(k).map_or("", String::as_str))? {
                columns.part = Some(k);
                break;
            }
        }
        let others: Vec<usize> = others.into_iter().filter(|k| Some(*k) != columns.part).collect();
        let labels = labels_of(path, rows, &names, &lower, &others, &mut columns.notes)?;
        columns.unread = others.into_iter().filter(|k| !labels.contains(k)).collect();
        let name = |k: &usize| names.get(*k).cloned().unwrap_or_default();
        if !columns.unread.is_empty() {
            let unread: Vec<String> =
                columns.unread.iter().map(|k| if name(k).is_empty() { format!("{}", k.saturating_add(1)) } else { name(k) }).collect();
            let read: Vec<String> = labels.iter().map(name).collect();
            columns.notes.push(format!(
                "{}: labels are in the column {}; of {} nothing is read",
                path.display(),
                few(&quoted(&read)),
                few(&quoted(&unread))
            ));
        }
        columns.header = Some(names);
        Ok(columns)
    }

    /// What a row says of the image, in the order of the columns.
    pub fn labels<'a, T>(&self, row: impl Iterator<Item = T> + 'a) -> impl Iterator<Item = T> + 'a {
        let (path, part, unread) = (self.path, self.part, self.unread.clone());
        row.enumerate().filter(move |(k, _)| *k != path && Some(*k) != part && !unread.contains(k)).map(|(_, cell)| cell)
    }

    /// What the columns of labels are called, where the first row says it.
    pub fn label_names(&self) -> Option<Vec<String>> {
        self.header.as_ref().map(|names| self.labels(names.iter().cloned()).collect())
    }

    /// What the column of parts is called.
    pub fn part_name(&self) -> &str {
        self.part.and_then(|k| self.header.as_ref()?.get(k)).map_or("", String::as_str)
    }

    /// The part that a row is for.
    pub fn part_of(&self, row: &ByteRecord) -> Option<Part> {
        Part::called(std::str::from_utf8(row.get(self.part?)?).ok()?)
    }
}

/// Whether that column divides the images. Fails where it does in some rows only.
fn divides(path: &Path, rows: &Records, column: usize, name: &str) -> Result<bool> {
    let part = |row: &ByteRecord| row.get(column).and_then(|cell| Part::called(std::str::from_utf8(cell).ok()?));
    let mut faults = Faults::new();
    for (line, row) in rows.iter().filter(|(_, row)| part(row).is_none()) {
        let cell = String::from_utf8_lossy(row.get(column).unwrap_or_default()).into_owned();
        faults.add("lines have no part of the data that is known", format!("line {line}: {name} `{cell}`, and not train, val or test"));
    }
    if !rows.iter().any(|(_, row)| part(row).is_some()) {
        return Ok(false);
    }
    let way = format!("Correct these lines, or call the column `{name}` something else where it names no parts");
    faults.check_with(path, Some(&way)).map(|()| true)
}

/// Those of the columns that hold labels: the ones that are called so, or all. Several that say the same are one.
fn labels_of(
    path: &Path,
    rows: &Records,
    names: &[String],
    lower: &[String],
    others: &[usize],
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let base = |k: usize| lower.get(k).map_or("", |name| name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_'));
    let called: Vec<usize> = others.iter().copied().filter(|&k| LABELS.contains(&base(k))).collect();
    let Some(&first) = called.first() else { return Ok(others.to_vec()) };
    if called.iter().all(|&k| base(k) == base(first)) {
        return Ok(called);
    }
    let candidates: Vec<String> = called.iter().filter_map(|&k| names.get(k).cloned()).collect();
    if !called.iter().all(|&k| same_classes(rows, first, k)) {
        return Err(Error::data(format!(
            "the list {} has several columns that could be the label, and they say different things: {}. Remove those that are not meant",
            path.display(),
            few(&quoted(&candidates))
        )));
    }
    let number = |cell: Option<&[u8]>| std::str::from_utf8(cell.unwrap_or_default()).is_ok_and(|text| text.parse::<f64>().is_ok());
    let named = called.iter().copied().find(|&k| !rows.iter().all(|(_, row)| number(row.get(k)))).unwrap_or(first);
    let taken = names.get(named).map_or("", String::as_str);
    notes.push(format!("{}: its columns {} say the same; `{taken}` is taken", path.display(), few(&quoted(&candidates))));
    Ok(vec![named])
}

/// Whether two columns divide the rows in the same way.
fn same_classes(rows: &Records, one: usize, other: usize) -> bool {
    let (mut there, mut back) = (HashMap::new(), HashMap::new());
    rows.iter().all(|(_, row)| {
        let (a, b) = (row.get(one).unwrap_or_default(), row.get(other).unwrap_or_default());
        *there.entry(a).or_insert(b) == b && *back.entry(b).or_insert(a) == a
    })
}

/// A first row without a file, one of whose columns is called as those of paths are, or whose first is called by nothing that could be an image.
fn is_header(row: &ByteRecord, folder: &Path) -> bool {
    let known = |cell: &[u8]| std::str::from_utf8(cell).is_ok_and(|name| PATHS.contains(&plain(name).as_str()));
    let name = row.get(0).unwrap_or_default();
    let path = Path::new(&os(name)).to_path_buf();
    let bare = path.extension().is_none() && path.components().count() <= 1;
    row.len() > 1 && !folder.join(&path).is_file() && (known(name) || bare && (!name.is_empty() || row.iter().any(known)))
}

/// A column's name as it stands in the tables above.
fn plain(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_")
}

fn texts(row: &ByteRecord) -> Vec<String> {
    row.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
}

#[cfg(unix)]
pub(super) fn os(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
pub(super) fn os(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
