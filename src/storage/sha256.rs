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

/// Of bytes.
pub fn of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Of a file, read in pieces. Fails where it cannot be read or is no regular file.
pub fn of_file(path: &Path) -> Result<String> {
    let failed = |e| Error::io("cannot read", path)(e);
    let (mut file, _) = regular::open(path).map_err(failed)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hexadecimal(&hash.finalize())),
            Ok(n) => hash.update(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// The first `length` bytes of a text's: enough to tell names apart, short enough for a file's name.
pub fn mark(text: &str, length: usize) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()).into_iter().take(length).collect::<Vec<u8>>())
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(of_file(&path).unwrap(), ABC);
        assert!(of_file(dir.path()).is_err());
    }
}
