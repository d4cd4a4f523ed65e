//! Arithmetic of the native kernels: slices in, slices out, images as `[N, H, W, C]`. Knows neither ONNX nor a runtime.
//!
//! Results depend on shapes alone, never on the number of threads: work is cut into tasks by shape, and what tasks sum up is
//! added in the tasks' order.

mod conv;
mod depthwise;
mod gather;
pub mod images;
mod lanes;
pub mod norm;
mod pack;
mod product;
mod shared;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;
pub mod update;
mod weight_grad;
mod winograd;

pub use self::conv::Plan;
pub use self::gather::Conv;
pub use self::product::Epilogue;

use std::sync::OnceLock;

/// Runs tasks, each exactly once, on any number of threads; returns when all are done.
pub trait Pool {
    fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync));

    /// The same; every thread takes its tasks in the opposite order.
    fn run_back(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.run(tasks, work);
    }
}

/// Which instructions the products use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Own tiles of 14×32 in AVX-512 registers.
    Avx512,
    /// The `gemm` crate, which has AVX2 and NEON, and plain code for everything else.
    Portable,
}

impl Isa {
    /// What this processor has; `SPGRAPH_ISA=portable` leaves AVX-512 unused.
    pub fn detect() -> Isa {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| match std::env::var("SPGRAPH_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            _ => Isa::supported(),
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn supported() -> Isa {
        if std::is_x86_feature_detected!("avx512f") { Isa::Avx512 } else { Isa::Portable }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn supported() -> Isa {
        Isa::Portable
    }
}
