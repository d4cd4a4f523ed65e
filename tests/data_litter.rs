//! Folders as people have them: what archivers, file managers and notebooks leave, other endings, names that are no text.

use spgraph::data::{ImageFolder, KnownClasses};
use std::path::Path;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|file| put(&dir.path().join(file)));
    dir
}

/// An empty file: nothing is opened when a folder is listed.
fn put(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"").unwrap();
}

#[test]
fn what_computers_leave_is_skipped_and_said() {
    let clean = tree(&["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/more/2.jpg"]);
    let littered = tree(&[
        "cat/1.jpg",
        "cat/2.jpg",
        "dog/1.jpg",
        "dog/more/2.jpg",
        "__MACOSX/cat/._1.jpg",
        "__MACOSX/cat/1.jpg",
        "@eaDir/1.jpg",
        "lost+found/1.jpg",
        ".ipynb_checkpoints/1-checkpoint.jpg",
        "$RECYCLE.BIN/desktop.ini",
        "cat/._1.jpg",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "cat/desktop.ini",
        "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        "cat/.ipynb_checkpoints/1-checkpoint.jpg",
        "dog/Thumbnails/1.jpg",
        "dog/more/thumbs/2.jpg",
    ]);
    std::fs::create_dir(littered.path().join("thumbnails")).unwrap();
    let (clean_folder, folder) = (ImageFolder::open(clean.path(), None).unwrap(), ImageFolder::open(littered.path(), None).unwrap());
    assert_eq!(folder.classes(), ["cat", "dog"]);
    let relative = |folder: &ImageFolder| -> Vec<(String, usize)> {
        folder.samples().map(|s| (s.path.strip_prefix(folder.root()).unwrap().display().to_string(), s.label)).collect()
    };
    assert_eq!(relative(&folder), relative(&clean_folder));
    assert!(clean_folder.notes().is_empty());
    let [note] = &folder.notes()[..] else { panic!("{:?}", folder.notes()) };
    for part in ["1 .db", "1 .ini", "hidden", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "Thumbnails", "thumbs", "thumbnails"] {
        assert!(note.contains(part), "no {part} in {note}");
    }
    // A class may be called so.
    let thumbs = tree(&["thumbs/1.jpg", "fingers/1.jpg"]);
    assert_eq!(ImageFolder::open(thumbs.path(), None).unwrap().classes(), ["fingers", "thumbs"]);
    // Nothing but litter is no class.
    let none = tree(&["__MACOSX/1.jpg", ".git/1.jpg"]);
    assert!(ImageFolder::open(none.path(), None).unwrap_err().to_string().contains("no class folders"));
}

#[test]
fn every_ending_of_an_image_is_known() {
    let endings = ["jpg", "JPEG", "jpe", "JFIF", "png", "webp", "bmp", "dib", "gif", "tif", "TIFF", "ppm", "PGM", "pbm", "pnm"];
    let files: Vec<String> = endings.iter().map(|e| format!("a/1.{e}")).collect();
    let dir = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ImageFolder::open(dir.path(), None).unwrap().len(), endings.len());
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_read() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tree(&["zebra/1.png"]);
    let latin = dir.path().join(OsStr::from_bytes(b"caf\xe9"));
    put(&latin.join(OsStr::from_bytes(b"gr\xfc\xdfe.png")));
    let folder = ImageFolder::open(dir.path(), None).unwrap();
    assert_eq!(folder.classes(), ["caf\u{fffd}", "zebra"]);
    assert!(folder.path(0).unwrap().starts_with(&latin) && folder.path(0).unwrap().is_file());
    put(&dir.path().join(OsStr::from_bytes(b"caf\xe8")).join("1.png"));
    let error = ImageFolder::open(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("no valid UTF-8") && error.contains("caf\u{fffd}"), "{error}");
}

#[test]
fn labels_follow_what_is_known_of_the_network() {
    let dir = tree(&["10/1.png", "2/1.png", "0/1.png"]);
    let open = |known: &KnownClasses| ImageFolder::open_for(dir.path(), known);
    let of = |folder: &ImageFolder| -> Vec<usize> { folder.samples().map(|s| s.label).collect() };
    // For a new head the folders are its classes, in the order of their numbers.
    let new = open(&KnownClasses { count: Some(3), ..KnownClasses::default() }).unwrap();
    assert_eq!((new.classes(), of(&new), new.labels_assumed()), (&["0".to_string(), "2".into(), "10".into()][..], vec![0, 1, 2], false));
    // For a network that has learnt its labels, they are the labels.
    let kept = open(&KnownClasses { count: Some(12), learnt: true, ..KnownClasses::default() }).unwrap();
    assert_eq!((kept.classes().len(), of(&kept), kept.labels_assumed()), (12, vec![0, 2, 10], true));
    assert!(open(&KnownClasses { count: Some(3), learnt: true, ..KnownClasses::default() }).is_err());
    assert!(open(&KnownClasses { count: Some(4), ..KnownClasses::default() }).is_err());
    // Names that are numbers are names.
    let names: Vec<String> = ["10", "2", "0", "7"].map(String::from).to_vec();
    let named = open(&KnownClasses { names: &names, count: Some(4), learnt: true, ..KnownClasses::default() }).unwrap();
    assert_eq!((of(&named), named.labels_assumed()), (vec![0, 1, 2], false));
    // One huge number does not make a huge list.
    let huge = tree(&["0/1.png", "99999999999/1.png"]);
    assert!(ImageFolder::open_for(huge.path(), &KnownClasses { learnt: true, ..KnownClasses::default() }).is_err());
}
