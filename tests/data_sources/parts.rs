//! Folders that are divided into train, val and test.

use crate::support::{png, refusal, relative, tree, write};
use spgraph::data::{ImageSet, KnownClasses, Part};

#[test]
fn every_spelling_of_the_parts_is_found() {
    for train in ["train", "training", "Train", "training_set", "Train Data", "trainset"] {
        for (val, test) in [
            ("val", "test"),
            ("valid", "testing"),
            ("VALIDATION", "Test"),
            ("val-images", "dataset.test"),
            ("dev", "test"),
            ("Eval", "test"),
        ] {
            let dir =
                tree(&[&format!("{train}/a/1.png"), &format!("{train}/b/1.png"), &format!("{val}/a/2.png"), &format!("{test}/b/3.png")]);
            let set = ImageSet::open(dir.path(), None).unwrap();
            assert_eq!(relative(&set, dir.path()), [format!("{train}/a/1.png"), format!("{train}/b/1.png")]);
            assert!(set.notes()[0].contains("is divided into") && set.notes()[0].contains("the training images are"), "{:?}", set.notes());
            let validation = set.other_part(dir.path(), Part::Validation).unwrap().unwrap();
            assert_eq!((relative(&validation, dir.path()), validation.classes()), (vec![format!("{val}/a/2.png")], set.classes()));
            let held_out = set.other_part(dir.path(), Part::Test).unwrap().unwrap();
            assert_eq!((relative(&held_out, dir.path()), held_out.label(0)), (vec![format!("{test}/b/3.png")], Some(1)));
            assert!(held_out.notes().iter().any(|n| n.contains("no images of 1 of the 2 classes: `a`")), "{:?}", held_out.notes());
        }
    }
}

#[test]
fn the_part_that_is_asked_for_is_taken_or_missed() {
    let known = KnownClasses::default();
    let open = |files: &[&str], wanted: &[Part]| {
        let dir = tree(files);
        ImageSet::open_part(dir.path(), &known, wanted).map(|s| relative(&s, dir.path())).map_err(|e| e.to_string())
    };
    let all = ["train/a/1.png", "val/a/2.png", "test/a/3.png"];
    let judge = [Part::Test, Part::Validation];
    assert_eq!(open(&all, &judge).unwrap(), ["test/a/3.png"]);
    assert_eq!(open(&all[..2], &judge).unwrap(), ["val/a/2.png"]);
    let text = open(&all[..1], &judge).unwrap_err();
    assert!(text.contains("is divided into train and has no test or validation images"), "{text}");
    assert!(open(&all[1..], &[Part::Training]).unwrap_err().contains("divided into val and test"));
    // A folder that is not divided is what it is, whatever is asked for.
    assert_eq!(open(&["a/1.png", "b/1.png"], &judge).unwrap().len(), 2);
}

#[test]
fn classes_may_be_called_like_parts() {
    // One such name among others, images directly in it, or a network that knows such classes.
    for files in [&["train/1.png", "plane/1.png"][..], &["train/steam/1.png", "plane/1.png"], &["train/1.png"]] {
        let dir = tree(files);
        assert!(ImageSet::open(dir.path(), None).unwrap().classes().contains(&"train".to_string()), "{files:?}");
    }
    let dir = tree(&["train/steam/1.png", "test/paper/1.png"]);
    let names = ["test".to_string(), "train".to_string()];
    assert_eq!(ImageSet::open(dir.path(), Some(&names)).unwrap().len(), 2);
}

