//! The options that choose a runtime, the same in every subcommand that needs one.

use super::choice::choice;
use super::flags::with_flags;
use super::output;
use spgraph::Field;
use spgraph::engine::{Device, EngineChoice, EngineOptions, Kernels, Precision, any_device, check_options};
use spgraph::error::Result;
use spgraph::nearest::hint;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Which runtime, and how it is to run.
#[derive(clap::Args)]
pub struct EngineArgs {
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Native kernels: images between them as bf16, with half of the bytes; products are summed in float32, and statistics, loss, weights
    /// and their gradients stay float32. auto is float32 [default: auto]
    #[arg(long, value_parser = choice::<Precision>(&["auto", "float32", "bf16"]), help_heading = "Engine")]
    precision: Option<Precision>,
}

/// Which runtime, on what.
#[derive(clap::Args)]
pub struct RuntimeArgs {
    /// Runtime; auto takes ONNX Runtime where a library is found, and tract otherwise [default: auto]
    #[arg(long, value_parser = choice::<EngineChoice>(&["auto", "tract", "ort"]), help_heading = "Engine")]
    engine: Option<EngineChoice>,
    /// Where it computes: cpu, cuda, cuda:N, auto [default: cpu]
    ///
    /// cuda is the first CUDA device and cuda:N another, from 0 on; it needs a CUDA build of ONNX Runtime and is never replaced by the CPU. auto is, and
    /// says so.
    #[arg(long, value_name = "DEVICE", value_parser = Place::parse, help_heading = "Engine")]
    device: Option<Place>,
    /// Threads inside one operator [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Engine")]
    threads: Option<u16>,
    /// A libonnxruntime to use instead of the one that `spgraph runtime` shows
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    ort_lib: Option<PathBuf>,
    /// CUDA: round factors of matrix products to 10 bits of mantissa; faster, less exact
    #[arg(long, help_heading = "Engine")]
    tf32: bool,
    /// ONNX Runtime: native are spgraph's own for what they cover, auto takes them where the processor suits them, or CUDA's libraries are there
    /// [default: auto]
    #[arg(long, value_parser = choice::<Kernels>(&["auto", "native", "standard"]), help_heading = "Engine")]
    kernels: Option<Kernels>,
}

/// A value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Auto,
    Cpu,
    Cuda(usize),
}

impl Place {
    fn parse(text: &str) -> std::result::Result<Place, String> {
        match text {
            "auto" => Ok(Place::Auto),
            "cpu" => Ok(Place::Cpu),
            "cuda" => Ok(Place::Cuda(0)),
            _ => {
                let index = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                let tip = || hint(text, &["auto", "cpu", "cuda"]);
                index
                    .map(Place::Cuda)
                    .ok_or_else(|| format!("choose one of auto, cpu, cuda, or cuda:N with the number of a device, from 0 on{}", tip()))
            }
        }
    }

    /// The device and its index; what is chosen is said, once.
    fn settle(self, options: &EngineOptions) -> (Device, usize) {
        static CHOSEN: OnceLock<Device> = OnceLock::new();
        match self {
            Place::Cpu => (Device::Cpu, 0),
            Place::Cuda(index) => (Device::Cuda, index),
            Place::Auto => {
                let device = *CHOSEN.get_or_init(|| {
                    let (device, why) = any_device(options);
                    output::note(&with_flags(&format!("device      {}: {why}", device.name())));
                    device
                });
                (device, 0)
            }
        }
    }
}

impl RuntimeArgs {
    /// `before`, such as those of a run that is resumed, where nothing is given.
    pub fn options_over(&self, before: EngineOptions) -> EngineOptions {
        let place = match self.device {
            Some(place) => {
                place.settle(&EngineOptions { ort_lib: self.ort_lib.clone().or(before.ort_lib.clone()), ..EngineOptions::default() })
            }
            None => (before.device, before.device_index),
        };
        EngineOptions {
            choice: self.engine.unwrap_or(before.choice),
            device: place.0,
            device_index: place.1,
            threads: self.threads.map(usize::from).or(before.threads),
            ort_lib: self.ort_lib.clone().or(before.ort_lib),
            tf32: self.tf32 || before.tf32,
            kernels: self.kernels.unwrap_or(before.kernels),
            ..before
        }
    }
}

/// Whether training steps are recorded.
#[derive(clap::Args)]
pub struct RecordingArgs {
    /// CUDA: record the training step and start it as one, where starting its kernels one by one takes longer than they do
    #[arg(long, help_heading = "Engine")]
    pub cuda_graph: bool,
}

impl RecordingArgs {
    /// Over what a configuration or a run says. Where the device is to be chosen and none is there, or a run goes on on the processor, steps are not recorded,
    /// which is said.
    pub fn set(&self, runtime: &RuntimeArgs, options: &mut EngineOptions) -> Result<()> {
        options.cuda_graph |= self.cuda_graph;
        let free = match runtime.device {
            Some(Place::Auto) => true,
            Some(Place::Cpu) => !self.cuda_graph,
            _ => false,
        };
        if options.cuda_graph && free && options.device == Device::Cpu {
            options.cuda_graph = false;
            output::note(&with_flags(&format!("steps are not recorded: {} is for the CUDA device", Field::CUDA_GRAPH)));
        }
        check_options(options)
    }
}

impl EngineArgs {
    /// [`EngineArgs::options`] of who trains.
    pub fn options_with(&self, recording: &RecordingArgs) -> Result<EngineOptions> {
        let mut options = self.options();
        recording.set(&self.runtime, &mut options)?;
        Ok(options)
    }

    pub fn options(&self) -> EngineOptions {
        self.options_over(EngineOptions::default())
    }

    /// `before` where nothing is given.
    fn options_over(&self, before: EngineOptions) -> EngineOptions {
        let options = self.runtime.options_over(before);
        EngineOptions { precision: self.precision.unwrap_or(options.precision), ..options }
    }

    /// The same options for another process, with that many threads.
    pub fn arguments(&self, threads: usize) -> Vec<OsString> {
        let options = self.options();
        let named = |value: String| value.to_lowercase();
        let mut words: Vec<OsString> = vec!["--threads".into(), threads.to_string().into()];
        words.extend(self.runtime.engine.map(|e| named(format!("{e:?}"))).into_iter().flat_map(|e| ["--engine".into(), e.into()]));
        let place = match options.device {
            Device::Cuda => format!("cuda:{}", options.device_index),
            device => named(format!("{device:?}")),
        };
        words.extend(self.runtime.device.into_iter().flat_map(|_| ["--device".into(), place.clone().into()]));
        words.extend(self.runtime.kernels.map(|k| named(format!("{k:?}"))).into_iter().flat_map(|k| ["--kernels".into(), k.into()]));
        words.extend(self.precision.map(|p| named(format!("{p:?}"))).into_iter().flat_map(|p| ["--precision".into(), p.into()]));
        words.extend(options.ort_lib.into_iter().flat_map(|l| ["--ort-lib".into(), l.into()]));
        words.extend(options.tf32.then(|| "--tf32".into()));
        words
    }
}
