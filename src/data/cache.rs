//! Decoded images that are kept: in memory for the epochs of a run, in a folder for further runs as well.
//!
//! What is kept has the same bits as what is decoded again, so that a cache changes times only. A folder may be shared by several processes. Its
//! entries are found by the file's path, size, times of change and place on the disk, or by its path and content, and by what was done to the image;
//! each carries a hash of its pixels, and one that does not fit is decoded again. When nothing can be written any more, the work goes on without.

use super::decode::MAX_PIXELS;
use super::image_set::ImageSet;
use crate::error::{Error, Result};
use crate::storage::files::plain;
use crate::storage::machine::memory_available;
use crate::storage::pending_outputs::PendingOutput;
use crate::storage::{regular, temporaries};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Marks the entries of a cache folder, and their version.
const MAGIC: &[u8; 8] = b"spgrgb01";
/// Behind the magic: columns and rows, each of four bytes, and the hash of the pixels.
const HEADER: usize = 8 + 4 + 4 + 32;
/// Of the memory that is free, a run's images may take a quarter.
const SHARE: u64 = 4;
/// Where the system does not say how much is free.
const OTHERWISE: u64 = 512 << 20;

/// Where decoded images are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Most bytes in memory; `None` for a quarter of what is free at the start.
    pub memory: Option<u64>,
    /// A folder for further runs as well.
    #[serde(with = "crate::storage::path_text")]
    pub folder: Option<PathBuf>,
    /// Most bytes in the folder; what is there when a run starts counts, and nothing is ever removed.
    pub folder_bytes: u64,
    /// Whether entries of the folder belong to what the files hold, rather than to their sizes and times, which can be the same for other contents.
    /// Each file is read for that.
    #[serde(skip)]
    pub by_content: bool,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions { memory: None, folder: None, folder_bytes: 20 << 30, by_content: false }
    }
}

impl CacheOptions {
    fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or_else(|| memory_available().map_or(OTHERWISE, |free| free / SHARE))
    }
}

/// The images of one set.
pub(super) struct Cache {
    images: Vec<OnceLock<RgbImage>>,
    /// Bytes that may still be taken.
    room: AtomicUsize,
    folder: Option<Folder>,
}

impl Cache {
    /// In memory only, for `len` images.
    pub fn in_memory(len: usize, bytes: usize) -> Cache {
        let images = if bytes == 0 { vec![] } else { (0..len).map(|_| OnceLock::new()).collect() };
        Cache { images, room: AtomicUsize::new(bytes), folder: None }
    }

    /// For images to which `treatment` was done. Fails where the folder cannot be made.
    pub fn new(len: usize, treatment: String, options: &CacheOptions) -> Result<Cache> {
        let memory = usize::try_from(options.memory_bytes()).unwrap_or(usize::MAX);
        let folder = options.folder.as_ref().map(|path| Folder::open(path, treatment, options)).transpose()?;
        Ok(Cache { folder, ..Cache::in_memory(len, memory) })
    }

    /// An image that is kept in memory.
    pub fn get(&self, index: usize) -> Option<&RgbImage> {
        self.images.get(index)?.get()
    }

    /// An image from the folder, or else made anew and put there; kept in memory where there is room.
    pub fn prepared(&self, set: &ImageSet, index: usize, make: impl FnOnce() -> Result<RgbImage>) -> Result<RgbImage> {
        let entry = self.folder.as_ref().and_then(|folder| folder.entry(&set.path(index)?));
        let image = match self.folder.as_ref().zip(entry) {
            None => make()?,
            Some((folder, entry)) => match folder.read(&entry) {
                Some(image) => image,
                None => {
                    let image = make()?;
                    // Not of a file that was replaced meanwhile.
                    if set.path(index).and_then(|path| folder.entry(&path)).as_ref() == Some(&entry) {
                        folder.write(&entry, &image);
                    }
                    image
                }
            },
        };
        self.keep(index, &image);
        Ok(image)
    }

