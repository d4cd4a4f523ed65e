//! Image files: what is read as Pillow reads it, and what was cut off or is too large.

use spgraph::Error;
use spgraph::data::load_image;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

/// The files of `tests/generate/images.py`, and for each what Pillow's `convert("RGB")` makes of it, as a PNG.
fn files() -> Vec<(String, image::RgbImage)> {
    let mut names: Vec<String> = std::fs::read_dir(folder()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".golden.png"));
    names.sort();
    assert!(names.len() > 30, "{names:?}");
    let golden = |name: &String| image::open(folder().join(format!("{name}.golden.png"))).unwrap().into_rgb8();
    names.into_iter().map(|name| (name.clone(), golden(&name))).collect()
}

#[test]
fn pixels_are_those_of_pillow() {
    for (name, golden) in files() {
        let image = load_image(&folder().join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(image.dimensions(), golden.dimensions(), "{name}");
        let differences: Vec<u8> = image.as_raw().iter().zip(golden.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
        let (most, mean) =
            (*differences.iter().max().unwrap(), differences.iter().map(|&d| d as f64).sum::<f64>() / differences.len() as f64);
        // Colours at half the resolution are brought to the whole one by filters that differ between libraries; all else is rounding.
        let (allowed, on_average) = match name.as_str() {
            "lossy.jpg" | "lossy_progressive.jpg" | "lossy_subsampled.jpe" | "lossy_restart.jpg" | "lossy_comment.jpg" => (12, 1.0),
            name if name.starts_with("lossy") => (3, 0.7),
            name if name.contains("cmyk") => (1, 0.5),
            _ => (0, 0.0),
        };
        assert!(most <= allowed && mean <= on_average, "{name} differs by {most}, {mean:.3} on average");
    }
}

#[test]
fn a_file_that_was_cut_is_refused_or_gives_the_same_pixels() {
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in files() {
        let whole = std::fs::read(folder().join(&name)).unwrap();
        let pixels = load_image(&folder().join(&name)).unwrap();
        let path = dir.path().join(&name);
        let mut refused = 0;
        let step = (whole.len() / 50).max(1);
        let lengths: Vec<usize> = (0..whole.len()).step_by(step).chain(whole.len().saturating_sub(12)..whole.len()).collect();
        for &length in &lengths {
            std::fs::write(&path, &whole[..length]).unwrap();
            match load_image(&path) {
                Ok(image) => assert!(image == pixels, "{name} cut to {length} of {} bytes gives other pixels", whole.len()),
                Err(error) => {
                    assert!(matches!(error, Error::Data(_)) && error.to_string().contains(&name), "{error}");
                    refused += 1;
                }
            }
        }
        // What may be missing are trailing blocks that hold no pixels, and a second frame.
        let least = if name == "two.gif" { 3 } else { 8 };
        assert!(refused * 10 >= lengths.len() * least, "{name}: only {refused} of {} were refused", lengths.len());
    }
}

/// Where the coded data of a JPEG begin, and where its last marker does.
fn coded(bytes: &[u8]) -> (usize, usize) {
    let scan = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
    (
        scan + 2 + usize::from(u16::from_be_bytes([bytes[scan + 2], bytes[scan + 3]])),
        bytes.windows(2).rposition(|w| w == [0xff, 0xd9]).unwrap(),
    )
}

/// Whether a part of a file ends where a table of codes or the header of a pass begins.
fn between_passes(whole: &[u8], length: usize) -> bool {
    let begins = |at: usize| matches!(whole[at..], [0xff, 0xc4 | 0xda, ..]);
    begins(length) || begins(length - 1)
}

/// Tools close what they cut: decoders make a whole picture of it.
#[test]
fn a_jpeg_that_was_cut_and_closed_is_refused_or_gives_the_same_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for (name, _) in files().into_iter().filter(|(name, _)| std::fs::read(folder().join(name)).unwrap().starts_with(&[0xff, 0xd8])) {
        let whole = std::fs::read(folder().join(&name)).unwrap();
        let pixels = load_image(&folder().join(&name)).unwrap();
        let path = dir.path().join(&name);
        let (first, last) = coded(&whole);
        let mut refused = 0;
        for length in first..last {
            std::fs::write(&path, [&whole[..length], &[0xff, 0xd9]].concat()).unwrap();
            match load_image(&path) {
                // Between two passes nothing says that there were to be more of them.
                Ok(_) if between_passes(&whole, length) => {}
                Ok(image) => assert!(image == pixels, "{name} with {length} of {last} bytes gives other pixels"),
                Err(error) => {
                    assert!(matches!(error, Error::Data(_)) && error.to_string().contains(&name), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused * 10 >= (last - first) * 8, "{name}: only {refused} of {} were refused", last - first);
        tried += 1;
    }
    assert!(tried >= 8, "{tried}");
}

/// A bit that fell over: what follows it is grey in decoders that find no symbol.
#[test]
fn a_jpeg_whose_data_hold_no_symbol_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.jpg");
    let mut whole = std::fs::read(folder().join("lossy_whole.jfif")).unwrap();
    let (first, last) = coded(&whole);
    // No code is all ones.
    let middle = (first + last) / 2;
    for byte in whole[middle..middle + 8].chunks_exact_mut(2) {
        byte.copy_from_slice(&[0xff, 0]);
    }
    std::fs::write(&path, whole).unwrap();
    let error = load_image(&path).unwrap_err().to_string();
    assert!(error.contains("damaged.jpg") && error.contains("its image data are damaged"), "{error}");
}

#[test]
fn spoilt_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], part: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = load_image(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part) && error.contains("remove it"), "{error}");
    };
    refused("empty.jpg", b"", "empty");
    refused("text.png", b"no picture", "no known image format");
    let mut png = std::fs::read(folder().join("rgb.png")).unwrap();
    let data = png.windows(4).position(|w| w == b"IDAT").unwrap();
    let length = u32::from_be_bytes(png[data - 4..data].try_into().unwrap()) as usize;
    png[data + 4 + length] ^= 1;
    refused("crc.png", &png, "CRC");
    // What is said of its size is enough: nothing is decoded. 30000×20000 pixels in a few bytes.
    refused("bomb.ppm", b"P6\n30000 20000\n255\n", "too large");
    refused("wide.pgm", b"P5\n19000 19000\n255\n", "19000×19000");
}
