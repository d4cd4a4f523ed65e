//! CSV files of paths and labels.

use crate::support::{png, refusal, refusal_for, relative, tree, write};
use spgraph::data::{ImageSet, KnownClasses, Part, TargetKind, Targets};

const FILES: [&str; 4] = ["img/a 1.png", "img/b,2.png", "img/c.png", "d.png"];

/// Opens `list.csv` with that content beside the four images.
fn open(text: &str, targets: Option<TargetKind>) -> spgraph::Result<(ImageSet, Vec<String>)> {
    let dir = tree(&FILES);
    write(dir.path(), "list.csv", text.as_bytes());
    let set = ImageSet::open_for(&dir.path().join("list.csv"), &KnownClasses { targets, ..KnownClasses::default() })?;
    let names = relative(&set, dir.path());
    Ok((set, names))
}

fn labels(set: &ImageSet) -> Vec<usize> {
    (0..set.len()).map(|i| set.label(i).unwrap()).collect()
}

#[test]
fn every_way_to_write_a_list_says_the_same() {
    let rows = "img/a 1.png,cat\n\"img/b,2.png\",dog\nimg/c.png,cat\nd.png,\"bird\"\n";
    for text in [
        rows.to_string(),
        format!("path,label\n{rows}"),
        format!("\u{feff}filename,class\n{rows}"),
        rows.replace('\n', "\r\n"),
        rows.replace('\n', "\n\n\n"),
        rows.trim_end().to_string(),
        rows.replace(",cat", " , cat ").replace(",dog", ",  dog"),
        rows.replace(",cat", ";cat").replace(",dog", ";dog").replace(",\"bird", ";\"bird"),
        rows.replace(",cat", "\tcat").replace(",dog", "\tdog").replace(",\"bird", "\t\"bird"),
        rows.lines().rev().collect::<Vec<_>>().join("\n"),
    ] {
        let (set, names) = open(&text, Some(TargetKind::Class)).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(set.classes(), ["bird", "cat", "dog"], "{text:?}");
        assert_eq!(
            (names, labels(&set)),
            (["d.png", "img/a 1.png", "img/c.png", "img/b,2.png"].map(String::from).to_vec(), vec![0, 1, 1, 2])
        );
    }
}

#[test]
fn known_classes_decide_the_labels() {
    let dir = tree(&FILES);
    write(dir.path(), "list.csv", b"d.png,dog\nimg/c.png,Cat");
    let names = ["dog".to_string(), "cat".to_string()];
    let set = ImageSet::open(&dir.path().join("list.csv"), Some(&names)).unwrap();
    assert_eq!((labels(&set), set.classes()), (vec![0, 1], &names[..]));
    write(dir.path(), "list.csv", b"d.png,dog\nimg/c.png,mouse");
    let text = refusal_for(&dir.path().join("list.csv"), &KnownClasses { names: &names, ..KnownClasses::default() });
    assert!(text.contains("has labels that the model does not know: `mouse`"), "{text}");
}

/// Each fault by itself and all together: counted, with lines.
#[test]
fn faults_are_counted_with_their_lines() {
    let faults = [
        ("gone.png,a\n", "1 file is missing (line 2: "),
        ("img,a\n", "1 path is no regular file (line 2: "),
        ("d.png,\n", "1 line has an empty label (line 2)"),
        (",a\n", "1 line has no path (line 2: `,a`)"),
        ("img/c.png\n", "1 line has no label (line 2: `img/c.png`)"),
        ("d.png,a\nd.png,a\n", "1 path is there twice (lines 2 and 3: "),
        ("d.png,a\nimg/../d.png,b\n", "1 path is there twice with different labels (lines 2 and 3: "),
    ];
    for (row, part) in faults {
        let text = open(&format!("img/a 1.png,a\n{row}"), Some(TargetKind::Class)).unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("list.csv cannot be used"), "{row}: {text}");
    }
    let all = "a.png,x\nb.png,x\nc.png,x\nd.png,x\nd.png,y\n";
    let text = open(all, Some(TargetKind::Class)).unwrap_err().to_string();
    assert!(text.contains("3 files are missing") && text.contains("1 path is there twice with different labels"), "{text}");
    let missing: String = (0..25).map(|i| format!("{i}.png,x\n")).collect();
    assert!(open(&missing, Some(TargetKind::Class)).unwrap_err().to_string().contains("25 files are missing"));
}

