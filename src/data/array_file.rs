//! Files of named arrays: `.npz` of NumPy, and safetensors. Nothing in them is ever executed: arrays of Python objects are refused.

use crate::error::{Error, Result};
use crate::onnx;
use crate::storage::machine;
use npyz::npz::{array_name_from_file_name, file_name_from_array_name};
use npyz::{DType, NpyHeader, Order, TypeChar};
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// What an array's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    /// Texts, as NumPy has them: in characters of four bytes, or of one.
    Characters,
    Letters,
}

/// Numbers in the order of the last axis first.
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// Bytes of an element.
    size: usize,
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Array {
    /// `uint8 [60, 28, 28]`
    pub fn shown(&self) -> String {
        let name = match self.kind {
            Kind::Bool => "bool".to_string(),
            Kind::Unsigned => format!("uint{}", self.size.saturating_mul(8)),
            Kind::Signed => format!("int{}", self.size.saturating_mul(8)),
            Kind::Float => format!("float{}", self.size.saturating_mul(8)),
            Kind::Characters | Kind::Letters => "texts".to_string(),
        };
        format!("{name} {:?}", self.shape)
    }

    /// Whether the elements are bytes.
    pub fn is_bytes(&self) -> bool {
        self.kind == Kind::Unsigned && self.size == 1
    }

    /// The elements as they are stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The elements as numbers; of 64-bit integers the lowest digits may be lost.
    pub fn to_f64(&self) -> Vec<f64> {
        self.bytes.chunks_exact(self.size.max(1)).map(|element| self.number(element)).collect()
    }

    /// The elements as float32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.bytes.chunks_exact(self.size.max(1)).map(|element| self.number(element) as f32).collect()
    }

    fn number(&self, element: &[u8]) -> f64 {
        let mut little = [0u8; 8];
        match self.big_endian {
            true => little.iter_mut().zip(element.iter().rev()).for_each(|(to, from)| *to = *from),
            false => little.iter_mut().zip(element).for_each(|(to, from)| *to = *from),
        }
        let bits = u64::from_le_bytes(little);
        let unused = 64u32.saturating_sub((self.size.clamp(1, 8) as u32).saturating_mul(8));
        match (self.kind, self.size) {
            (Kind::Float, 2) => half::f16::from_bits(bits as u16).to_f64(),
            (Kind::Float, 4) => f32::from_bits(bits as u32).into(),
            (Kind::Float, _) => f64::from_bits(bits),
            (Kind::Signed, _) => (((bits << unused) as i64) >> unused) as f64,
            (Kind::Bool | Kind::Unsigned | Kind::Characters | Kind::Letters, _) => bits as f64,
        }
    }

    /// The elements of an array of texts; `None` for other arrays, and for what is no text.
    fn texts(&self) -> Option<Vec<String>> {
        let text = |element: &[u8]| match self.kind {
            Kind::Characters => {
                let code = |c: &[u8; 4]| if self.big_endian { u32::from_be_bytes(*c) } else { u32::from_le_bytes(*c) };
                let text: String = element.as_chunks::<4>().0.iter().map(|c| char::from_u32(code(c))).collect::<Option<_>>()?;
                Some(text.trim_end_matches('\0').to_string())
            }
            Kind::Letters => Some(std::str::from_utf8(element).ok()?.trim_end_matches('\0').to_string()),
            _ => None,
        };
        // Texts that are all empty take no bytes.
        if self.size == 0 {
            return matches!(self.kind, Kind::Characters | Kind::Letters).then(|| vec![String::new(); self.shape.iter().product()]);
        }
        self.bytes.chunks_exact(self.size).map(text).collect()
    }
}

/// A file of arrays.
pub(super) struct ArrayFile {
    path: PathBuf,
    names: Vec<String>,
    /// What the file says about itself.
    metadata: Vec<(String, String)>,
    content: Content,
}

enum Content {
    Npz(Box<ZipArchive<BufReader<File>>>),
    Safetensors(Vec<u8>),
}

