//! Image folders as a run knows them.

use crate::data::ImageFolder;
use sha2::{Digest, Sha256};

/// Identifies the list of images, so that a resumed run notices when it changed.
pub(crate) fn fingerprint(folder: &ImageFolder) -> String {
    let mut hash = Sha256::new();
    for sample in folder.samples() {
        let path = sample.path.strip_prefix(folder.root()).unwrap_or(&sample.path);
        hash.update(format!("{}\t{}\n", sample.label, path.display()));
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
