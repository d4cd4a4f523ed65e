//! Arrays of images and labels in `.npz` and safetensors files; those of NumPy are made by `tests/generate/arrays.py`.

use crate::support::{refusal, refusal_for, write};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize_to_file};
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{ImageSet, KnownClasses, Part, Recipe, TargetKind, Targets};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arrays").join(name)
}

/// A file of arrays with name, type, shape and bytes.
fn file(dir: &Path, arrays: &[(&str, Dtype, &[usize], Vec<u8>)]) -> PathBuf {
    let path = dir.join("arrays.safetensors");
    let views: HashMap<String, TensorView> =
        arrays.iter().map(|(name, t, shape, data)| (name.to_string(), TensorView::new(*t, shape.to_vec(), data).unwrap())).collect();
    serialize_to_file(&views, None, &path).unwrap();
    path
}

fn i64s(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The same eight pictures, saved by NumPy in every order, layout and compression.
#[test]
fn every_file_of_numpy_gives_the_same_pixels() {
    let pixel = |i: usize, y: u32, x: u32, c: usize| (i * 31 + y as usize * 7 + x as usize * 3 + c * 50) as u8;
    for name in ["nhwc.npz", "compressed.npz", "fortran.npz", "nchw.npz"] {
        let set = ImageSet::open(&fixture(name), None).unwrap();
        assert_eq!((set.len(), set.classes()), (6, &["0".to_string(), "1".to_string(), "2".to_string()][..]), "{name}");
        assert_eq!((0..6).map(|i| set.label(i).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2], "{name}");
        for i in 0..6 {
            let image = set.load(i).unwrap();
            assert_eq!(image.dimensions(), (4, 5), "{name}");
            assert!(image.enumerate_pixels().all(|(x, y, p)| (0..3).all(|c| p.0[c] == pixel(i, y, x, c))), "{name} {i}");
        }
        assert_eq!(set.name(2), format!("{}[2]", fixture(name).display()));
    }
    let grey = ImageSet::open(&fixture("big_endian.npz"), None).unwrap();
    assert!(grey.load(1).unwrap().enumerate_pixels().all(|(x, y, p)| p.0 == [pixel(1, y, x, 0); 3]));
    assert_eq!((0..6).map(|i| grey.label(i).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn parts_are_found_by_the_names_of_arrays() {
    let path = fixture("parts.npz");
    let set = ImageSet::open(&path, None).unwrap();
    assert_eq!((set.len(), set.class_counts()), (4, vec![2, 2]));
    assert!(set.notes()[0].contains("its training images are taken"), "{:?}", set.notes());
    let test = set.other_part(&path, Part::Test).unwrap().unwrap();
    assert_eq!((test.len(), test.label(0)), (2, Some(1)));
    assert!(set.other_part(&path, Part::Validation).unwrap().is_none());
    let text = ImageSet::open_part(&path, &KnownClasses::default(), &[Part::Validation]).unwrap_err().to_string();
    assert!(text.contains("divided into training and test and has no validation images"), "{text}");
}

#[test]
fn what_is_no_array_of_images_is_refused() {
    for (name, part) in [
        ("objects.npz", "its array `labels` holds Python objects"),
        ("one.npy", "one NumPy array"),
        ("records.npz", "its array `labels` has elements of several fields"),
    ] {
        let text = refusal(&fixture(name));
        assert!(text.contains(part), "{name}: {text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("nhwc.npz")).unwrap();
    for keep in [4, 30, whole.len() / 2, whole.len() - 10] {
        write(dir.path(), "cut.npz", &whole[..keep]);
        let text = refusal(&dir.path().join("cut.npz"));
        assert!(text.contains("damaged, or was cut off"), "{keep}: {text}");
    }
    // Every byte changed, one at a time: whatever comes, it is no panic.
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        write(dir.path(), "changed.npz", &bytes);
        let _ = ImageSet::open(&dir.path().join("changed.npz"), None);
    }
}

#[test]
fn shapes_types_and_numbers_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let pixels = |n: usize| (0..n).map(|v| v as u8).collect::<Vec<u8>>();
    type Case<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);
    let images: Case = ("images", Dtype::U8, &[2, 2, 2, 3], pixels(24));
    let labels: Case = ("labels", Dtype::I64, &[2], i64s(&[0, 1]));
    let cases: Vec<(Vec<Case>, &str)> = vec![
        (vec![images.clone()], "no array of labels; its arrays are: images"),
        (vec![labels.clone()], "no array of images"),
        (vec![images.clone(), labels.clone(), ("y", Dtype::I64, &[2], i64s(&[0, 1]))], "could both be meant"),
        (vec![images.clone(), ("labels", Dtype::I64, &[3], i64s(&[0, 1, 2]))], "has 3 labels for 2 images"),
        (vec![images.clone(), ("labels", Dtype::I64, &[2], i64s(&[0, -1]))], "1 negative labels: image 1: -1"),
        (vec![images.clone(), ("labels", Dtype::F32, &[2], f32s(&[0.0, f32::NAN]))], "1 labels that are no numbers: image 1"),
        (vec![images.clone(), ("labels", Dtype::F32, &[2], f32s(&[0.0, 1.0]))], "classes are whole numbers"),
        (vec![images.clone(), ("labels", Dtype::I64, &[1, 2, 1], i64s(&[0, 1]))], "rank of labels"),
        (vec![("images", Dtype::U8, &[24], pixels(24)), labels.clone()], "rank of images"),
        (vec![("images", Dtype::U8, &[2, 2, 3, 2], pixels(24)), labels.clone()], "no axis of 1, 3 or 4 channels"),
        (vec![("images", Dtype::I64, &[2, 1, 1, 3], i64s(&[0; 6])), labels.clone()], "images.astype('uint8')"),
        (vec![("images", Dtype::U8, &[0, 2, 2, 3], vec![]), ("labels", Dtype::I64, &[0], vec![])], "is empty"),
        (vec![("images", Dtype::F32, &[2, 1, 1, 1], f32s(&[1.0, f32::INFINITY])), labels.clone()], "1 of its 2 images: image 1"),
    ];
    let known = KnownClasses { targets: Some(TargetKind::Class), ..KnownClasses::default() };
    for (arrays, part) in cases {
        let text = refusal_for(&file(dir.path(), &arrays), &known);
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Names stay in the order of their labels, and a class without images keeps its place.
#[test]
fn classes_are_called_as_the_file_says() {
    let set = ImageSet::open(&fixture("class_names.npz"), None).unwrap();
    assert_eq!(set.classes(), ["zebra", "ant", "ŵasp", "bee"]);
    assert_eq!((0..6).map(|i| set.label(i).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    let parts = ImageSet::open(&fixture("classes_letters.npz"), None).unwrap();
    assert_eq!((parts.classes(), parts.class_counts()), (&["zebra".to_string(), "ant".into(), "wasp".into()][..], vec![2, 1, 1]));
    let test = parts.other_part(&fixture("classes_letters.npz"), Part::Test).unwrap().unwrap();
    assert_eq!((test.classes(), test.label(0), test.label(1)), (parts.classes(), Some(1), Some(2)));
    // A network that knows its classes finds them by name, whatever their numbers in the file.
    let names = ["wasp", "bee", "ant", "zebra"].map(String::from);
    let known = KnownClasses { names: &names, learnt: true, ..KnownClasses::default() };
    let set = ImageSet::open_for(&fixture("classes_letters.npz"), &known).unwrap();
    assert_eq!((0..4).map(|i| set.label(i).unwrap()).collect::<Vec<_>>(), [3, 2, 0, 3]);
    // Labels that are names.
    let set = ImageSet::open(&fixture("texts.npz"), None).unwrap();
    assert_eq!((set.classes(), set.label(0), set.label(5)), (&["a".to_string(), "b".into()][..], Some(0), Some(1)));
    let text = refusal(&fixture("too_few_names.npz"));
    assert!(
        text.contains("2 of its labels are none of the 2 classes that it names, zebra, ant, numbered from 0 on: image 2: 2, image 5: 2"),
        "{text}"
    );
    for (name, said) in [("objects_names.npz", "Python objects"), ("nhwc.npz", "nothing in")] {
        let set = ImageSet::open(&fixture(name), None).unwrap();
        assert_eq!(set.classes(), ["0", "1", "2"], "{name}");
        assert!(set.notes().iter().any(|note| note.contains(said) && note.contains("numbers")), "{name}: {:?}", set.notes());
    }
}

/// Texts of each image, such as names of files, are no names of classes though they are called so.
#[test]
fn what_is_said_of_each_image_names_no_classes() {
    for (name, note) in [
        ("files_names.npz", "array `names` has a text for each image"),
        ("each_label_names.npz", "array `label_names` has a text for each image"),
    ] {
        let set = ImageSet::open(&fixture(name), None).unwrap();
        assert_eq!((set.classes(), set.label(5)), (&["0".to_string(), "1".into(), "2".into()][..], Some(2)), "{name}");
        assert!(set.notes().iter().any(|said| said.contains(note)), "{name}: {:?}", set.notes());
    }
    let set = ImageSet::open(&fixture("each_classes.npz"), None).unwrap();
    assert_eq!((set.classes(), set.label(4)), (&["cat".to_string(), "dog".into(), "owl".into()][..], Some(1)));
    // What cannot be read is beside labels that can.
    let set = ImageSet::open(&fixture("objects_classes.npz"), None).unwrap();
    assert_eq!((set.classes().len(), set.label(4)), (3, Some(1)));
    let numbers = KnownClasses { targets: Some(TargetKind::Numbers(1)), ..KnownClasses::default() };
    let set = ImageSet::open_for(&fixture("numbers_names.npz"), &numbers).unwrap();
    assert_eq!(set.len(), 6);
}

/// Runs that were trained on a file before its names were read know its classes by their numbers.
#[test]
fn who_knows_classes_by_numbers_finds_them_in_a_file_with_names() {
    let names = ["0", "1", "2", "3"].map(String::from);
    let known = KnownClasses { names: &names, learnt: true, ..KnownClasses::default() };
    let set = ImageSet::open_for(&fixture("class_names.npz"), &known).unwrap();
    assert_eq!((0..6).map(|i| set.label(i).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

/// safetensors has no texts but in its metadata.
#[test]
fn metadata_names_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arrays.safetensors");
    let open = |metadata: &[(&str, &str)], known: &KnownClasses| {
        let (images, labels) = (vec![7; 8], i64s(&[1, 0]));
        let views = [
            ("images", TensorView::new(Dtype::U8, vec![2, 2, 2], &images).unwrap()),
            ("labels", TensorView::new(Dtype::I64, vec![2], &labels).unwrap()),
        ];
        let metadata = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        serialize_to_file(views, Some(metadata), &path).unwrap();
        ImageSet::open_for(&path, known).map_err(|e| e.to_string())
    };
    let known = KnownClasses::default();
    for value in ["[\"zebra\", \"ant\"]", "zebra,ant", "{0: 'zebra', 1: 'ant'}", "{\"ant\": 1, \"zebra\": 0}"] {
        let set = open(&[("class_names", value), ("format", "pt")], &known).unwrap();
        assert_eq!((set.classes(), set.label(0)), (&["zebra".to_string(), "ant".into()][..], Some(1)), "{value}");
    }
    let set = open(&[("classes", "[[1], [2]]")], &known).unwrap();
    assert!(set.classes() == ["0", "1"] && set.notes().iter().any(|note| note.contains("no list of names")), "{:?}", set.notes());
    for (metadata, part) in [
        (&[("classes", "a,b"), ("names", "a,c")][..], "name different classes"),
        (&[("classes", "a,a")], "`a` twice"),
        (&[("classes", "a,b,c")], "3"),
    ] {
        let found = open(metadata, &KnownClasses { count: Some(2), ..KnownClasses::default() });
        assert!(found.as_ref().is_err_and(|text| text.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn floats_enter_the_network_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..24).map(|v| v as f32 / 10.0 - 1.0).collect();
    let path = file(dir.path(), &[("x", Dtype::F32, &[2, 2, 2, 3], f32s(&values)), ("y", Dtype::I64, &[2], i64s(&[1, 0]))]);
    let set = ImageSet::open(&path, None).unwrap();
    assert!(set.notes()[0].contains("(-1 to 1.3) enter the network as they are"), "{:?}", set.notes());
    // Channels last in the file, first in the values.
    assert_eq!(set.values(1).unwrap()[[2, 0, 1]], values[12 + 3 + 2]);
    assert!(set.load(0).is_err());
    let recipe = |side| Recipe::new(&Preprocessing { resize: side as usize, ..Preprocessing::default() }, &[4, 3, side, side]).unwrap();
    set.check_ready(&recipe(2), false).unwrap();
    assert!(set.check_ready(&recipe(2), true).unwrap_err().to_string().contains("random changes are for images"));
    let text = set.check_ready(&recipe(4), false).unwrap_err().to_string();
    assert!(text.contains("3 channels and 2×2") && text.contains("3 channels and 4×4"), "{text}");
}

#[test]
fn marks_and_numbers_follow_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let open = |labels: (Dtype, &[usize], Vec<u8>), targets| {
        let path = file(dir.path(), &[("images", Dtype::U8, &[2, 2, 2], vec![7; 8]), ("labels", labels.0, labels.1, labels.2)]);
        ImageSet::open_for(&path, &KnownClasses { targets, ..KnownClasses::default() }).map_err(|e| e.to_string())
    };
    let one_hot = || (Dtype::U8, &[2, 3][..], vec![0, 0, 1, 1, 0, 0]);
    let set = open(one_hot(), Some(TargetKind::Class)).unwrap();
    assert_eq!((set.label(0), set.label(1), set.classes().len()), (Some(2), Some(0), 3));
    assert!(set.notes()[0].contains("that one is its class"), "{:?}", set.notes());
    let several = || (Dtype::U8, &[2, 3][..], vec![0, 1, 1, 0, 0, 0]);
    let set = open(several(), Some(TargetKind::Several)).unwrap();
    assert_eq!(*set.targets(), Targets::Several(vec![vec![1, 2].into(), vec![].into()]));
    assert!(open(several(), Some(TargetKind::Class)).unwrap_err().contains("several classes of an image, or none"));
    let set = open((Dtype::F32, &[2], f32s(&[0.5, 2.0])), Some(TargetKind::Numbers(1))).unwrap();
    assert_eq!(*set.targets(), Targets::Numbers(ndarray::array![[0.5], [2.0]]));
    assert!(open((Dtype::F32, &[2, 2], f32s(&[0.5, 2.0, 1.0, 1.0])), Some(TargetKind::Class)).unwrap_err().contains("not all 0 or 1"));
}
