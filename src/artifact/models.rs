//! A training as ONNX models, before it is arranged into files: made of a rewriting's product, or read from a bundle.

use super::init::starts;
use crate::bundle::manifest::{Manifest, Role, Scalar};
use crate::bundle::{Bundle, start_feeds, start_state, template};
use crate::emit::{self, Dialect, Form};
use crate::error::{Error, Result};
use crate::ir::{Graph, Tensor};
use crate::onnx::{self, ExternalData, ModelFile, pb};
use crate::rewrite::Product;
use crate::storage::files;
use std::path::Path;

/// Everything that a training is, with its state. Weights are shared with where they come from, not copied.
#[derive(Debug, Clone)]
pub struct Models {
    /// With the names of all ports; without hashes of files.
    pub manifest: Manifest,
    /// One training step.
    pub step: pb::ModelProto,
    /// The step's two halves, where the training has them.
    pub halves: Option<[pb::ModelProto; 2]>,
    /// The network by itself, with its state as inputs.
    pub evaluation: pb::ModelProto,
    /// The source without the tensors that are state.
    pub template: pb::ModelProto,
    /// In the manifest's order. `None` is zero, or for an average the value of its parameter.
    pub state: Vec<Option<Tensor>>,
    /// The starting point where the step takes it as inputs, by their names; else empty.
    pub starts: Vec<(String, Tensor)>,
    /// Whether weights lie in a file of their own.
    pub external: bool,
}

/// Metadata of the step that a bundle writes itself.
pub(super) const MANIFEST_KEY: &str = "spgraph.manifest";

impl Models {
    /// Of a product, at its start.
    pub fn of(product: &Product) -> Result<Models> {
        let Product { options, manifest, .. } = product;
        let form = options.form()?;
        let emit = |graph| emit::model_in(graph, form);
        let halves = match options.split {
            true => Some([emit(&product.gradients.graph)?, emit(&product.update.graph)?]),
            false => None,
        };
        let names: Vec<&str> = product.state.iter().filter(|s| s.role.is_model()).map(|s| s.name.as_str()).collect();
        Ok(Models {
            step: emit(&product.step.graph)?,
            halves,
            evaluation: emit::model_in(&product.evaluation.graph, Form { dialect: Dialect::Inlined, ..form })?,
            template: template(product.source.clone(), &product.evaluation.graph, &names, &product.plan.split)?,
            state: product.state.iter().map(|s| s.start.clone()).collect(),
            starts: manifest.state.iter().zip(&product.state).filter_map(|(s, t)| Some((s.start.clone()?, t.start.clone()?))).collect(),
            external: options.external_data,
            manifest: manifest.clone(),
        })
    }

    /// Of a bundle, with `state` in the manifest's order. What is not the bundle's own start is no longer what its options make.
    pub fn open(bundle: &Bundle, state: Vec<Tensor>) -> Result<Models> {
        let read = |path: &Path| -> Result<pb::ModelProto> {
            let mut model = onnx::open(path)?.proto;
            onnx::inline_external(&mut model, &ExternalData::new(&bundle.dir))?;
            model.metadata_props.retain(|p| p.key() != MANIFEST_KEY);
            Ok(model)
        };
        let mut manifest = Manifest { files: Default::default(), ..bundle.manifest.clone() };
        let start = start_state(bundle)?;
        if start.iter().zip(&state).any(|(a, b)| a.bytes() != b.bytes()) {
            manifest.rewriting = None;
        }
        let halves = match manifest.split.is_some() && bundle.grad().is_file() && bundle.apply().is_file() {
            true => Some([read(&bundle.grad())?, read(&bundle.apply())?]),
            false => None,
        };
        if halves.is_none() {
            // A run keeps no halves.
            manifest.split = None;
            manifest.state.iter_mut().for_each(|s| s.gradient = None);
        }
        let zero = |t: &Tensor| t.bytes().iter().all(|&b| b == 0);
        let of_optimizer = manifest.state.iter().map(|s| s.role == Role::Optimizer);
        let state = of_optimizer.zip(state).map(|(made, t)| Some(t).filter(|t| !(made && zero(t)))).collect();
        Ok(Models {
            step: read(&bundle.step())?,
            halves,
            evaluation: read(&bundle.eval())?,
            template: read(&bundle.template())?,
            state,
            starts: start_feeds(bundle)?,
            external: bundle.dir.join(Bundle::WEIGHTS).is_file(),
            manifest,
        })
    }

    /// The whole state, in the manifest's order.
    pub fn whole_state(&self) -> Result<Vec<Tensor>> {
        starts(&self.manifest.state, &self.state)
    }

    /// The scalars, and the starting point where it is an input, as defaults of these inputs.
    pub(super) fn defaults(&self) -> Vec<(String, Tensor)> {
        let number = |s: &Scalar| (s.name.clone(), Tensor::from_floats(self.manifest.precision, &[], &[s.default]));
        self.manifest.scalars.iter().map(number).chain(self.starts.iter().cloned()).collect()
    }

    /// The step as a typed graph.
    pub(super) fn step_graph(&self) -> Result<Graph> {
        let here = Path::new(Bundle::STEP);
        emit::read(&ModelFile { proto: self.step.clone(), path: here.into(), external: ExternalData::new(files::parent(here)) }, None)
    }

    /// A model's graph.
    pub(super) fn graph(model: &mut pb::ModelProto) -> Result<&mut pb::GraphProto> {
        model.graph.as_mut().ok_or_else(|| Error::internal("a model of the training has no graph"))
    }
}

/// The metadata entry with the manifest.
pub(super) fn manifest_entry(manifest: &Manifest) -> Result<pb::StringStringEntryProto> {
    let text = serde_json::to_string_pretty(manifest).map_err(|e| Error::internal(format!("the manifest cannot be written: {e}")))?;
    Ok(pb::StringStringEntryProto { key: Some(MANIFEST_KEY.into()), value: Some(text) })
}
