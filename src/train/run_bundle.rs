//! The bundle in the folder of a run: what evaluation, export and going on need of it, so that the run stays whole when the bundle is moved or
//! deleted.

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// What a run reads of its bundle. `grad.onnx` and `apply.onnx` are for loops of others.
const FILES: [&str; 6] = [Bundle::MANIFEST, Bundle::INIT, Bundle::STEP, Bundle::EVAL, Bundle::TEMPLATE, Bundle::WEIGHTS];

/// Puts the bundle's files into the new folder `to`: as further names of the same files where the file system can, so that they take no space,
/// else as copies.
pub(super) fn keep(bundle: &Bundle, to: &Path) -> Result<()> {
    fs::create_dir(to).map_err(Error::io("cannot create", to))?;
    for name in FILES {
        let (from, to) = (bundle.dir.join(name), to.join(name));
        if !from.is_file() {
            continue;
        }
        // A file of weights beside a model must have one name only, or reading it is refused.
        if name != Bundle::WEIGHTS && fs::hard_link(&from, &to).is_ok() {
            continue;
        }
        fs::copy(&from, &to).map_err(Error::io("cannot write", &to))?;
        fs::File::open(&to).and_then(|file| file.sync_all()).map_err(Error::io("cannot write", &to))?;
    }
    Ok(())
}
