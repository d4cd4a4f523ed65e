//! Where each node of a training step would run on the CUDA device, told from the table of its kernels, and by the runtime where it is there.

use super::memory::plan_memory;
use crate::bundle::Bundle;
use crate::emit::{self, CUDA_VERSION, can_be_recorded, cuda_refusal};
use crate::engine::{Computing, Cuda, Device, Engine, EngineOptions, Placement, device_graph, discover};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx;
use crate::operator::OPSET;
use crate::train::batch_size;
use serde::Serialize;
use std::collections::BTreeMap;

/// What computes a step with the CUDA device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DevicePlan {
    /// Images in the batch.
    pub batch: usize,
    /// Who says so: the table of a release's kernels, or a session of the runtime.
    pub by: String,
    /// Every node, with who computes it.
    pub nodes: Vec<Placement>,
    /// Nodes that would run on the processor, and copies between, with the reason where it is known.
    pub off_device: Vec<OffDevice>,
    /// Nodes that no recorded graph of CUDA's may hold.
    pub not_recorded: Vec<String>,
}

/// A node that is not computed on the device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OffDevice {
    /// Its name; of a copy, the value's.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub why: String,
}

/// What ONNX Runtime calls its provider.
const PROVIDER: &str = "CUDAExecutionProvider";

/// Where the nodes of the bundle's step run. Asked of the engine, where there is one with the device; otherwise of the table. `batch` is the number of images
/// where the bundle takes any.
pub fn plan_device(bundle: &Bundle, batch: Option<usize>, engine: Option<&dyn Engine>) -> Result<DevicePlan> {
    let file = onnx::open(bundle.step())?;
    let opset = emit::opset_of(&file.proto).unwrap_or(OPSET);
    let batch = batch_size(&bundle.manifest, batch)?;
    let graph = device_graph(emit::read(&file, Some(batch))?)?;
    let live = graph.live().nodes;
    let refused: BTreeMap<&str, String> =
        live.iter().filter_map(|node| Some((node.name.as_str(), cuda_refusal(&graph, node, opset)?))).collect();
    let asked = match engine {
        Some(engine) => engine.placements(&bundle.step())?.map(|nodes| (engine.describe(), nodes)),
        None => None,
    };
    let (by, nodes) = asked.unwrap_or_else(|| {
        let place = |name: &str| if refused.contains_key(name) { "CPUExecutionProvider" } else { PROVIDER };
        let nodes =
            live.iter().map(|n| Placement { name: n.name.clone(), operator: n.op_type.clone(), provider: place(&n.name).into() }).collect();
        (format!("the table of the kernels of ONNX Runtime {CUDA_VERSION}; no {} device was asked", Device::Cuda.name()), nodes)
    });
    let why = |p: &Placement| refused.get(p.name.as_str()).cloned().unwrap_or_else(|| p.provider.clone());
    let off = nodes.iter().filter(|p| p.provider != PROVIDER);
    let off_device = off.map(|p| OffDevice { node: p.name.clone(), operator: p.operator.clone(), why: why(p) }).collect();
    let not_recorded = live.iter().filter(|n| !can_be_recorded(n)).map(|n| n.name.clone()).collect();
    Ok(DevicePlan { batch, by, nodes, off_device, not_recorded })
}

/// Fails where a step with `batch` images would not fit what is free of the CUDA device's memory, unless `force`; names a batch that would, where the bundle
/// takes any. What cannot be predicted is left to the step itself.
pub fn check_device_memory(bundle: &Bundle, batch: usize, options: &EngineOptions, force: bool) -> Result<()> {
    let libraries = discover(options);
    let cuda = Cuda::examine(libraries.iter().find(|l| l.chosen).map(|l| l.path.as_path()));
    match cuda.devices.get(options.device_index) {
        Some(device) if !force => check_room(bundle, batch, device.free, &device.name),
        _ => Ok(()),
    }
}

/// What the CUDA context, cuDNN and cuBLAS keep for themselves, and algorithms of convolutions work in.
const RESERVED: u64 = 1 << 30;

/// [`check_device_memory`] for a device of that name with so much that is free.
pub fn check_room(bundle: &Bundle, batch: usize, free: u64, name: &str) -> Result<()> {
    let peak = |batch| Some(plan_memory(bundle, Some(batch), Computing::STANDARD).ok()?.peak_bytes.saturating_add(RESERVED));
    let Some(needed) = peak(batch).filter(|needed| *needed > free) else { return Ok(()) };
    let smaller = std::iter::successors(Some(batch / 2), |b| Some(b / 2)).take_while(|b| *b > 0);
    let fits = smaller.into_iter().find(|&b| peak(b).is_some_and(|needed| needed <= free));
    let advice = match (bundle.manifest.data.input.shape.first(), fits) {
        (Some(&fixed), Some(fits)) if fixed > 0 => {
            format!("The bundle is made for {fixed} images: make it again with {} {fits}", Field::BATCH)
        }
        (_, Some(fits)) => format!("Give {} {fits}", Field::BATCH),
        (_, None) => "Close other programs, freeze more of the network, or take another device".into(),
    };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(Error::usage(format!(
        "a step with {batch} images would take about {:.1} GiB, and {:.1} GiB of the CUDA device {name} are free. {advice}, or try all the same with {}",
        gib(needed),
        gib(free),
        Field::FORCE_MEMORY
    )))
}
