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

pub use self::compute::Isa;
pub use self::ops::domain;

use crate::error::{Error, Result};
use crate::ir::Domain;
use crate::onnx::{inline_functions, pb};
use crate::operator::Function;
use prost::Message;
use std::collections::HashSet;

/// Chooses which instructions the kernels use.
const ISA_VARIABLE: &str = "SPGRAPH_ISA";

/// The instructions that the kernels use: the best of this processor, or those that the environment variable `SPGRAPH_ISA` names.
///
/// Fails where it names none that this processor has.
pub fn instructions() -> Result<Isa> {
    match std::env::var_os(ISA_VARIABLE).filter(|name| !name.is_empty()) {
        None => Ok(Isa::best()),
        Some(name) => named(&name.to_string_lossy()),
    }
}

fn named(name: &str) -> Result<Isa> {
    let all = Isa::available();
    all.iter().copied().find(|isa| isa.keyword() == name).ok_or_else(|| {
        let possible: Vec<&str> = all.iter().map(|isa| isa.keyword()).collect();
        Error::usage(format!(
            "the environment variable {ISA_VARIABLE} is `{name}`, which names no instructions that the native kernels can use on this \
             processor: it can be {}, or be left out",
            possible.join(", ")
        ))
    })
}

/// Whether the kernels are known to be faster than ONNX Runtime's with these instructions.
pub fn suits(isa: Isa) -> bool {
    // On 64-bit ARM the `gemm` crate has NEON.
    isa != Isa::Portable || cfg!(target_arch = "aarch64")
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

/// Puts the operators back for which functions of the domain [`Domain::Alternative`] stand.
fn restore_operators(model: &mut pb::ModelProto) {
    let alternative = Domain::Alternative.name();
    for node in model.graph.iter_mut().flat_map(|g| &mut g.node).filter(|n| n.domain() == alternative) {
        node.op_type = Some(Function::base_name(node.op_type()).into());
        node.domain = None;
    }
    model.functions.retain(|f| f.domain() != alternative);
    model.opset_import.retain(|o| o.domain() != alternative);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_are_not_there_are_refused_with_those_that_are() {
        assert_eq!(named("portable").unwrap(), Isa::Portable);
        let refusal = named("avx5").unwrap_err();
        assert!(matches!(refusal, Error::Usage(_)));
        let text = refusal.to_string();
        assert!(text.contains("SPGRAPH_ISA is `avx5`") && text.contains("it can be portable"), "{text}");
    }
}