#[test]
fn what_could_be_one_or_another_is_refused() {
    let cases: [(&[&str], &str); 4] = [
        (&["train/1.png", "val/1.png"], "not all of them have class folders"),
        (&["train/a/1.png", "train/2.png", "val/a/1.png"], "not all of them have class folders"),
        (&["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "two folders of validation images, `val` and `valid`"),
        (&["train/a/1.png", "val/a/1.png", "extra/1.png"], "beside them `extra`, which holds images"),
    ];
    for (files, part) in cases {
        let text = refusal(tree(files).path());
        assert!(text.contains(part), "{files:?}: {text}");
    }
    // What holds no images is said and left alone.
    let dir = tree(&["train/a/1.png", "val/a/1.png"]);
    write(dir.path(), "labels/a.txt", b"");
    write(dir.path(), ".cache/x/1.png", &png(9));
    let set = ImageSet::open(dir.path(), None).unwrap();
    assert!(set.notes()[0].contains("`labels` beside them holds no images"), "{:?}", set.notes());
}

/// To say that a part is there nobody lists it: one class folder of it may be empty, or have a thousand images.
#[test]
fn a_part_is_known_without_being_listed() {
    let dir = tree(&["train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/cow/d.png"]);
    let set = ImageSet::open(dir.path(), None).unwrap();
    assert!(set.other_part(dir.path(), Part::Validation).is_err());
    assert!(set.has_part(dir.path(), Part::Validation).unwrap() && !set.has_part(dir.path(), Part::Test).unwrap());
}

#[test]
fn a_class_that_only_validation_has_is_refused() {
    let dir = tree(&["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"]);
    let set = ImageSet::open(dir.path(), None).unwrap();
    let text = set.other_part(dir.path(), Part::Validation).unwrap_err().to_string();
    assert!(text.contains("the validation images have classes that the training images in") && text.contains("`c`"), "{text}");
}

#[cfg(unix)]
#[test]
fn pipes_depth_and_links_that_multiply_do_not_hang() {
    use std::os::unix::fs::symlink;
    let dir = tree(&["a/1.png", "b/1.png"]);
    let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("a/2.png")).status().unwrap();
    assert!(pipe.success());
    let set = ImageSet::open(dir.path(), None).unwrap();
    assert_eq!(set.class_counts(), [1, 1]);
    assert!(set.notes()[0].contains("1 that are no regular files"), "{:?}", set.notes());
    let text = spgraph::data::load_image(&dir.path().join("a/2.png")).unwrap_err().to_string();
    assert!(text.contains("no regular file"), "{text}");
    let deep = tree(&[]);
    let path: std::path::PathBuf = std::iter::once("a").chain(std::iter::repeat_n("d", 150)).collect();
    write(deep.path(), &path.join("1.png").display().to_string(), &png(1));
    assert!(refusal(deep.path()).contains("lies in more than 100 folders"));
    // Twelve levels of ten links each to the next level: 10¹² ways.
    let many = tree(&[]);
    for level in 0..12 {
        std::fs::create_dir_all(many.path().join(format!("a/{level}"))).unwrap();
    }
    for level in 0..11 {
        for link in 0..10 {
            symlink(many.path().join(format!("a/{}", level + 1)), many.path().join(format!("a/{level}/{link}"))).unwrap();
        }
    }
    assert!(refusal(many.path()).contains("more than 1000 folders that symbolic links lead to again"));
}

/// Classes one level deeper than folders were given: said, with the folder to give.
#[test]
fn folders_that_look_like_classes_below_classes_are_named() {
    let notes = |files: &[&str]| {
        let dir = tree(files);
        let set = ImageSet::open(dir.path(), None).unwrap();
        (set.deeper().map(|note| note.replace(&dir.path().display().to_string(), "DIR")), set.notes().len())
    };
    let one = notes(&["images/cat/1.png", "images/dog/1.png"]);
    assert_eq!(
        one,
        (Some("`images` holds no images itself but the folders `cat`, `dog`: if these are the classes, give DIR/images".into()), 1)
    );
    let folds = notes(&["fold1/cat/1.png", "fold1/dog/1.png", "fold2/cat/1.png", "fold2/dog/x/1.png", "fold2/owl/1.png"]);
    assert_eq!(
        folds.0.as_deref(),
        Some("`fold1`, `fold2` hold no images themselves but the folders `cat`, `dog`: if these are the classes, give DIR/fold1")
    );
    for plain in [
        &["cat/1.png", "dog/1.png"][..],
        &["cat/a/1.png", "dog/b/1.png"],
        &["cat/a/1.png", "cat/b/1.png", "dog/1.png", "dog/a/1.png", "dog/b/1.png"],
        &["cat/a/1.png", "dog/a/1.png"],
    ] {
        assert_eq!(notes(plain), (None, 0), "{plain:?}");
    }
}
