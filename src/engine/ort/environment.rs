//! The one ONNX Runtime library that a process uses, and its one environment.

use super::super::signature::one_paragraph;
use crate::error::{Error, Result};
use ::ort::environment::Environment;
use ::ort::logging::LogLevel;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Set to let ONNX Runtime's own log through to stderr: warnings and errors, or everything with the value `verbose`.
const LOG_VARIABLE: &str = "SPGRAPH_ORT_LOG";

/// The one library that this process uses, and its one environment. ONNX Runtime allows no second of either.
struct Loaded {
    path: PathBuf,
    environment: Result<Environment, String>,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

fn loaded() -> MutexGuard<'static, Option<Loaded>> {
    // A panic elsewhere leaves the value whole: it is written in one go.
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process has loaded an ONNX Runtime already.
pub(super) fn is_loaded() -> bool {
    loaded().is_some()
}

/// Turns off what ONNX Runtime tells its maker: from 1.32 on its builds for Linux write an identity of the machine below the home folder
/// and send events, unless the environment says otherwise when the library is loaded.
pub(super) fn disable_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        // SAFETY: other threads that read the environment through Rust's library are kept out by its lock. One that reads it by C's
        // `getenv` at this moment is not; a program with such threads sets the variable before it starts them.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}

/// CUDA's own variable: with 1, whoever starts a kernel waits for its end.
const BLOCKING: &str = "CUDA_LAUNCH_BLOCKING";

/// Whether this process may have started CUDA, which reads its variables then.
static CUDA_STARTED: AtomicBool = AtomicBool::new(false);

/// Said before anything of CUDA is started.
pub(super) fn cuda_starts() {
    CUDA_STARTED.store(true, Ordering::Relaxed);
}

/// Whether starting a kernel waits for its end, as the environment says.
pub(super) fn launches_block() -> bool {
    std::env::var_os(BLOCKING).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Lets whoever starts a kernel wait for its end, unless the environment says already whether to. Fails where CUDA may have been started.
pub(in crate::engine) fn block_launches() -> Result<()> {
    if std::env::var_os(BLOCKING).is_some() {
        return Ok(());
    }
    if CUDA_STARTED.load(Ordering::Relaxed) {
        return Err(Error::engine(format!(
            "this process has started CUDA already, and the times of nodes would be those of starting kernels, not of kernels: profile in a \
             process of its own, or set {BLOCKING}=1 before CUDA starts"
        )));
    }
    // SAFETY: as for the variable above.
    unsafe { std::env::set_var(BLOCKING, "1") };
    Ok(())
}

/// The environment of the library at `path`, which is loaded where none is yet.
pub(super) fn environment(path: &Path) -> Result<Environment> {
    let mut loaded = loaded();
    if loaded.is_none() {
        disable_telemetry();
        let builder = ::ort::init_from(path).map_err(|e| {
            Error::engine(format!(
                "the ONNX Runtime library {} cannot be loaded: {}. Get another with `spgraph runtime install`",
                path.display(),
                one_paragraph(&e.to_string())
            ))
        })?;
        let wish = std::env::var(LOG_VARIABLE).ok();
        let logger = move |level: LogLevel, _category: &str, _id: &str, place: &str, message: &str| {
            eprintln!("[onnxruntime {level:?}] {message} ({place})");
        };
        // Errors come back as values, and warnings on a graph of spgraph's own making are no news to its user.
        let (level, builder) = match wish.as_deref() {
            None | Some("" | "0") => (LogLevel::Fatal, builder.with_logger(Arc::new(|_, _, _, _, _| {}))),
            Some("verbose") => (LogLevel::Verbose, builder.with_logger(Arc::new(logger))),
            Some(_) => (LogLevel::Warning, builder.with_logger(Arc::new(logger))),
        };
        let environment = builder.with_name("spgraph").with_telemetry(false).build().map_err(|e| e.to_string());
        if let Ok(environment) = &environment {
            environment.set_log_level(level);
        }
        *loaded = Some(Loaded { path: path.to_path_buf(), environment });
    }
    match loaded.as_ref() {
        Some(l) if l.path != path => Err(Error::engine(format!(
            "this process has loaded the ONNX Runtime library {} already and cannot change to {}: there can be one only. Start another \
             process for the other library",
            l.path.display(),
            path.display()
        ))),
        Some(Loaded { environment: Ok(environment), .. }) => Ok(environment.clone()),
        Some(Loaded { environment: Err(why), .. }) => {
            Err(Error::engine(format!("ONNX Runtime ({}) could not be started: {}", path.display(), one_paragraph(why))))
        }
        None => Err(Error::engine("ONNX Runtime was not loaded")),
    }
}
