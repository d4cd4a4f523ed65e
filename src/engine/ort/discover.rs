//! Finds libonnxruntime: where it may be, in which order, and why a library is or isn't used.

use super::super::options::{Device, EngineOptions};
use super::super::session::Opened;
use super::super::signature::one_paragraph;
use super::environment::is_loaded;
use super::install::cache_dir;
use crate::error::{Error, Result};
use crate::field::Field;
use serde::Serialize;
use std::ffi::{CStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a library was found, in the order in which the places are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The options' own path.
    Option,
    /// The environment variable `ORT_DYLIB_PATH`.
    Environment,
    /// The cache that `spgraph runtime install` fills.
    Cache,
    /// An installed Python package.
    Python,
    /// The system's library folders.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Option => return Field::ORT_LIB.fmt(f),
            Origin::Environment => "ORT_DYLIB_PATH",
            Origin::Cache => "cache",
            Origin::Python => "Python package",
            Origin::System => "system",
        })
    }
}

/// One library, and the verdict on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The library file.
    pub path: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// `1.32.0`; `None` where it could not be learned.
    pub version: Option<String>,
    /// Whether the CUDA execution provider's library lies beside it.
    pub has_cuda: bool,
    /// At most one candidate is chosen.
    pub chosen: bool,
    /// Why it was or wasn't chosen.
    pub reason: String,
}

/// Lists every library that can be found, at most one of them chosen, best places first. A path given by the options
/// or by `ORT_DYLIB_PATH` is the only one in question: if it is no good, none is chosen.
pub fn discover(options: &EngineOptions) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = vec![];
    let mut add = |origin: Origin, path: PathBuf| {
        let path = path.canonicalize().unwrap_or(path);
        if !candidates.iter().any(|c| c.path == path) {
            let has_cuda = path.parent().is_some_and(|dir| dir.join(CUDA_PROVIDER).is_file());
            let version = version_in_name(&path);
            candidates.push(Candidate { path, origin, version, has_cuda, chosen: false, reason: String::new() });
        }
    };
    if let Some(path) = &options.ort_lib {
        add(Origin::Option, path.clone());
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        add(Origin::Environment, path.into());
    }
    for (origin, dir) in folders() {
        for path in libraries_in(&dir) {
            add(origin, path);
        }
    }
    judge(&mut candidates, options);
    candidates
}

/// The chosen candidate; an error when a path that was given by name is no good.
pub(super) fn choose(candidates: &[Candidate]) -> Result<Option<&Candidate>> {
    match candidates.first() {
        Some(first) if named(first) && !first.chosen => Err(Error::engine(format!(
            "the ONNX Runtime library given by {}, {}, cannot be used: {}. Give the path of a working library, or leave it out to let \
             spgraph look for one (`spgraph runtime` lists what it finds)",
            first.origin,
            first.path.display(),
            first.reason
        ))),
        _ => Ok(candidates.iter().find(|c| c.chosen)),
    }
}

/// What to say where none of the candidates can be used.
pub(super) fn absent(candidates: &[Candidate], options: &EngineOptions) -> Opened {
    let why = match candidates {
        [] => "no ONNX Runtime library was found (`spgraph runtime install` gets one, which is faster)",
        _ => "no ONNX Runtime library that was found can be used (`spgraph runtime` says why)",
    };
    Opened::Absent { why: why.into(), error: none_found(candidates, options) }
}

/// The error for a runtime or device that was asked for and cannot be had.
fn none_found(candidates: &[Candidate], options: &EngineOptions) -> Error {
    let mut text = match options.device {
        Device::Cpu => "ONNX Runtime was asked for, but no library of it that can be used was found. ".to_string(),
        Device::Cuda => {
            "the CUDA device was asked for, but no ONNX Runtime library with the CUDA execution provider was found. ".to_string()
        }
    };
    for candidate in candidates {
        text.push_str(&format!("{}: {}. ", candidate.path.display(), candidate.reason));
    }
    let (library, device) = (Field::ORT_LIB, Field::DEVICE);
    text.push_str(&match options.device {
        Device::Cpu => format!(
            "`spgraph runtime install` gets one; or install the Python package onnxruntime, or give the path of a libonnxruntime with {library}"
        ),
        Device::Cuda => format!(
            "Install the Python package onnxruntime-gpu, or give the path of its libonnxruntime with {library}; or train on the CPU \
             ({device} cpu)"
        ),
    });
    Error::engine(text)
}

/// Given by the user, rather than found.
fn named(candidate: &Candidate) -> bool {
    matches!(candidate.origin, Origin::Option | Origin::Environment)
}

