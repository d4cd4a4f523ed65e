//! `spgraph runtime install`: gets one pinned ONNX Runtime library through pip into spgraph's cache.

use super::super::options::Device;
use super::super::signature::one_paragraph;
use super::library::{self, PINNED_CUDA_VERSION, PINNED_VERSION};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::files::parent;
use crate::storage::folders::OutputDir;
use crate::storage::pending_outputs::final_name;
use crate::storage::temporaries::{self, Scratch};
use crate::storage::{regular, sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is installed: a wheel of a package, and the libraries in it.
struct Release {
    package: &'static str,
    version: &'static str,
    /// Processor, platform tag of the wheel, its SHA-256.
    wheels: &'static [(&'static str, &'static str, &'static str)],
    /// Beside the library itself.
    providers: &'static [&'static str],
}

const CPU: Release = Release {
    package: "onnxruntime",
    version: PINNED_VERSION,
    wheels: &[
        ("x86_64", "manylinux_2_28_x86_64", "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8"),
        ("aarch64", "manylinux_2_28_aarch64", "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054"),
    ],
    providers: &[],
};

const CUDA: Release = Release {
    package: "onnxruntime-gpu",
    version: PINNED_CUDA_VERSION,
    wheels: &[("x86_64", "manylinux_2_28_x86_64", "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7")],
    providers: &["libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"],
};

impl Release {
    fn of(device: Device) -> &'static Release {
        match device {
            Device::Cpu => &CPU,
            Device::Cuda => &CUDA,
        }
    }

    /// What the installed library is called.
    fn library(&self) -> String {
        format!("libonnxruntime.so.{}", self.version)
    }
}

/// The folder that holds the installed library for a device: in `SPGRAPH_CACHE`, or in `spgraph` in the user's cache folder. `None`
/// where the environment names no absolute folder for it.
pub fn cache_dir(device: Device) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = folder("SPGRAPH_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("spgraph")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/spgraph")))?;
    let release = Release::of(device);
    Some(cache.join(format!("{}-{}", release.package, release.version)))
}

/// Puts the pinned ONNX Runtime's library for a device into the cache, where discovery finds it, and returns its path. Does nothing when it is there already.
///
/// The wheel is downloaded with the given Python's pip; or `from` is it, or the library in it where that is all there is, fetched elsewhere. Either is compared
/// with the hash in spgraph's source.
pub fn install(python: &str, from: Option<&Path>, device: Device) -> Result<PathBuf> {
    let release = Release::of(device);
    let (package, version) = (release.package, release.version);
    let wheel = release.wheels.iter().find(|w| cfg!(target_os = "linux") && w.0 == std::env::consts::ARCH);
    let Some((_, platform, hash)) = wheel else {
        let known: Vec<&str> = release.wheels.iter().map(|w| w.0).collect();
        return Err(Error::engine(format!(
            "`spgraph runtime install` knows {package}'s builds for Linux on {}, and this is {} on {}. Install the \
             Python package {package}, or give the path of a libonnxruntime with {}",
            known.join(" and "),
            std::env::consts::OS,
            std::env::consts::ARCH,
            Field::ORT_LIB
        )));
    };
    let Some(target_dir) = cache_dir(device) else {
        return Err(Error::engine(
            "there is no folder to install into: HOME, XDG_CACHE_HOME and SPGRAPH_CACHE name none. Set SPGRAPH_CACHE to an absolute path",
        ));
    };
    let target = target_dir.join(release.library());
    // What an earlier start left that was killed, or could not remove, goes also where there is nothing else to do.
    temporaries::sweep(parent(&target_dir));
    temporaries::sweep(&std::env::temp_dir());
    if target.is_file() {
        return Ok(target);
    }
    let work = Scratch::new()?;
    let (file, found) = match from {
        Some(file) => (file.to_path_buf(), sha256::of_file(file)?),
        None => {
            let wheel = download(python, release, platform, work.path())?;
            check_hash(&wheel, release, hash)?;
            (wheel, hash.to_string())
        }
    };
    let is_library = release.providers.is_empty() && library::pinned_version(&found) == Some(version);
    if !is_library && found != *hash {
        let or_library = if release.providers.is_empty() { " nor the library in it" } else { "" };
        return Err(Error::engine(format!(
            "{} is {} the wheel of {package} {version} that spgraph was tested with (SHA-256 {hash}){or_library}; its \
             SHA-256 is {found}. Where there is a network, `pip download --no-deps --only-binary=:all: --python-version 3.12 --platform \
             {platform} {package}=={version}` gets the wheel",
            file.display(),
            if or_library.is_empty() { "not" } else { "neither" }
        )));
    }
    let out = OutputDir::create(&target_dir, false)?;
    let library = out.path().join(release.library());
    match is_library {
        true => copy(&file, &library)?,
        false => unpack(python, &file, release, out.path())?,
    }
    // What was read a second time may be another file by now.
    if library::pinned_version(&sha256::of_file(&library)?) != Some(version) {
        return Err(Error::engine("the library in the wheel is another than the one that spgraph was tested with: run the command again"));
    }
    for name in release.providers.iter().map(|p| out.path().join(p)).chain([library]) {
        library::check_format(&name).map_err(|why| Error::engine(format!("{} cannot be used: {why}", final_name(&name).display())))?;
    }
    out.commit()?;
    Ok(target)
}

