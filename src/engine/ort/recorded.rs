//! Whether a training step can be recorded as a graph of CUDA's, which then runs as one: what such a graph may not hold, and where its inputs and outputs lie.

use super::super::signature::{Signature, StatePort};
use crate::emit;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Domain, Graph};
use crate::onnx::ModelFile;
use ::ort::session::Session;
use ::ort::value::Outlet;
use ::ort::{AsPointer, sys};
use std::collections::HashSet;

/// How many names a message has.
const SHOWN: usize = 5;

fn refused(model: &str, what: &str, found: &[String]) -> Error {
    let more = found.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let names = found.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    Error::usage(format!(
        "{} cannot record the step of {model}: {what} ({names}{more}). Leave it out; `spgraph inspect BUNDLE {} cuda` lists where each node runs",
        Field::CUDA_GRAPH,
        Field::DEVICE
    ))
}

/// The values that a model's nodes read.
pub(super) fn read_by_nodes(file: &ModelFile) -> HashSet<String> {
    file.proto.graph.iter().flat_map(|g| &g.node).flat_map(|n| &n.input).cloned().collect()
}

/// Fails where the model's graph, as the device gets it, has a node that cannot be in a recorded graph, by the table of the provider's kernels in that opset.
pub(super) fn check_nodes(model: &str, graph: &Graph, opset: i64) -> Result<()> {
    let own = |what: &str, found: Vec<String>| if found.is_empty() { Ok(()) } else { Err(refused(model, what, &found)) };
    let live = graph.live().nodes;
    let named = live.iter().filter(|n| !emit::can_be_recorded(n)).map(|n| format!("`{}`, {}", n.name, n.op_type));
    own("a recorded graph does the same each time, and may not choose, repeat, or draw numbers by itself", named.collect())?;
    let others = emit::cuda_fallbacks(graph, opset).into_iter().filter(|(n, _)| n.domain != Domain::Native);
    let off = others.map(|(n, why)| format!("`{}`: {why}", n.name));
    own("nodes of it would not run on the device", off.collect())
}

/// Fails where the session takes an input that a node reads, or gives an output, in the processor's memory: a recorded graph would go on with what lay there
/// when it was recorded.
pub(super) fn check_ports(session: &Session, signature: &Signature, read: &HashSet<String>) -> Result<()> {
    let api = ::ort::api();
    let place = |count: usize, get: &dyn Fn(*mut *const sys::OrtMemoryInfo, usize) -> sys::OrtStatusPtr| -> Result<Vec<bool>> {
        let mut found = vec![std::ptr::null(); count];
        let status = get(found.as_mut_ptr(), count);
        if !status.0.is_null() {
            // SAFETY: a status that is not null is an error of its own, released once.
            unsafe { (api.ReleaseStatus)(status.0) };
            return Err(Error::engine("ONNX Runtime does not say where a step's inputs and outputs lie"));
        }
        // SAFETY: ONNX Runtime has written where each of them lies, in objects that live as long as the session.
        let on_device = |info: &*const sys::OrtMemoryInfo| !info.is_null() && unsafe { on_device(*info) };
        Ok(found.iter().map(on_device).collect())
    };
    let (inputs, outputs) = (session.inputs(), session.outputs());
    // SAFETY: the session is alive, and the list has room for as many as it has inputs, or outputs.
    let taken = place(inputs.len(), &|out, n| unsafe { (api.SessionGetMemoryInfoForInputs)(session.ptr(), out, n) })?;
    // SAFETY: as above.
    let given = place(outputs.len(), &|out, n| unsafe { (api.SessionGetMemoryInfoForOutputs)(session.ptr(), out, n) })?;
    let taken = inputs.iter().zip(taken).filter(|(port, _)| read.contains(port.name()));
    // What an input is passed on as is no business of the graph's.
    let given = outputs.iter().zip(given).filter(|(port, _)| !signature.inputs.iter().any(|i| i.name == port.name()));
    let off = |ports: &mut dyn Iterator<Item = (&Outlet, bool)>| -> Vec<String> {
        ports.filter(|(_, device)| !device).map(|(port, _)| format!("`{}`", port.name())).collect()
    };
    for (what, found) in [
        ("inputs of it are read by the processor", off(&mut taken.into_iter())),
        ("outputs of it are written by the processor", off(&mut given.into_iter())),
    ] {
        if !found.is_empty() {
            return Err(refused(&signature.model, what, &found));
        }
    }
    Ok(())
}