fn judge(candidates: &mut [Candidate], options: &EngineOptions) {
    let named_first = candidates.first().filter(|c| named(c)).map(|c| c.origin);
    let mut chosen = false;
    for (at, candidate) in candidates.iter_mut().enumerate() {
        if chosen {
            candidate.reason = "a library from an earlier place is used".into();
        } else if let (Some(origin), true) = (named_first, at > 0) {
            candidate.reason = format!("{origin} names the library to use");
        } else {
            match refusal(candidate, options) {
                Some(reason) => candidate.reason = reason,
                None => {
                    chosen = true;
                    candidate.chosen = true;
                    candidate.reason = match named_first {
                        Some(origin) => format!("{origin} names it"),
                        None => "the first that can be used".into(),
                    };
                }
            }
        }
    }
}

/// Why the candidate cannot be used, if so. Learns its version on the way.
fn refusal(candidate: &mut Candidate, options: &EngineOptions) -> Option<String> {
    if !candidate.path.is_file() {
        return Some("there is no such file".into());
    }
    if let Err(reason) = check_header(&candidate.path) {
        return Some(reason);
    }
    // A second ONNX Runtime in one process is asking for trouble, so once one is loaded no other is opened.
    if !is_loaded() || candidate.version.is_none() {
        match version_by_loading(&candidate.path) {
            Ok(version) => candidate.version = Some(version),
            Err(reason) => return Some(reason),
        }
    }
    let version = candidate.version.as_deref().unwrap_or_default();
    let (major, minor) = match major_minor(version) {
        Some(numbers) => numbers,
        None => return Some(format!("it calls its version `{version}`, which is none")),
    };
    if (major, minor) < (1, ::ort::MINOR_VERSION) {
        return Some(format!("its version is {version}, and spgraph needs 1.{} or later", ::ort::MINOR_VERSION));
    }
    if options.device == Device::Cuda && !candidate.has_cuda {
        return Some(format!("it has no CUDA execution provider ({CUDA_PROVIDER} is not beside it)"));
    }
    None
}

#[cfg(target_os = "windows")]
const CUDA_PROVIDER: &str = "onnxruntime_providers_cuda.dll";
#[cfg(not(target_os = "windows"))]
const CUDA_PROVIDER: &str = "libonnxruntime_providers_cuda.so";

/// Whether a file of this name is the runtime's library: `libonnxruntime.so.1.32.0`, not `libonnxruntime_providers_…`.
fn is_library_name(name: &str) -> bool {
    if cfg!(target_os = "windows") {
        name == "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        name.strip_prefix("libonnxruntime.").is_some_and(|rest| rest == "dylib" || rest.ends_with(".dylib"))
    } else {
        name.strip_prefix("libonnxruntime.so").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The library files of a folder, the plain name first, then the highest version.
fn libraries_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|e| e.ok()).filter(|e| e.file_name().to_str().is_some_and(is_library_name)).map(|e| e.path()).collect();
    found.sort_by_key(|p| {
        let version: Vec<u32> = version_in_name(p).map(|v| v.split('.').filter_map(|n| n.parse().ok()).collect()).unwrap_or_default();
        (!version.is_empty(), std::cmp::Reverse(version))
    });
    found
}

/// Folders to look into, absolute ones only: a bare name would leave the choice to the dynamic linker.
fn folders() -> Vec<(Origin, PathBuf)> {
    let mut folders = vec![];
    if let Some(dir) = cache_dir() {
        folders.push((Origin::Cache, dir));
    }
    folders.extend(python_folders().into_iter().map(|dir| (Origin::Python, dir)));
    let mut system: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH").map(|v| std::env::split_paths(&v).collect()).unwrap_or_default();
    for base in ["/usr/local", "/usr", ""] {
        system.push(format!("{base}/lib").into());
        system.push(format!("{base}/lib64").into());
        system.push(format!("{base}/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    }
    system.push("/opt/onnxruntime/lib".into());
    system.push("/opt/homebrew/lib".into());
    folders.extend(system.into_iter().filter(|dir| dir.is_absolute()).map(|dir| (Origin::System, dir)));
    folders
}

/// The library folders of the `onnxruntime` packages (any build of it) of the active virtual environment and of `python3`.
fn python_folders() -> Vec<PathBuf> {
    let mut pythons: Vec<OsString> = vec![];
    if let Some(environment) = std::env::var_os("VIRTUAL_ENV").filter(|v| !v.is_empty()) {
        pythons.push(Path::new(&environment).join("bin/python").into());
    }
    pythons.push("python3".into());
    let mut folders = vec![];
    for python in pythons {
        // find_spec of a top-level package imports nothing.
        let script =
            "import importlib.util as u\ns = u.find_spec('onnxruntime')\nfor p in (s and s.submodule_search_locations or []): print(p)";
        let output = Command::new(&python).args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let Ok(output) = output else { continue };
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|l| !l.is_empty()) {
            let dir = Path::new(line).join("capi");
            if !folders.contains(&dir) {
                folders.push(dir);
            }
        }
    }
    folders
}

/// Whether the file begins as a library for this machine does, before anything of it is loaded.
fn check_header(path: &Path) -> Result<(), String> {
    use std::io::Read;
    let mut header = [0u8; 20];
    let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut header));
    if !cfg!(target_os = "linux") {
        return read.map_err(|e| format!("it cannot be read: {e}"));
    }
    if read.is_err() || header[..4] != *b"\x7fELF" {
        return Err("it is no library (no ELF file)".into());
    }
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let own = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => machine,
    };
    if machine != own {
        return Err(format!("it is a library for another processor than this machine's {}", std::env::consts::ARCH));
    }
    Ok(())
}

