//! Recognises what people give instead of an ONNX model.

use std::ffi::OsString;
use std::path::Path;

/// Names in a folder that are looked at.
const MOST_NAMES: usize = 10_000;

/// Bytes at a file's start by which [`foreign`] and [`in_place_of`] tell what it is.
pub const HEAD: usize = 4096;

/// Whether a file that begins with `head` is a zip archive: its first entry, an empty directory, or a part of several.
pub fn is_zip(head: &[u8]) -> bool {
    [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"].iter().any(|first| head.starts_with(*first))
}

/// What `data`, which is no ONNX model, is instead and what to do; `None` where that cannot be told.
pub fn foreign(data: &[u8]) -> Option<String> {
    let head = data.get(..HEAD).unwrap_or(data);
    let has = |needle: &[u8]| head.windows(needle.len()).any(|w| w == needle);
    if let Some(what) = in_place_of(head) {
        return Some(format!("it is {what}"));
    }
    const TORCH: &str = "it is a PyTorch file; export the network with torch.onnx.export first";
    let known = if is_zip(head) {
        match () {
            () if has(b"data.pkl") || has(b"constants.pkl") => TORCH,
            () if has(b".npy") => {
                "it holds arrays of NumPy, which are no network; give those as images, or export the network to ONNX first"
            }
            () if has(b"model.weights.h5") => "it is a Keras file; export the network with its `model.export(FILE, format=\"onnx\")` first",
            () => "it is a zip archive; unpack it and give the .onnx file in it",
        }
    } else if head.starts_with(b"\x80\x02\x8a\x0a") || (head.first() == Some(&0x80) && has(b"torch")) {
        TORCH
    } else if matches!(head, [0x80, 2..=5, ..]) {
        "it is a Python pickle, which spgraph never opens, for it could run anything; export the network to ONNX where it was made"
    } else if head.starts_with(b"\x1f\x8b") {
        "it is compressed with gzip; unpack it first"
    } else if head.starts_with(b"\x89HDF") {
        "it is an HDF5 file, such as Keras writes; convert the network with tf2onnx first"
    } else if head.get(4..8) == Some(b"TFL3") {
        "it is a TensorFlow Lite model; convert it with tf2onnx first"
    } else if head.get(4..8) == Some(b"ORTM") {
        "it is in ONNX Runtime's own format; give the .onnx file that it was made from"
    } else if head.get(8) == Some(&b'{') && head.get(5..8) == Some(&[0; 3]) {
        "it is a safetensors file, which holds weights but no network; export the network to ONNX first"
    } else if head.starts_with(b"GGUF") {
        "it is a GGUF file, of language models; spgraph takes image classifiers in ONNX"
    } else if head.get(257..262) == Some(b"ustar") {
        "it is a tar archive; unpack it and give the .onnx file in it"
    } else if head.starts_with(b"\x0a") && (has(b"\x12\x0bPlaceholder") || has(b"\x12\x05Const")) {
        "it is a graph of TensorFlow; convert it with tf2onnx first"
    } else if data.iter().all(|&byte| byte == 0) && !data.is_empty() {
        "it holds nothing but zeros, as a download that was cut off leaves behind; download the model again"
    } else if image::guess_format(head).is_ok() {
        "it is an image; the network comes first, images behind it"
    } else if is_text(head) {
        "it is a text file; export the model again or download it again"
    } else {
        return None;
    };
    Some(known.into())
}

/// What a file that begins with `head` is in the place of its content, whatever that was to be, and what to do; `None` where it may be the content.
pub fn in_place_of(head: &[u8]) -> Option<&'static str> {
    match () {
        () if head.starts_with(b"version https://git-lfs") => {
            Some("a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, or download it")
        }
        () if starts_like_html(head) => Some("a web page, as a failed download leaves behind; download the file again"),
        () => None,
    }
}

/// What to give in the place of the folder `dir`, which is none of spgraph's: the model in it, or what to do with another framework's; `None` where nothing
/// in it says that.
pub fn in_folder(dir: &Path) -> Option<String> {
    let mut names: Vec<OsString> =
        std::fs::read_dir(dir).ok()?.take(MOST_NAMES).filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    let called = |name: &str| names.iter().any(|other| other == name);
    let models: Vec<&OsString> =
        names.iter().filter(|name| Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))).collect();
    match models[..] {
        [only] => Some(format!("the model in it is {}: give that", dir.join(only).display())),
        [first, ..] => Some(format!("it holds {} models: give one, such as {}", models.len(), dir.join(first).display())),
        [] if called("saved_model.pb") => Some("it is a SavedModel of TensorFlow; convert it with tf2onnx first".into()),
        [] if called("model.safetensors") || called("pytorch_model.bin") => {
            Some("it is a model of Hugging Face; export it to ONNX first, such as by `optimum-cli export onnx`".into())
        }
        [] => None,
    }
}

fn starts_like_html(head: &[u8]) -> bool {
    let start: Vec<u8> = head.trim_ascii_start().iter().take(14).map(u8::to_ascii_lowercase).collect();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The end of the window may cut a character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(head.get(..e.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_sees() {
        let (jpeg, tar) = (b"\xff\xd8\xff\xe0\0\x10JFIF", [[b'x'; 257].as_slice(), b"ustar\0"].concat());
        let cases: [(&[u8], &str); 22] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
            (b"PK\x03\x04\x00\x00resnet50/data.pkl", "PyTorch"),
            (b"PK\x03\x04\x00\x00model.onnx", "zip archive"),
            (b"PK\x05\x06\x00\x00", "zip archive"),
            (b"PK\x07\x08PK\x03\x04\x00\x00images.npy", "NumPy"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P", "PyTorch"),
            (b"\x80\x02ctorch._utils\n", "PyTorch"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
            (b"\x1c\x00\x00\x00ORTM", "ONNX Runtime"),
            (b"\x40\x00\x00\x00\x00\x00\x00\x00{\"w\":", "safetensors"),
            (b"\n <!DOCTYPE HTML><html>404", "web page"),
            ("Größe: not found\n".as_bytes(), "text file"),
            (b"PK\x03\x04\x00\x00images.npy", "NumPy"),
            (b"PK\x03\x04\x00\x00model.weights.h5", "Keras"),
            (b"\x80\x04\x95\x10\x00", "pickle"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (&tar, "tar archive"),
            (b"\x0a\x1a\x0a\x05input\x12\x0bPlaceholder\x2a", "TensorFlow"),
            (&[0; 100], "nothing but zeros"),
            (jpeg, "an image"),
        ];
        for (data, expected) in cases {
            let found = foreign(data).unwrap_or_default();
            assert!(found.contains(expected), "{:?}: {found}", String::from_utf8_lossy(data));
        }
        assert_eq!(foreign(b"\x08\x08\x12\x07pytorch\x3a\xff"), None);
        assert_eq!(foreign(b""), None);
    }
}
