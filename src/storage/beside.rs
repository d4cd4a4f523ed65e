//! Names beside a file or folder that are made of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Bytes that file systems take for a name.
const LONGEST: usize = 255;

/// Hexadecimal digits that stand for what a name had to lose.
const DIGITS: usize = 8;

/// The path in the same folder whose name is that of `path` between `before` and `behind`. Where that would be too long for a name, the end of the own
/// name gives way to digits of its hash: the same name gets the same one, and different names different ones.
pub fn beside(path: &Path, before: &str, behind: &str) -> PathBuf {
    let own = path.file_name().unwrap_or_default();
    let room = LONGEST.saturating_sub(before.len()).saturating_sub(behind.len());
    let mut name = OsString::from(before);
    if own.len() <= room {
        name.push(own);
    } else {
        let (text, hash) = (own.to_string_lossy(), blake3::hash(own.as_encoded_bytes()).to_hex());
        let room = room.saturating_sub(DIGITS).saturating_sub(1);
        let kept: String = text.char_indices().take_while(|(i, c)| i.saturating_add(c.len_utf8()) <= room).map(|(_, c)| c).collect();
        name.push(format!("{kept}~{}", hash.get(..DIGITS).unwrap_or_default()));
    }
    name.push(behind);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_names_may_be() {
        let named = |own: &str| beside(&Path::new("at").join(own), ".lock-", ".old");
        assert_eq!(named("run"), Path::new("at/.lock-run.old"));
        let long = "é".repeat(127);
        let (one, other) = (named(&format!("{long}1")), named(&format!("{long}2")));
        assert!(one != other && one == named(&format!("{long}1")));
        for path in [&one, &other] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.len() <= LONGEST && name.starts_with(".lock-éé") && name.ends_with(".old"), "{name}");
        }
        assert_eq!(named(&"x".repeat(245)).file_name().unwrap().len(), LONGEST);
    }
}