/// A word that could be a part's, beside others that are none, is taken for neither.
#[test]
fn columns_that_name_parts_in_some_lines_only_are_refused_with_the_way_out() {
    for name in ["phase", "set", "part", "split"] {
        let text = open(&format!("path,{name}\nd.png,dev\nimg/c.png,prod\n"), Some(TargetKind::Class)).unwrap_err().to_string();
        assert!(text.contains(&format!("line 3: {name} `prod`")) && text.contains("something else where it names no parts"), "{text}");
    }
}

/// Paths as many lists of competitions write them, without the files' endings.
#[test]
fn paths_without_their_endings_are_told_the_endings() {
    let text = open("img/c,cat\nd,dog\nnothing,dog\n", Some(TargetKind::Class)).unwrap_err().to_string();
    assert!(text.contains("3 files are missing") && text.contains("such as c.png for c (2 in all)"), "{text}");
}

#[test]
fn what_is_no_list_is_refused() {
    let dir = tree(&["one.png"]);
    for (content, part) in [
        (&b""[..], "names no images"),
        (b"path,label\n", "names no images"),
        (b"\xff\xfep\0a\0", "is UTF-16"),
        (b"one.png,caf\xe9\n", "1 label is no UTF-8 (line 1)"),
        (b"\x00\x01\x02binary", "no list of images"),
    ] {
        write(dir.path(), "list.csv", content);
        let text = refusal(&dir.path().join("list.csv"));
        assert!(text.contains(part), "{text}");
    }
    assert!(refusal(&dir.path().join("one.png")).contains("is not a folder but one image"));
    write(dir.path(), "list.csv", &png(1));
    assert!(refusal(&dir.path().join("list.csv")).contains("one image"), "the content decides");
}

#[test]
fn several_labels_are_classes_or_marks() {
    let text = "d.png,cat,dog\nimg/c.png,dog\nimg/a 1.png,\n";
    let (set, names) = open(text, Some(TargetKind::Several)).unwrap();
    assert_eq!((set.classes(), names.len(), set.class_counts()), (&["cat".to_string(), "dog".to_string()][..], 3, vec![1, 2]));
    let mut row = [9.0; 2];
    let rows: Vec<[f32; 2]> = (0..3)
        .map(|i| {
            set.target_row(i, &mut row);
            row
        })
        .collect();
    assert_eq!(rows, [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]], "{names:?}");
    let (marks, _) = open("image,dog,cat\nd.png,1,1\nimg/c.png,1,0\nimg/a 1.png,0,0\n", Some(TargetKind::Several)).unwrap();
    assert_eq!((marks.classes()[0].as_str(), marks.class_counts()), ("dog", vec![2, 1]));
    let text = open("d.png,cat,dog\nimg/c.png,dog\nimg/a 1.png,a,b\n", Some(TargetKind::Class)).unwrap_err().to_string();
    assert!(text.contains("2 of 3 rows") && text.contains("line 1, line 3") && text.contains("bce"), "{text}");
    assert!(open("d.png,a,a\n", Some(TargetKind::Several)).unwrap_err().to_string().contains("one label twice"));
}

/// Spreadsheets leave empty fields behind the last column; they are no labels, and change nothing for those that there are.
#[test]
fn empty_fields_are_no_evidence_against_joined_labels() {
    let rows = "img/a 1.png,a;b\n\"img/b,2.png\",b\nimg/c.png,a\nd.png,b;a\n";
    for text in [rows.to_string(), rows.replacen(",b\n", ",b,\n", 1), rows.replacen(",a\n", ",,\n", 1), rows.replacen(",a\n", ",\n", 1)] {
        let (set, _) = open(&text, Some(TargetKind::Several)).unwrap();
        assert_eq!(set.classes(), ["a", "b"], "{text}");
        assert!(set.notes().iter().any(|note| note.contains("divided at `;`")), "{text}: {:?}", set.notes());
    }
    // Where other lines have several columns of labels, both ways to write them are not mixed without a word.
    let (set, _) = open(&rows.replacen(",b\n", ",b,c\n", 1), Some(TargetKind::Several)).unwrap();
    assert!(
        set.notes().iter().any(|note| note.contains("look like several labels") && note.contains("(line 2: b,c)")),
        "{:?}",
        set.notes()
    );
}

