//! Hashes that files carry of themselves, so that a bit that changed on the disk is noticed when they are read.
//!
//! A sealed JSON object begins with its BLAKE3 hash, `"blake3"`, and ends with `"sealed": true`. The hash is that of the file with zeros in its own
//! place. Both are there so that no small damage makes a sealed file look like one of an older version, which had no hash.

use crate::error::{Error, Result};
use crate::storage::notices;
use crate::storage::regular;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The field with the hash.
pub const HASH: &str = "blake3";
/// The last field.
pub const SEALED: &str = "sealed";
/// Hexadecimal digits of a hash.
pub const DIGITS: usize = 64;
/// What stands in a hash's place while it is computed.
pub const ZEROS: [u8; DIGITS] = [b'0'; DIGITS];

/// From here on several threads hash faster than one.
const PARALLEL: usize = 1 << 18;
/// What stands before the hash in a JSON file.
const START: &str = "{\n  \"blake3\": \"";
/// The most bytes of such a file.
const MOST: u64 = 256 << 20;

/// Takes more bytes in, on several threads where that pays.
pub fn update(hasher: &mut blake3::Hasher, data: &[u8]) {
    if data.len() >= PARALLEL {
        hasher.update_rayon(data)
    } else {
        hasher.update(data)
    };
}

/// The BLAKE3 hash in hexadecimal.
pub fn of(data: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    update(&mut hasher, data);
    hasher.finalize().to_hex().to_string()
}

/// The hash of `data` with zeros in the [`DIGITS`] bytes from `at` on; `None` where it has no such bytes.
pub fn around(data: &[u8], at: usize) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    update(&mut hasher, data.get(..at)?);
    hasher.update(&ZEROS);
    update(&mut hasher, data.get(at.checked_add(DIGITS)?..)?);
    Some(hasher.finalize().to_hex().to_string())
}

/// Writes the hash into `data`, which has [`ZEROS`] in its place. False, and nothing done, where it has not.
pub fn set(data: &mut [u8], at: usize) -> bool {
    let Some(hash) = around(data, at) else { return false };
    match data.get_mut(at..at.saturating_add(DIGITS)) {
        Some(place) if *place == ZEROS => place.copy_from_slice(hash.as_bytes()),
        _ => return false,
    }
    true
}

/// Whether the bytes from `at` on are the hash of the rest. Gives the hash, or why not.
pub fn check(data: &[u8], at: usize) -> Result<String, String> {
    let stated = data.get(at..at.saturating_add(DIGITS)).ok_or("it ends too early")?;
    match around(data, at) {
        Some(found) if found.as_bytes() == stated => Ok(found),
        _ => Err("its content does not have the hash that it was written with, so some of it was changed since".into()),
    }
}

/// The value as an indented, sealed JSON object.
pub fn to_json(value: &impl Serialize) -> std::result::Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    let inner = text.strip_prefix("{\n").and_then(|t| t.strip_suffix("\n}")).ok_or("it is no object with fields")?;
    let zeros = "0".repeat(DIGITS);
    let mut data = format!("{START}{zeros}\",\n{inner},\n  \"{SEALED}\": true\n}}\n").into_bytes();
    if !set(&mut data, START.len()) {
        return Err("it cannot be sealed".into());
    }
    String::from_utf8(data).map_err(|e| e.to_string())
}

/// What was read of a JSON file.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Without the fields of the seal.
    pub value: Value,
    /// As it stands in the file. Read from here, a float32 is the one that was written; by way of [`Opened::value`] it is rounded twice.
    pub text: String,
    /// The hash; `None` in a file of an older version.
    pub hash: Option<String>,
}

/// Reads a JSON object and checks its seal. Fails, with the reason, for what is damaged.
pub fn from_json(text: &str) -> Result<Opened, String> {
    let mut hash = None;
    if text.starts_with(START) {
        hash = Some(check(text.as_bytes(), START.len())?);
    }
    let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if let Some(object) = value.as_object_mut() {
        let (stated, sealed) = (object.remove(HASH), object.remove(SEALED));
        if hash.is_none() && (stated.is_some() || sealed.is_some()) {
            return Err("it was written with a hash, which is not where it belongs, so the file was changed since".into());
        }
    }
    Ok(Opened { value, text: text.into(), hash })
}

/// Reads a sealed file. `refused` makes the error for what is damaged. One of an older version, without a hash, is read too, and said.
pub fn read_json(path: &Path, reading: &'static str, refused: impl Fn(String) -> Error) -> Result<Opened> {
    let data = regular::read_at_most(path, MOST).map_err(Error::io(reading, path))?;
    let text = std::str::from_utf8(&data).map_err(|e| refused(e.to_string()))?;
    let opened = from_json(text).map_err(refused)?;
    if opened.hash.is_none() {
        unsealed(path);
    }
    Ok(opened)
}

/// Says that a file cannot be checked.
pub fn unsealed(path: &Path) {
    notices::leave(format!(
        "{} has no hash of its own, as files of older versions and other programs: damage to it would not be noticed",
        path.display()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Example {
        format: u32,
        text: &'static str,
        values: Vec<f64>,
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = to_json(&Example { format: 2, text: "é \"x\"", values: vec![0.1, -0.0, 5e-324] }).unwrap();
        let opened = from_json(&sealed).unwrap();
        assert_eq!(opened.hash.unwrap().len(), DIGITS);
        assert_eq!(opened.value, serde_json::json!({ "format": 2, "text": "é \"x\"", "values": [0.1, -0.0, 5e-324] }));
        for bit in 0..8 * sealed.len() {
            let mut data = sealed.clone().into_bytes();
            data[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = std::str::from_utf8(&data) {
                assert!(from_json(text).is_err(), "bit {bit}: {text}");
            }
        }
        for cut in 0..sealed.len() - 1 {
            assert!(sealed.get(..cut).is_none_or(|text| from_json(text).is_err()), "{cut}");
        }
    }

    #[test]
    fn older_files_are_read() {
        let opened = from_json("{\n  \"format\": 1\n}\n").unwrap();
        assert_eq!((opened.hash, opened.value), (None, serde_json::json!({ "format": 1 })));
    }

    #[test]
    fn the_hash_is_blake3_on_any_number_of_threads() {
        // Of the BLAKE3 reference: the hash of no input.
        assert_eq!(of(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        let data: Vec<u8> = (0..3 << 18).map(|i| (i % 251) as u8).collect();
        assert_eq!(of(&data), blake3::hash(&data).to_hex().to_string());
    }
}