/// `1.32.0` out of `libonnxruntime.so.1.32.0` or `libonnxruntime.1.32.0.dylib`.
fn version_in_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix("libonnxruntime.")?;
    let version = rest.strip_prefix("so.").or_else(|| rest.strip_suffix(".dylib"))?;
    (version.split('.').count() == 3 && version.split('.').all(|n| n.parse::<u32>().is_ok())).then(|| version.to_string())
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Loads the library and asks for its version.
fn version_by_loading(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initializers. The file is an ELF library for this machine, and is named as
    // ONNX Runtime or was given as such by the user, whose choice of native code to run it is.
    let library =
        unsafe { libloading::Library::new(path) }.map_err(|e| format!("it cannot be loaded: {}", one_paragraph(&e.to_string())))?;
    // SAFETY: `OrtGetApiBase` has had this signature in every release of ONNX Runtime.
    let base = unsafe { library.get::<unsafe extern "system" fn() -> *const ::ort::sys::OrtApiBase>(b"OrtGetApiBase\0") };
    let version = match base {
        Err(_) => Err("it is not ONNX Runtime (it has no function OrtGetApiBase)".to_string()),
        Ok(get) => {
            // SAFETY: a plain getter of a static table, without arguments.
            let base = unsafe { get() };
            if base.is_null() {
                Err("it gives no OrtApiBase".to_string())
            } else {
                // SAFETY: not null, and the library stays loaded; the string is a static one.
                let text = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
                Ok(text.to_string_lossy().into_owned())
            }
        }
    };
    // Most likely it is loaded for good in a moment; and unloading a runtime that may have started threads is unsafe.
    std::mem::forget(library);
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        let version = |name: &str| version_in_name(Path::new(name));
        assert_eq!(version("/a/libonnxruntime.so.1.32.0").as_deref(), Some("1.32.0"));
        assert_eq!(version("libonnxruntime.1.20.1.dylib").as_deref(), Some("1.20.1"));
        assert_eq!(version("libonnxruntime.so"), None);
        assert_eq!(version("libonnxruntime.so.1"), None);
        assert_eq!(version("libonnxruntime.so.1.x.0"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn provider_libraries_are_not_the_runtime() {
        assert!(is_library_name("libonnxruntime.so") && is_library_name("libonnxruntime.so.1.32.0"));
        assert!(!is_library_name("libonnxruntime_providers_cuda.so") && !is_library_name("libonnxruntime.so-old"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_named_library_that_is_none_is_an_error_and_hides_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&fake, "not a library").unwrap();
        for (path, reason) in [(fake, "no ELF file"), (dir.path().join("absent.so"), "no such file")] {
            let options = EngineOptions { ort_lib: Some(path.clone()), ..Default::default() };
            let candidates = discover(&options);
            assert!(candidates.iter().all(|c| !c.chosen), "{candidates:?}");
            assert_eq!(candidates[0].origin, Origin::Option);
            let error = choose(&candidates).unwrap_err().to_string();
            assert!(
                error.contains(&Field::ORT_LIB.to_string()) && error.contains(reason) && error.contains(&path.display().to_string()),
                "{error}"
            );
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_old_library_is_named_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let old = Candidate {
            path: dir.path().join("libonnxruntime.so.1.19.2"),
            origin: Origin::System,
            version: None,
            has_cuda: false,
            chosen: false,
            reason: String::new(),
        };
        assert_eq!(version_in_name(&old.path).as_deref().and_then(major_minor), Some((1, 19)));
        assert!((1, 19) < (1, ::ort::MINOR_VERSION) && (1, 32) > (1, ::ort::MINOR_VERSION));
    }
}
