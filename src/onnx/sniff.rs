//! Recognises what people give instead of an ONNX model.

/// What `data`, which is no ONNX model, is instead and what to do; `None` where that cannot be told.
pub(super) fn foreign(data: &[u8]) -> Option<String> {
    let head = data.get(..4096).unwrap_or(data);
    let has = |needle: &[u8]| head.windows(needle.len()).any(|w| w == needle);
    if head.starts_with(b"version https://git-lfs") {
        return Some("it is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository, or download it".into());
    }
    const TORCH: &str = "it is a PyTorch file; export the network with torch.onnx.export first";
    let known = if head.starts_with(b"PK\x03\x04") {
        if has(b"data.pkl") || has(b"constants.pkl") { TORCH } else { "it is a zip archive; unpack it and give the .onnx file in it" }
    } else if head.starts_with(b"\x80\x02\x8a\x0a") || (head.first() == Some(&0x80) && has(b"torch")) {
        TORCH
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
    } else if starts_like_html(head) {
        "it is a web page, as a failed download leaves behind; download the model again"
    } else if is_text(head) {
        "it is a text file; export the model again or download it again"
    } else {
        return None;
    };
    Some(known.into())
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
        let cases: [(&[u8], &str); 12] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
            (b"PK\x03\x04\x00\x00resnet50/data.pkl", "PyTorch"),
            (b"PK\x03\x04\x00\x00model.onnx", "zip archive"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P", "PyTorch"),
            (b"\x80\x02ctorch._utils\n", "PyTorch"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
            (b"\x1c\x00\x00\x00ORTM", "ONNX Runtime"),
            (b"\x40\x00\x00\x00\x00\x00\x00\x00{\"w\":", "safetensors"),
            (b"\n <!DOCTYPE HTML><html>404", "web page"),
            ("Größe: not found\n".as_bytes(), "text file"),
        ];
        for (data, expected) in cases {
            let found = foreign(data).unwrap_or_default();
            assert!(found.contains(expected), "{:?}: {found}", String::from_utf8_lossy(data));
        }
        assert_eq!(foreign(b"\x08\x08\x12\x07pytorch\x3a\xff"), None);
        assert_eq!(foreign(b""), None);
    }
}
