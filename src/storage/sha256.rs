//! SHA-256 as text: of what other programs name files by. What only spgraph reads has BLAKE3 (`seal`, `listed`).

use super::regular;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Bytes in hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A hash over several pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds a piece behind those before it.
    pub fn add(&mut self, piece: impl AsRef<[u8]>) {
        self.0.update(piece);
    }

    /// Of everything that was added.
    pub fn text(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

/// Of bytes, as numbers.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Of bytes.
pub fn of(bytes: &[u8]) -> String {
    hexadecimal(&digest(bytes))
}

/// Of a file, read in pieces. Fails where it cannot be read or is no regular file.
pub fn of_file(path: &Path) -> Result<String> {
    let failed = |e| Error::io("cannot read", path)(e);
    let (mut file, _) = regular::open(path).map_err(failed)?;
    let (mut hash, mut piece) = (Hasher::default(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hash.text()),
            Ok(n) => hash.add(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// The first `length` bytes of a text's: enough to tell names apart, short enough for a file's name.
pub fn mark(text: &str, length: usize) -> String {
    hexadecimal(&digest(text.as_bytes()).into_iter().take(length).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn bytes_and_files_have_the_standards_hashes() {
        assert_eq!(of(b"abc"), ABC);
        assert_eq!(mark("abc", 3), ABC[..6]);
        let mut pieces = Hasher::default();
        ["a", "", "bc"].iter().for_each(|piece| pieces.add(piece));
        assert_eq!(pieces.text(), ABC);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(of_file(&path).unwrap(), ABC);
        assert!(of_file(dir.path()).is_err());
    }
}
