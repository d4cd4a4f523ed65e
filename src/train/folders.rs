//! Image folders as a run knows them.

use crate::data::ImageSet;
use sha2::{Digest, Sha256};

/// Identifies the list of images, so that a resumed run notices when it changed.
pub(crate) fn fingerprint(images: &ImageSet) -> String {
    let mut hash = Sha256::new();
    let mut row = vec![0.0; images.target_columns().unwrap_or(0)];
    for (i, sample) in images.samples().enumerate() {
        let path = sample.path.strip_prefix(images.root()).unwrap_or(&sample.path);
        hash.update(format!("{}\t{}\n", sample.label, path.display()));
        images.target_row(i, &mut row);
        row.iter().for_each(|v| hash.update(v.to_le_bytes()));
        // Pixels in memory are as cheap to compare as names.
        if let Some(content) = images.content_hash(i) {
            hash.update(content);
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
