//! Small images and folders of them.

use spgraph::Error;
use spgraph::data::{ImageSet, KnownClasses};
use std::path::Path;
use tempfile::TempDir;

/// A PNG of 4×3 pixels; different numbers give different files.
pub fn png(number: u32) -> Vec<u8> {
    let [_, b, c, d] = number.to_be_bytes();
    let image = image::RgbImage::from_fn(4, 3, |x, y| image::Rgb([b.wrapping_add(x as u8), c.wrapping_add(y as u8), d]));
    let mut bytes = std::io::Cursor::new(vec![]);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Writes `content` to a file below `dir`.
pub fn write(dir: &Path, file: &str, content: &[u8]) {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A folder with images of those names, all of them different.
pub fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().enumerate().for_each(|(i, file)| write(dir.path(), file, &png(i as u32)));
    dir
}

/// The message of a refusal.
pub fn refusal(path: &Path) -> String {
    refusal_for(path, &KnownClasses::default())
}

pub fn refusal_for(path: &Path, known: &KnownClasses) -> String {
    match ImageSet::open_for(path, known) {
        Err(Error::Data(text)) => text,
        other => panic!("not refused as data: {other:?}"),
    }
}

/// `[part/]class/name` of each image below `root`.
pub fn relative(set: &ImageSet, root: &Path) -> Vec<String> {
    set.samples().map(|s| s.path.strip_prefix(root).unwrap().display().to_string()).collect()
}
