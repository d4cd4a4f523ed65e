//! From tuned weights back to an inference model: the source's own graph, with the source's names.
//!
//! A bundle keeps the source as `template.onnx`: everything but the tensors that are state. Export puts those back.

use super::metadata::write_metadata;
use super::open::Bundle;
use crate::error::{Error, Result};
use crate::import::{Split, node_name};
use crate::ir::{Graph, Tensor};
use crate::onnx::{self, ExternalData, SourceModel, TensorSlots, half, noise, pb, to_proto};
use crate::ops::table;
use std::collections::{HashMap, HashSet};

/// Metadata key: the parameters that shared an initializer, as JSON.
const SPLIT_KEY: &str = "spgraph.split";

/// The source in the form for inference, without the data of the tensors in `names`. `network` is what was made of it: nodes that it has under
/// their names compute for every image; others were made to something that has one form only.
pub fn template(source: SourceModel, network: &Graph, names: &[&str], split: &[Split]) -> Result<pb::ModelProto> {
    let quiet = noise::quiet(&source);
    let mut model = source.proto;
    if let Some(graph) = model.graph.as_mut() {
        noise::without(graph, &quiet, node_name);
        let nodes: HashSet<&str> = network.nodes.iter().map(|n| n.name.as_str()).collect();
        let known = graph.node.iter_mut().enumerate().filter(|(i, n)| nodes.contains(node_name(*i, n).as_str()));
        for (_, node) in known {
            if let Some(operator) = table::find(node.op_type()) {
                operator.inference_form(node);
            }
        }
        let slots = TensorSlots::of(graph);
        for name in names {
            if let Some(t) = slots.get(graph, name) {
                *t = pb::TensorProto { name: t.name.clone(), dims: t.dims.clone(), data_type: t.data_type, ..Default::default() };
            }
        }
    }
    onnx::inline_external(&mut model, &ExternalData::new(&source.dir))?;
    if !split.is_empty() {
        let text = serde_json::to_string(split).map_err(|e| Error::model(format!("cannot write metadata: {e}")))?;
        model.metadata_props.push(pb::StringStringEntryProto { key: Some(SPLIT_KEY.into()), value: Some(text) });
    }
    Ok(model)
}

/// The inference model with `state` (in the manifest's order), with the manifest's classes and preprocessing in its metadata.
pub fn tuned(bundle: &Bundle, state: &[Tensor]) -> Result<pb::ModelProto> {
    let mut model = onnx::open(bundle.template())?.proto;
    let split: Vec<Split> = match model.metadata_props.iter().position(|p| p.key() == SPLIT_KEY) {
        Some(i) => serde_json::from_str(model.metadata_props.remove(i).value())
            .map_err(|e| Error::model(format!("template.onnx is damaged ({e}): run `spgraph rewrite` again")))?,
        None => vec![],
    };
    let mut graph = model.graph.take().ok_or_else(|| Error::model("template.onnx has no graph: run `spgraph rewrite` again"))?;
    let tuned: HashMap<&str, &Tensor> =
        bundle.manifest.state.iter().zip(state).filter(|(s, _)| s.role.is_model()).map(|(s, t)| (s.name.as_str(), t)).collect();
    let slots = TensorSlots::of(&graph);
    for (name, tensor) in &tuned {
        if split.iter().any(|s| s.name == **name) {
            continue;
        }
        let slot = slots
            .get(&mut graph, name)
            .ok_or_else(|| Error::model(format!("template.onnx has no place for `{name}`: run `spgraph rewrite` again")))?;
        let kept = slot.name.clone();
        *slot = to_proto(kept.clone().unwrap_or_default(), &half::narrowed(tensor, slot.data_type(), name)?);
        slot.name = kept;
    }
    // Removing an Identity shifts the numbers by which nameless nodes are known: those go last.
    let (sites, identities): (Vec<&Split>, Vec<&Split>) = split.iter().partition(|s| s.site.is_some());
    for shared in sites.into_iter().chain(identities) {
        if let Some(tensor) = tuned.get(shared.name.as_str()) {
            untie(&mut graph, shared, tensor)?;
        }
    }
    model.graph = Some(graph);
    if model.ir_version() < 4 {
        declare_initializers(&mut model);
    }
    write_metadata(&mut model, &bundle.manifest)?;
    Ok(model)
}

/// Gives a parameter that shared an initializer its own, unless the two still have the same value.
fn untie(graph: &mut pb::GraphProto, split: &Split, tensor: &Tensor) -> Result<()> {
    let code = onnx::tensor_slot(graph, &split.initializer).map_or(0, |t| t.data_type());
    let own = to_proto(&split.name, &half::narrowed(tensor, code, &split.name)?);
    if graph.initializer.iter().any(|t| t.name() == split.initializer && t.raw_data == own.raw_data) {
        return Ok(());
    }
    let place = match &split.site {
        None => {
            let identity = graph.node.iter().position(|n| n.op_type() == "Identity" && n.output.contains(&split.name));
            identity.map(|i| drop(graph.node.remove(i)))
        }
        Some((node, input)) => {
            let reader = graph.node.iter_mut().enumerate().find(|(i, n)| node_name(*i, n) == *node).map(|(_, n)| n);
            reader.and_then(|n| n.input.get_mut(*input)).map(|i| *i = split.name.clone())
        }
    };
    if place.is_none() {
        return Err(Error::model(format!("template.onnx has no place for `{}`: run `spgraph rewrite` again", split.name)));
    }
    graph.initializer.push(own);
    Ok(())
}

/// Before IR version 4 every initializer must be declared as an input too.
fn declare_initializers(model: &mut pb::ModelProto) {
    let Some(graph) = model.graph.as_mut() else { return };
    let missing: Vec<pb::ValueInfoProto> = graph
        .initializer
        .iter()
        .filter(|t| !graph.input.iter().any(|i| i.name() == t.name()))
        .filter_map(|t| {
            let dtype = crate::ir::DType::from_onnx(t.data_type())?;
            let dims = t.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0));
            Some(crate::emit::value_info(t.name(), &crate::ir::TensorType::new(dtype, dims)))
        })
        .collect();
    graph.input.extend(missing);
}
