//! Native kernels: operators of our own, registered with ONNX Runtime, in the place of those nodes and functions of a graph that
//! they cover. Images are `[N, H, W, C]` between them. A graph never needs them, and its inputs and outputs stay as they are.
//!
//! [`ops`] has one file for each operator, [`layout`] puts them in, [`fuse`] lets them do what follows them, [`compute`] is their
//! arithmetic.

// The one purpose of this folder is arithmetic on raw buffers; each unsafe block says why it is sound.
mod compute;
mod fuse;
mod graph;
mod layout;
mod ops;

pub use self::ops::domain;

use super::inline::{inline_functions, restore_operators};
use crate::error::Result;
use crate::ir::Domain;
use crate::onnx::pb;
use prost::Message;
use std::collections::HashSet;

/// Whether the kernels are known to be faster than ONNX Runtime's on this processor.
pub fn suits_processor() -> bool {
    // On 64-bit ARM the `gemm` crate has NEON.
    compute::Isa::detect() >= compute::Isa::Avx2 || cfg!(target_arch = "aarch64")
}

/// For people: which instructions the kernels use.
pub fn instructions() -> &'static str {
    compute::Isa::detect().name()
}

/// A model with native operators.
pub struct Prepared {
    /// The model, encoded.
    pub bytes: Vec<u8>,
    /// Pairs of a graph input and an output that may share a buffer: a parameter and its next value.
    pub in_place: Vec<(String, String)>,
}

/// The model with native operators; `None` where they cover nothing of it. With `inlined`, the functions that are left are written
/// out.
pub fn prepare(mut model: pb::ModelProto, inlined: bool) -> Result<Option<Prepared>> {
    let Some(in_place) = rewrite(&mut model) else { return Ok(None) };
    if inlined {
        inline_functions(&mut model)?;
    }
    Ok(Some(Prepared { bytes: model.encode_to_vec(), in_place }))
}

/// Puts native operators into the model, and gives what may share a buffer; `None` where there is nothing that they cover.
fn rewrite(model: &mut pb::ModelProto) -> Option<Vec<(String, String)>> {
    restore_operators(model);
    let graph = model.graph.as_mut()?;
    let mut editor = graph::Editor::new(graph);
    let count = layout::apply(&mut editor);
    fuse::apply(&mut editor);
    let in_place = fuse::in_place(&editor);
    graph.node = editor.nodes;
    if count == 0 {
        return None;
    }
    let called: HashSet<&str> = graph.node.iter().filter(|n| n.domain() == Domain::Function.name()).map(|n| n.op_type()).collect();
    model.functions.retain(|f| f.domain() != Domain::Function.name() || called.contains(f.name()));
    // Shapes that were declared inside the graph are those of images with their channels first.
    graph.value_info.clear();
    model.opset_import.push(pb::OperatorSetIdProto { domain: Some(ops::DOMAIN.into()), version: Some(1) });
    Some(in_place)
}
