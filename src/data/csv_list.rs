//! Lists of images: `path,label[,label…]` on each line.

use super::csv_columns::{Columns, Records, os};
use super::files::Files;
use super::parts::Part;
use super::row_faults::Faults;
use crate::error::{Error, Result};
use csv::{ByteRecord, ReaderBuilder, Trim};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The rows of a list.
pub(super) struct List {
    pub files: Files,
    /// Of each row its place in `files`.
    pub places: Vec<u32>,
    /// Of each row what it says of the image.
    pub labels: Vec<Vec<String>>,
    /// Of each row its line, from 1.
    pub lines: Vec<u64>,
    /// Of each row the part that it is for, where a column says it.
    pub parts: Option<Vec<Part>>,
    /// What the columns of labels are called, where the first row says it.
    pub header: Option<Vec<String>>,
    pub notes: Vec<String>,
}

impl List {
    /// Leaves the rows that are for `part`.
    pub fn keep(&mut self, part: Part) {
        let Some(parts) = self.parts.take() else { return };
        let mut each = parts.iter();
        self.places.retain(|_| each.next() == Some(&part));
        let mut each = parts.iter();
        self.labels.retain(|_| each.next() == Some(&part));
        let mut each = parts.iter();
        self.lines.retain(|_| each.next() == Some(&part));
    }
}

/// The parts that a list divides its images into; empty where it doesn't.
pub(super) fn parts(path: &Path) -> Result<Vec<Part>> {
    let (mut rows, _) = records(path)?;
    let columns = Columns::of(path, &mut rows)?;
    Ok(Part::ALL.into_iter().filter(|part| rows.iter().any(|(_, row)| columns.part_of(row) == Some(*part))).collect())
}

/// The rows of the file, and what separates their columns.
fn records(path: &Path) -> Result<(Records, u8)> {
    let mut text = std::fs::read(path).map_err(Error::io("cannot read the list", path))?;
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(Error::data(format!("the list {} is UTF-16. Save it as UTF-8", path.display())));
    }
    if text.contains(&0) {
        return Err(Error::data(format!(
            "{} is no list of images, one `path,label` on each line as UTF-8, nor an array file",
            path.display()
        )));
    }
    let delimiter = delimiter(&text);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(&text[..]);
    let mut rows = vec![];
    for (i, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|e| Error::data(format!("the list {} is damaged: {e}", path.display())))?;
        rows.push((record.position().map_or((i as u64).saturating_add(1), csv::Position::line), record));
    }
    Ok((rows, delimiter))
}

/// Reads a list; no image is opened, but each has to be there.
pub(super) fn read(path: &Path) -> Result<List> {
    let (mut records, delimiter) = records(path)?;
    let columns = Columns::of(path, &mut records)?;
    let folder = crate::storage::files::parent(path);
    let (mut faults, mut rows) = (Faults::new(), Rows::default());
    let mut list = List {
        files: Files::default(),
        places: vec![],
        labels: vec![],
        lines: vec![],
        parts: columns.part.map(|_| vec![]),
        header: columns.label_names(),
        notes: vec![],
    };
    if delimiter != b',' {
        list.notes.push(format!("{} separates by `{}`", path.display(), if delimiter == b'\t' { "tab" } else { ";" }));
    }
    list.notes.extend(columns.notes.iter().cloned());
    let mut turned = false;
    for (line, record) in &records {
        let name = record.get(columns.path).unwrap_or_default();
        let labels: std::result::Result<Vec<String>, _> = columns.labels(record.iter()).map(|l| String::from_utf8(l.to_vec())).collect();
        let Ok(labels) = labels else {
            faults.add("labels are no UTF-8", format!("line {line}"));
            continue;
        };
        if labels.is_empty() {
            faults.add("lines have no label", format!("line {line}: {}", shown(record)));
        } else if name.is_empty() {
            faults.add("lines have no path", format!("line {line}: {}", shown(record)));
        } else {
            let (file, found) = look(folder, name, &mut turned);
            match found {
                Ok(found) if found.is_file() => {
                    if rows.add(&mut list, &file, labels, *line, &mut faults)
                        && let (Some(parts), Some(part)) = (&mut list.parts, columns.part_of(record))
                    {
                        parts.push(part);
                    }
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
    if turned {
        list.notes.push(format!("{} writes paths with `\\`, which was read as `/`", path.display()));
    }
    if list.parts.is_some() {
        list.notes.push(format!("{} is divided by its column `{}`", path.display(), columns.part_name()));
    }
    Ok(list)
}

/// The file of that name, and what is there; of a name from Windows with its folders as they are called here, where nothing has it as it stands.
fn look(folder: &Path, name: &[u8], turned: &mut bool) -> (PathBuf, std::io::Result<std::fs::Metadata>) {
    let file = folder.join(PathBuf::from(os(name)));
    let found = std::fs::metadata(&file);
    if found.is_err() && name.contains(&b'\\') {
        let other: Vec<u8> = name.iter().map(|&b| if b == b'\\' { b'/' } else { b }).collect();
        let other = folder.join(PathBuf::from(os(&other)));
        if let Ok(there) = std::fs::metadata(&other) {
            *turned = true;
            return (other, Ok(there));
        }
    }
    (file, found)
}

/// What was seen of the rows before.
#[derive(Default)]
struct Rows {
    folders: HashMap<PathBuf, u32>,
    seen: HashMap<PathBuf, usize>,
}

impl Rows {
    /// Whether the row is a further one.
    fn add(&mut self, list: &mut List, file: &Path, labels: Vec<String>, line: u64, faults: &mut Faults) -> bool {
        // Without `..` and links to folders, by which one file has several paths.
        let folder = crate::storage::files::parent(file);
        let place = *self.folders.entry(folder.to_path_buf()).or_insert_with(|| list.files.add_folder(folder.to_path_buf()));
        let key = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()).join(file.file_name().unwrap_or_default());
        if let Some(&before) = self.seen.get(&key) {
            let same = list.labels.get(before) == Some(&labels);
            let kind = if same { "paths are there twice" } else { "paths are there twice with different labels" };
            faults.add(kind, format!("lines {} and {line}: {}", list.lines.get(before).unwrap_or(&0), file.display()));
            return false;
        }
        self.seen.insert(key, list.labels.len());
        list.places.push(list.labels.len() as u32);
        list.files.add(place, file.file_name().unwrap_or_default());
        list.labels.push(labels);
        list.lines.push(line);
        true
    }
}

/// Commas, or what else stands in the first line that has something.
fn delimiter(text: &[u8]) -> u8 {
    let line = text.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    [b',', b'\t', b';'].into_iter().find(|d| line.contains(d)).unwrap_or(b',')
}

fn shown(record: &ByteRecord) -> String {
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    format!("`{}`", fields.join(","))
}