impl ArrayFile {
    /// Opens a file that begins with `start` ([`onnx::HEAD`] bytes, or all that it has); `None` where it is none of arrays.
    pub fn open(path: &Path, start: &[u8]) -> Result<Option<ArrayFile>> {
        let damaged = |e: &dyn std::fmt::Display| cannot_read(path, &format!("it is damaged, or was cut off: {e}"));
        let open = || File::open(path).map_err(Error::io("cannot open", path));
        if onnx::is_zip(start) {
            let archive = careful(path, || ZipArchive::new(BufReader::new(open()?)).map_err(|e| damaged(&e)))?;
            // A name that is no text is none of an array that anyone asks for.
            let array = |file: Cow<str>| array_name_from_file_name(&file).map(str::to_string);
            let names = archive.file_names().filter_map(|file| file.ok().and_then(array)).collect();
            return ArrayFile { path: path.into(), names, metadata: vec![], content: Content::Npz(Box::new(archive)) }.named(start);
        }
        if start.starts_with(b"\x93NUMPY") {
            return Err(cannot_read(path, "it is one NumPy array. Save images and labels together: np.savez(FILE, images=x, labels=y)"));
        }
        // The length of a JSON header, and the header.
        let header = start.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
        if start.get(8) != Some(&b'{') || header.is_none_or(|length| length > 100 << 20) {
            return Ok(None);
        }
        let length = open()?.metadata().map_err(Error::io("cannot read", path))?.len();
        check_room(path, length)?;
        let bytes = std::fs::read(path).map_err(Error::io("cannot read", path))?;
        let names = {
            let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
            file.names().iter().map(|name| name.to_string()).collect()
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
        let mut metadata: Vec<(String, String)> = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        metadata.sort();
        ArrayFile { path: path.into(), names, metadata, content: Content::Safetensors(bytes) }.named(start)
    }

    /// Fails where there is none, with what a file that begins with `start` is instead.
    fn named(mut self, start: &[u8]) -> Result<Option<ArrayFile>> {
        if self.names.is_empty() {
            let another = onnx::foreign(start).filter(|what| !what.contains("zip archive"));
            let what = another.unwrap_or_else(|| "unpack it, if it is an archive of images, and give the folder".into());
            return Err(cannot_read(&self.path, &format!("it holds no arrays: {what}")));
        }
        self.names.sort();
        Ok(Some(self))
    }

    /// Names of the arrays, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the file says about itself, by key.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Reads an array of texts; `None` where its elements are others.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let path = self.path.clone();
        let Content::Npz(archive) = &mut self.content else { return Ok(None) };
        if !careful(&path, || holds_texts(archive, &path, name))? {
            return Ok(None);
        }
        let array = careful(&path, || read_npy(archive, &path, name))?;
        let fail = || cannot_read(&path, &format!("its array `{name}` holds texts that are no UTF-8"));
        array.texts().map(Some).ok_or_else(fail)
    }

    /// Reads an array of numbers.
    pub fn read(&mut self, name: &str) -> Result<Array> {
        let path = self.path.clone();
        let fail = |why: String| cannot_read(&path, &format!("its array `{name}` {why}"));
        match &mut self.content {
            Content::Npz(archive) => match careful(&path, || read_npy(archive, &path, name))? {
                Array { kind: Kind::Characters | Kind::Letters, .. } => {
                    Err(fail("holds texts. Save numbers, such as those of np.unique(labels, return_inverse=True)".into()))
                }
                array => Ok(array),
            },
            Content::Safetensors(bytes) => {
                let file = SafeTensors::deserialize(bytes).map_err(|e| fail(format!("is damaged: {e}")))?;
                let view = file.tensor(name).map_err(|e| fail(format!("is damaged: {e}")))?;
                let (kind, size) = match view.dtype() {
                    Dtype::BOOL => (Kind::Bool, 1),
                    Dtype::U8 => (Kind::Unsigned, 1),
                    Dtype::U16 => (Kind::Unsigned, 2),
                    Dtype::U32 => (Kind::Unsigned, 4),
                    Dtype::U64 => (Kind::Unsigned, 8),
                    Dtype::I8 => (Kind::Signed, 1),
                    Dtype::I16 => (Kind::Signed, 2),
                    Dtype::I32 => (Kind::Signed, 4),
                    Dtype::I64 => (Kind::Signed, 8),
                    Dtype::F16 => (Kind::Float, 2),
                    Dtype::F32 => (Kind::Float, 4),
                    Dtype::F64 => (Kind::Float, 8),
                    other => return Err(fail(format!("has elements of the type {other:?}, which are not read"))),
                };
                Ok(Array { shape: view.shape().to_vec(), kind, size, big_endian: false, bytes: view.data().to_vec() })
            }
        }
    }
}

/// Bytes in which the length of an array's header stands.
const NPY_START: u64 = 12;
/// The longest header that is read; those of arrays of numbers have a hundred bytes.
const LONGEST_HEADER: u32 = 1 << 16;

/// Whether the array's elements are texts; also those that are Python objects, which are texts to who saved them.
fn holds_texts(archive: &mut ZipArchive<BufReader<File>>, path: &Path, name: &str) -> Result<bool> {
    let (header, _) = header_of(archive, path, name)?;
    Ok(header.uses_pickled_array()
        || matches!(header.dtype(), DType::Plain(element) if matches!(element.type_char(), TypeChar::UnicodeStr | TypeChar::ByteStr)))
}

