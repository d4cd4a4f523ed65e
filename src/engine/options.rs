//! What a caller can ask of a runtime.

use super::native;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which runtime to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    /// The first of [`ENGINES`](super::ENGINES) that can do what is asked and is there.
    #[default]
    Auto,
    /// The embedded runtime.
    Tract,
    /// ONNX Runtime, from a library that is found when the program runs.
    Ort,
}

/// Where a runtime computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// ONNX Runtime's CUDA execution provider. Never replaced silently by the CPU.
    Cuda,
}

impl Device {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "CPU",
            Device::Cuda => "CUDA",
        }
    }
}

/// Which kernels ONNX Runtime computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// Native ones where the processor suits them, or the libraries of CUDA that they need are there; otherwise ONNX Runtime's.
    #[default]
    Auto,
    /// spgraph's own for what they cover, fused, registered with ONNX Runtime; on the CPU with channels last.
    Native,
    /// ONNX Runtime's own.
    Standard,
}

/// What images are made of between native kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// What trains as well as float32 for certain, which is float32.
    #[default]
    Auto,
    /// Float32.
    Float32,
    /// bfloat16: eight bits of mantissa. Products have such factors, are summed in float32, and rounded where they are written; statistics,
    /// loss, penalty, gradients of weights, weights and what the optimizer keeps are float32. For native kernels alone.
    Bf16,
}

/// Whose kernels compute a graph, on images of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Computing {
    /// Whose.
    pub kernels: Kernels,
    /// On images of what.
    pub precision: Precision,
}

impl Computing {
    /// The runtime's own.
    pub const STANDARD: Computing = Computing { kernels: Kernels::Standard, precision: Precision::Float32 };

    /// Whether nothing but native kernels will do.
    pub(super) fn needs_native(self) -> bool {
        self.kernels == Kernels::Native || self.precision == Precision::Bf16
    }

    /// The instructions of native kernels; `None` where these are none.
    ///
    /// Fails where the environment names instructions that the processor lacks.
    pub(super) fn instructions(self) -> Result<Option<native::Isa>> {
        Ok(match self.kernels {
            _ if self.needs_native() => Some(native::instructions()?),
            Kernels::Standard => None,
            _ => Some(native::instructions()?).filter(|isa| native::suits(*isa)),
        })
    }
}

/// Which runtime, and how it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineOptions {
    /// The runtime.
    pub choice: EngineChoice,
    /// Where it computes.
    pub device: Device,
    /// Which of the CUDA devices, from 0 on.
    pub device_index: usize,
    /// Threads inside one operator; `None` leaves it to the runtime (all cores).
    pub threads: Option<usize>,
    /// A libonnxruntime to use instead of the one that discovery would choose.
    #[serde(with = "crate::storage::path_text")]
    pub ort_lib: Option<PathBuf>,
    /// CUDA only: let products of float32 matrices round their factors to 10 bits of mantissa (TF32). Faster, and
    /// training seldom minds, but results differ from the CPU's in the third digit.
    pub tf32: bool,
    /// CUDA only: record the training step once as a graph of CUDA's and start it as one, where starting its thousands of kernels one by one takes longer
    /// than they do. Every step must have as many images. Nothing else is recorded.
    pub cuda_graph: bool,
    /// ONNX Runtime only: whose kernels.
    #[serde(default)]
    pub kernels: Kernels,
    /// Native kernels: what images between them are made of.
    #[serde(default)]
    pub precision: Precision,
}

impl EngineOptions {
    /// Whose kernels, on images of what.
    pub fn computing(&self) -> Computing {
        Computing { kernels: self.kernels, precision: self.precision }
    }
}

/// `ONNX Runtime 1.32.0, CPU, 2 threads`.
pub(super) fn description(name: &str, version: &str, device: Device, threads: Option<usize>) -> String {
    let threads = match threads {
        None => "all cores".to_string(),
        Some(1) => "1 thread".to_string(),
        Some(n) => format!("{n} threads"),
    };
    format!("{name} {version}, {}, {threads}", device.name())
}
