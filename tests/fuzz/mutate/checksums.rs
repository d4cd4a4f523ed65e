//! Formats with checksums, which are made right again after a mutation: else nothing behind them is ever reached.

use super::{Random, bytes, text};

/// That of PNG and ZIP.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Of any image; a PNG gets the checksums of its chunks again most of the time.
pub fn image(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes(seed, random);
    if !out.starts_with(PNG) || random.below(8) == 0 {
        return out;
    }
    let mut at = PNG.len();
    while let Some(length) = out.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize) {
        let Some(end) = at.checked_add(8).and_then(|from| from.checked_add(length)).filter(|end| end + 4 <= out.len()) else { break };
        let crc = crc32(&out[at + 4..end]);
        out[end..end + 4].copy_from_slice(&crc.to_be_bytes());
        at = end + 4;
    }
    out
}

/// A ZIP file that stores its entries.
pub fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, data) in entries {
        let offset = out.len() as u32;
        let (crc, size) = (crc32(data).to_le_bytes(), (data.len() as u32).to_le_bytes());
        // Version, flags, method, time and date; checksum, sizes, and lengths of names.
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &crc, &size, &size, &(name.len() as u16).to_le_bytes(), &[0, 0]].concat();
        out.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let (count, size, offset) =
        ((entries.len() as u16).to_le_bytes(), (directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes());
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &offset, &[0, 0]].concat());
    out
}

/// The entries of a ZIP file of [`zip`].
fn entries(mut data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    while data.starts_with(b"PK\x03\x04") && data.len() >= 30 {
        let size = u32::from_le_bytes([data[18], data[19], data[20], data[21]]) as usize;
        let name = u16::from_le_bytes([data[26], data[27]]) as usize;
        let (Some(text), Some(content)) = (data.get(30..30 + name), data.get(30 + name..(30 + name).saturating_add(size))) else { break };
        found.push((String::from_utf8_lossy(text).into_owned(), content.to_vec()));
        data = &data[30 + name + size..];
    }
    found
}

/// An array as NumPy writes it.
pub fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    with_npy_header(&format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"), data)
}

fn with_npy_header(header: &str, data: &[u8]) -> Vec<u8> {
    let width = (header.len() + 11).next_multiple_of(64) - 11;
    let header = format!("{header:<width$}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

impl Random {
    /// One of a ZIP's arrays is changed, and checksums fit again; or bytes of it.
    pub fn archive(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut found = entries(seed);
        if found.is_empty() || self.below(5) == 0 {
            return bytes(seed, self);
        }
        let at = self.below(found.len());
        let (name, data) = &mut found[at];
        match self.below(12) {
            0 => *name = String::from_utf8_lossy(&text(name.as_bytes(), self)).into_owned(),
            1 | 2 => *data = bytes(data, self),
            _ => {
                let length = data.get(8..10).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]) as usize);
                if let Some(header) = data.get(10..10 + length) {
                    let header = String::from_utf8_lossy(&text(header, self)).trim_end().to_string();
                    *data = with_npy_header(&header, &data[10 + length..]);
                }
            }
        }
        let list: Vec<(&str, Vec<u8>)> = found.iter().map(|(n, d)| (n.as_str(), d.clone())).collect();
        zip(&list)
    }
}

#[test]
fn checksums_are_those_of_the_formats() {
    // The check value of CRC-32.
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let list = [("a.npy", npy("|u1", "(3,)", &[1, 2, 3])), ("b.npy", npy("<f4", "()", &[0; 4]))];
    let found = entries(&zip(&list));
    assert!(found.iter().map(|(n, d)| (n.as_str(), d)).eq(list.iter().map(|(n, d)| (*n, d))));
}
