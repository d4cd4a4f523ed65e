//! The options that choose a runtime, the same in every subcommand that needs one.

use super::choice::choice;
use spgraph::engine::{Device, EngineChoice, EngineOptions, Kernels, Precision};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct EngineArgs {
    /// Runtime; auto takes ONNX Runtime where a library is found, and tract otherwise [default: auto]
    #[arg(long, value_parser = choice::<EngineChoice>(&["auto", "tract", "ort"]), help_heading = "Engine")]
    engine: Option<EngineChoice>,
    /// Where it computes; cuda needs a CUDA build of ONNX Runtime and is never replaced by the CPU [default: cpu]
    #[arg(long, value_parser = choice::<Device>(&["cpu", "cuda"]), help_heading = "Engine")]
    device: Option<Device>,
    /// Threads inside one operator [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Engine")]
    threads: Option<u16>,
    /// A libonnxruntime to use instead of the one that `spgraph runtime` shows
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    ort_lib: Option<PathBuf>,
    /// CUDA: round factors of matrix products to 10 bits of mantissa; faster, less exact
    #[arg(long, help_heading = "Engine")]
    tf32: bool,
    /// ONNX Runtime on the CPU: native are spgraph's own for what they cover, auto takes them where the processor suits them
    /// [default: auto]
    #[arg(long, value_parser = choice::<Kernels>(&["auto", "native", "standard"]), help_heading = "Engine")]
    kernels: Option<Kernels>,
    /// Native kernels: images between them as bf16, with half of the bytes; products are summed in float32, and statistics, loss, weights
    /// and their gradients stay float32. auto is float32 [default: auto]
    #[arg(long, value_parser = choice::<Precision>(&["auto", "float32", "bf16"]), help_heading = "Engine")]
    precision: Option<Precision>,
}

impl EngineArgs {
    pub fn options(&self) -> EngineOptions {
        self.options_over(EngineOptions::default())
    }

    /// `before`, such as those of a run that is resumed, where nothing is given.
    pub fn options_over(&self, before: EngineOptions) -> EngineOptions {
        EngineOptions {
            choice: self.engine.unwrap_or(before.choice),
            device: self.device.unwrap_or(before.device),
            threads: self.threads.map(usize::from).or(before.threads),
            ort_lib: self.ort_lib.clone().or(before.ort_lib),
            tf32: self.tf32 || before.tf32,
            kernels: self.kernels.unwrap_or(before.kernels),
            precision: self.precision.unwrap_or(before.precision),
        }
    }

    /// The same options for another process, with that many threads.
    pub fn arguments(&self, threads: usize) -> Vec<OsString> {
        let options = self.options();
        let named = |value: String| value.to_lowercase();
        let mut words: Vec<OsString> = vec!["--threads".into(), threads.to_string().into()];
        words.extend(self.engine.map(|e| named(format!("{e:?}"))).into_iter().flat_map(|e| ["--engine".into(), e.into()]));
        words.extend(self.device.map(|d| named(format!("{d:?}"))).into_iter().flat_map(|d| ["--device".into(), d.into()]));
        words.extend(self.kernels.map(|k| named(format!("{k:?}"))).into_iter().flat_map(|k| ["--kernels".into(), k.into()]));
        words.extend(self.precision.map(|p| named(format!("{p:?}"))).into_iter().flat_map(|p| ["--precision".into(), p.into()]));
        words.extend(options.ort_lib.into_iter().flat_map(|l| ["--ort-lib".into(), l.into()]));
        words.extend(options.tf32.then(|| "--tf32".into()));
        words
    }
}
