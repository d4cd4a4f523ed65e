//! Whether an image file has its end. Decoders fill with grey what a file that was cut off lacks, and half an image is no training data.

use image::ImageFormat;

/// What is missing, where the file ends before its image does. What this does not see is left to the decoder, which fails for lack of bytes.
pub(super) fn cut_off(format: ImageFormat, bytes: &[u8]) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => (!jpeg_ends(bytes)).then_some("it has no end marker (EOI)"),
        ImageFormat::WebP => (!riff_ends(bytes)).then_some("it is shorter than its header says"),
        ImageFormat::Gif => (!gif_ends(bytes)).then_some("its first frame has no end"),
        ImageFormat::Bmp => (!bmp_ends(bytes)).then_some("it is shorter than its header says"),
        // The last of the numbers may lack digits.
        ImageFormat::Pnm => (matches!(bytes.get(..2), Some(b"P2" | b"P3")) && bytes.last().is_some_and(u8::is_ascii_digit))
            .then_some("nothing follows its last number, which may have lost digits"),
        _ => None,
    }
}

/// Goes from marker to marker, over the coded data, until EOI. A thumbnail inside a segment is passed over with it.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2usize;
    loop {
        // To the next marker: FF, any number of further FF, and a byte that is neither 0 (FF as data) nor a restart.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) else { return false };
        at = at.saturating_add(found);
        at = at.saturating_add(bytes.get(at..).unwrap_or_default().iter().take_while(|b| **b == 0xff).count());
        let Some(&marker) = bytes.get(at) else { return false };
        at = at.saturating_add(1);
        match marker {
            0xd9 => return true,
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
                Some(length) => at = at.saturating_add(usize::from(u16::from_be_bytes(*length))),
                None => return false,
            },
        }
    }
}

fn little_endian(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

/// Some writers leave away the last byte of padding.
fn riff_ends(bytes: &[u8]) -> bool {
    little_endian(bytes, 4).is_some_and(|size| (bytes.len() as u64).saturating_add(1) >= size.saturating_add(8))
}

/// Up to the end of the first image's data, block by block.
fn gif_ends(bytes: &[u8]) -> bool {
    first_frame_ends(bytes).is_some()
}

fn first_frame_ends(bytes: &[u8]) -> Option<()> {
    let table = |flags: u8| -> usize { if flags & 0x80 != 0 { 6 << (flags & 7) } else { 0 } };
    let mut at = table(*bytes.get(10)?).checked_add(13)?;
    loop {
        let image = match bytes.get(at)? {
            0x2c => {
                at = at.checked_add(11)?.checked_add(table(*bytes.get(at.checked_add(9)?)?))?;
                true
            }
            0x21 => {
                at = at.checked_add(2)?;
                false
            }
            // The trailer, before any image: the decoder has to say.
            _ => return Some(()),
        };
        loop {
            let length = usize::from(*bytes.get(at)?);
            at = at.checked_add(length)?.checked_add(1)?;
            if length == 0 {
                break;
            }
        }
        if image {
            return Some(());
        }
    }
}

/// Uncompressed rows must all be there.
fn bmp_ends(bytes: &[u8]) -> bool {
    let number = |at| little_endian(bytes, at);
    let Some((start, header)) = number(10).zip(number(14)) else { return false };
    if header < 40 {
        return true;
    }
    let Some(((width, height), (depth, compression))) = number(18).zip(number(22)).zip(number(28).zip(number(30))) else { return false };
    let (width, height, depth) =
        (u64::from((width as u32 as i32).unsigned_abs()), u64::from((height as u32 as i32).unsigned_abs()), depth & 0xffff);
    let row = width.saturating_mul(depth).div_ceil(32).saturating_mul(4);
    match compression {
        0 | 3 | 6 => bytes.len() as u64 >= start.saturating_add(row.saturating_mul(height)),
        // Run lengths end with a mark of their own.
        1 | 2 => bytes.ends_with(&[0, 1]) || number(34).is_some_and(|size| size > 0 && bytes.len() as u64 >= start.saturating_add(size)),
        _ => true,
    }
}