/// The given Python in an empty folder, so that nothing that lies in the current one is taken for a module of Python's.
fn interpreter(python: &str, empty: &Path) -> Result<Command> {
    let named = Path::new(python);
    let place = match named.components().count() {
        1 => named.to_path_buf(),
        _ => std::path::absolute(named).map_err(Error::io("cannot find", named))?,
    };
    let mut command = Command::new(place);
    command.current_dir(empty).stdin(Stdio::null());
    Ok(command)
}

/// Lets pip download the wheel for `platform` into `dir`.
fn download(python: &str, release: &Release, platform: &str, dir: &Path) -> Result<PathBuf> {
    let Release { package, version, .. } = release;
    let empty = Scratch::new()?;
    // A fixed interpreter version, so that the wheel is the pinned one whichever Python does the work.
    let output = interpreter(python, empty.path())?
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"])
        .args(["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--platform", platform, "-d"])
        .arg(dir)
        .arg(format!("{package}=={version}"))
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
        return Err(Error::engine(format!("pip could not download {package} {version}: {said}. {advice}")));
    }
    let entries = std::fs::read_dir(dir).map_err(Error::io("cannot read", dir))?;
    let found: Vec<PathBuf> = entries.map(|e| Ok(e.map_err(Error::io("cannot read", dir))?.path())).collect::<Result<_>>()?;
    found
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Error::engine(format!("pip reported success but left no wheel of {package} {version}; run the command again")))
}

fn check_hash(wheel: &Path, release: &Release, wanted: &str) -> Result<()> {
    let found = sha256::of_file(wheel)?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::engine(format!(
        "the downloaded {} {} is not the file that spgraph was tested with (SHA-256 {found}, expected {wanted}), and \
         was not installed. The download was damaged, or pip's configured index serves another build; check pip's configuration and run \
         the command again",
        release.package, release.version
    )))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let (mut file, _) = regular::open(from).map_err(Error::io("cannot read", from))?;
    let mut out = File::create_new(to).map_err(Error::io("cannot write", to))?;
    // In pieces, so that reading and writing have messages of their own.
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = match file.read(&mut piece) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            length => length.map_err(Error::io("cannot read", from))?,
        };
        let Some(read) = piece.get(..length).filter(|p| !p.is_empty()) else { return Ok(()) };
        out.write_all(read).map_err(Error::io("cannot write", to))?;
    }
}

/// Unpacks the libraries and the licence texts that belong to it, not the package's 60 MB of Python modules.
fn unpack(python: &str, wheel: &Path, release: &Release, dir: &Path) -> Result<()> {
    let script = "import os, shutil, sys, zipfile\n\
                  wheel, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]\n\
                  with zipfile.ZipFile(wheel) as z:\n\
                  \x20   for name in names:\n\
                  \x20       with z.open(name) as a, open(os.path.join(out, os.path.basename(name)), 'wb') as b: shutil.copyfileobj(a, b)\n";
    let library = release.library();
    let libraries: Vec<&str> = release.providers.iter().copied().chain([library.as_str()]).collect();
    let empty = Scratch::new()?;
    let output = interpreter(python, empty.path())?
        .args(["-I", "-c", script])
        .arg(std::path::absolute(wheel).map_err(Error::io("cannot find", wheel))?)
        .arg(dir)
        .args(libraries.iter().map(|name| format!("onnxruntime/capi/{name}")))
        .args(["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"])
        .output()
        .map_err(|e| Error::engine(format!("cannot run `{python}` to unpack ONNX Runtime: {e}")))?;
    if !output.status.success() || libraries.iter().any(|name| !dir.join(name).is_file()) {
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
        let error = check_hash(&wheel, &CPU, CPU.wheels[0].2).unwrap_err().to_string();
        assert!(error.contains("not the file that spgraph was tested with") && error.contains(CPU.wheels[0].2), "{error}");
    }

    #[test]
    fn a_python_that_cannot_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = download("/nonexistent/python", &CUDA, "any", dir.path()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/python") && error.contains(&Field::ORT_LIB.to_string()), "{error}");
    }
}
