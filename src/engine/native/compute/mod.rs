//! Arithmetic of the native kernels: slices in, slices out, images as `[N, H, W, C]`. Knows neither ONNX nor a runtime.
//!
//! Results depend on shapes alone, never on the number of threads: work is cut into tasks by shape, and what tasks sum up is
//! added in the tasks' order.

// Pairs of bfloat16 and matrices are x86-64's, and so is what serves them alone.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(test)]
mod cases;
pub mod channels;
mod conv;
mod cores;
mod disjoint_slice;
mod element;
mod epilogue;
mod expression;
mod for_isa;
mod functions;
mod gather;
mod gemm;
#[cfg(test)]
mod half_tests;
mod halves;
pub mod images;
mod isa;
mod lanes;
#[cfg(test)]
mod lanes_tests;
pub mod layer_norm;
#[cfg(target_arch = "x86_64")]
mod matrix;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod matrix_emulator;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod matrix_tests;
mod memory;
mod narrow;
pub mod norm;
mod pack;
mod panels;
mod product;
#[cfg(target_arch = "x86_64")]
mod stored;
#[cfg(test)]
mod tests;
mod tile;
pub mod update;
mod weight_grad;
mod winograd;

pub use self::conv::ConvPlan;
pub use self::cores::{Cores, Threads};
pub use self::element::Element;
pub use self::epilogue::Epilogue;
pub use self::expression::{Expression, Operand, Operation, Source, Step};
pub use self::gather::ConvGeometry;
pub use self::isa::{Isa, Pairs};
