//! Decoded images that are kept: the same bits in every case, limits, damage, several processes, a disk that cannot be written to.

use crate::support::{tree, write};
use ndarray::Array3;
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{Augment, CacheOptions, Dataset, ImageDataset, ImageSet, Moment, Recipe};
use std::path::{Path, PathBuf};

fn photos() -> tempfile::TempDir {
    let dir = tree(&[]);
    for i in 0..6u32 {
        let mut bytes = std::io::Cursor::new(vec![]);
        image::RgbImage::from_fn(30 + i, 20, |x, y| image::Rgb([(x * 8 + i) as u8, (y * 12) as u8, (x * y) as u8]))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        write(dir.path(), &format!("a/{i}.png"), bytes.get_ref());
    }
    dir
}

/// All values of two epochs, and what was said.
fn seen(dir: &Path, augment: &str, options: &CacheOptions) -> (Vec<u32>, Vec<String>) {
    let recipe = Recipe::new(&Preprocessing { resize: 12, ..Preprocessing::default() }, &[1, 3, 8, 8]).unwrap();
    let set = ImageSet::open(dir, None).unwrap();
    let dataset = ImageDataset::cached(set, recipe, augment.parse::<Augment>().unwrap(), options).unwrap();
    let mut bits = vec![];
    for epoch in 0..2 {
        for index in 0..dataset.len() {
            let mut out = Array3::zeros(dataset.shape());
            dataset.image(index, Moment { seed: 3, epoch }, out.view_mut()).unwrap();
            bits.extend(out.iter().map(|v| v.to_bits()));
        }
    }
    (bits, dataset.notes())
}

fn none() -> CacheOptions {
    CacheOptions { memory: Some(0), ..CacheOptions::default() }
}

fn on_disk(folder: &Path, folder_bytes: u64) -> CacheOptions {
    CacheOptions { memory: Some(0), folder: Some(folder.to_path_buf()), folder_bytes, by_content: false }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let mut all: Vec<PathBuf> = list(folder).iter().flat_map(|sub| list(sub)).collect();
    all.sort();
    all
}

#[test]
fn every_cache_gives_the_same_bits() {
    let (dir, kept) = (photos(), tempfile::tempdir().unwrap());
    for augment in ["none", "flip-crop:2", "resized-crop:0.3"] {
        let (expected, _) = seen(dir.path(), augment, &none());
        // Some memory, all of it, an empty folder, and one that is filled.
        let memory = |bytes| CacheOptions { memory: Some(bytes), ..CacheOptions::default() };
        for options in
            [memory(1500), memory(1 << 30), CacheOptions::default(), on_disk(kept.path(), 1 << 30), on_disk(kept.path(), 1 << 30)]
        {
            let (found, notes) = seen(dir.path(), augment, &options);
            assert!(found == expected && notes.is_empty(), "{augment} {options:?}: {notes:?}");
        }
    }
    // What is resized, and what is as it was decoded.
    assert_eq!(entries(kept.path()).len(), 12);
}

#[test]
fn damaged_entries_are_decoded_again() {
    let dir = photos();
    for damage in [
        (|bytes: &mut Vec<u8>| bytes[100] ^= 1) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(70),
        |bytes| bytes.clear(),
        |bytes| bytes[8] = 0xff,
        |bytes| bytes[8..16].fill(0xff),
        |bytes| bytes.push(0),
    ] {
        let kept = tempfile::tempdir().unwrap();
        let options = on_disk(kept.path(), 1 << 30);
        let (expected, _) = seen(dir.path(), "none", &options);
        let entry = entries(kept.path())[2].clone();
        let whole = std::fs::read(&entry).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&entry, bytes).unwrap();
        let (found, notes) = seen(dir.path(), "none", &options);
        assert_eq!(found, expected);
        assert!(notes.len() == 1 && notes[0].contains("has damaged entries"), "{notes:?}");
        assert!(std::fs::read(&entry).unwrap() == whole, "it is mended");
    }
}

#[test]
fn an_image_that_changed_is_not_taken_from_the_folder() {
    let (dir, kept) = (photos(), tempfile::tempdir().unwrap());
    let options = on_disk(kept.path(), 1 << 30);
    let (before, _) = seen(dir.path(), "none", &options);
    std::fs::copy(dir.path().join("a/3.png"), dir.path().join("a/0.png")).unwrap();
    let (after, _) = seen(dir.path(), "none", &options);
    assert!(before != after);
    assert_eq!(after, seen(dir.path(), "none", &none()).0);
}