#[test]
fn numbers_are_numbers_where_the_loss_takes_them() {
    let two = Some(TargetKind::Numbers(2));
    let (set, _) = open("d.png,0.5,-1e2\nimg/c.png,3,4\n", two).unwrap();
    assert_eq!(*set.targets(), Targets::Numbers(ndarray::array![[0.5, -100.0], [3.0, 4.0]]));
    assert!(set.classes().is_empty() && set.label(0).is_none());
    for (text, part) in [
        ("d.png,1,2\nimg/c.png,3,nan\n", "1 line has values that are no numbers (line 2: 3,nan)"),
        ("d.png,1,2\nimg/c.png,3\n", "gives 2 numbers for each image, and not all lines"),
        ("d.png,1,2\nimg/c.png,3,x\n", "(line 2: 3,x)"),
        ("d.png,1,2,3\nimg/c.png,3,4,5\n", "gives 2 numbers"),
    ] {
        let found = open(text, two).unwrap_err().to_string();
        assert!(found.contains(part), "{text}: {found}");
    }
    // Names in one column are classes for that loss, too.
    assert_eq!(open("d.png,x\nimg/c.png,y\n", two).unwrap().0.classes(), ["x", "y"]);
    let text = open("d.png,0.5\n", None).unwrap().0;
    assert_eq!(text.target_columns(), Some(1));
}

#[cfg(unix)]
#[test]
fn names_that_are_no_utf8_are_found() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.png");
    std::fs::write(dir.path().join(name), png(1)).unwrap();
    write(dir.path(), "list.csv", b"caf\xe9.png,coffee\n");
    let set = ImageSet::open(&dir.path().join("list.csv"), None).unwrap();
    assert_eq!(set.path(0).unwrap(), dir.path().join(name));
    set.load(0).unwrap();
}

/// A header says which column is what, in any order.
#[test]
fn columns_are_found_by_their_names() {
    let rows = [("img/a 1.png", "cat"), ("\"img/b,2.png\"", "dog"), ("img/c.png", "cat"), ("d.png", "bird")];
    let ids = ["bird", "cat", "dog"];
    let id = |label: &str| ids.iter().position(|name| *name == label).unwrap();
    for (header, row) in [
        ("label,path", &(|_: usize, p: &str, l: &str| format!("{l},{p}")) as &dyn Fn(usize, &str, &str) -> String),
        (",path,label", &|i, p, l| format!("{i},{p},{l}")),
        (",Label,File Name", &|i, p, l| format!("{i},{l},{p}")),
        ("id,filename,class", &|i, p, l| format!("{i},{p},{l}")),
        ("path,label,width,height", &|_, p, l| format!("{p},{l},32,32")),
        ("width,category,image_path", &|_, p, l| format!("32,{l},{p}")),
        ("path,class_id,class_name", &|_, p, l| format!("{p},{},{l}", id(l))),
        ("class,label,path", &|_, p, l| format!("{l},{},{p}", id(l))),
        ("path,label,set", &|i, p, l| format!("{p},{l},{}", i * 3)),
    ] {
        let text = rows.iter().enumerate().fold(format!("{header}\n"), |text, (i, (p, l))| text + &row(i, p, l) + "\n");
        for targets in [None, Some(TargetKind::Class)] {
            let (set, names) = open(&text, targets).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(set.classes(), ids, "{text}");
            assert_eq!((names[0].as_str(), labels(&set)), ("d.png", vec![0, 1, 1, 2]), "{text}");
            // What is left out is said.
            assert_eq!(
                set.notes().iter().any(|note| note.contains("nothing is read") || note.contains("say the same")),
                header != "label,path",
                "{text}"
            );
        }
    }
    let text = "path,label,class_name\nd.png,0,bird\nimg/c.png,0,cat\n";
    let why = open(text, None).unwrap_err().to_string();
    assert!(why.contains("several columns that could be the label, and they say different things: `label`, `class_name`"), "{why}");
    // Labels with a number, or one name for all, are several labels; columns called by their classes are marks.
    for (text, targets) in [
        ("path,label_1,label_2\nd.png,a,b\nimg/c.png,b,\n", TargetKind::Several),
        ("path,label,label\nd.png,a,b\nimg/c.png,b,\n", TargetKind::Several),
        ("a,path,b\n1,d.png,1\n0,img/c.png,1\n", TargetKind::Several),
    ] {
        let (set, _) = open(text, Some(targets)).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(set.classes(), ["a", "b"], "{text}");
    }
    let (set, names) = open("x,path,y\n0.5,d.png,1.5\n2,img/c.png,-1\n", Some(TargetKind::Numbers(2))).unwrap();
    let Targets::Numbers(values) = set.targets() else { panic!() };
    assert_eq!((names[0].as_str(), values.row(0).to_vec()), ("d.png", vec![0.5, 1.5]));
}

