//! Files that hold several pictures: animations, and the pages of a TIFF. The first one is taken, and that is said.

use super::image_set::ImageSet;
use super::listing::few;
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What says whether a PNG or WebP moves lies before its pixels.
const HEAD: u64 = 1 << 16;
/// A GIF's second picture and a TIFF's second page may lie anywhere.
const WHOLE: u64 = 1 << 30;

/// What to tell of those among `images`, which can be read.
pub(super) fn note(images: &ImageSet) -> Option<String> {
    let several = |&i: &usize| images.path(i).is_some_and(|path| several(&path));
    let found: Vec<usize> = (0..images.len()).into_par_iter().filter(several).collect();
    let names: Vec<String> = found.iter().map(|&i| images.name(i)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} of the {} images of {} hold several pictures each, of which the first is taken: {}",
            names.len(),
            images.len(),
            images.root().display(),
            few(&names)
        )
    })
}

/// Whether a file that can be read has more than one picture.
fn several(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    // Most images are these, which have one.
    if ["jpg", "jpeg", "bmp"].iter().any(|e| ending == *e) {
        return false;
    }
    let read = |most: u64| {
        let mut bytes = vec![];
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        read.map(|_| bytes).unwrap_or_default()
    };
    let head = read(HEAD);
    match head.get(..4) {
        Some(b"GIF8") => gif(&read(WHOLE)).unwrap_or(false),
        Some(b"\x89PNG") => png(&head).unwrap_or(false),
        // The extended header's second flag.
        Some(b"RIFF") => head.get(8..16) == Some(b"WEBPVP8X") && head.get(20).is_some_and(|flags| flags & 2 != 0),
        Some(b"II*\0") => tiff(&read(WHOLE), u16::from_le_bytes, u32::from_le_bytes).unwrap_or(false),
        Some(b"MM\0*") => tiff(&read(WHOLE), u16::from_be_bytes, u32::from_be_bytes).unwrap_or(false),
        _ => false,
    }
}

/// Bytes of a table of colours whose size the flags give.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) }
}

/// Walks over the blocks to a second picture. `None` where they end early.
fn gif(bytes: &[u8]) -> Option<bool> {
    let mut at = colours(*bytes.get(10)?).checked_add(13)?;
    let mut pictures = false;
    loop {
        match *bytes.get(at)? {
            0x21 => at = at.checked_add(2)?,
            0x2c => {
                if std::mem::replace(&mut pictures, true) {
                    return Some(true);
                }
                at = at.checked_add(11)?.checked_add(colours(*bytes.get(at.checked_add(9)?)?))?;
            }
            _ => return Some(false),
        }
        // Blocks of data, up to an empty one.
        loop {
            let size = usize::from(*bytes.get(at)?);
            at = at.checked_add(1)?.checked_add(size)?;
            if size == 0 {
                break;
            }
        }
    }
}

/// Whether the chunk of an animation lies before the pixels.
fn png(bytes: &[u8]) -> Option<bool> {
    let mut at = 8usize;
    loop {
        let chunk = bytes.get(at..)?.first_chunk::<8>()?;
        let [a, b, c, d, kind @ ..] = *chunk;
        match &kind {
            b"acTL" => return Some(true),
            b"IDAT" | b"IEND" => return Some(false),
            _ => at = at.checked_add(12)?.checked_add(u32::from_be_bytes([a, b, c, d]) as usize)?,
        }
    }
}

/// Whether the first directory names another.
fn tiff(bytes: &[u8], short: fn([u8; 2]) -> u16, long: fn([u8; 4]) -> u32) -> Option<bool> {
    let first = long(*bytes.get(4..)?.first_chunk()?) as usize;
    let entries = usize::from(short(*bytes.get(first..)?.first_chunk()?));
    let next = entries.checked_mul(12)?.checked_add(2)?.checked_add(first)?;
    Some(long(*bytes.get(next..)?.first_chunk()?) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame, ImageFormat, RgbImage, RgbaImage};
    use std::io::Cursor;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 5])).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn moving(frames: u8) -> Vec<u8> {
        let mut bytes = vec![];
        let all = (0..frames).map(|i| {
            Frame::from_parts(RgbaImage::from_pixel(9, 7, image::Rgba([i * 60, 0, 9, 255])), 0, 0, Delay::from_numer_denom_ms(50, 1))
        });
        GifEncoder::new(&mut bytes).encode_frames(all).unwrap();
        bytes
    }

    #[test]
    fn several_pictures_are_told_from_one() {
        let dir = tempfile::tempdir().unwrap();
        let is = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            several(&dir.path().join(name))
        };
        for (name, format) in [
            ("a.png", ImageFormat::Png),
            ("a.gif", ImageFormat::Gif),
            ("a.tiff", ImageFormat::Tiff),
            ("a.webp", ImageFormat::WebP),
            ("a.jpg", ImageFormat::Jpeg),
        ] {
            let bytes = encoded(format);
            assert!(!is(name, &bytes), "{name}");
            // Cut off anywhere they are no reason for a word, and none to crash.
            (0..bytes.len()).for_each(|n| {
                is(name, &bytes[..n]);
            });
        }
        assert!(!is("one.gif", &moving(1)) && is("two.gif", &moving(2)) && is("many", &moving(4)));
        let png = encoded(ImageFormat::Png);
        let chunk = [&8u32.to_be_bytes()[..], b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0], &[0; 4]].concat();
        assert!(is("moves.png", &[&png[..33], &chunk, &png[33..]].concat()));
        let mut tiff = encoded(ImageFormat::Tiff);
        let first = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
        let entries = u16::from_le_bytes(tiff[first..first + 2].try_into().unwrap()) as usize;
        tiff[first + 2 + 12 * entries] = 8;
        assert!(is("pages.tiff", &tiff));
        let extended = |flags: u8| [&b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0"[..], &[flags], &[0; 9]].concat();
        assert!(is("moves.webp", &extended(2)) && !is("alpha.webp", &extended(0x10)));
    }
}
