//! Which of a network's outputs is the classifier's.

use super::head::{Head, head_behind};
use super::prediction::{Prediction, names};
use super::rivals::{rivals, same};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{Imported, LeftOut};
use crate::loss::Activation;

/// The output of that name, or the one that is clearly the classifier's. Scores that something reads which spgraph leaves out are outputs here, too.
pub fn choose(imported: &Imported, name: Option<&str>) -> Result<Prediction> {
    let graph = &imported.graph;
    if let Some(name) = name {
        if let Some(left) = imported.left_out.iter().find(|l| l.output == name) {
            return Err(Error::model(format!(
                "the model's output `{name}` cannot be trained: {}. The model also has {}",
                left.refusal,
                listed(imported)
            )));
        }
        let index = graph.outputs.iter().position(|&o| graph.name_of(o) == name);
        let index = index.ok_or_else(|| {
            Error::option(Field::PREDICTION, format!(" {name} is no output of the model, which has {}", listed(imported)))
        })?;
        return Prediction::at(graph, index);
    }
    let chosen = match (clear(imported), imported.left_out.first()) {
        (Err(why), Some(left)) => {
            return Err(Error::model(format!(
                "the model's output `{}` may be the classifier's, and cannot be trained: {}. Of what is left, {why}",
                left.output, left.refusal
            )));
        }
        (found, _) => found?,
    };
    // What nobody here can read may be the classifier, or what it says, unless it only decides by the scores that were found.
    let tail = &chosen.tail;
    let own = [chosen.name.as_str(), graph.name_of(tail.logits), graph.name_of(tail.origin)];
    let apart = |l: &&LeftOut| !own.iter().any(|name| l.decides_by(name));
    match imported.left_out.iter().find(apart) {
        None => Ok(chosen),
        Some(left) => Err(Error::model(format!(
            "the model's output `{}` may be the classifier's, or say what it found, and cannot be trained: {}. Where the classifier's is another one, name it \
             with {} NAME: {}",
            left.output,
            left.refusal,
            Field::PREDICTION,
            listed(imported)
        ))),
    }
}

/// The output that is clearly the classifier's, of those that the graph has.
fn clear(imported: &Imported) -> Result<Prediction> {
    let graph = &imported.graph;
    if graph.outputs.len() < 2 {
        return Prediction::at(graph, 0);
    }
    let all: Vec<Prediction> = (0..graph.outputs.len()).filter_map(|i| Prediction::at(graph, i).ok()).collect();
    let head = |p: &Prediction| if p.tail.hidden.is_none() { head_behind(imported, p).ok() } else { None };
    let (mut found, mut others) = (vec![], vec![]);
    for prediction in all {
        match head(&prediction) {
            Some(head) => found.push((prediction, head)),
            None => others.push(prediction),
        }
    }
    // Logits beside the probabilities that are made of them are one classifier, and the probabilities say what they are.
    let clear = found.iter().max_by_key(|(p, _)| (p.tail.activation != Activation::None, std::cmp::Reverse(p.index)));
    let agrees = |p: &Prediction, chosen: &Prediction| {
        let own = same(p.tail.activation);
        p.tail.origin == chosen.tail.origin && (own == same(chosen.tail.activation) || own == Activation::None)
    };
    let why = match clear {
        Some((chosen, head)) if found.iter().all(|(p, _)| agrees(p, chosen)) => {
            let rival = others.iter().find_map(|other| Some((other, rivals(imported, (chosen, head), other)?)));
            let Some((other, why)) = rival else { return Ok(chosen.clone()) };
            format!(" (`{}` {why}, beside `{}`)", other.name, chosen.name)
        }
        _ => String::new(),
    };
    Err(Error::model(format!(
        "the model has several outputs, and which of them is the classifier's is not clear{why}: {}. Name it with {} NAME",
        listed(imported),
        Field::PREDICTION
    )))
}

/// Finds the last Gemm, MatMul or 1×1 Conv before the output that is the classifier's. Fails with the nodes that were looked at.
pub fn find_head(imported: &Imported) -> Result<Head> {
    head_behind(imported, &choose(imported, None)?)
}

/// The output that is the classifier's, for those who compute with probabilities that sum to 1. Fails where the network's do not.
pub fn softmax_output(imported: &Imported, name: Option<&str>) -> Result<Prediction> {
    let found = choose(imported, name)?;
    found.has_logits(&imported.graph)?;
    let why = match (found.tail.activation, found.tail.scores()) {
        (Activation::Sigmoid, _) => "ends with a sigmoid, and here its classes must exclude each other",
        (_, 0 | 1) => "has a single score for each image, and here it must have one for each class",
        _ if found.tail.reorders(&imported.graph) => "has its scores in another order than the classifier",
        _ => return Ok(found),
    };
    Err(Error::model(format!("the model's output `{}` {why}", found.name)))
}

/// The outputs with their shapes, and what each would be trained by.
fn listed(imported: &Imported) -> String {
    let about = |(index, name): (usize, String)| {
        let prediction = match Prediction::at(&imported.graph, index) {
            Ok(prediction) if prediction.tail.hidden.is_none() => prediction,
            Ok(_) => return format!("{name} (no logits)"),
            Err(_) => return format!("{name} (no classifier's)"),
        };
        match head_behind(imported, &prediction) {
            Ok(Head { op_type, node, .. }) => format!("{name} ({op_type} `{node}`)"),
            Err(_) => format!("{name} (no layer right before it that another number of classes could replace)"),
        }
    };
    names(&imported.graph).into_iter().enumerate().map(about).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::head::{replace, spliced};
    use super::*;
    use crate::emit::{Dialect, model};
    use crate::import::{BatchSize, ImportOptions, Network};

    /// Whether the classifier of a fixture can be spliced; then the graph is the one that the model itself gives.
    fn splices(path: &std::path::Path) -> bool {
        let options = ImportOptions { batch: BatchSize::Fixed(3), input_shape: None, keep_ties: false };
        let Ok(network) = Network::open(crate::onnx::read(path).unwrap(), options.clone()) else { return false };
        let Ok(prediction) = choose(network.base(), None) else { return false };
        let Ok(head) = head_behind(network.base(), &prediction) else { return false };
        let mut source = network.source().clone();
        let Ok(tensors) = replace(&mut source, network.base(), &head, 7, 0, &[]) else { return false };
        let Some(spliced) = spliced(&network, &prediction, &source, &tensors, 7) else { return false };
        let again = Network::open(source, options).unwrap();
        let emitted = |network: &Network| model(&network.base().graph, Dialect::Inlined).unwrap();
        assert!(emitted(&spliced) == emitted(&again), "{}", path.display());
        true
    }

    #[test]
    fn a_spliced_classifier_is_the_one_that_the_model_gives() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "onnx"));
        let spliced: Vec<String> = files.filter(|p| splices(p)).map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        for name in ["basic.bn", "conv_head", "resnet50", "vgg", "tokens"] {
            assert!(spliced.iter().any(|s| s == name), "{name} is not among {spliced:?}");
        }
    }
}