/// The array's header, and what follows it.
fn header_of<'a>(archive: &'a mut ZipArchive<BufReader<File>>, path: &Path, name: &str) -> Result<(NpyHeader, impl Read + 'a)> {
    let fail = |why: String| cannot_read(path, &format!("its array `{name}` {why}"));
    let damaged = |e: &dyn std::fmt::Display| fail(format!("is damaged, or was cut off: {e}"));
    let mut entry = archive.by_name(&file_name_from_array_name(name)).map_err(|e| damaged(&e))?;
    let mut start = vec![];
    entry.by_ref().take(NPY_START).read_to_end(&mut start).map_err(|e| damaged(&e))?;
    // Who reads the header makes room for as much as it says, whatever there is.
    let length = match start[..] {
        [_, _, _, _, _, _, 1, _, a, b, ..] => u16::from_le_bytes([a, b]).into(),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    if length > LONGEST_HEADER {
        return Err(fail(format!("is damaged: it claims to have a header of {length} bytes")));
    }
    let mut entry = std::io::Cursor::new(start).chain(entry);
    let header = NpyHeader::from_reader(&mut entry).map_err(|e| damaged(&e))?;
    Ok((header, entry))
}

fn read_npy(archive: &mut ZipArchive<BufReader<File>>, path: &Path, name: &str) -> Result<Array> {
    let fail = |why: String| cannot_read(path, &format!("its array `{name}` {why}"));
    let damaged = |e: &dyn std::fmt::Display| fail(format!("is damaged, or was cut off: {e}"));
    let (header, mut entry) = header_of(archive, path, name)?;
    if header.uses_pickled_array() {
        return Err(fail(
            "holds Python objects, which could run anything when they are read. Save numbers: np.asarray(x, dtype='uint8')".into(),
        ));
    }
    let DType::Plain(element) = header.dtype() else {
        return Err(fail("has elements of several fields. Save one array for each".into()));
    };
    let size = element.num_bytes().unwrap_or(0);
    let kind = match element.type_char() {
        TypeChar::Bool => Kind::Bool,
        TypeChar::Uint => Kind::Unsigned,
        TypeChar::Int => Kind::Signed,
        TypeChar::Float if matches!(size, 2 | 4 | 8) => Kind::Float,
        TypeChar::UnicodeStr => Kind::Characters,
        TypeChar::ByteStr => Kind::Letters,
        _ => return Err(fail(format!("has elements of the type {element}, which are not read"))),
    };
    let shape: Option<Vec<usize>> = header.shape().iter().map(|&d| usize::try_from(d).ok()).collect();
    let count = shape.as_ref().and_then(|s| s.iter().try_fold(size, |n, &d| n.checked_mul(d)));
    let Some((shape, bytes)) = shape.zip(count) else { return Err(fail(format!("claims to have the shape {:?}", header.shape()))) };
    check_room(path, bytes as u64)?;
    let mut content = vec![];
    entry.by_ref().take((bytes as u64).saturating_add(1)).read_to_end(&mut content).map_err(|e| damaged(&e))?;
    if content.len() != bytes {
        let (has, shape) = (content.len(), header.shape());
        return Err(fail(format!("has {has} bytes, and its shape {shape:?} needs {bytes}: it was cut off, or belongs to another file")));
    }
    if header.order() == Order::Fortran {
        content = last_axis_first(&content, &shape, size);
    }
    let big_endian = element.endianness() == npyz::Endianness::Big;
    Ok(Array { shape, kind, size, big_endian, bytes: content })
}

/// From the order of the first axis first.
fn last_axis_first(content: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    // What lies between two neighbours along each axis; their product with the sizes is the content's, which is there.
    let between = |stride: &mut usize, &dim: &usize| Some(std::mem::replace(stride, stride.saturating_mul(dim)));
    let strides: Vec<usize> = shape.iter().scan(size, between).collect();
    let mut starts = vec![0usize];
    for (&dim, &stride) in shape.iter().zip(&strides) {
        let along = |start: usize| (0..dim).map(move |i| start.saturating_add(stride.saturating_mul(i)));
        starts = starts.into_iter().flat_map(along).collect();
    }
    let element = |start: usize| content.get(start..start.saturating_add(size)).unwrap_or_default();
    starts.into_iter().flat_map(element).copied().collect()
}

/// Arrays are held in memory, and files may claim any size.
fn check_room(path: &Path, bytes: u64) -> Result<()> {
    match machine::memory_available() {
        Some(free) if bytes > free / 2 => Err(cannot_read(
            path,
            &format!(
                "{} MB of arrays would take more than half of the memory that is free, {} MB. Save images as files in folders",
                bytes >> 20,
                free >> 20
            ),
        )),
        _ => Ok(()),
    }
}

/// The reader of foreign bytes may panic on what does not hold together.
fn careful<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(cannot_read(path, "it is damaged: its header does not hold together")))
}

pub(super) fn cannot_read(path: &Path, why: &str) -> Error {
    Error::data(format!("{} cannot be used as images: {why}", path.display()))
}
