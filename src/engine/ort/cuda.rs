//! Whether this machine can run ONNX Runtime's CUDA provider: the driver, its devices, and the libraries that the provider loads. Asked in a child process,
//! which a broken driver may end, and by absolute paths.

use super::super::cuda::Paths;
use super::discover::system_folders;
use super::library::check_format;
use super::probe::in_child;
use super::python::{nvidia_folders, packages_in};
use crate::field::Field;
use serde::Serialize;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What of CUDA a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cuda {
    /// The driver's library.
    pub driver_library: Option<PathBuf>,
    /// The CUDA that the driver knows: 13000 for 13.0.
    pub driver: Option<i32>,
    /// The devices, by their index.
    pub devices: Vec<CudaDevice>,
    /// The libraries that the provider loads, with where each was found.
    pub libraries: Vec<CudaLibrary>,
    /// The compiler of native kernels, without which ONNX Runtime's own compute.
    pub compiler: CudaLibrary,
    /// Why the driver could not be asked.
    pub problem: Option<String>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// What it is called.
    pub name: String,
    /// Its compute capability: 90 for 9.0.
    pub capability: i32,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that it has.
    pub total: u64,
}

/// A library that the provider loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CudaLibrary {
    /// Its file's name.
    pub name: &'static str,
    /// The Python package that has it.
    pub package: &'static str,
    /// Where it is.
    pub path: Option<PathBuf>,
}

/// What stands in the way, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What is the case.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What the provider of the pinned release loads, in an order in which each finds what it needs.
const LIBRARIES: [(&str, &str); 6] = [
    ("libcudart.so.13", "nvidia-cuda-runtime"),
    ("libcublasLt.so.13", "nvidia-cublas"),
    ("libcublas.so.13", "nvidia-cublas"),
    ("libcurand.so.10", "nvidia-curand"),
    ("libcufft.so.12", "nvidia-cufft"),
    ("libcudnn.so.9", "nvidia-cudnn-cu13"),
];
/// What native kernels are compiled with.
const COMPILER: (&str, &str) = ("libnvrtc.so.13", "nvidia-cuda-nvrtc");
/// What native kernels call directly.
const CUDNN: &str = "libcudnn.so.9";
const DRIVER: &str = "libcuda.so.1";
/// The CUDA that they are of, as the driver counts.
const NEEDED_CUDA: i32 = 13000;
/// The first driver that knows it.
const NEEDED_DRIVER: &str = "580";
/// The least compute capability that CUDA 13 has code for.
const NEEDED_CAPABILITY: i32 = 75;
/// How long a driver may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// How long an examination counts: for one start of a run, and no longer, since others take and free the device's memory.
const FRESH: Duration = Duration::from_secs(10);

/// What was found for a library, and when.
struct Examination {
    library: Option<PathBuf>,
    at: Instant,
    cuda: Cuda,
}

static LAST: Mutex<Option<Examination>> = Mutex::new(None);

