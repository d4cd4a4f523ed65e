//! Lists of images: `path,label[,label…]` on each line.

use super::files::Files;
use super::listing::few;
use crate::error::{Error, Result};
use csv::{ByteRecord, ReaderBuilder, Trim};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names that the first column has in a header.
const PATHS: [&str; 14] = [
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "images",
    "image_path",
    "img",
    "image_id",
    "id",
];

/// The rows of a list.
pub(super) struct List {
    /// In the order of the rows.
    pub files: Files,
    /// Of each row what follows the path.
    pub labels: Vec<Vec<String>>,
    /// Of each row its line, from 1.
    pub lines: Vec<u64>,
    /// What the columns after the first are called, where the first row says it.
    pub header: Option<Vec<String>>,
    pub notes: Vec<String>,
}

/// What is wrong with rows, by kind, so that a list with many faults makes one message.
pub(super) struct Faults(Vec<(&'static str, Vec<String>)>);

impl Faults {
    pub fn new() -> Faults {
        Faults(vec![])
    }

    /// A further row with that kind of fault; `what` says which, and more.
    pub fn add(&mut self, kind: &'static str, what: String) {
        match self.0.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, list)) => list.push(what),
            None => self.0.push((kind, vec![what])),
        }
    }

    /// Fails where there was any.
    pub fn check(&self, path: &Path) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let kinds: Vec<String> = self.0.iter().map(|(kind, list)| format!("{} ({})", counted(list.len(), kind), few(list))).collect();
        Err(Error::data(format!("the list {} cannot be used: {}. Correct these lines, or remove them", path.display(), kinds.join("; "))))
    }
}

/// `3 files are missing`, `1 file is missing`.
fn counted(count: usize, kind: &str) -> String {
    let one = [("files are", "file is"), ("paths are", "path is"), ("lines have", "line has"), ("labels are", "label is")];
    match one.iter().find_map(|(several, one)| Some((one, kind.strip_prefix(several)?))).filter(|_| count == 1) {
        Some((one, rest)) => format!("1 {one}{rest}"),
        None => format!("{count} {kind}"),
    }
}

/// Reads a list; no image is opened, but each has to be there.
pub(super) fn read(path: &Path) -> Result<List> {
    let mut text = std::fs::read(path).map_err(Error::io("cannot read the list", path))?;
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.contains(&0) {
        return Err(Error::data(format!(
            "{} is no list of images, one `path,label` on each line as UTF-8, nor an array file",
            path.display()
        )));
    }
    let delimiter = delimiter(&text);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(&text[..]);
    let folder = crate::storage::files::parent(path);
    let (mut faults, mut rows) = (Faults::new(), Rows::default());
    let mut list = List { files: Files::default(), labels: vec![], lines: vec![], header: None, notes: vec![] };
    if delimiter != b',' {
        list.notes.push(format!("{} separates by `{}`", path.display(), if delimiter == b'\t' { "tab" } else { ";" }));
    }
    for (i, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|e| Error::data(format!("the list {} is damaged: {e}", path.display())))?;
        let line = record.position().map_or((i as u64).saturating_add(1), csv::Position::line);
        let name = record.get(0).unwrap_or_default();
        let labels: std::result::Result<Vec<String>, _> = record.iter().skip(1).map(|l| String::from_utf8(l.to_vec())).collect();
        let Ok(labels) = labels else {
            faults.add("labels are no UTF-8", format!("line {line}"));
            continue;
        };
        if i == 0 && is_header(name, folder, record.len()) {
            list.header = Some(labels);
            continue;
        }
        if record.len() < 2 {
            faults.add("lines have no label", format!("line {line}: {}", shown(&record)));
        } else if name.is_empty() {
            faults.add("lines have no path", format!("line {line}: {}", shown(&record)));
        } else {
            let file = folder.join(PathBuf::from(os(name)));
            match std::fs::metadata(&file) {
                Ok(found) if found.is_file() => {
                    rows.add(&mut list, &file, labels, line, &mut faults);
                }
                Ok(_) => faults.add("paths are no regular file", format!("line {line}: {}", file.display())),
                Err(_) => faults.add("files are missing", format!("line {line}: {}", file.display())),
            }
        }
    }
    faults.check(path)?;
    if list.labels.is_empty() {
        return Err(Error::data(format!(
            "the list {} names no images. Write a line `path,label` for each; paths are relative to the list",
            path.display()
        )));
    }
    Ok(list)
}

/// What was seen of the rows before.
#[derive(Default)]
struct Rows {
    folders: HashMap<PathBuf, u32>,
    seen: HashMap<PathBuf, usize>,
}

impl Rows {
    fn add(&mut self, list: &mut List, file: &Path, labels: Vec<String>, line: u64, faults: &mut Faults) {
        // Without `..` and links to folders, by which one file has several paths.
        let folder = crate::storage::files::parent(file);
        let place = *self.folders.entry(folder.to_path_buf()).or_insert_with(|| list.files.add_folder(folder.to_path_buf()));
        let key = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()).join(file.file_name().unwrap_or_default());
        if let Some(&before) = self.seen.get(&key) {
            let same = list.labels.get(before) == Some(&labels);
            let kind = if same { "paths are there twice" } else { "paths are there twice with different labels" };
            faults.add(kind, format!("lines {} and {line}: {}", list.lines.get(before).unwrap_or(&0), file.display()));
            return;
        }
        self.seen.insert(key, list.labels.len());
        list.files.add(place, file.file_name().unwrap_or_default());
        list.labels.push(labels);
        list.lines.push(line);
    }
}

/// Commas, or what else stands in the first line that has something.
fn delimiter(text: &[u8]) -> u8 {
    let line = text.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    [b',', b'\t', b';'].into_iter().find(|d| line.contains(d)).unwrap_or(b',')
}

/// A first row without a file, whose first column is called as such columns are, or by nothing that could be an image.
fn is_header(name: &[u8], folder: &Path, columns: usize) -> bool {
    let path = Path::new(&os(name)).to_path_buf();
    let known = std::str::from_utf8(name).is_ok_and(|n| PATHS.contains(&n.to_lowercase().as_str()));
    columns > 1 && !folder.join(&path).is_file() && (known || (path.extension().is_none() && path.components().count() == 1))
}

fn shown(record: &ByteRecord) -> String {
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    format!("`{}`", fields.join(","))
}

#[cfg(unix)]
fn os(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn os(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
