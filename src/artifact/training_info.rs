//! ONNX's own form of a training: a model for inference whose `training_info` says how to train it. The `algorithm` is a graph that is appended to the
//! model's, reads its images and weights, and gives next values; `update_binding` says of which initializers; `initialization` gives the optimizer's state its start.

use super::Artifact;
use super::files::Files;
use super::models::{Models, manifest_entry};
use crate::bundle::manifest::{Manifest, Role, State};
use crate::error::{Error, Result};
use crate::ir::{Graph, TensorType};
use crate::onnx::{pb, to_proto};
use crate::operator::Builder;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The row of the table.
pub struct TrainingInfoArtifact;

const FILE: &str = "training.onnx";

/// Before names of the algorithm that the network has as well.
const PREFIX: &str = "training/";

impl Artifact for TrainingInfoArtifact {
    fn name(&self) -> &'static str {
        "training-info"
    }

    fn marker(&self) -> &'static str {
        FILE
    }

    fn file(&self) -> Option<&'static str> {
        Some(FILE)
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        // Writers of external data know nothing of the graphs in `training_info`.
        let mut files = Files::new(dir, false);
        files.write_whole(FILE, &model(models)?)?;
        Ok(files.finish(&[FILE])?.into_iter().map(|f| f.0).collect())
    }
}

fn model(models: &Models) -> Result<pb::ModelProto> {
    let state = models.whole_state()?;
    let mut model = models.evaluation.clone();
    let graph = Models::graph(&mut model)?;
    let (inside, outside): (Vec<_>, Vec<_>) = models.manifest.state.iter().zip(&state).partition(|(s, _)| s.role.is_model());
    let weights: HashSet<&str> = inside.iter().map(|(s, _)| s.input.as_str()).collect();
    // What remains is the images.
    graph.input.retain(|i| !weights.contains(i.name()));
    let [image] = &graph.input[..] else { return Err(Error::internal("the network has other inputs than images and weights")) };
    let image = image.name().to_string();
    graph.initializer.extend(inside.iter().map(|(s, tensor)| to_proto(&s.input, tensor)));

    let mut step = models.step.clone();
    let mut names = Names::of(graph, &step, &models.manifest, image);
    let known: HashMap<&str, &pb::TensorProto> = graph.initializer.iter().map(|t| (t.name(), t)).collect();
    let mut algorithm = std::mem::take(Models::graph(&mut step)?);
    // Constants that the network has as well are the network's; those that move have other values in time.
    algorithm.initializer.retain(|t| {
        let same = known.get(t.name()).is_some_and(|k| k.raw_data == t.raw_data && k.dims == t.dims && k.data_type == t.data_type);
        let shared = same && !weights.contains(t.name());
        if shared {
            names.keep(t.name());
        }
        !shared
    });
    names.rename(&mut algorithm);
    let optimizer: HashSet<String> = outside.iter().map(|(s, _)| names.of_algorithm(&s.input)).collect();
    algorithm.input.retain(|i| !names.is_network(i.name()) && !optimizer.contains(i.name()));
    let defaults = models.defaults();
    let defaults = defaults.iter().map(|(name, tensor)| to_proto(names.of_algorithm(name), tensor));
    let own: Vec<pb::TensorProto> =
        defaults.chain(outside.iter().map(|(s, tensor)| to_proto(names.of_algorithm(&s.input), tensor))).collect();
    algorithm.initializer.extend(own);
    algorithm.name = Some("algorithm".into());
    drop(known);

    let entry = |key: String, value: String| pb::StringStringEntryProto { key: Some(key), value: Some(value) };
    let update_binding = models.manifest.state.iter().map(|s| entry(names.of_algorithm(&s.input), names.of_algorithm(&s.output))).collect();
    let moments: Vec<&State> = models.manifest.state.iter().filter(|s| s.role == Role::Optimizer).collect();
    let initialization = initialization(&moments)?;
    let initialization_binding = moments.iter().map(|s| entry(names.of_algorithm(&s.input), s.name.clone())).collect();
    model.training_info =
        vec![pb::TrainingInfoProto { initialization, algorithm: Some(algorithm), initialization_binding, update_binding }];
    model.functions = step.functions;
    for opset in step.opset_import {
        if !model.opset_import.iter().any(|o| o.domain() == opset.domain()) {
            model.opset_import.push(opset);
        }
    }
    model.metadata_props.push(manifest_entry(&names.manifest(&models.manifest))?);
    Ok(model)
}

