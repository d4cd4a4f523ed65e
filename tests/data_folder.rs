//! Image folders: labels, what is skipped, what is refused.

use spgraph::Error;
use spgraph::data::{ImageFolder, load_image};
use std::path::Path;

/// Makes empty files: nothing is opened when a folder is listed.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    dir
}

fn refusal(dir: &Path, classes: Option<&[String]>) -> String {
    let error = ImageFolder::open(dir, classes).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error}");
    error.to_string()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

#[test]
fn labels_follow_sorted_names() {
    let dir = tree(&[
        "b/2.PNG",
        "b/10.jpg",
        "b/deep/er/1.webp",
        "a/x.Jpeg",
        "C/y.bmp",
        "a/notes.txt",
        "a/README",
        "top.txt",
        ".git/x.png",
        "a/.hidden.png",
    ]);
    let folder = ImageFolder::open(dir.path(), None).unwrap();
    assert_eq!(folder.classes(), ["C", "a", "b"]);
    let samples: Vec<_> =
        folder.samples().map(|s| (s.path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_string(), s.label)).collect();
    let expected = [("C/y.bmp", 0), ("a/x.Jpeg", 1), ("b/10.jpg", 2), ("b/2.PNG", 2), ("b/deep/er/1.webp", 2)];
    assert_eq!(samples, expected.map(|(p, l)| (p.to_string(), l)));
    assert_eq!(folder.class_counts(), [1, 1, 3]);
    assert_eq!(folder.ignored(), 2);
    assert!(folder.notes()[0].ends_with("skipped: 1 without an ending, 1 .txt, 2 hidden"), "{:?}", folder.notes());
}

#[test]
fn given_classes_decide_the_labels() {
    let dir = tree(&["cat/1.png", "ant/1.png"]);
    let folder = ImageFolder::open(dir.path(), Some(&names(&["dog", "cat", "ant"]))).unwrap();
    assert_eq!(folder.classes(), ["dog", "cat", "ant"]);
    assert_eq!(folder.samples().map(|s| s.label).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(folder.class_counts(), [0, 1, 1]);
    let text = refusal(dir.path(), Some(&names(&["dog", "cat"])));
    assert!(text.contains("`ant`") && text.contains("`dog`, `cat`"), "{text}");
    let text = refusal(dir.path(), Some(&names(&["cat", "ant", "cat"])));
    assert!(text.contains("`cat` twice"), "{text}");
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let dir = tree(&["a/1.png", "b/1.txt", "b/2.txt", "c/.x.png", "only.png", "d/1.svg"]);
    assert!(refusal(&dir.path().join("nowhere"), None).contains("does not exist"));
    assert!(refusal(&dir.path().join("only.png"), None).contains("is not a folder"));
    let text = refusal(dir.path(), None);
    let found = "`b` (only 2 .txt), `c` (only 1 hidden), `d` (only 1 .svg (images of a kind that is not read: convert them";
    assert!(text.contains(found), "{text}");
    let flat = tree(&["1.png", "2.jpg"]);
    let text = refusal(flat.path(), None);
    assert!(text.contains("no class folders") && text.contains("holds 2 images"), "{text}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let dir = tree(&["a/1.png", "b/1.png"]);
    let elsewhere = tree(&["2.png", "more/3.png"]);
    symlink(elsewhere.path(), dir.path().join("a/linked")).unwrap();
    assert_eq!(ImageFolder::open(dir.path(), None).unwrap().class_counts(), [3, 1]);
    symlink(dir.path(), elsewhere.path().join("back")).unwrap();
    let text = refusal(dir.path(), None);
    assert!(text.contains("circle") && text.contains("back"), "{text}");
    std::fs::remove_file(elsewhere.path().join("back")).unwrap();
    // One for an image is an image that cannot be read; of another nobody knows what it would be.
    symlink("nowhere.png", dir.path().join("b/2.png")).unwrap();
    assert_eq!(ImageFolder::open(dir.path(), None).unwrap().class_counts(), [3, 2]);
    let text = load_image(&dir.path().join("b/2.png")).unwrap_err().to_string();
    assert!(text.contains("leads nowhere") && text.contains("2.png"), "{text}");
    symlink("nowhere", dir.path().join("b/more")).unwrap();
    let text = refusal(dir.path(), None);
    assert!(text.contains("leads nowhere") && text.contains("more"), "{text}");
}

#[test]
fn a_subset_keeps_the_classes() {
    let dir = tree(&["a/1.png", "b/1.png", "b/2.png"]);
    let folder = ImageFolder::open(dir.path(), None).unwrap();
    let subset = folder.subset(&[2]).unwrap();
    assert_eq!((subset.len(), subset.classes().len(), subset.label(0)), (1, 2, Some(1)));
    assert!(folder.subset(&[3]).is_err());
}

#[test]
fn images_beside_the_class_folders_are_named() {
    let dir = tree(&["a/1.png", "b/1.png", "loose.jpg", "list.txt", ".hidden.png"]);
    let folder = ImageFolder::open(dir.path(), None).unwrap();
    assert_eq!(folder.class_counts(), [1, 1]);
    let [note] = &folder.notes()[..] else { panic!("{:?}", folder.notes()) };
    assert!(note.starts_with("1 image lies beside the class folders of") && note.ends_with("is of no class: loose.jpg"), "{note}");
    let dir = tree(&["a/1.png", "x.png", "y.png"]);
    let notes = ImageFolder::open(dir.path(), None).unwrap().notes();
    assert!(notes[0].starts_with("2 images lie") && notes[0].ends_with("are of no class: x.png, y.png"), "{notes:?}");
}
