//! Finds libonnxruntime: where it may be, in which order, and why a library is or isn't used.

use super::super::options::{Device, EngineOptions};
use super::super::session::Opened;
use super::environment::is_loaded;
use super::install::cache_dir;
use super::learnt::Learnt;
use super::library::{self, Owner};
use super::probe::probe;
use super::python::package_folders;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::sha256;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

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
    /// The system's library folders.
    System,
    /// An installed Python package.
    Python,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Option => return Field::ORT_LIB.fmt(f),
            Origin::Environment => VARIABLE,
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
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// `1.32.0`; `None` where it could not be learned.
    pub version: Option<String>,
    /// Who owns the file, and who else may write it.
    pub owner: Option<Owner>,
    /// SHA-256 of the file, of those that were considered.
    pub sha256: Option<String>,
    /// Whether it is, by its hash, a release that spgraph was tested with.
    pub pinned: bool,
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
    let mut candidates = outside_python(options);
    candidates.add_all(Origin::Python, package_folders());
    judge(&mut candidates.0, options);
    candidates.0
}

/// The same, but Python is only asked for its packages where nothing else can be used.
pub(super) fn search(options: &EngineOptions) -> Vec<Candidate> {
    let mut candidates = outside_python(options);
    judge(&mut candidates.0, options);
    let settled = candidates.0.iter().any(|c| c.chosen || named(c));
    if settled { candidates.0 } else { discover(options) }
}

struct Candidates(Vec<Candidate>);

impl Candidates {
    fn add(&mut self, origin: Origin, given: PathBuf) {
        let path = given.canonicalize().unwrap_or(given);
        if !self.0.iter().any(|c| c.path == path) {
            self.0.push(Candidate {
                version: version_in_name(&path),
                owner: Owner::of(&path),
                sha256: None,
                pinned: false,
                has_cuda: path.parent().is_some_and(|dir| dir.join(CUDA_PROVIDER).is_file()),
                path,
                origin,
                chosen: false,
                reason: String::new(),
            });
        }
    }

    fn add_all(&mut self, origin: Origin, folders: Vec<PathBuf>) {
        for path in folders.iter().flat_map(|dir| libraries_in(dir)) {
            self.add(origin, path);
        }
    }
}

fn outside_python(options: &EngineOptions) -> Candidates {
    let mut candidates = Candidates(vec![]);
    if let Some(path) = &options.ort_lib {
        candidates.add(Origin::Option, path.clone());
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|p| !p.is_empty()) {
        match Path::new(&path).is_absolute() {
            true => candidates.add(Origin::Environment, path.into()),
            // Not made absolute: it would name a file in whatever folder the user happens to be.
            false => candidates.0.push(Candidate::relative(path.into())),
        }
    }
    candidates.add_all(Origin::Cache, [Device::Cpu, Device::Cuda].into_iter().filter_map(cache_dir).collect());
    candidates.add_all(Origin::System, system_folders());
    candidates
}

impl Candidate {
    fn relative(path: PathBuf) -> Self {
        let (origin, reason) = (Origin::Environment, String::new());
        Candidate { path, origin, version: None, owner: None, sha256: None, pinned: false, has_cuda: false, chosen: false, reason }
    }
}

/// Names the library to use.
const VARIABLE: &str = "ORT_DYLIB_PATH";

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
            "`spgraph runtime install {device} cuda` gets one; or install the Python package onnxruntime-gpu, or give the path of its libonnxruntime with {library}; or train on the CPU \
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
    let mut passed = String::new();
    for (at, candidate) in candidates.iter_mut().enumerate() {
        if chosen {
            candidate.reason = "a library from an earlier place is used".into();
        } else if let (Some(origin), true) = (named_first, at > 0) {
            candidate.reason = format!("{origin} names the library to use");
        } else {
            match refusal(candidate, options) {
                Some(reason) => {
                    passed.push_str(&format!("; not {}: {reason}", candidate.path.display()));
                    candidate.reason = reason;
                }
                None => {
                    chosen = true;
                    candidate.chosen = true;
                    candidate.reason = match named_first {
                        Some(origin) => format!("{origin} names it"),
                        None => format!("the first that can be used{passed}"),
                    };
                }
            }
        }
    }
}

static HASHES: Learnt<Result<String, String>> = Learnt::new();
/// Versions, or why there is none.
static PROBES: Learnt<Result<String, String>> = Learnt::new();

/// Why the candidate cannot be used, if so. Learns its hash and its version on the way.
fn refusal(candidate: &mut Candidate, options: &EngineOptions) -> Option<String> {
    if candidate.origin == Origin::Environment && !candidate.path.is_absolute() {
        return Some("the path is relative, and would name another file in another folder; give it from the root on".into());
    }
    if !candidate.path.is_file() {
        return Some("there is no such file".into());
    }
    // Whoever names a library vouches for it.
    if !named(candidate)
        && let Some(why) = candidate.owner.as_ref().and_then(Owner::distrust)
    {
        return Some(why);
    }
    if let Err(reason) = library::check_format(&candidate.path) {
        return Some(reason);
    }
    let hash = match HASHES.of(&candidate.path, |path| sha256::of_file(path).map_err(|e| e.to_string())) {
        Ok(hash) => hash,
        Err(why) => return Some(why),
    };
    let pinned = library::pinned_version(&hash);
    candidate.pinned = pinned.is_some();
    candidate.sha256 = Some(hash);
    if candidate.origin == Origin::Cache && !candidate.pinned {
        return Some(
            "it is not what `spgraph runtime install` put there: its hash is another. Delete its folder and install it again".into(),
        );
    }
    match pinned {
        Some(version) => candidate.version = Some(version.into()),
        // A second ONNX Runtime in one process is asking for trouble, so once one is loaded no other is opened.
        None if is_loaded() && candidate.version.is_some() => {}
        None => match PROBES.of(&candidate.path, probe) {
            Ok(version) => candidate.version = Some(version),
            Err(reason) => return Some(reason),
        },
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

/// The system's folders of libraries, absolute ones only: a bare name would leave the choice to the dynamic linker.
pub(super) fn system_folders() -> Vec<PathBuf> {
    let mut system: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH").map(|v| std::env::split_paths(&v).collect()).unwrap_or_default();
    for base in ["/usr/local", "/usr", ""] {
        system.push(format!("{base}/lib").into());
        system.push(format!("{base}/lib64").into());
        system.push(format!("{base}/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    }
    system.push("/opt/onnxruntime/lib".into());
    system.push("/opt/homebrew/lib".into());
    system.into_iter().filter(|dir| dir.is_absolute()).collect()
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
        let old = Candidate { origin: Origin::System, ..Candidate::relative(dir.path().join("libonnxruntime.so.1.19.2")) };
        assert_eq!(version_in_name(&old.path).as_deref().and_then(major_minor), Some((1, 19)));
        assert!((1, 19) < (1, ::ort::MINOR_VERSION) && (1, 32) > (1, ::ort::MINOR_VERSION));
    }
}
