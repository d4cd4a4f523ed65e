//! spgraph's native operators as a library that any ONNX Runtime loads: `cargo build --release --example spgraph_ops` makes
//! `target/release/examples/libspgraph_ops.so`. In Python: `options.register_custom_ops_library("libspgraph_ops.so")`.

use ort::sys::{OrtApiBase, OrtSessionOptions, OrtStatusPtr};

/// What ONNX Runtime calls when it loads a library of operators.
///
/// # Safety
///
/// ONNX Runtime's pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RegisterCustomOps(options: *mut OrtSessionOptions, base: *const OrtApiBase) -> OrtStatusPtr {
    // SAFETY: passed on as they came.
    unsafe { spgraph::engine::register_native_operators(options, base) }
}
