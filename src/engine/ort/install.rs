//! `spgraph runtime install`: gets one pinned ONNX Runtime library through pip into spgraph's cache.

use super::super::signature::one_paragraph;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::sha256;
use crate::storage::temporaries::Scratch;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The ONNX Runtime release that is installed, and tested with.
pub(super) const PINNED_VERSION: &str = "1.32.0";

/// What the installed library is called.
fn library_name() -> String {
    format!("libonnxruntime.so.{PINNED_VERSION}")
}

/// (processor, platform tag of the wheel, SHA-256 of the wheel)
const WHEELS: [(&str, &str, &str); 2] = [
    ("x86_64", "manylinux_2_28_x86_64", "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8"),
    ("aarch64", "manylinux_2_28_aarch64", "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054"),
];

/// The folder that holds the installed library: in `SPGRAPH_CACHE`, or in `spgraph` in the user's cache folder. `None`
/// where the environment names no absolute folder for it.
pub fn cache_dir() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = folder("SPGRAPH_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("spgraph")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/spgraph")))?;
    Some(cache.join(format!("onnxruntime-{PINNED_VERSION}")))
}

/// Downloads the pinned ONNX Runtime with the given Python's pip, checks it against the hash in spgraph's source, and
/// puts its library into the cache, where discovery finds it. Returns the library's path. Does nothing when it is
/// there already.
pub fn install(python: &str) -> Result<PathBuf> {
    let wheel = WHEELS.iter().find(|w| cfg!(target_os = "linux") && w.0 == std::env::consts::ARCH);
    let Some((_, platform, hash)) = wheel else {
        return Err(Error::engine(format!(
            "`spgraph runtime install` knows ONNX Runtime's builds for Linux on x86_64 and aarch64, and this is {} on {}. Install the \
             Python package onnxruntime, or give the path of a libonnxruntime with {}",
            std::env::consts::OS,
            std::env::consts::ARCH,
            Field::ORT_LIB
        )));
    };
    let Some(target_dir) = cache_dir() else {
        return Err(Error::engine(
            "there is no folder to install into: HOME, XDG_CACHE_HOME and SPGRAPH_CACHE name none. Set SPGRAPH_CACHE to an absolute path",
        ));
    };
    let target = target_dir.join(library_name());
    if target.is_file() {
        return Ok(target);
    }
    let parent = target_dir.parent().unwrap_or(&target_dir);
    std::fs::create_dir_all(parent).map_err(Error::io("cannot create the cache folder", parent))?;
    // Beside the target, so that the last step is a rename within one file system.
    let work = Scratch::within(parent)?;

    let wheel = download(python, platform, work.path())?;
    check_hash(&wheel, hash)?;
    let unpacked = work.path().join("library");
    unpack(python, &wheel, &unpacked)?;
    match std::fs::rename(&unpacked, &target_dir) {
        Ok(()) => Ok(target),
        // Someone else installed it meanwhile.
        Err(_) if target.is_file() => Ok(target),
        Err(e) => Err(Error::io("cannot move the library to", &target_dir)(e)),
    }
}

/// Lets pip download the wheel for `platform` into `dir`.
fn download(python: &str, platform: &str, dir: &Path) -> Result<PathBuf> {
    // A fixed interpreter version, so that the wheel is the pinned one whichever Python does the work.
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"])
        .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--platform", platform, "-d"])
        .arg(dir)
        .arg(format!("onnxruntime=={PINNED_VERSION}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            Error::engine(format!(
                "cannot run `{python}`, whose pip downloads ONNX Runtime: {e}. Install Python 3 with pip, name another Python, or give the \
                 path of a libonnxruntime with {}",
                Field::ORT_LIB
            ))
        })?;
    if !output.status.success() {
        let said = one_paragraph(&String::from_utf8_lossy(&output.stderr));
        let advice = if said.contains("No module named pip") {
            "This Python has no pip: install it (`python3 -m ensurepip`, or your system's python3-pip), or name another Python"
        } else {
            "Check the network connection and pip's configuration, then run the command again"
        };
        return Err(Error::engine(format!("pip could not download onnxruntime {PINNED_VERSION}: {said}. {advice}")));
    }
    let entries = std::fs::read_dir(dir).map_err(Error::io("cannot read", dir))?;
    entries.filter_map(|e| e.ok().map(|e| e.path())).find(|p| p.extension().is_some_and(|e| e == "whl")).ok_or_else(|| {
        Error::engine(format!("pip reported success but left no wheel of onnxruntime {PINNED_VERSION}; run the command again"))
    })
}

fn check_hash(wheel: &Path, wanted: &str) -> Result<()> {
    let found = sha256::of_file(wheel)?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::engine(format!(
        "the downloaded onnxruntime {PINNED_VERSION} is not the file that spgraph was tested with (SHA-256 {found}, expected {wanted}), and \
         was not installed. The download was damaged, or pip's configured index serves another build; check pip's configuration and run \
         the command again"
    )))
}

/// Unpacks the library and the licence texts that belong to it, not the package's 60 MB of Python modules.
fn unpack(python: &str, wheel: &Path, dir: &Path) -> Result<()> {
    let script = "import os, shutil, sys, zipfile\n\
                  wheel, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]\n\
                  os.makedirs(out)\n\
                  with zipfile.ZipFile(wheel) as z:\n\
                  \x20   for name in names:\n\
                  \x20       with z.open(name) as a, open(os.path.join(out, os.path.basename(name)), 'wb') as b: shutil.copyfileobj(a, b)\n";
    let library = format!("onnxruntime/capi/{}", library_name());
    let output = Command::new(python)
        .args(["-c", script])
        .arg(wheel)
        .arg(dir)
        .args([library.as_str(), "onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::engine(format!("cannot run `{python}` to unpack ONNX Runtime: {e}")))?;
    if !output.status.success() || !dir.join(library_name()).is_file() {
        let said = one_paragraph(&String::from_utf8_lossy(&output.stderr));
        return Err(Error::engine(format!("could not unpack ONNX Runtime's library: {said}. Is the disk full? Run the command again")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("x.whl");
        std::fs::write(&wheel, "something else").unwrap();
        let error = check_hash(&wheel, WHEELS[0].2).unwrap_err().to_string();
        assert!(error.contains("not the file that spgraph was tested with") && error.contains(WHEELS[0].2), "{error}");
    }

    #[test]
    fn a_python_that_cannot_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = download("/nonexistent/python", "any", dir.path()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/python") && error.contains(&Field::ORT_LIB.to_string()), "{error}");
    }
}