    fn keep(&self, index: usize, image: &RgbImage) {
        let Some(slot) = self.images.get(index) else { return };
        let size = image.as_raw().len();
        let taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(size));
        if taken.is_ok() && slot.set(image.clone()).is_err() {
            // Another thread was faster.
            self.room.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// What the user should hear since it was last asked for.
    pub fn notes(&self) -> Vec<String> {
        self.folder
            .as_ref()
            .map_or_else(Vec::new, |folder| std::mem::take(&mut *folder.notes.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Entries on the disk.
struct Folder {
    path: PathBuf,
    treatment: String,
    limit: u64,
    by_content: bool,
    used: AtomicU64,
    /// Whether nothing is written any more.
    closed: AtomicBool,
    damage_told: AtomicBool,
    notes: Mutex<Vec<String>>,
}

impl Folder {
    fn open(path: &Path, treatment: String, options: &CacheOptions) -> Result<Folder> {
        std::fs::create_dir_all(path).map_err(Error::io("cannot make the cache folder", path))?;
        temporaries::sweep(path);
        let used = AtomicU64::new(size_below(path));
        let treatment = format!("{} {treatment}", env!("CARGO_PKG_VERSION"));
        let (closed, damage_told, notes) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        let (limit, by_content) = (options.folder_bytes, options.by_content);
        Ok(Folder { path: path.to_path_buf(), treatment, limit, by_content, used, closed, damage_told, notes })
    }

    /// The file for an image; `None` where that is not there.
    fn entry(&self, image: &Path) -> Option<PathBuf> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(std::path::absolute(image).ok()?.as_os_str().as_encoded_bytes());
        part(self.treatment.as_bytes());
        match self.by_content {
            true => part(blake3::hash(&regular::read(image).ok()?).as_bytes()),
            false => part(&stamp(&std::fs::metadata(image).ok()?)?),
        }
        let name = hasher.finalize().to_hex();
        Some(self.path.join(name.get(..2)?).join(format!("{}.rgb", name.get(2..)?)))
    }

    fn tell(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn read(&self, entry: &Path) -> Option<RgbImage> {
        std::fs::symlink_metadata(entry).ok()?;
        let image = pixels(entry);
        if image.is_none() && !self.damage_told.swap(true, Ordering::Relaxed) {
            self.tell(format!(
                "the cache folder {} has damaged entries, such as {}: their images are decoded again",
                self.path.display(),
                entry.display()
            ));
        }
        image
    }

    fn write(&self, entry: &Path, image: &RgbImage) {
        let size = image.as_raw().len().saturating_add(HEADER) as u64;
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        if self.used.fetch_add(size, Ordering::Relaxed).saturating_add(size) > self.limit {
            self.close(format!("has reached its limit of {} MB", self.limit >> 20));
        } else if let Err(error) = put(&self.path, entry, image) {
            self.close(format!("cannot be written to: {error}"));
        }
    }

    fn close(&self, why: String) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.tell(format!("the cache folder {} {why}; further images are decoded each time", self.path.display()));
        }
    }
}

/// Whole or not at all: other processes read meanwhile.
fn put(folder: &Path, entry: &Path, image: &RgbImage) -> std::io::Result<()> {
    if let Some(parent) = entry.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Its parts: errors of the whole name the temporary file, which is nobody's business.
    let (mut file, temporary) = temporaries::builder(0o666).tempfile_in(folder).map_err(plain)?.into_parts();
    let _pending = PendingOutput::new(&temporary, entry);
    file.write_all(MAGIC)?;
    file.write_all(&image.width().to_le_bytes())?;
    file.write_all(&image.height().to_le_bytes())?;
    file.write_all(blake3::hash(image.as_raw()).as_bytes())?;
    file.write_all(image.as_raw())?;
    drop(file);
    temporary.persist(entry).map_err(|e| e.error)
}

/// What says, short of its content, whether a file is the same as before. The time of change of its entry cannot be set by anybody.
fn stamp(found: &std::fs::Metadata) -> Option<Vec<u8>> {
    let changed = found.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let mut all = [found.len().to_le_bytes().as_slice(), &changed.as_nanos().to_le_bytes()].concat();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        all.extend([found.ctime(), found.ctime_nsec()].iter().flat_map(|n| n.to_le_bytes()));
        all.extend([found.dev(), found.ino()].iter().flat_map(|n| n.to_le_bytes()));
    }
    Some(all)
}

/// The pixels of an entry; `None` where it is damaged. No more is read than its header says.
fn pixels(entry: &Path) -> Option<RgbImage> {
    let (mut file, length) = regular::open(entry).ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let header = header.as_slice();
    let number = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let (width, height) = (number(8)?, number(12)?);
    let hash: [u8; 32] = header.get(16..HEADER)?.try_into().ok()?;
    let size = u64::from(width).checked_mul(u64::from(height))?.checked_mul(3)?;
    if !header.starts_with(MAGIC) || size.checked_add(HEADER as u64)? != length || size > MAX_PIXELS.saturating_mul(3) {
        return None;
    }
    let mut content = vec![];
    content.try_reserve_exact(usize::try_from(size).ok()?).ok()?;
    file.take(size).read_to_end(&mut content).ok()?;
    if blake3::hash(&content) != hash { None } else { RgbImage::from_raw(width, height, content) }
}

/// Bytes of the entries in a cache folder.
fn size_below(path: &Path) -> u64 {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries(path).flat_map(|folder| entries(&folder.path()));
    files.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
}
