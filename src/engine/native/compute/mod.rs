//! Arithmetic of the native kernels: slices in, slices out, images as `[N, H, W, C]`. Knows neither ONNX nor a runtime.
//!
//! Results depend on shapes alone, never on the number of threads: work is cut into tasks by shape, and what tasks sum up is
//! added in the tasks' order.

mod conv;
mod depthwise;
mod disjoint_slice;
mod gather;
pub mod images;
mod lanes;
pub mod norm;
mod pack;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;
pub mod update;
mod weight_grad;
mod winograd;

pub use self::conv::ConvPlan;
pub use self::gather::ConvGeometry;
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

/// Which instructions the kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain code, which a compiler may put into vectors (as for NEON); products by the `gemm` crate, which has NEON itself.
    Portable,
    /// AVX2 and FMA; products by the `gemm` crate.
    Avx2,
    /// Own tiles of 14×32 in AVX-512 registers.
    Avx512,
}

impl Isa {
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// What this processor has, or less where `SPGRAPH_ISA` says so: `avx2` or `portable`.
    pub fn detect() -> Isa {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let asked = std::env::var("SPGRAPH_ISA").ok();
            let limit = Isa::ALL.into_iter().find(|isa| asked.as_deref() == Some(isa.variable()));
            Isa::supported().min(limit.unwrap_or(Isa::Avx512))
        })
    }

    /// The best that this processor has.
    #[cfg(target_arch = "x86_64")]
    pub fn supported() -> Isa {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
            Isa::Avx512
        } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            Isa::Avx2
        } else {
            Isa::Portable
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn supported() -> Isa {
        Isa::Portable
    }

    fn variable(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "AVX2",
            Isa::Avx512 => "AVX-512",
        }
    }
}
