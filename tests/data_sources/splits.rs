//! Which images are held out: exact numbers, the same for a seed, and no picture on both sides.

use crate::support::{png, relative, tree, write};
use spgraph::data::{ImageSet, split};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folder `class` gets images with those contents.
fn fill(dir: &Path, class: &str, contents: &[u32]) {
    contents.iter().enumerate().for_each(|(i, &n)| write(dir, &format!("{class}/{i:03}.png"), &png(n)));
}

/// Contents of the images, each with the sides on which it is.
fn sides(set: &ImageSet, fraction: f64, seed: u64) -> BTreeMap<Vec<u8>, BTreeSet<bool>> {
    let found = split(set, fraction, seed).unwrap();
    let mut sides: BTreeMap<Vec<u8>, BTreeSet<bool>> = BTreeMap::new();
    for (side, part) in [(false, &found.training), (true, &found.validation)] {
        for sample in part.samples() {
            sides.entry(std::fs::read(sample.path).unwrap()).or_default().insert(side);
        }
    }
    sides
}

#[test]
fn rounding_is_by_class_with_halves_up() {
    for (images, fraction, expected) in [(10, 0.25, 3), (10, 0.24, 2), (7, 0.5, 4), (2, 0.1, 1), (2, 0.9, 1), (1, 0.5, 0), (3, 0.999, 2)] {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), "a", &(0..images).collect::<Vec<_>>());
        fill(dir.path(), "b", &(100..120).collect::<Vec<_>>());
        let found = split(&ImageSet::open(dir.path(), None).unwrap(), fraction, 5).unwrap();
        assert_eq!(found.validation.class_counts()[0], expected, "{fraction} of {images}");
        assert_eq!(found.training.class_counts()[0], images as usize - expected, "{fraction} of {images}");
    }
}

#[test]
fn the_order_on_disk_has_no_influence() {
    let names: Vec<String> = (0..40).map(|i| format!("{}/{i}.png", ["x", "y"][i % 2])).collect();
    let held_out = |order: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        order.iter().for_each(|&i| write(dir.path(), &names[i], &png(i as u32)));
        relative(&split(&ImageSet::open(dir.path(), None).unwrap(), 0.3, 7).unwrap().validation, dir.path())
    };
    let forwards: Vec<usize> = (0..40).collect();
    let shuffled: Vec<usize> = (0..40).map(|i| (i * 17 + 5) % 40).collect();
    assert_eq!(held_out(&forwards), held_out(&shuffled));
}

/// Classes with every multiplicity of copies from 1 to 5, many seeds and fractions.
#[test]
fn copies_stay_on_one_side() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "a", &(0..30).flat_map(|n| std::iter::repeat_n(n, 1 + n as usize % 5)).collect::<Vec<_>>());
    fill(dir.path(), "b", &[100, 100, 100, 101]);
    // One picture under two labels.
    fill(dir.path(), "c", &[1, 200, 201, 202]);
    let set = ImageSet::open(dir.path(), None).unwrap();
    for seed in 0..20 {
        for fraction in [0.1, 0.3, 0.5, 0.8] {
            let sides = sides(&set, fraction, seed);
            assert!(sides.values().all(|s| s.len() == 1), "{seed} {fraction}");
            assert_eq!(sides[&png(1)], BTreeSet::from([false]), "a picture of two classes stays for training");
            let found = split(&set, fraction, seed).unwrap();
            // Singles fill what groups leave open: the number is what it would be without copies, but for what is left of only copies.
            let wanted = (90.0 * fraction).round() as usize;
            assert!(found.validation.class_counts()[0].abs_diff(wanted) <= 4, "{:?} of {wanted}", found.validation.class_counts());
            assert!(found.notes.iter().any(|n| n.contains("copies of others, byte for byte")), "{:?}", found.notes);
        }
    }
}

#[test]
fn a_class_of_nothing_but_copies_stays_for_training() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "a", &[1, 1, 1]);
    fill(dir.path(), "b", &[2, 3, 4]);
    let found = split(&ImageSet::open(dir.path(), None).unwrap(), 0.5, 1).unwrap();
    assert_eq!((found.training.class_counts(), found.validation.class_counts()), (vec![3, 1], vec![0, 2]));
    assert!(found.notes[0].contains("all images of these classes are copies") && found.notes[0].contains("`a`"), "{:?}", found.notes);
    let nothing = tree(&["a/1.png"]);
    assert!(split(&ImageSet::open(nothing.path(), None).unwrap(), 0.5, 1).is_err());
}

/// Files of one size that differ outside of the part that is looked at first are no copies.
#[test]
fn whole_contents_decide() {
    let dir = tempfile::tempdir().unwrap();
    for (name, place) in [("1.bmp", 200), ("2.bmp", 59_000), ("3.bmp", 200)] {
        let mut content = vec![7u8; 60_000];
        content[place] = 1;
        write(dir.path(), &format!("a/{name}"), &content);
    }
    let set = ImageSet::open(dir.path(), None).unwrap();
    let found = split(&set, 0.34, 3).unwrap();
    assert_eq!((found.training.len(), relative(&found.validation, dir.path())), (2, vec!["a/2.bmp".to_string()]));
}