impl Cuda {
    /// Looks at this machine; `library` is the ONNX Runtime that is meant, beside which Python's packages of CUDA may lie. Who chooses a device, opens it and asks
    /// for its room in one start gets one answer: an examination is a child process with a driver in it.
    pub fn examine(library: Option<&Path>) -> Cuda {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if known.library.as_deref() == library && known.at.elapsed() < FRESH => known.cuda.clone(),
            _ => {
                let cuda = Cuda::look(library);
                *last = Some(Examination { library: library.map(Path::to_path_buf), at: Instant::now(), cuda: cuda.clone() });
                cuda
            }
        }
    }

    fn look(library: Option<&Path>) -> Cuda {
        let folders = folders(library);
        let driver_library = driver_folders().chain(folders.iter().cloned()).map(|dir| dir.join(DRIVER)).find(|p| p.is_file());
        let found = |&(name, package)| CudaLibrary { name, package, path: folders.iter().map(|dir| dir.join(name)).find(|p| p.is_file()) };
        let libraries = LIBRARIES.iter().map(found).collect();
        let mut cuda = Cuda { driver_library, driver: None, devices: vec![], libraries, compiler: found(&COMPILER), problem: None };
        if let Some(path) = &cuda.driver_library {
            let answer = check_format(path).and_then(|()| in_child(LIMIT, || ask_driver(path)));
            match answer {
                Ok(text) => cuda.read(&text),
                Err(why) => cuda.problem = Some(why),
            }
        }
        cuda
    }

    /// The child's answer: a line for the driver, one for each device.
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            match words[..] {
                ["driver", version] => self.driver = version.parse().ok(),
                ["problem", ..] => self.problem = line.split_once(' ').map(|(_, why)| why.to_string()),
                ["device", capability, free, total, name] => {
                    if let (Ok(capability), Ok(free), Ok(total)) = (capability.parse(), free.parse(), total.parse()) {
                        self.devices.push(CudaDevice { name: name.into(), capability, free, total });
                    }
                }
                _ => {}
            }
        }
    }

    /// What stands in the way of computing on the device of that index, the first to be mended first.
    pub fn obstacles(&self, index: usize) -> Vec<Obstacle> {
        let mut found = vec![];
        let mut find = |what: String, advice: String| found.push(Obstacle { what, advice });
        let or_cpu = || format!("or compute on the processor ({} cpu)", Field::DEVICE);
        match (&self.driver_library, &self.problem, self.driver) {
            (None, ..) => find(
                format!("no NVIDIA driver is installed: {DRIVER} lies in no library folder"),
                format!("install the NVIDIA driver, version {NEEDED_DRIVER} or later (`nvidia-smi` shows it), {}", or_cpu()),
            ),
            (Some(path), Some(problem), _) => find(
                format!("the NVIDIA driver ({}) cannot be used: {problem}", path.display()),
                format!("see what `nvidia-smi` says; after an update of the driver the machine has to be started again; {}", or_cpu()),
            ),
            (Some(_), None, Some(driver)) if driver < NEEDED_CUDA => find(
                format!(
                    "the NVIDIA driver is too old: it knows CUDA {}.{}, and ONNX Runtime's provider is made for CUDA {}",
                    driver / 1000,
                    driver % 1000 / 10,
                    NEEDED_CUDA / 1000
                ),
                format!("install driver {NEEDED_DRIVER} or later, {}", or_cpu()),
            ),
            _ => match self.devices.get(index) {
                None => find(
                    format!("there is no CUDA device {index}: the driver has {}", self.device_list()),
                    format!("name one that is there ({} cuda:N, from 0 on; CUDA_VISIBLE_DEVICES hides some), {}", Field::DEVICE, or_cpu()),
                ),
                Some(device) if device.capability < NEEDED_CAPABILITY => find(
                    format!(
                        "{} has compute capability {}.{}, and CUDA 13 computes from {}.{} on",
                        device.name,
                        device.capability / 10,
                        device.capability % 10,
                        NEEDED_CAPABILITY / 10,
                        NEEDED_CAPABILITY % 10
                    ),
                    format!("take another device, {}", or_cpu()),
                ),
                Some(_) => {}
            },
        }
        let missing: Vec<&CudaLibrary> = self.libraries.iter().filter(|l| l.path.is_none()).collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|l| l.name).collect();
            let mut packages: Vec<&str> = missing.iter().map(|l| l.package).collect();
            packages.dedup();
            find(
                format!("libraries of CUDA 13 and cuDNN 9 are missing: {}", names.join(", ")),
                format!("`pip install {}`, or put the folder of the installed ones into LD_LIBRARY_PATH", packages.join(" ")),
            );
        }
        found
    }

    /// The libraries of native kernels; which of them is missing, and what to do.
    pub(super) fn native(&self) -> Result<Paths, Obstacle> {
        let cudnn = self.libraries.iter().find(|l| l.name == CUDNN).and_then(|l| l.path.clone());
        match (&self.driver_library, &self.compiler.path, cudnn) {
            (Some(driver), Some(compiler), Some(cudnn)) => Ok(Paths { driver: driver.clone(), compiler: compiler.clone(), cudnn }),
            _ => Err(Obstacle {
                what: format!("spgraph's kernels for CUDA need the compiler {}, which is in no library folder", self.compiler.name),
                advice: format!("`pip install {}`, or put the folder of an installed one into LD_LIBRARY_PATH", self.compiler.package),
            }),
        }
    }

    /// What stands in the way of native kernels, where nothing stands in the way of others.
    pub fn native_obstacle(&self) -> Option<Obstacle> {
        self.native().err()
    }

    fn device_list(&self) -> String {
        match self.devices.len() {
            0 => "none".into(),
            _ => self.devices.iter().enumerate().map(|(i, d)| format!("{i} ({})", d.name)).collect::<Vec<_>>().join(", "),
        }
    }

    /// Loads the libraries by absolute path, so that the provider finds them without a search path. One that fails to load is reported by the provider.
    pub(super) fn preload(&self) {
        for path in self.driver_library.iter().chain(self.libraries.iter().filter_map(|l| l.path.as_ref())) {
            let _ = ::ort::util::preload_dylib(path);
        }
    }
}

/// Where libraries of CUDA may lie: Python's packages, beside the library first; the system's folders; CUDA's own.
fn folders(library: Option<&Path>) -> Vec<PathBuf> {
    // …/site-packages/onnxruntime/capi/libonnxruntime.so.… → …/site-packages/nvidia/*/lib
    let mut found: Vec<PathBuf> = library.and_then(|l| l.ancestors().nth(3)).map(packages_in).unwrap_or_default();
    found.extend(nvidia_folders());
    found.extend(system_folders());
    found.extend(["/usr/local/cuda/lib64", "/usr/local/cuda-13/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"].map(PathBuf::from));
    found
}

fn driver_folders() -> impl Iterator<Item = PathBuf> {
    let special = ["/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"].map(PathBuf::from);
    system_folders().into_iter().chain(special)
}

