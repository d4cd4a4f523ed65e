//! Image folders as a run knows them.

use crate::data::ImageSet;
use crate::storage::sha256::Hasher;

/// Identifies the list of images, so that a resumed run notices when it changed.
pub(crate) fn fingerprint(images: &ImageSet) -> String {
    let mut hash = Hasher::default();
    let mut row = vec![0.0; images.target_columns().unwrap_or(0)];
    for (i, sample) in images.samples().enumerate() {
        let path = sample.path.strip_prefix(images.root()).unwrap_or(&sample.path);
        hash.add(format!("{}\t{}\n", sample.label, path.display()));
        images.target_row(i, &mut row);
        row.iter().for_each(|v| hash.add(v.to_le_bytes()));
        // Pixels in memory are as cheap to compare as names.
        if let Some(content) = images.content_hash(i) {
            hash.add(content);
        }
    }
    hash.text()
}
