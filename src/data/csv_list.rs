//! Lists of images: `path,label[,label…]` on each line.

use super::csv_columns::{Columns, Records, os};
use super::files::Files;
use super::listing::is_image_name;
use super::parts::Part;
use super::row_faults::Faults;
use crate::error::{Error, Result};
use csv::{ByteRecord, ReaderBuilder, Trim};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A list of images.
pub(super) struct List {
    pub files: Files,
    pub rows: Vec<Row>,
    /// Whether a column says the part that each row is for.
    pub divided: bool,
    /// What the columns of labels are called, where the first row says it.
    pub header: Option<Vec<String>>,
    pub notes: Vec<String>,
}

/// A row of a list.
pub(super) struct Row {
    /// Its place in the list's files.
    pub place: u32,
    /// What it says of the image.
    pub labels: Vec<String>,
    /// From 1.
    pub line: u64,
    /// The part that it is for, where a column says it.
    pub part: Option<Part>,
}

impl List {
    /// The parts that the list divides its images into; empty where it doesn't.
    pub fn parts(&self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|part| self.rows.iter().any(|row| row.part == Some(*part))).collect()
    }

    /// Leaves the rows that are for `part`, where the list is divided.
    pub fn keep(&mut self, part: Part) {
        self.rows.retain(|row| !self.divided || row.part == Some(part));
    }

    /// What row `i` says of its image.
    pub fn labels(&self, i: usize) -> &[String] {
        self.rows.get(i).map_or(&[], |row| &row.labels)
    }

    /// The line of row `i`.
    pub fn line(&self, i: usize) -> u64 {
        self.rows.get(i).map_or(0, |row| row.line)
    }
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
    if is_json(&text) {
        return Err(Error::data(format!(
            "{} is JSON, and a list has one `path,label` on each line, or columns that its first line names",
            path.display()
        )));
    }
    let delimiter = delimiter(&text, crate::storage::files::parent(path));
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(&text[..]);
    let mut rows = vec![];
    for (i, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|e| Error::data(format!("the list {} is damaged: {e}", path.display())))?;
        rows.push((record.position().map_or((i as u64).saturating_add(1), csv::Position::line), record));
    }
    Ok((rows, delimiter))
}

/// Whether the text, or its first line, is JSON: names of files may begin with brackets too.
fn is_json(text: &[u8]) -> bool {
    let whole = |part: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(part).is_ok();
    let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
    matches!(text.trim_ascii_start(), [b'{' | b'[', ..]) && (whole(text) || whole(first))
}

/// Whether a column of the list says the part that each row is for. No file is looked for.
pub(super) fn is_divided(path: &Path) -> Result<bool> {
    let (mut records, _) = records(path)?;
    Ok(Columns::of(path, &mut records)?.part.is_some())
}