/// A column of parts divides the list as folders called `train` and `val` divide a folder.
#[test]
fn a_column_divides_the_images() {
    let dir = tree(&FILES);
    let list = dir.path().join("list.csv");
    for (header, names) in [("path,label,split", ["train", "val", "test"]), ("path,label,Subset", ["Training", "valid", "TEST"])] {
        let rows = format!(
            "{header}\nimg/a 1.png,cat,{}\nimg/c.png,dog,{0}\n\"img/b,2.png\",cat,{}\nd.png,dog,{}\n",
            names[0], names[1], names[2]
        );
        write(dir.path(), "list.csv", rows.as_bytes());
        let training = ImageSet::open(&list, None).unwrap();
        assert_eq!((relative(&training, dir.path()), labels(&training)), (vec!["img/a 1.png".to_string(), "img/c.png".into()], vec![0, 1]));
        assert!(training.notes().iter().any(|note| note.contains("is divided by its column")), "{:?}", training.notes());
        for (part, file) in [(Part::Validation, "img/b,2.png"), (Part::Test, "d.png")] {
            let set = training.other_part(&list, part).unwrap().unwrap();
            assert_eq!(relative(&set, dir.path()), [file]);
            assert_eq!(set.classes(), ["cat", "dog"]);
        }
    }
    write(dir.path(), "list.csv", b"path,label,split\nd.png,dog,train\nimg/c.png,cat,holdout\n");
    let why = refusal(&list);
    assert!(why.contains("1 line has no part of the data that is known (line 3: split `holdout`, and not train, val or test)"), "{why}");
    write(dir.path(), "list.csv", b"path,label,split\nd.png,dog,test\nimg/c.png,cat,test\n");
    let why = refusal(&list);
    assert!(why.contains("is divided into test and has no training images"), "{why}");
}

#[test]
fn lists_from_windows_are_read() {
    let (set, names) = open("path,label\r\nimg\\a 1.png,cat\r\nd.png,dog\r\n", None).unwrap();
    assert_eq!((names, labels(&set)), (vec!["img/a 1.png".to_string(), "d.png".into()], vec![0, 1]));
    assert!(set.notes().iter().any(|note| note.contains("which was read as `/`")), "{:?}", set.notes());
    let dir = tree(&FILES);
    let text: Vec<u8> = "path,label\nd.png,dog\n".encode_utf16().fold(vec![0xff, 0xfe], |mut all, unit| {
        all.extend(unit.to_le_bytes());
        all
    });
    write(dir.path(), "list.csv", &text);
    assert!(refusal(&dir.path().join("list.csv")).contains("is UTF-16. Save it as UTF-8"));
}

/// Labels may hold the signs that separate columns elsewhere: what stands behind a file's name separates.
#[test]
fn the_sign_behind_the_path_separates() {
    for text in [
        "d.png;bird, big\nimg/c.png;cat, small\n",
        "d.png\tbird, big\nimg/c.png\tcat, small\n",
        "\"d.png\";bird, big\nimg/c.png;cat, small\n",
    ] {
        let (set, names) = open(text, Some(TargetKind::Class)).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!((set.classes(), names.len()), (&["bird, big".to_string(), "cat, small".to_string()][..], 2), "{text:?}");
    }
}

/// A name may begin as JSON or an archive does.
#[test]
fn names_may_begin_as_other_files_do() {
    for name in ["[1].png", "[2021-03] a.png", "{id}.png", "PK01.png"] {
        let dir = tree(&[name, "b.png"]);
        write(dir.path(), "list.csv", format!("{name},cat\nb.png,dog\n").as_bytes());
        let set = ImageSet::open(&dir.path().join("list.csv"), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(set.len(), 2, "{name}");
    }
}

/// Classes that differ in case or spaces only are said: of one class a slip makes two.
#[test]
fn classes_that_are_called_alike_are_said() {
    let (set, _) = open("d.png,Cat\nimg/c.png,cat\nimg/a 1.png,big dog\n", Some(TargetKind::Class)).unwrap();
    assert!(
        set.notes().iter().any(|n| n.contains("called alike") && n.contains("`Cat` and `cat`") && !n.contains("dog")),
        "{:?}",
        set.notes()
    );
    let dir = tree(&["big dog/1.png", "big_dog/2.png", "cat/1.png"]);
    assert!(ImageSet::open(dir.path(), None).unwrap().notes().iter().any(|n| n.contains("`big dog` and `big_dog`")));
    let (set, _) = open("d.png,cat\nimg/c.png,dog\n", Some(TargetKind::Class)).unwrap();
    assert!(!set.notes().iter().any(|n| n.contains("alike")), "{:?}", set.notes());
}
