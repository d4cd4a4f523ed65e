use super::super::pb::tensor_proto::DataLocation;
use super::super::tensor::{inline_external, tensor, tensor_with};
use super::*;
use std::fs;

const N: usize = 16;

fn proto(entries: &[(&str, &str)]) -> pb::TensorProto {
    let entry = |&(k, v): &(&str, &str)| pb::StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    pb::TensorProto {
        name: Some("w".into()),
        data_type: Some(1),
        dims: vec![N as i64 / 4],
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..Default::default()
    }
}

/// A model's folder with `w.bin` of 40 bytes, a folder `sub` with a copy, and a secret beside the model's folder.
fn place() -> (tempfile::TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("model");
    fs::create_dir_all(dir.join("sub")).unwrap();
    let data: Vec<u8> = (0..40).collect();
    for file in [dir.join("w.bin"), dir.join("sub/w.bin"), outer.path().join("secret")] {
        fs::write(file, &data).unwrap();
    }
    (outer, dir)
}

#[test]
fn data_is_found_and_shared() {
    let (_outer, dir) = place();
    let external = ExternalData::new(&dir);
    let a = tensor_with(&proto(&[("location", "w.bin"), ("offset", "8"), ("length", "16")]), &external).unwrap();
    assert_eq!(a.bytes()[..], (8..24).collect::<Vec<u8>>());
    let b = tensor_with(&proto(&[("location", "w.bin"), ("offset", "24")]), &external).unwrap();
    // One buffer: the second slice lies right behind the first.
    assert_eq!(b.bytes().as_ptr() as usize, a.bytes().as_ptr() as usize + 16);
    let c = tensor_with(&proto(&[("location", "./sub/w.bin"), ("checksum", "x")]), &external).unwrap();
    assert_eq!(c.bytes()[..], (0..16).collect::<Vec<u8>>());
    // Read once: later changes are not seen.
    fs::remove_file(dir.join("w.bin")).unwrap();
    assert!(tensor_with(&proto(&[("location", "w.bin")]), &external.clone()).is_ok());
}

#[test]
fn every_attack_is_refused() {
    let (outer, dir) = place();
    let secret = outer.path().join("secret");
    let secret = secret.to_str().unwrap();
    let cases: [(&[(&str, &str)], &str); 22] = [
        (&[], "names no file"),
        (&[("location", "")], "names no file"),
        (&[("location", ".")], "names no file"),
        (&[("location", "w.bin"), ("location", "secret")], "`location` is given twice"),
        (&[("location", secret)], "leaves the model's folder"),
        (&[("location", "../secret")], "leaves the model's folder"),
        (&[("location", "sub/../../secret")], "leaves the model's folder"),
        (&[("location", "sub/../w.bin")], "leaves the model's folder"),
        (&[("location", "/dev/zero")], "leaves the model's folder"),
        (&[("location", "gone.bin")], "missing"),
        (&[("location", "sub")], "not a regular file"),
        (&[("location", "w.bin/x")], "cannot read"),
        (&[("location", "w\0.bin")], "cannot read"),
        (&[("location", "w.bin"), ("offset", "25")], "16 bytes at offset 25 are needed, but the file `w.bin` has 40 bytes"),
        (&[("location", "w.bin"), ("offset", "-1")], "no valid byte count"),
        (&[("location", "w.bin"), ("offset", "1e3")], "no valid byte count"),
        (&[("location", "w.bin"), ("offset", "18446744073709551616")], "no valid byte count"),
        (&[("location", "w.bin"), ("offset", "18446744073709551615")], "are needed, but the file"),
        (&[("location", "w.bin"), ("offset", "9223372036854775800")], "are needed, but the file"),
        (&[("location", "w.bin"), ("length", "12")], "type and shape need 16 bytes, `length` says 12"),
        (&[("location", "w.bin"), ("length", "-16")], "no valid byte count"),
        (&[("location", "w.bin"), ("length", "9999999999")], "need 16 bytes"),
    ];
    for (entries, expected) in cases {
        let e = tensor(&proto(entries), &dir).unwrap_err().to_string();
        assert!(e.contains("tensor `w`") && e.contains(expected), "{entries:?}: {e}");
    }
    let huge = pb::TensorProto { dims: vec![1 << 62], ..proto(&[("location", "w.bin")]) };
    assert!(tensor(&huge, &dir).unwrap_err().to_string().contains("impossible dimensions"));
    let large = pb::TensorProto { dims: vec![1 << 60], ..proto(&[("location", "w.bin"), ("offset", "8")]) };
    assert!(tensor(&large, &dir).unwrap_err().to_string().contains("but the file `w.bin` has 40 bytes"));
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_refused() {
    let (outer, dir) = place();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
    link("../secret", "out.bin");
    link("w.bin", "inside.bin");
    link("..", "up");
    link("nowhere", "dangling");
    for name in ["out.bin", "inside.bin", "up/secret", "dangling"] {
        let e = tensor(&proto(&[("location", name)]), &dir).unwrap_err().to_string();
        assert!(e.contains("symbolic link"), "{name}: {e}");
    }
    fs::hard_link(outer.path().join("secret"), dir.join("hard.bin")).unwrap();
    let e = tensor(&proto(&[("location", "hard.bin")]), &dir).unwrap_err().to_string();
    assert!(e.contains("hard links"), "{e}");
    let pipe = std::ffi::CString::new(dir.join("pipe").to_str().unwrap()).unwrap();
    // SAFETY: `pipe` is a valid C string for the length of the call.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    let e = tensor(&proto(&[("location", "pipe")]), &dir).unwrap_err().to_string();
    assert!(e.contains("not a regular file"), "{e}");
    // The folder itself may be reached through a link: that is the user's own doing.
    std::os::unix::fs::symlink(&dir, outer.path().join("alias")).unwrap();
    assert!(tensor(&proto(&[("location", "w.bin")]), &outer.path().join("alias")).is_ok());
}

#[test]
fn inlining_leaves_no_reference() {
    let (_outer, dir) = place();
    let graph = pb::GraphProto { initializer: vec![proto(&[("location", "w.bin"), ("offset", "4")])], ..Default::default() };
    let mut model = pb::ModelProto { graph: Some(graph), ..Default::default() };
    inline_external(&mut model, &ExternalData::new(&dir)).unwrap();
    let t = &model.graph.unwrap().initializer[0];
    assert_eq!(t.raw_data.as_deref(), Some(&(4..20).collect::<Vec<u8>>()[..]));
    assert!(t.external_data.is_empty() && t.data_location.is_none());
}