/// # Safety
///
/// `info` points to an object of ONNX Runtime's that is alive.
unsafe fn on_device(info: *const sys::OrtMemoryInfo) -> bool {
    let mut kind = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU;
    // SAFETY: as the caller promises.
    unsafe { (::ort::api().MemoryInfoGetDeviceType)(info, &mut kind) };
    kind == sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_GPU
}

/// A failure of ONNX Runtime's while a step was prepared or recorded, with the way out.
pub(super) fn failed(error: &Error) -> Error {
    Error::engine(format!(
        "{error}. This was a step that is recorded, which not all can be: without {} its nodes start one by one",
        Field::CUDA_GRAPH
    ))
}

/// Fails where recorded steps are to be profiled.
pub(in crate::engine) fn check_not_profiled(recorded: bool) -> Result<()> {
    match recorded {
        false => Ok(()),
        true => Err(Error::usage(format!(
            "the nodes of a recorded step have no times of their own, for it runs as one: profile without {}",
            Field::CUDA_GRAPH
        ))),
    }
}

/// Fails where state has one buffer, which its step reads and writes: recording a step runs it more than once, and the second time would begin with the new state.
pub(super) fn check_buffers(signature: &Signature, state: &[StatePort], in_place: &[bool]) -> Result<()> {
    let replaced: Vec<String> = state.iter().zip(in_place).filter(|(_, one)| **one).map(|(s, _)| format!("`{}`", s.input)).collect();
    match replaced.is_empty() {
        true => Ok(()),
        false => Err(refused(&signature.model, "state of it is updated in place, and recording a step runs it more than once", &replaced)),
    }
}

/// Fails where an output that is no state has no fixed shape.
pub(super) fn check_shapes(signature: &Signature, plain: &[usize]) -> Result<()> {
    let open = plain.iter().filter_map(|&at| signature.outputs.get(at)).filter(|p| p.fixed_shape().is_none());
    let open: Vec<String> = open.map(|p| format!("`{}`, {p}", p.name)).collect();
    if open.is_empty() { Ok(()) } else { Err(refused(&signature.model, "outputs of it have no fixed shape", &open)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Node, TensorType, ValueId};

    /// A chain of nodes of these operators.
    fn chain(operators: &[&str]) -> Graph {
        let ty = || TensorType::new(DType::F32, [2usize]);
        let mut graph = Graph::new("g");
        let x = graph.input("x", ty());
        let next = |v: ValueId, op: &&str| {
            graph.single(Node::new(format!("node of {op}"), *op, vec![Some(v)], Default::default()), ("v".into(), ty()))
        };
        let last = operators.iter().fold(x, next);
        graph.outputs = vec![last];
        graph
    }

    #[test]
    fn nodes_that_a_recorded_graph_cannot_hold_are_named_with_the_way_out() {
        let check = |operators: &[&str]| check_nodes("step.onnx", &chain(operators), crate::operator::OPSET);
        check(&["Relu", "Neg"]).unwrap();
        let said = check(&["Relu", "RandomNormalLike"]).unwrap_err().to_string();
        for part in
            ["step.onnx", "`node of RandomNormalLike`, RandomNormalLike", "draw numbers by itself", "Leave it out", "inspect BUNDLE"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = check(&["Relu", "Acosh"]).unwrap_err().to_string();
        assert!(said.contains("would not run on the device") && said.contains("`node of Acosh`") && !said.contains("Relu"), "{said}");
    }
}