/// Another image of the same size, with the same time of change.
#[test]
fn an_image_with_the_size_and_time_of_another_is_not_taken_for_it() {
    for by_content in [false, true] {
        let (dir, kept) = (photos(), tempfile::tempdir().unwrap());
        let options = CacheOptions { by_content, ..on_disk(kept.path(), 1 << 30) };
        let bitmap = |value| {
            let mut bytes = std::io::Cursor::new(vec![]);
            image::RgbImage::from_pixel(20, 20, image::Rgb([value; 3])).write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
            bytes.into_inner()
        };
        let path = dir.path().join("a/9.bmp");
        std::fs::write(&path, bitmap(1)).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let (before, _) = seen(dir.path(), "none", &options);
        std::fs::write(&path, bitmap(200)).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        let (after, _) = seen(dir.path(), "none", &options);
        assert!(before != after && after == seen(dir.path(), "none", &none()).0, "{by_content}");
        // Written again, it is the same image where contents are looked at.
        std::fs::write(&path, bitmap(200)).unwrap();
        let there = entries(kept.path()).len();
        seen(dir.path(), "none", &options);
        assert_eq!(entries(kept.path()).len() == there, by_content);
    }
}

/// What is no file, and what says that it is larger than it is or than any image, is decoded again at once.
#[cfg(unix)]
#[test]
fn entries_that_are_no_files_hold_nothing_up() {
    let dir = photos();
    let kept = tempfile::tempdir().unwrap();
    let options = on_disk(kept.path(), 1 << 40);
    let (expected, _) = seen(dir.path(), "none", &options);
    let spoilt: [fn(&Path); 4] = [
        |entry| rustix::fs::mkfifoat(rustix::fs::CWD, entry, rustix::fs::Mode::RWXU).unwrap(),
        |entry| std::os::unix::fs::symlink("/dev/zero", entry).unwrap(),
        |entry| std::fs::File::create(entry).unwrap().set_len(8 << 30).unwrap(),
        |entry| {
            std::fs::write(entry, [&b"spgrgb01"[..], &[0xff, 0xff, 0, 0].repeat(2), &[0; 32]].concat()).unwrap();
            std::fs::File::options().append(true).open(entry).unwrap().set_len(48 + 3 * 65535 * 65535).unwrap();
        },
    ];
    for spoil in spoilt {
        let entry = entries(kept.path())[2].clone();
        std::fs::remove_file(&entry).unwrap();
        spoil(&entry);
        let (found, notes) = seen(dir.path(), "none", &options);
        assert_eq!(found, expected);
        assert!(notes.len() == 1 && notes[0].contains("has damaged entries"), "{notes:?}");
        assert!(std::fs::symlink_metadata(&entry).unwrap().is_file(), "it is mended");
    }
}

#[test]
fn a_folder_at_its_limit_or_that_cannot_be_written_to_is_said_once() {
    let dir = photos();
    let (expected, _) = seen(dir.path(), "none", &none());
    // An entry has 12×12 to 21×12 pixels: one fits, two do not.
    let kept = tempfile::tempdir().unwrap();
    let (found, notes) = seen(dir.path(), "none", &on_disk(kept.path(), 1000));
    assert_eq!((found == expected, entries(kept.path()).len()), (true, 1));
    assert!(notes.len() == 1 && notes[0].contains("has reached its limit"), "{notes:?}");
    // What is there when a run starts counts.
    let (_, notes) = seen(dir.path(), "flip-crop", &on_disk(kept.path(), 1000));
    assert_eq!((notes.len(), entries(kept.path()).len()), (1, 1));
    // A file stands where a folder of entries would be: writing fails as on a full disk.
    let blocked = tempfile::tempdir().unwrap();
    (0..256).for_each(|n| std::fs::write(blocked.path().join(format!("{n:02x}")), b"").unwrap());
    let (found, notes) = seen(dir.path(), "none", &on_disk(blocked.path(), 1 << 30));
    assert!(found == expected && notes.len() == 1 && notes[0].contains("cannot be written to"), "{notes:?}");
    let text = |folder: &Path| {
        let set = ImageSet::open(dir.path(), None).unwrap();
        let recipe = Recipe::new(&Preprocessing { resize: 12, ..Preprocessing::default() }, &[1, 3, 8, 8]).unwrap();
        ImageDataset::cached(set, recipe, Augment::NONE, &on_disk(folder, 1)).err().unwrap().to_string()
    };
    assert!(text(&blocked.path().join("00/below")).contains("cannot make the cache folder"));
}
