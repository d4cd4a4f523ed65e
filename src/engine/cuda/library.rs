//! Functions of NVIDIA's libraries, found when the program runs and never linked: the driver, the compiler NVRTC, and cuDNN.

use crate::field::Field;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};

/// A handle or a pointer of the device's.
pub type Handle = *mut c_void;
/// An address in the device's memory.
pub type Address = u64;
/// What a call says of itself; 0 is success.
pub type Status = c_int;

/// Where the libraries are.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `libcuda.so.1`.
    pub driver: PathBuf,
    /// `libnvrtc.so.13`.
    pub compiler: PathBuf,
    /// `libcudnn.so.9`.
    pub cudnn: PathBuf,
}

/// A struct of a library's functions by their names there.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($name:ident($($ty:ty),*) -> $result:ty;)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($ty),*) -> $result,)*
        }

        impl $table {
            /// Loads the library.
            pub fn open(path: &Path) -> Result<$table, String> {
                // SAFETY: loading runs the library's initializers: the system's own driver, or a library that it works with.
                let library = unsafe { Library::new(path) }.map_err(|e| format!("{} cannot be loaded: {e}", path.display()))?;
                let table = $table {
                    $($name: {
                        let name = concat!(stringify!($name), "\0");
                        // SAFETY: the library's documented function of that name, with the types that its header gives.
                        let found = unsafe { library.get::<unsafe extern "C" fn($($ty),*) -> $result>(name.as_bytes()) };
                        *found.map_err(|_| format!("{} has no function {}", path.display(), stringify!($name)))?
                    },)*
                };
                // Its functions may be called until the process ends.
                std::mem::forget(library);
                Ok(table)
            }
        }
    };
}

functions! {
    /// `cuda.h`.
    Driver {
        cuCtxGetCurrent(*mut Handle) -> Status;
        cuCtxSetCurrent(Handle) -> Status;
        cuCtxGetDevice(*mut c_int) -> Status;
        cuDeviceGetAttribute(*mut c_int, c_int, c_int) -> Status;
        cuMemAlloc_v2(*mut Address, usize) -> Status;
        cuMemFree_v2(Address) -> Status;
        cuModuleLoadData(*mut Handle, *const c_void) -> Status;
        cuModuleGetFunction(*mut Handle, Handle, *const c_char) -> Status;
        cuModuleUnload(Handle) -> Status;
        cuLaunchKernel(Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void) -> Status;
        cuGetErrorString(Status, *mut *const c_char) -> Status;
    }
}

functions! {
    /// `nvrtc.h`.
    Compiler {
        nvrtcCreateProgram(*mut Handle, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> Status;
        nvrtcCompileProgram(Handle, c_int, *const *const c_char) -> Status;
        nvrtcGetCUBINSize(Handle, *mut usize) -> Status;
        nvrtcGetCUBIN(Handle, *mut c_char) -> Status;
        nvrtcGetProgramLogSize(Handle, *mut usize) -> Status;
        nvrtcGetProgramLog(Handle, *mut c_char) -> Status;
        nvrtcDestroyProgram(*mut Handle) -> Status;
        nvrtcGetErrorString(Status) -> *const c_char;
    }
}

/// What cuDNN says of one algorithm (`cudnnConvolutionFwdAlgoPerf_t` and those for both gradients, which are alike).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Algorithm {
    pub algorithm: c_int,
    pub status: c_int,
    pub time: f32,
    pub memory: usize,
    pub determinism: c_int,
    pub math_type: c_int,
    reserved: [c_int; 3],
}

functions! {
    /// `cudnn.h`.
    Cudnn {
        cudnnCreate(*mut Handle) -> Status;
        cudnnDestroy(Handle) -> Status;
        cudnnSetStream(Handle, Handle) -> Status;
        cudnnCreateTensorDescriptor(*mut Handle) -> Status;
        cudnnDestroyTensorDescriptor(Handle) -> Status;
        cudnnSetTensor4dDescriptor(Handle, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnCreateFilterDescriptor(*mut Handle) -> Status;
        cudnnDestroyFilterDescriptor(Handle) -> Status;
        cudnnSetFilter4dDescriptor(Handle, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnCreateConvolutionDescriptor(*mut Handle) -> Status;
        cudnnDestroyConvolutionDescriptor(Handle) -> Status;
        cudnnSetConvolution2dDescriptor(Handle, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnSetConvolutionGroupCount(Handle, c_int) -> Status;
        cudnnSetConvolutionMathType(Handle, c_int) -> Status;
        cudnnGetConvolutionForwardAlgorithm_v7(Handle, Handle, Handle, Handle, Handle, c_int, *mut c_int, *mut Algorithm) -> Status;
        cudnnGetConvolutionForwardWorkspaceSize(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
        cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle, Handle, Handle, Handle, Handle, c_int, *mut c_int, *mut Algorithm) -> Status;
        cudnnGetConvolutionBackwardDataWorkspaceSize(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
        cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle, Handle, Handle, Handle, Handle, c_int, *mut c_int, *mut Algorithm) -> Status;
        cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status;
        cudnnConvolutionForward(
            Handle, *const c_void, Handle, Address, Handle, Address, Handle, c_int, Address, usize, *const c_void, Handle, Address
        ) -> Status;
        cudnnConvolutionBackwardData(
            Handle, *const c_void, Handle, Address, Handle, Address, Handle, c_int, Address, usize, *const c_void, Handle, Address
        ) -> Status;
        cudnnConvolutionBackwardFilter(
            Handle, *const c_void, Handle, Address, Handle, Address, Handle, c_int, Address, usize, *const c_void, Handle, Address
        ) -> Status;
        cudnnGetErrorString(Status) -> *const c_char;
    }
}

/// All three.
pub struct Libraries {
    pub driver: Driver,
    pub compiler: Compiler,
    pub cudnn: Cudnn,
}

impl Libraries {
    /// Loads them.
    pub fn load(paths: &Paths) -> Result<Libraries, String> {
        Ok(Libraries {
            driver: Driver::open(&paths.driver)?,
            compiler: Compiler::open(&paths.compiler)?,
            cudnn: Cudnn::open(&paths.cudnn)?,
        })
    }

    /// What the driver's answer means.
    pub fn driven(&self, what: &str, status: Status) -> ort::Result<()> {
        said(what, status, || {
            let mut text = std::ptr::null();
            // SAFETY: writes a pointer to a text that is never freed, or null.
            unsafe { (self.driver.cuGetErrorString)(status, &mut text) };
            text
        })
    }

    /// What cuDNN's answer means.
    pub fn convolved(&self, what: &str, status: Status) -> ort::Result<()> {
        // SAFETY: gives a text that is never freed.
        said(what, status, || unsafe { (self.cudnn.cudnnGetErrorString)(status) })
    }
}

impl Compiler {
    /// What its answer means.
    pub fn said(&self, what: &str, status: Status) -> ort::Result<()> {
        // SAFETY: gives a text that is never freed.
        said(what, status, || unsafe { (self.nvrtcGetErrorString)(status) })
    }
}

fn said(what: &str, status: Status, text: impl FnOnce() -> *const c_char) -> ort::Result<()> {
    if status == 0 {
        return Ok(());
    }
    let text = text();
    let why = if text.is_null() {
        "unknown to the library".into()
    } else {
        // SAFETY: a text of the library's own, which ends with 0.
        unsafe { CStr::from_ptr(text) }.to_string_lossy()
    };
    Err(ort::Error::new(format!(
        "CUDA could not {what}: {why} (error {status}). Run with {} standard for ONNX Runtime's own kernels",
        Field::KERNELS
    )))
}
