//! Runtimes that execute the bundle's graphs. The only place that names ONNX Runtime or tract.
//!
//! [`ENGINES`] is the list of them. Another runtime is a folder with the three traits of [`session`](self) and a row there.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod cuda;
mod machine;
mod model;
mod native;
mod options;
mod ort;
mod runtime_graph;
mod session;
mod signature;
mod tract;

pub use self::machine::Machine;
pub use self::native::register as register_native_operators;
pub use self::options::{Computing, Device, EngineChoice, EngineOptions, Kernels, Precision};
pub use self::ort::{Candidate, Cuda, CudaDevice, CudaLibrary, Obstacle, Origin, OrtEngine, Owner, cache_dir, discover, install};
pub use self::runtime_graph::{RuntimeGraph, device_graph, runtime_graph, with_native_operators};
pub use self::session::{Engine, EngineEntry, Opened, Placement, Session, StepParts, Stepper, Timed};
pub use self::signature::{GraphPort, PortDim, Signature, StatePort};

use crate::error::{Error, Result};
use crate::field::Field;

/// Every runtime, the one to prefer first.
pub static ENGINES: [EngineEntry; 2] = [ort::ENTRY, tract::ENTRY];

/// The device to compute on where any will do: CUDA's, where nothing stands in its way, and the processor's otherwise, with why.
pub fn any_device(options: &EngineOptions) -> (Device, String) {
    let cuda = EngineOptions { device: Device::Cuda, ..options.clone() };
    let libraries = discover(&cuda);
    let Some(library) = libraries.iter().find(|l| l.chosen) else {
        let why = format!("no ONNX Runtime with the CUDA provider was found (`spgraph runtime install {} cuda` gets one)", Field::DEVICE);
        return (Device::Cpu, why);
    };
    match Cuda::examine(Some(&library.path)).obstacles(options.device_index).into_iter().next() {
        Some(obstacle) => (Device::Cpu, format!("{}. For the CUDA device, {}", obstacle.what, obstacle.advice)),
        None => (Device::Cuda, "an NVIDIA driver, a device and the libraries were found".into()),
    }
}

/// Fails where the options ask for steps whose nodes have no times.
pub fn check_profiled(options: &EngineOptions) -> Result<()> {
    ort::check_not_profiled(options.cuda_graph)
}

/// [`open`], so that the times of nodes are those of their work: on a device, starting a kernel waits for its end, in this process from now on. Where the
/// environment says itself whether it does ([`Engine::timed`] tells), that stays.
///
/// Fails where CUDA was started in this process before.
pub fn open_to_profile(options: &EngineOptions) -> Result<Box<dyn Engine>> {
    check_profiled(options)?;
    if options.device == Device::Cuda {
        ort::block_launches()?;
    }
    open(options)
}

/// Fails where options ask for what no runtime can have together.
pub fn check_options(options: &EngineOptions) -> Result<()> {
    if options.kernels == Kernels::Standard && options.precision == Precision::Bf16 {
        return Err(Error::usage(format!(
            "{} bf16 is for native kernels, and {} standard asks for ONNX Runtime's own, which compute in float32: leave one of them out",
            Field::PRECISION,
            Field::KERNELS
        )));
    }
    if options.cuda_graph && options.device != Device::Cuda {
        return Err(Error::usage(format!(
            "{} records a step for the CUDA device, and this is to run on the {}, where starting a node costs next to nothing: leave it out, or take {} cuda",
            Field::CUDA_GRAPH,
            options.device.name(),
            Field::DEVICE
        )));
    }
    Ok(())
}

/// The runtime that the options ask for. With [`EngineChoice::Auto`] that is the first of [`ENGINES`] that can do what is asked and is
/// there; the engine's description says which, and why.
///
/// Fails when a runtime, library or device was asked for by name and cannot be had: nothing is replaced silently.
pub fn open(options: &EngineOptions) -> Result<Box<dyn Engine>> {
    check_options(options)?;
    let asked = || ENGINES.iter().filter(|e| options.choice == EngineChoice::Auto || options.choice == e.choice);
    let (mut passed, mut absent) = (vec![], None);
    for entry in asked().filter(|e| e.refusal(options).is_none()) {
        match (entry.open)(options, &passed)? {
            Opened::Ready(engine) => return Ok(engine),
            Opened::Absent { why, error } => {
                passed.push(why);
                absent.get_or_insert(error);
            }
        }
    }
    Err(absent.unwrap_or_else(|| {
        let why: Vec<String> = asked().filter_map(|e| e.refusal(options)).collect();
        let (why, engine, device) = (why.join("; "), Field::ENGINE, Field::DEVICE);
        Error::usage(match options.kernels {
            _ if options.precision == Precision::Bf16 => {
                format!(
                    "{why}. {} bf16 is for native kernels, with ONNX Runtime on the CPU: leave it out, or take {engine} ort and {device} cpu",
                    Field::PRECISION
                )
            }
            Kernels::Native => {
                format!(
                    "{why}. {} native is for ONNX Runtime: leave it out, or take {engine} ort",
                    Field::KERNELS
                )
            }
            _ => format!("{why}. Use ONNX Runtime for that ({engine} ort), or the CPU ({device} cpu)"),
        })
    }))
}
