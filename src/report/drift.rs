//! How far the weights of two networks of one structure are apart, layer by layer.

use crate::bundle;
use crate::error::{Error, Result};
use crate::import::{self, BatchSize, ImportOptions, Imported, Network};
use crate::ir::Tensor;
use crate::onnx::{self, ExternalData, SourceModel};
use crate::train::{RunState, Subject};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// The distance between two networks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// ‖b − a‖ over all parameters that both have in the same shape.
    pub total: f64,
    /// The same as a share of ‖a‖.
    pub relative: f64,
    /// Each parameter, in the order of use.
    pub layers: Vec<LayerDrift>,
    /// Parameters whose shapes differ, such as a replaced head; they are not counted.
    pub replaced: Vec<String>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerDrift {
    /// Its alias.
    pub name: String,
    /// weight, bias, scale, shift, mean or variance.
    pub kind: String,
    /// Its elements.
    pub elements: usize,
    /// ‖b − a‖.
    pub distance: f64,
    /// As a share of its own ‖a‖; 0 where that is 0.
    pub relative: f64,
    /// Elements that are equal.
    pub equal: usize,
}

/// Compares what lies at two paths: models, runs (after their last step) or bundles (their starting point). Sizes that a model leaves open are
/// `input_shape`. Fails where the two have other parameters.
pub fn drift(a: &Path, b: &Path, input_shape: Option<Vec<usize>>) -> Result<Drift> {
    let (first, second) = (parameters(a, &input_shape)?, parameters(b, &input_shape)?);
    let by = |key: fn(&Parameter) -> &str| -> Option<Vec<(&Parameter, &Parameter)>> {
        let others: HashMap<&str, &Parameter> = second.iter().map(|p| (key(p), p)).collect();
        let pairs: Option<Vec<_>> = first.iter().map(|p| Some((p, *others.get(key(p))?))).collect();
        pairs.filter(|pairs| pairs.len() == second.len() && others.len() == second.len())
    };
    let Some(pairs) = by(|p| &p.name).or_else(|| by(|p| &p.alias)) else {
        let missing = |from: &[Parameter], of: &[Parameter]| -> Vec<String> {
            let known: Vec<&str> = of.iter().flat_map(|p| [p.name.as_str(), p.alias.as_str()]).collect();
            from.iter()
                .filter(|p| !known.contains(&p.alias.as_str()) && !known.contains(&p.name.as_str()))
                .map(|p| p.alias.clone())
                .collect()
        };
        let (one, two) = (missing(&first, &second), missing(&second, &first));
        let few = |names: &[String]| names.iter().take(3).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let said: Vec<String> = [(a, one), (b, two)]
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(path, names)| format!("only {} has {}{}", path.display(), few(names), if names.len() > 3 { ", …" } else { "" }))
            .collect();
        let why = if said.is_empty() { "their parameters have other names".to_string() } else { said.join("; ") };
        return Err(Error::model(format!(
            "{} and {} have {} and {} parameters that are not the same: {why}. Compare networks of one structure, such as a model and what was tuned \
             from it",
            a.display(),
            b.display(),
            first.len(),
            second.len()
        )));
    };
    let (mut layers, mut replaced, mut moved, mut norm) = (vec![], vec![], 0.0, 0.0);
    for (one, two) in pairs {
        if one.tensor.shape() != two.tensor.shape() {
            replaced.push(one.alias.clone());
            continue;
        }
        let (from, to) = (one.tensor.to_f64()?, two.tensor.to_f64()?);
        let square: f64 = from.iter().zip(&to).map(|(a, b)| (a - b) * (a - b)).sum();
        let own: f64 = from.iter().map(|v| v * v).sum();
        (moved, norm) = (moved + square, norm + own);
        let equal = from.iter().zip(&to).filter(|(a, b)| a == b).count();
        let (name, kind) = (one.alias.clone(), one.kind.clone());
        layers.push(LayerDrift { name, kind, elements: from.len(), distance: square.sqrt(), relative: share(square, own), equal });
    }
    Ok(Drift { total: f64::sqrt(moved), relative: share(moved, norm), layers, replaced })
}

fn share(square: f64, of: f64) -> f64 {
    if of > 0.0 { (square / of).sqrt() } else { 0.0 }
}

struct Parameter {
    name: String,
    alias: String,
    kind: String,
    tensor: Tensor,
}

fn parameters(path: &Path, input_shape: &Option<Vec<usize>>) -> Result<Vec<Parameter>> {
    let subject = Subject::open(path)?;
    let (source, own_shape) = match subject.bundle() {
        None => (onnx::read(path)?, None),
        Some(bundle) => {
            let proto = bundle::tuned(bundle, &subject.state(RunState::Final)?)?;
            let dir = bundle.dir.clone();
            let source = SourceModel { proto, path: path.into(), external: ExternalData::new(&dir), dir, sha256: String::new(), bytes: 0 };
            let sizes = bundle.manifest.data.input.shape.iter().skip(1).map(|&d| usize::try_from(d).ok()).collect();
            (source, sizes)
        }
    };
    let open = |input_shape: Option<Vec<usize>>| {
        Network::open(source.clone(), ImportOptions { batch: BatchSize::Fixed(1), input_shape, keep_ties: false })
    };
    // Sizes matter for the shapes of activations only, but they must be known.
    let network = match input_shape.clone().or(own_shape) {
        Some(shape) => open(Some(shape))?,
        None => open(None).or_else(|e| open(Some(vec![3, 224, 224])).map_err(|_| e))?,
    };
    let imported: &Imported = network.base();
    let one = |p: &import::Parameter| {
        let tensor = import::start_of(&imported.graph, p)?;
        Some(Parameter { name: p.name.clone(), alias: p.alias.clone(), kind: p.kind.name().into(), tensor })
    };
    Ok(imported.parameters.iter().filter_map(one).collect())
}
