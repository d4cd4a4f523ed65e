//! Decoding and preprocessing against Pillow and torchvision: the fixtures come from `tests/generate/data.py`.

use spgraph::Error;
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{MAX_SIDE, Recipe, Region, load_image, resize};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

/// (largest, mean) absolute difference.
fn difference(a: impl IntoIterator<Item = f32>, b: impl IntoIterator<Item = f32>) -> (f32, f32) {
    let all: Vec<f32> = a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    (all.iter().copied().fold(0.0, f32::max), all.iter().sum::<f32>() / all.len() as f32)
}

#[test]
fn evaluation_agrees_with_torchvision() {
    let grey = Preprocessing { resize: 32, mean: vec![0.5], std: vec![0.25], ..Preprocessing::default() };
    let color = |resize| Preprocessing { resize, ..Preprocessing::default() };
    for (file, golden, preprocessing, side) in [
        ("wide.png", "wide-32-24.bin", color(32), 24),
        ("tall.png", "tall-32-24.bin", color(32), 24),
        ("wide.png", "wide-15-12.bin", color(15), 12),
        ("wide.png", "wide-32-24-grey.bin", grey, 24),
    ] {
        let channels = preprocessing.mean.len() as i64;
        let recipe = Recipe::new(&preprocessing, &[-1, channels, side, side]).unwrap();
        let ours = recipe.evaluate(&load_image(&fixture(file)).unwrap()).unwrap().into_raw_vec_and_offset().0;
        let theirs = floats(golden);
        assert_eq!(ours.len(), theirs.len());
        // One step of 1/255, in normalised units, for rounding; two for grey, which Pillow rounds before it resizes.
        let step = 1.0 / 255.0 / preprocessing.std.iter().copied().fold(1.0, f32::min);
        let (largest, mean) = difference(ours, theirs);
        let (most, usual) = if channels == 1 { (2.0, 0.45) } else { (1.01, 0.25) };
        assert!(largest <= most * step && mean <= usual * step, "{golden}: largest {largest}, mean {mean}, step {step}");
    }
}

#[test]
fn a_resized_region_agrees_with_torchvision() {
    let image = load_image(&fixture("wide.png")).unwrap();
    let ours = resize(&image, Region { left: 11, top: 9, width: 40, height: 30 }, 16, 16).unwrap();
    let planes = (0..3).flat_map(|c| ours.pixels().map(move |p| p[c] as f32 / 255.0));
    let (largest, mean) = difference(planes, floats("wide-region.bin"));
    assert!(largest <= 1.01 / 255.0 && mean < 0.25 / 255.0, "largest {largest}, mean {mean}");
}

#[test]
fn every_kind_of_file_is_read_as_pillow_reads_it() {
    // (file, tolerance): lossless formats exactly; JPEG decoders may differ by rounding.
    for (name, tolerance) in [
        ("alpha.png", 0),
        ("palette.png", 0),
        ("grey16.png", 0),
        ("lossless.webp", 0),
        ("plain.bmp", 0),
        ("grey.jpg", 2),
        ("turned.jpg", 3),
        ("cmyk.jpg", 4),
    ] {
        let image = load_image(&fixture(name)).unwrap();
        let expected = std::fs::read(fixture(&format!("{name}.bin"))).unwrap();
        let size = if name == "turned.jpg" { (12, 16) } else { (16, 12) };
        assert_eq!(image.dimensions(), size, "{name}");
        let worst = image.as_raw().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst.unwrap() <= tolerance, "{name} differs by {worst:?}");
    }
}

#[test]
fn the_content_decides_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("really-a-png.jpg");
    std::fs::copy(fixture("wide.png"), &path).unwrap();
    assert_eq!(load_image(&path).unwrap(), load_image(&fixture("wide.png")).unwrap());
}

#[test]
fn bad_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let png = std::fs::read(fixture("wide.png")).unwrap();
    let jpeg = std::fs::read(fixture("turned.jpg")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut flipped = png.clone();
    flipped[200] ^= 0xff;
    for path in [
        write("empty.png", b""),
        write("text.jpg", b"this is no image at all, only words"),
        write("cut.png", &png[..png.len() / 2]),
        write("head-only.jpg", &jpeg[..20]),
        write("flipped.png", &flipped),
        write("gif.png", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
    ] {
        let error = load_image(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Data(_)), "{text}");
        assert!(text.contains(path.to_str().unwrap()) && text.contains("onvert it"), "{text}");
    }
    let missing = load_image(&dir.path().join("missing.png")).unwrap_err().to_string();
    assert!(missing.contains("missing.png"), "{missing}");
}

/// A BMP header that claims an enormous image.
#[test]
fn a_file_that_claims_to_be_huge_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bmp = std::fs::read(fixture("plain.bmp")).unwrap();
    for (at, side) in [(18, MAX_SIDE + 1), (22, 50_000)] {
        bmp[at..at + 4].copy_from_slice(&side.to_le_bytes());
        let path = dir.path().join("huge.bmp");
        std::fs::write(&path, &bmp).unwrap();
        let text = load_image(&path).unwrap_err().to_string();
        assert!(text.contains("huge.bmp") && text.contains("too large"), "{text}");
    }
}

#[test]
fn oblong_images_and_crops_fit() {
    let image = image::RgbImage::from_pixel(3, 40, image::Rgb([10, 200, 30]));
    let recipe = Recipe::new(&Preprocessing { resize: 8, ..Preprocessing::default() }, &[1, 3, 6, 20]).unwrap();
    let values = recipe.evaluate(&image).unwrap();
    assert_eq!(values.shape(), [3, 6, 20]);
    let first = values[[0, 0, 0]];
    assert!((first - (10.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6, "{first}");
    let thread = image::RgbImage::new(1, 500);
    let recipe = Recipe::new(&Preprocessing::default(), &[1, 3, 224, 224]).unwrap();
    let text = recipe.evaluate(&thread).unwrap_err().to_string();
    assert!(text.contains("too oblong"), "{text}");
    let text = recipe.evaluate(&image::RgbImage::new(0, 5)).unwrap_err().to_string();
    assert!(text.contains("0×5"), "{text}");
}

#[test]
fn recipes_that_make_no_sense_are_refused() {
    let usual = Preprocessing::default();
    let refusal = |p: &Preprocessing, shape: &[i64]| Recipe::new(p, shape).unwrap_err().to_string();
    assert!(refusal(&usual, &[1, 1, 28, 28]).contains("takes 1 channel, but the preprocessing has 3"));
    assert!(refusal(&usual, &[1, 4, 28, 28]).contains("[batch, 3, height, width]"));
    assert!(refusal(&usual, &[1, 3, -1, -1]).contains("fixed input size"));
    assert!(refusal(&usual, &[1, 3]).contains("[1, 3]"));
    assert!(refusal(&usual, &[1, 3, 299, 299]).contains("299 or more"));
    let zero = Preprocessing { std: vec![0.0, 1.0, 1.0], ..usual.clone() };
    assert!(refusal(&zero, &[1, 3, 224, 224]).contains("above 0"));
    let nan = Preprocessing { mean: vec![f32::NAN, 0.0, 0.0], ..usual };
    assert!(refusal(&nan, &[1, 3, 224, 224]).contains("finite"));
}
