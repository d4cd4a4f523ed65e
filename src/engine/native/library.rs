//! The native operators for sessions of other programs: what a library of custom operators has to do when ONNX Runtime loads it.

use super::{domain, instructions};
use ort::AsPointer;
use ort::sys::{OrtApiBase, OrtErrorCode, OrtSessionOptions, OrtStatusPtr};
use std::ffi::CString;
use std::panic::catch_unwind;

/// How many threads the operators may share; else as many as there are cores.
const THREADS_VARIABLE: &str = "SPGRAPH_THREADS";

/// Adds every native operator to `options`. A session of those options computes models of the artifact `native`. The operators run on the
/// session's own threads; the environment variable `SPGRAPH_THREADS` says into how many parts they divide their work, and should be the session's
/// number. The result is ONNX Runtime's: null, or a status with the reason.
///
/// # Safety
///
/// Both pointers are those that ONNX Runtime gives to `RegisterCustomOps`. All calls in one process come from one ONNX Runtime.
pub unsafe fn register(options: *mut OrtSessionOptions, base: *const OrtApiBase) -> OrtStatusPtr {
    // SAFETY: `base` is ONNX Runtime's own.
    let api = unsafe { ((*base).GetApi)(ort::MINOR_VERSION) };
    if api.is_null() {
        // SAFETY: the first version of the API is in every release, and this function is its first.
        let (old, found) = unsafe { (((*base).GetApi)(1), std::ffi::CStr::from_ptr(((*base).GetVersionString)()).to_string_lossy()) };
        let text = format!("spgraph's operators need ONNX Runtime 1.{} or newer, and this is {found}", ort::MINOR_VERSION);
        // SAFETY: as above.
        return unsafe { ((*old).CreateStatus)(OrtErrorCode::ORT_FAIL, message(text).as_ptr()) };
    }
    // SAFETY: not null, and never freed. A second call changes nothing.
    let api = unsafe { &*api };
    ort::set_api(api.clone());
    let made = catch_unwind(|| {
        let threads = match std::env::var(THREADS_VARIABLE).ok().filter(|t| !t.is_empty()) {
            Some(text) => {
                text.parse().ok().filter(|n| *n > 0).ok_or(format!("{THREADS_VARIABLE} is `{text}`, which is no number above 0"))?
            }
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let isa = instructions().map_err(|e| e.to_string())?;
        domain(threads, isa).map_err(|e| e.to_string())
    });
    match made.unwrap_or_else(|_| Err("spgraph's operators could not be made; this is a bug of spgraph".into())) {
        // SAFETY: `options` is ONNX Runtime's own. The domain has to live as long as any session of these options, which nobody tells: it is never freed.
        Ok(domain) => unsafe { (api.AddCustomOpDomain)(options, Box::leak(Box::new(domain)).ptr().cast_mut()) },
        // SAFETY: `CreateStatus` copies the text.
        Err(text) => unsafe { (api.CreateStatus)(OrtErrorCode::ORT_FAIL, message(text).as_ptr()) },
    }
}

fn message(text: String) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