/// What the driver says, in lines; runs in a child process.
fn ask_driver(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initializers; it is the system's own driver, in a process that may end for it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| format!("it cannot be loaded: {e}"))?;
    macro_rules! call {
        ($name:literal, ($($ty:ty),*), ($($value:expr),*)) => {{
            // SAFETY: the driver's documented function of that name, with the types that it has had since it came.
            match unsafe { library.get::<unsafe extern "C" fn($($ty),*) -> c_int>($name) } {
                // SAFETY: every pointer is to a place of this function that is as large as the driver writes.
                Ok(function) => unsafe { function($($value),*) },
                Err(_) => return Err(format!("it has no function {}", String::from_utf8_lossy($name))),
            }
        }};
    }
    let (mut version, mut count) = (0, 0);
    call!(b"cuDriverGetVersion", (*mut c_int), (&mut version));
    let mut text = format!("driver {version}\n");
    match call!(b"cuInit", (c_uint), (0)) {
        0 => {}
        // An old driver fails for its own reasons, and its age is what has to be said.
        _ if version < NEEDED_CUDA => return Ok(text),
        // No device.
        100 => return Ok(text),
        803 => return Ok(text + "problem its parts are of different versions (error 803)\n"),
        error => return Ok(text + &format!("problem it cannot be started (error {error})\n")),
    }
    call!(b"cuDeviceGetCount", (*mut c_int), (&mut count));
    for index in 0..count {
        let (mut device, mut major, mut minor, mut name) = (0, 0, 0, [0 as c_char; 256]);
        let (mut context, mut free, mut total) = (std::ptr::null_mut::<c_void>(), 0usize, 0usize);
        call!(b"cuDeviceGet", (*mut c_int, c_int), (&mut device, index));
        call!(b"cuDeviceGetName", (*mut c_char, c_int, c_int), (name.as_mut_ptr(), 255, device));
        call!(b"cuDeviceGetAttribute", (*mut c_int, c_int, c_int), (&mut major, 75, device));
        call!(b"cuDeviceGetAttribute", (*mut c_int, c_int, c_int), (&mut minor, 76, device));
        if call!(b"cuDevicePrimaryCtxRetain", (*mut *mut c_void, c_int), (&mut context, device)) == 0 {
            call!(b"cuCtxSetCurrent", (*mut c_void), (context));
            call!(b"cuMemGetInfo_v2", (*mut usize, *mut usize), (&mut free, &mut total));
        }
        // SAFETY: the last of the bytes is 0, whatever the driver wrote before it.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy();
        text.push_str(&format!("device {} {free} {total} {name}\n", major.saturating_mul(10).saturating_add(minor)));
    }
    // Unloading a driver that may have started threads is unsafe.
    std::mem::forget(library);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Cuda {
        let libraries = LIBRARIES.iter().map(|&(name, package)| CudaLibrary { name, package, path: Some(name.into()) }).collect();
        let device = CudaDevice { name: "NVIDIA H100".into(), capability: 90, free: 80 << 30, total: 80 << 30 };
        let compiler = CudaLibrary { name: COMPILER.0, package: COMPILER.1, path: Some(COMPILER.0.into()) };
        Cuda { driver_library: Some(DRIVER.into()), driver: Some(13010), devices: vec![device], libraries, compiler, problem: None }
    }

    #[test]
    fn each_obstacle_says_what_and_what_to_do() {
        assert_eq!(whole().obstacles(0), []);
        let first = |cuda: Cuda, index: usize| {
            let all = cuda.obstacles(index);
            format!("{} -> {}", all[0].what, all[0].advice)
        };
        let has = |text: String, parts: &[&str]| assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        has(first(Cuda { driver_library: None, ..whole() }, 0), &["no NVIDIA driver", "580"]);
        has(first(Cuda { driver: Some(12040), ..whole() }, 0), &["too old", "12.4", "CUDA 13", "580"]);
        has(first(Cuda { problem: Some("error 803".into()), ..whole() }, 0), &["803", "nvidia-smi"]);
        has(first(whole(), 1), &["no CUDA device 1", "0 (NVIDIA H100)"]);
        has(first(Cuda { devices: vec![], ..whole() }, 0), &["no CUDA device 0", "none"]);
        let old = CudaDevice { capability: 61, ..whole().devices[0].clone() };
        has(first(Cuda { devices: vec![old], ..whole() }, 0), &["6.1", "7.5"]);
        let mut bare = whole();
        bare.libraries.last_mut().unwrap().path = None;
        has(first(bare, 0), &["libcudnn.so.9", "pip install nvidia-cudnn-cu13"]);
    }

    #[test]
    fn a_driver_that_answers_is_read() {
        let mut cuda = Cuda { driver: None, devices: vec![], ..whole() };
        cuda.read("driver 13000\ndevice 90 100 200 NVIDIA H100 80GB HBM3\nproblem it cannot be started (error 999)\n");
        assert_eq!((cuda.driver, cuda.devices[0].free, cuda.devices[0].name.as_str()), (Some(13000), 100, "NVIDIA H100 80GB HBM3"));
        assert_eq!(cuda.problem.as_deref(), Some("it cannot be started (error 999)"));
    }
}
