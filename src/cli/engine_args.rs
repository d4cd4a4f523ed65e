//! The options that choose a runtime, the same in every subcommand that needs one.

use crate::engine::{Device, EngineChoice, EngineOptions};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct EngineArgs {
    /// Runtime; auto takes ONNX Runtime where a library is found, and tract otherwise
    #[arg(long, value_enum, default_value = "auto", help_heading = "Engine")]
    engine: Choice,
    #[arg(long, value_enum, default_value = "cpu", help_heading = "Engine")]
    device: DeviceArg,
    /// Threads inside one operator [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Engine")]
    threads: Option<u16>,
    /// A libonnxruntime to use instead of the one that `spgraph runtime` shows
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    ort_lib: Option<PathBuf>,
    /// CUDA: round factors of matrix products to 10 bits of mantissa; faster, less exact
    #[arg(long, help_heading = "Engine")]
    tf32: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Auto,
    Tract,
    Ort,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceArg {
    Cpu,
    Cuda,
}

impl EngineArgs {
    pub fn options(&self) -> EngineOptions {
        EngineOptions {
            choice: match self.engine {
                Choice::Auto => EngineChoice::Auto,
                Choice::Tract => EngineChoice::Tract,
                Choice::Ort => EngineChoice::Ort,
            },
            device: match self.device {
                DeviceArg::Cpu => Device::Cpu,
                DeviceArg::Cuda => Device::Cuda,
            },
            threads: self.threads.map(usize::from),
            ort_lib: self.ort_lib.clone(),
            tf32: self.tf32,
        }
    }
}
