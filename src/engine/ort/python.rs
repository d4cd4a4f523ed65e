//! ONNX Runtime in Python's packages. Nothing of a package is imported, and nothing that lies in the current folder is run.

use super::probe::output_within;
use crate::storage::temporaries::Scratch;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long Python may take to answer, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// No list of folders is longer.
const MOST: usize = 1 << 16;

/// Asks where a package lies, without importing it; user packages, which isolation leaves out, are looked through too.
const SCRIPT: &str = "import importlib.machinery as m, site, sys\n\
                      s = m.PathFinder.find_spec('onnxruntime', sys.path + [site.getusersitepackages()])\n\
                      for p in (s and s.submodule_search_locations or []): print(p)";

/// The library folders of the `onnxruntime` packages (any build of it) of the active virtual environment and of `python3`.
pub(super) fn package_folders() -> Vec<PathBuf> {
    let mut folders = in_virtual_environment();
    for dir in of_python3() {
        if !folders.contains(&dir) {
            folders.push(dir);
        }
    }
    folders
}

/// The folders of libraries of NVIDIA's packages, of the active virtual environment and of `python3`.
pub(super) fn nvidia_folders() -> Vec<PathBuf> {
    const SITES: &str = "import site, sys\nfor p in sys.path + [site.getusersitepackages()]: print(p)";
    let sites = in_environment().into_iter().chain(ask_python3(SITES)).filter(|dir| dir.is_absolute());
    let mut folders = vec![];
    for dir in sites.flat_map(|site| packages_in(&site)) {
        if !folders.contains(&dir) {
            folders.push(dir);
        }
    }
    folders
}

/// The folders of libraries of NVIDIA's packages in a folder of packages.
pub(super) fn packages_in(site: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(site.join("nvidia")) else { return vec![] };
    let mut folders: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path().join("lib"))).filter(|dir| dir.is_dir()).collect();
    folders.sort();
    folders
}

/// By looking, for what an environment is made of is known.
fn in_virtual_environment() -> Vec<PathBuf> {
    in_environment().into_iter().map(|dir| dir.join("onnxruntime/capi")).filter(|dir| dir.is_dir()).collect()
}

/// The folders of packages of the active virtual environment.
fn in_environment() -> Vec<PathBuf> {
    let environment = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let Some(environment) = environment else { return vec![] };
    let mut places = vec![environment.join("Lib/site-packages")];
    if let Ok(versions) = environment.join("lib").read_dir() {
        let mut versions: Vec<PathBuf> = versions.filter_map(|e| Some(e.ok()?.path().join("site-packages"))).collect();
        versions.sort();
        places.extend(versions);
    }
    places
}

fn of_python3() -> Vec<PathBuf> {
    ask_python3(SCRIPT).into_iter().map(|dir| dir.join("capi")).filter(|dir| dir.is_absolute()).collect()
}

/// The lines that the script prints.
fn ask_python3(script: &str) -> Vec<PathBuf> {
    // Python puts the current folder before all others where it is not isolated; managers of versions read files there.
    let (Some(python), Ok(empty)) = (in_path("python3"), Scratch::new()) else { return vec![] };
    let mut command = Command::new(python);
    command.args(["-I", "-c", script]).current_dir(empty.path()).stdin(Stdio::null()).stderr(Stdio::null());
    let Some(output) = output_within(&mut command, LIMIT, MOST) else { return vec![] };
    let lines = String::from_utf8_lossy(&output).into_owned();
    lines.lines().map(PathBuf::from).collect()
}

/// The program of that name in `PATH`, whose relative entries would find it in the current folder.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| file.is_file())
}