/// Zeros for the optimizer's state: no inputs, an output for each.
fn initialization(states: &[&State]) -> Result<Option<pb::GraphProto>> {
    if states.is_empty() {
        return Ok(None);
    }
    let mut graph = Graph::new("initialization");
    for state in states {
        let mut b = Builder::new(&mut graph);
        b.scope(state.name.clone());
        let zeros = b.zeros(&TensorType::new(state.dtype, state.shape.iter().copied()));
        let value = zeros.map_err(|why| Error::internal(format!("there is no start of `{}`: {why}", state.name)))?;
        graph.rename(value, &state.name);
        graph.outputs.push(value);
    }
    Ok(crate::emit::model(&graph, crate::emit::Dialect::Inlined)?.graph)
}

/// What the names of the step become beside those of the network.
struct Names {
    /// Names that the network gives values or nodes.
    network: HashSet<String>,
    /// Those of the step that are the network's own: images, weights, constants.
    shared: HashMap<String, String>,
    /// Before the others that the network has, too.
    prefix: String,
}

impl Names {
    fn of(network: &pb::GraphProto, step: &pb::ModelProto, manifest: &Manifest, image: String) -> Names {
        let taken: HashSet<String> = names(network).map(str::to_string).collect();
        let mut prefix = PREFIX.to_string();
        let meets = |prefix: &str| step.graph.iter().flat_map(names).chain(taken.iter().map(String::as_str)).any(|n| n.starts_with(prefix));
        while meets(&prefix) {
            prefix.insert(0, '_');
        }
        let weights = manifest.state.iter().filter(|s| s.role.is_model()).map(|s| (s.input.clone(), s.input.clone()));
        let shared = weights.chain([(manifest.data.input.name.clone(), image)]).collect();
        Names { network: taken, shared, prefix }
    }

    /// The value is the network's.
    fn keep(&mut self, name: &str) {
        self.shared.insert(name.to_string(), name.to_string());
    }

    fn is_network(&self, name: &str) -> bool {
        self.shared.values().any(|n| n == name)
    }

    fn of_algorithm(&self, name: &str) -> String {
        match self.shared.get(name) {
            Some(own) => own.clone(),
            None if self.network.contains(name) => format!("{}{name}", self.prefix),
            None => name.to_string(),
        }
    }

    fn rename(&self, graph: &mut pb::GraphProto) {
        let new = |name: &mut String| {
            if !name.is_empty() {
                *name = self.of_algorithm(name);
            }
        };
        for node in &mut graph.node {
            node.input.iter_mut().chain(&mut node.output).for_each(new);
            if let Some(name) = node.name.as_mut().filter(|n| self.network.contains(*n)) {
                *name = format!("{}{name}", self.prefix);
            }
        }
        graph.initializer.iter_mut().flat_map(|t| &mut t.name).for_each(new);
        graph.input.iter_mut().chain(&mut graph.output).flat_map(|v| &mut v.name).for_each(new);
    }

    /// With the names that ports have here.
    fn manifest(&self, manifest: &Manifest) -> Manifest {
        let mut manifest = manifest.clone();
        let new = |name: &mut String| *name = self.of_algorithm(name);
        new(&mut manifest.data.input.name);
        new(&mut manifest.data.target.name);
        manifest.scalars.iter_mut().map(|s| &mut s.name).chain(manifest.outputs.iter_mut().map(|o| &mut o.name)).for_each(new);
        for s in &mut manifest.state {
            [&mut s.input, &mut s.output]
                .into_iter()
                .chain(&mut s.gradient_square)
                .chain(&mut s.update_gradient)
                .chain(&mut s.start)
                .for_each(new);
            s.gradient = None;
        }
        manifest.split = None;
        manifest
    }
}

/// Names of nodes and values.
fn names(graph: &pb::GraphProto) -> impl Iterator<Item = &str> {
    let nodes = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str).chain([n.name()]));
    nodes.chain(graph.initializer.iter().map(|t| t.name())).chain(graph.input.iter().map(|i| i.name()))
}