/// Reads a list; no image is opened, but each has to be there.
pub(super) fn read(path: &Path) -> Result<List> {
    let (mut records, delimiter) = records(path)?;
    if let Some((_, first)) = records.first().filter(|_| records.iter().all(|(_, record)| record.len() < 2)) {
        return Err(Error::data(format!(
            "no line of the list {} has a comma, semicolon or tab between a path and its label; the first is {}. Write `path,label` on each line",
            path.display(),
            shown(first)
        )));
    }
    let columns = Columns::of(path, &mut records)?;
    let folder = crate::storage::files::parent(path);
    let (mut faults, mut before) = (Faults::new(), Before::default());
    let mut list =
        List { files: Files::default(), rows: vec![], divided: columns.part.is_some(), header: columns.label_names(), notes: vec![] };
    if delimiter != b',' {
        list.notes.push(format!("{} separates by `{}`", path.display(), if delimiter == b'\t' { "tab" } else { ";" }));
    }
    list.notes.extend(columns.notes.iter().cloned());
    let (mut turned, mut endings) = (false, Endings::default());
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
                Ok(found) if found.is_file() => before.add(&mut list, &file, (labels, *line, columns.part_of(record)), &mut faults),
                Ok(_) => faults.add("paths are no regular file", format!("line {line}: {}", file.display())),
                Err(_) => {
                    endings.missing(&file);
                    faults.add("files are missing", format!("line {line}: {}", file.display()));
                }
            }
        }
    }
    let way = endings.hint().map(|hint| format!("{hint}. Correct what else is wrong, or remove these lines"));
    faults.check_with(path, way.as_deref())?;
    if list.rows.is_empty() {
        return Err(Error::data(format!(
            "the list {} names no images. Write a line `path,label` for each; paths are relative to the list",
            path.display()
        )));
    }
    if turned {
        list.notes.push(format!("{} writes paths with `\\`, which was read as `/`", path.display()));
    }
    if list.divided {
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

/// What files that are missing are called with an ending, as far as that is looked at.
#[derive(Default)]
struct Endings {
    /// Of each folder with files that are missing its images by their names without an ending, and one of their endings.
    folders: HashMap<PathBuf, HashMap<OsString, String>>,
    /// How many files there would be with an ending that they are listed without, and the first.
    found: usize,
    first: Option<(OsString, String)>,
}

impl Endings {
    fn missing(&mut self, file: &Path) {
        let name = file.file_name().unwrap_or_default();
        let images = self.folders.entry(crate::storage::files::parent(file).to_path_buf()).or_insert_with_key(|folder| endings(folder));
        if let Some(ending) = images.get(name) {
            self.found = self.found.saturating_add(1);
            self.first.get_or_insert_with(|| (name.into(), ending.clone()));
        }
    }

    /// What to do, where files are there under longer names.
    fn hint(&self) -> Option<String> {
        let (name, ending) = self.first.as_ref()?;
        let name = name.to_string_lossy();
        Some(format!(
            "Files are there whose names have endings, such as {name}.{ending} for {name} ({} in all): write them with theirs",
            self.found
        ))
    }
}

/// The images in a folder by their names without an ending.
fn endings(folder: &Path) -> HashMap<OsString, String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| PathBuf::from(entry.file_name())).filter(|name| is_image_name(name));
    files.filter_map(|name| Some((name.file_stem()?.to_os_string(), name.extension()?.to_str()?.to_string()))).collect()
}

/// What was seen of the rows before.
#[derive(Default)]
struct Before {
    folders: HashMap<PathBuf, u32>,
    seen: HashMap<PathBuf, usize>,
}

impl Before {
    /// Adds a row to the list, where its file is a further one.
    fn add(&mut self, list: &mut List, file: &Path, (labels, line, part): (Vec<String>, u64, Option<Part>), faults: &mut Faults) {
        // Without `..` and links to folders, by which one file has several paths.
        let folder = crate::storage::files::parent(file);
        let place = *self.folders.entry(folder.to_path_buf()).or_insert_with(|| list.files.add_folder(folder.to_path_buf()));
        let key = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()).join(file.file_name().unwrap_or_default());
        if let Some(&before) = self.seen.get(&key) {
            let same = list.labels(before) == labels;
            let kind = if same { "paths are there twice" } else { "paths are there twice with different labels" };
            faults.add(kind, format!("lines {} and {line}: {}", list.line(before), file.display()));
            return;
        }
        self.seen.insert(key, list.rows.len());
        list.files.add(place, file.file_name().unwrap_or_default());
        list.rows.push(Row { place: list.rows.len() as u32, labels, line, part });
    }
}

/// What stands in the first line that has something; of several signs the one behind a file of that name, for labels may hold the others, else a comma.
fn delimiter(text: &[u8], folder: &Path) -> u8 {
    let line = text.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let there: Vec<u8> = [b',', b'\t', b';'].into_iter().filter(|d| line.contains(d)).collect();
    let behind_a_file = |d: &&u8| {
        let name = line.split(|b| b == *d).next().unwrap_or_default().trim_ascii();
        let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
        look(folder, name, &mut false).1.is_ok_and(|found| found.is_file())
    };
    there.iter().find(behind_a_file).or(there.first()).copied().unwrap_or(b',')
}

/// The row, as far as it helps to find it: a quote that nothing closes takes the rest of the file.
fn shown(record: &ByteRecord) -> String {
    const MOST: usize = 80;
    let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    let text = fields.join(",");
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(MOST).collect();
    let more = if short.len() < text.len() { " …" } else { "" };
    let open = if text.lines().nth(1).is_some() { " (a quote that is not closed?)" } else { "" };
    format!("`{short}{more}`{open}")
}
