//! From an image file to pixels.

use super::completeness::cut_off;
use super::jpeg_scans;
use super::listing::leads_nowhere;
use crate::bundle::MAX_SIDE;
use crate::error::{Error, Result};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// Most pixels of an image: a small file can claim to be a huge one. Pillow's limit, too.
pub const MAX_PIXELS: u64 = 178_956_970;
/// Most bytes of a file.
const MAX_FILE: u64 = 1 << 30;
/// What all threads together may decode into at a time. One image that needs more waits until it is alone.
const MAX_TOGETHER: u64 = 1 << 30;

/// Reads an image as 8-bit RGB, upright.
///
/// The format is recognised by the content, whatever the file is called. Grey, 16-bit, palette and CMYK images are
/// converted; an alpha channel is dropped (as by PIL's `convert("RGB")`); the EXIF orientation is applied; of several frames the first is taken.
/// Fails, with the name of the file, for what cannot be read, for a file that was cut off, and for images over [`MAX_SIDE`] or [`MAX_PIXELS`].
pub fn load_image(path: &Path) -> Result<RgbImage> {
    let bytes = read(path)?;
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(Error::io("cannot read the image", path))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(MAX_SIDE), Some(MAX_SIDE), Some(4 * MAX_PIXELS * 3));
    reader.limits(limits);
    let Some(format) = reader.format() else {
        return Err(unreadable(path, "its content is no known image format"));
    };
    let whole = || match cut_off(format, &bytes) {
        Some(missing) => Err(unreadable(path, &format!("the file was cut off, {missing}"))),
        None => Ok(()),
    };
    let mut decoder = reader.into_decoder().map_err(|e| match e {
        ImageError::Limits(_) => undecodable(path, e),
        _ => whole().err().unwrap_or_else(|| undecodable(path, e)),
    })?;
    // Not every decoder checks the limits itself before it is asked for pixels.
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width).saturating_mul(height.into());
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(too_large(path, width, height));
    }
    if pixels == 0 {
        return Err(unreadable(path, "it has no pixels"));
    }
    whole()?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(unreadable(path, "its pixels are floating-point numbers, whose range is not known"));
    }
    // A JPEG in several passes is decoded into coefficients of 16 bits first, and RGB is made of what was decoded.
    let each = if format == ImageFormat::Jpeg { 11 } else { 3 };
    let _room = Room::wait(decoder.total_bytes().saturating_add(pixels.saturating_mul(each)));
    // What decoders pass over without a word.
    if let Some(why) = jpeg_scans::fault(&bytes).filter(|_| format == ImageFormat::Jpeg) {
        return Err(unreadable(path, why));
    }
    // A damaged EXIF block is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| undecodable(path, e))?;
    picture.apply_orientation(orientation);
    if picture.width() == 0 || picture.height() == 0 {
        return Err(unreadable(path, "it has no pixels"));
    }
    Ok(to_rgb(picture))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |e| if path.exists() { Error::io("cannot open the image", path)(e) } else { leads_nowhere(path, e) };
    // Opening a pipe would wait for somebody to write into it.
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unreadable(path, "it is no regular file"));
    }
    let mut bytes = vec![];
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io("cannot read the image", path))?;
    match bytes.len() as u64 {
        0 => Err(unreadable(path, "the file is empty")),
        n if n > MAX_FILE => Err(unreadable(path, "the file has more than 1 GiB")),
        _ => Ok(bytes),
    }
}

fn to_rgb(picture: DynamicImage) -> RgbImage {
    match picture.color() {
        ColorType::Rgb8 => picture.into_rgb8(),
        // The top byte, as libpng has it.
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let wide = picture.into_rgb16();
            let narrow = wide.as_raw().iter().map(|v| (v >> 8) as u8).collect();
            // `from_raw` only fails when there are too few values, and there are as many as before.
            RgbImage::from_raw(wide.width(), wide.height(), narrow).unwrap_or_default()
        }
        _ => picture.into_rgb8(),
    }
}

/// What to do about an image that cannot be read.
const ADVICE: &str = ". Convert it to JPEG, PNG, WebP or BMP, or remove it";
const CANNOT_READ: &str = "cannot read the image ";

fn unreadable(path: &Path, why: &str) -> Error {
    Error::data(format!("{CANNOT_READ}{}: {why}{ADVICE}", path.display()))
}

/// Why an image cannot be read, for a list of such reasons: the path and the reason alone.
pub(super) fn short(error: &str) -> &str {
    let error = error.strip_prefix(CANNOT_READ).unwrap_or(error);
    error.strip_suffix(ADVICE).unwrap_or(error)
}

fn too_large(path: &Path, width: u32, height: u32) -> Error {
    Error::data(format!(
        "the image {} is too large, {width}×{height} pixels: at most {MAX_SIDE} a side and {} million in all are read. Make it smaller, or remove it",
        path.display(),
        MAX_PIXELS / 1_000_000
    ))
}

fn undecodable(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => unreadable(
            path,
            &format!("it is too large: at most {MAX_SIDE} pixels a side and {} million in all are read", MAX_PIXELS / 1_000_000),
        ),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            unreadable(path, "the file was cut off, it ends too early")
        }
        other => unreadable(path, &other.to_string()),
    }
}

/// A part of the memory that decoding may take, shared by all threads.
struct Room(u64);

/// Bytes in use.
static TAKEN: Mutex<u64> = Mutex::new(0);
static RETURNED: Condvar = Condvar::new();

impl Room {
    /// Waits until there is room, or nobody else decodes.
    fn wait(bytes: u64) -> Room {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u64| *taken > 0 && taken.saturating_add(bytes) > MAX_TOGETHER;
        let mut taken = RETURNED.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_add(bytes);
        Room(bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(self.0);
        drop(taken);
        RETURNED.notify_all();
    }
}
