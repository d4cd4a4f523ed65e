//! Which provider of ONNX Runtime computes each node, as a session of it says.

use super::super::session::Placement;
use crate::error::{Error, Result};
use crate::onnx::pb;
use ::ort::session::Session as Loaded;
use ::ort::{AsPointer, sys};
use prost::Message;
use std::ffi::{CStr, c_char};
use std::path::Path;

/// The session option that makes it keep the record.
pub(super) const RECORDED: &str = "session.record_ep_graph_assignment_info";

fn refused(what: &str) -> Error {
    Error::engine(format!("ONNX Runtime does not say {what}; update it to the release that `spgraph runtime install` gets"))
}

fn ask(status: sys::OrtStatusPtr, what: &str) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null is an error of its own, released once.
    unsafe { (::ort::api().ReleaseStatus)(status.0) };
    Err(refused(what))
}

/// A text that the session owns.
fn text(get: impl FnOnce(*mut *const c_char) -> sys::OrtStatusPtr, what: &str) -> Result<String> {
    let mut out = std::ptr::null();
    ask(get(&mut out), what)?;
    if out.is_null() {
        return Err(refused(what));
    }
    // SAFETY: a string that lives as long as the session, which the caller holds.
    Ok(unsafe { CStr::from_ptr(out) }.to_string_lossy().into_owned())
}

/// A list that the session owns.
fn list<T>(get: impl FnOnce(*mut *const *const T, *mut usize) -> sys::OrtStatusPtr, what: &str) -> Result<Vec<*const T>> {
    let (mut first, mut count) = (std::ptr::null(), 0);
    ask(get(&mut first, &mut count), what)?;
    if count == 0 || first.is_null() {
        return Ok(vec![]);
    }
    // SAFETY: ONNX Runtime has written where the list begins and how long it is; it lives as long as the session.
    Ok(unsafe { std::slice::from_raw_parts(first, count) }.to_vec())
}

/// Every node with its provider. The session must have been made with [`RECORDED`].
pub(super) fn placements(session: &Loaded) -> Result<Vec<Placement>> {
    let api = ::ort::api();
    let mut found = vec![];
    // SAFETY: the session is alive, and ONNX Runtime is of the version whose table of functions has these.
    let parts = list(|out, count| unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), out, count) }, "who computes its nodes")?;
    for part in parts {
        // SAFETY: this and what follows: objects that the session has just listed.
        let provider = text(|out| unsafe { (api.EpAssignedSubgraph_GetEpName)(part, out) }, "what a provider is called")?;
        for node in list(|out, count| unsafe { (api.EpAssignedSubgraph_GetNodes)(part, out, count) }, "which nodes a provider has")? {
            // SAFETY: as above.
            let name = text(|out| unsafe { (api.EpAssignedNode_GetName)(node, out) }, "what a node is called")?;
            // SAFETY: as above.
            let operator = text(|out| unsafe { (api.EpAssignedNode_GetOperatorType)(node, out) }, "what a node computes")?;
            found.push(Placement { name, operator, provider: provider.clone() });
        }
    }
    Ok(found)
}

/// The copies between device and processor in a graph that the session wrote after it had placed its nodes, as placements of their own.
pub(super) fn copies(written: &Path) -> Result<Vec<Placement>> {
    let bytes = std::fs::read(written).map_err(Error::io("cannot read", written))?;
    let model = pb::ModelProto::decode(&bytes[..]).map_err(|e| Error::engine(format!("ONNX Runtime wrote no model: {e}")))?;
    let nodes = model.graph.into_iter().flat_map(|g| g.node);
    let copies = nodes.filter(|n| n.op_type().starts_with("Memcpy"));
    Ok(copies
        .map(|n| {
            let name = n.input.first().cloned().unwrap_or_default();
            Placement { name, operator: n.op_type().into(), provider: "a copy between device and processor".into() }
        })
        .collect())
}
