//! Models that somebody exported in training mode: by themselves they compute something else than the network does in inference.

use crate::error::{Error, Result};
use crate::onnx::{ModelFile, noise, pb, tensor_slot};

/// Fails where the model computes as in training: what it says of an image would depend on the images beside it, or on chance.
pub(super) fn refuse(model: &ModelFile) -> Result<()> {
    let graph = model.graph()?;
    let found = graph.node.iter().filter(|n| matches!(n.domain(), "" | "ai.onnx")).find_map(|n| Some((n, why(model, graph, n)?)));
    let Some((node, why)) = found else { return Ok(()) };
    let name = if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    let (file, op) = (model.path.display(), node.op_type());
    Err(Error::model(format!(
        "{file} computes as in training: {op} (node `{name}`) {why}. Export it in evaluation mode (`model.eval()`), or have spgraph take it as it is in \
         inference: `spgraph rewrite {file} --head keep -o BUNDLE`, and give BUNDLE instead"
    )))
}

fn why(model: &ModelFile, graph: &pb::GraphProto, node: &pb::NodeProto) -> Option<&'static str> {
    const CHANCE: &str = "draws other numbers each time";
    match node.op_type() {
        "BatchNormalization" => {
            let training = node.attribute.iter().any(|a| a.name() == "training_mode" && a.i() != 0);
            training.then_some("normalizes by the images that it is given together")
        }
        "Dropout" => {
            let switch = node.input.get(2).filter(|name| !name.is_empty())?;
            // The switch of a network in evaluation mode is a constant that says so.
            let constant = graph.initializer.iter().find(|t| t.name() == switch).cloned().or_else(|| {
                let node = graph.node.iter().find(|n| n.op_type() == "Constant" && n.output.contains(switch))?.clone();
                tensor_slot(&mut pb::GraphProto { node: vec![node], ..Default::default() }, switch).cloned()
            });
            let on = constant.and_then(|t| model.tensor(&t).ok()).and_then(|t| t.to_i64().ok()?.first().copied()) != Some(0);
            on.then_some(CHANCE)
        }
        op if noise::is_random(op) => Some(CHANCE),
        _ => None,
    }
}
