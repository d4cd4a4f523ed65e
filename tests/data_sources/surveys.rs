//! What `spgraph data` finds.

use crate::support::{png, tree, write};
use spgraph::bundle::ChannelOrder;
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{Augment, ImageSet, KnownClasses, Range, Recipe, Survey, contact_sheet, survey};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn look(path: &Path) -> Survey {
    survey(path, &KnownClasses::default(), 2, &AtomicBool::new(false), &mut |_, _| {}).unwrap()
}

fn picture(width: u32, height: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn clean_images_are_counted_and_nothing_speaks_against_them() {
    let names: Vec<String> = ["a", "b"].iter().flat_map(|c| (0..5).map(move |i| format!("{c}/{i}.png"))).collect();
    let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    write(dir.path(), "a/wide.png", &picture(20, 10, image::ImageFormat::Jpeg));
    let found = look(dir.path());
    let [part] = &found.parts[..] else { panic!("{found:?}") };
    assert_eq!((part.images, &part.counts), (11, &vec![6, 5]));
    assert_eq!((part.width, part.height), (Some(Range { least: 4, median: 4, most: 20 }), Some(Range { least: 3, median: 3, most: 10 })));
    assert_eq!(part.formats.iter().map(|(f, n)| (f.as_str(), *n)).collect::<Vec<_>>(), [("jpg", 1), ("png", 10)], "the content decides");
    assert_eq!((&found.warnings, &found.refusals, found.copies.len()), (&vec![], &vec![], 0));
    found.check().unwrap();
}

/// Every kind of trouble, in one folder.
#[test]
fn everything_that_is_wrong_is_said() {
    let dir = tree(&["train/few/1.png"]);
    let root = dir.path();
    (0..30).for_each(|i| write(root, &format!("train/many/{i}.png"), &png(1000 + i)));
    write(root, "train/many/long.png", &picture(40, 10, image::ImageFormat::Png));
    write(root, "train/many/empty.png", b"");
    write(root, "train/many/half.png", &png(5000)[..40]);
    write(root, "train/few/wrong.png", &png(1003));
    write(root, "val/many/leak.png", &png(1004));
    write(root, "val/few/9.png", &png(6000));
    let found = look(root);
    assert_eq!(found.parts.iter().map(|p| (p.part.as_str(), p.images)).collect::<Vec<_>>(), [("training", 35), ("validation", 2)]);
    let all = found.warnings.join("\n");
    for part in [
        "1 image is there with several classes, one of which is wrong",
        "wrong.png (few)",
        "1 image is in several parts",
        "leak.png",
        "1 classes have fewer than 5 training images: `few` 2",
        "the largest class has 33 training images and the smallest 2: out of balance",
        "1 training images are more than 3 times as long as wide",
        "long.png (40×10)",
    ] {
        assert!(all.contains(part), "no `{part}` in {all}");
    }
    assert_eq!(found.parts[0].unreadable.len(), 2);
    let text = found.check().unwrap_err().to_string();
    assert!(
        text.contains("2 of the 35 training images cannot be read") && text.contains("empty.png") && text.contains("half.png"),
        "{text}"
    );
}

#[test]
fn what_the_network_sees_has_the_images_colours() {
    let dir = tempfile::tempdir().unwrap();
    for (i, colour) in [[250u8, 10, 30], [20, 200, 90]].into_iter().enumerate() {
        let mut bytes = std::io::Cursor::new(vec![]);
        image::RgbImage::from_pixel(16, 16, image::Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        write(dir.path(), &format!("a/{i}.png"), bytes.get_ref());
    }
    let set = ImageSet::open(dir.path(), None).unwrap();
    for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
        let preprocessing = Preprocessing { resize: 8, channels, ..Preprocessing::default() };
        let recipe = Recipe::new(&preprocessing, &[1, 3, 8, 8]).unwrap();
        let plain = contact_sheet(&set, &recipe, &Augment::NONE, 0, (8, 8)).unwrap();
        let colours: Vec<[u8; 3]> = plain.iter().map(|cell| cell.image.get_pixel(5, 5).0).collect();
        assert_eq!((colours, plain[0].label.as_str()), (vec![[250, 10, 30], [20, 200, 90]], "a"));
        let changed = contact_sheet(&set, &recipe, &"flip-crop:2".parse().unwrap(), 0, (1, 4)).unwrap();
        assert_eq!((changed.len(), changed[3].image.get_pixel(5, 5).0), (4, [250, 10, 30]));
        // Mixed with each other, after the plain one of each row.
        let mixed = contact_sheet(&set, &recipe, &"mixup:1".parse().unwrap(), 0, (2, 3)).unwrap();
        let [r, g, b] = mixed[1].image.get_pixel(4, 4).0;
        assert!((20..=250).contains(&r) && (10..=200).contains(&g) && (30..=90).contains(&b), "{r} {g} {b}");
        assert_eq!((mixed.len(), mixed[3].image.get_pixel(5, 5).0), (6, [20, 200, 90]));
    }
}
