//! A model that is imported once, for batches of every size.

use super::input::resize;
use super::options::{BatchSize, ImportOptions};
use super::resized;
use super::{Imported, import};
use crate::error::{Error, Refusal, Result};
use crate::field::Field;
use crate::ir::{Graph, Tensor};
use crate::onnx::{SourceModel, pb};
use crate::pass::{self, FixBatch, InferTypes, Pass};
use std::cmp::Reverse;

/// How much a reading of the model is refused: by how many nodes, and of equally many by how early a one.
fn weight(source: &SourceModel, refused: &[Refusal]) -> (usize, Reverse<Option<usize>>) {
    let is = |n: &pb::NodeProto, r: &Refusal| n.name() == r.node || n.output.first() == Some(&r.node);
    let place = |r: &Refusal| source.proto.graph.as_ref()?.node.iter().position(|n| is(n, r));
    (refused.len(), Reverse(refused.iter().filter_map(place).min()))
}

/// A source model, and its graph for any batch size. Where an operator needs a fixed one, the graph is for the size that was asked for.
pub struct Network {
    source: SourceModel,
    options: ImportOptions,
    /// For batches of `options.batch`.
    base: Imported,
}

impl Network {
    /// Imports the model. Fails with every node that is supported neither for any batch size nor for that of `options`.
    pub fn open(source: SourceModel, options: ImportOptions) -> Result<Network> {
        let mut source = source;
        let before = options.input_shape.as_ref().map(|_| source.clone());
        let Some(declared) = resize(&mut source, &options) else { return Network::read(source, options) };
        let shape = options.input_shape.iter().flatten().map(|n| n.to_string()).collect::<Vec<_>>().join("x");
        let unasked = ImportOptions { input_shape: None, batch: BatchSize::Dynamic, ..options.clone() };
        let network = Network::read(source, options).map_err(|error| match error {
            Error::Unsupported(refused) => {
                let first = refused.first().map(|r| r.to_string()).unwrap_or_default();
                let why = format!(" {shape} does not go through the network, which declares {declared}: {first}");
                Error::option(Field::INPUT_SHAPE, why)
            }
            other => other,
        })?;
        // A model that says no sizes, or is understood for some alone, has nothing to be compared with.
        let own = before.and_then(|source| import(&source, &unasked).ok());
        match own.and_then(|own| resized::changed(&own.graph, &network.base.graph)) {
            Some(why) => {
                let way = "export the network for images of these sizes";
                Err(Error::option(
                    Field::INPUT_SHAPE,
                    format!(
                        " {shape} makes another network of this one, which declares {declared}: {why}. Keep the declared sizes, or {way}"
                    ),
                ))
            }
            None => Ok(network),
        }
    }

    fn read(source: SourceModel, options: ImportOptions) -> Result<Network> {
        let any = ImportOptions { batch: BatchSize::Dynamic, ..options.clone() };
        match import(&source, &any) {
            Err(Error::Unsupported(refused)) if options.batch != BatchSize::Dynamic => match import(&source, &options) {
                // A batch size that the model itself speaks against adds refusals of its own, and earlier ones, which explain nothing.
                Err(Error::Unsupported(other)) if weight(&source, &other) > weight(&source, &refused) => Err(Error::Unsupported(refused)),
                base => Ok(Network { source, options, base: base? }),
            },
            base => Ok(Network { source, options: any, base: base? }),
        }
    }

    /// The model.
    pub fn source(&self) -> &SourceModel {
        &self.source
    }

    /// Lets `declare` correct what the model declares about its outputs, which changes no graph.
    pub fn declare_outputs(&mut self, declare: impl FnOnce(&mut SourceModel, &Imported)) {
        declare(&mut self.source, &self.base);
    }

    /// The model alone.
    pub fn into_source(self) -> SourceModel {
        self.source
    }

    /// The graph for any batch size, or for the one that was asked for where there is none for any.
    pub fn base(&self) -> &Imported {
        &self.base
    }

    /// The graph for batches of one size.
    pub fn at(&self, batch: BatchSize) -> Result<Imported> {
        if batch == self.options.batch {
            return Ok(self.base.clone());
        }
        if let (BatchSize::Dynamic, BatchSize::Fixed(n)) = (self.options.batch, batch)
            && let Ok(found) = self.base.changed(&FixBatch(n), |_| Ok(()))
        {
            return Ok(found);
        }
        // The model says why that size is impossible.
        import(&self.source, &ImportOptions { batch, ..self.options.clone() })
    }

    /// The network with other tensors in some of its initializers, as they stand in `source`.
    ///
    /// Fails where a node does not take them. Shapes that import has written down as numbers are not asked again: who changes a shape looks at
    /// what becomes of it.
    pub fn with_tensors(&self, source: SourceModel, tensors: &[(String, Tensor)]) -> Result<Network> {
        let put = |graph: &mut Graph| {
            for (name, tensor) in tensors {
                let id = graph.find(name).ok_or_else(|| Error::model(format!("the network has no `{name}`")))?;
                let value = graph.value_mut(id);
                value.ty = tensor.ty();
                value.constant = Some(tensor.clone());
            }
            Ok(())
        };
        let mut base = self.base.changed(&InferTypes, put)?;
        // What has a place of its own by now shares none.
        let graph = source.graph()?;
        let own = |name: &str| graph.initializer.iter().any(|t| t.name() == name) || graph.node.iter().any(|n| is_constant(n, name));
        base.split.retain(|split| !own(&split.name));
        base.left_out.retain(|left| graph.output.iter().any(|o| o.name() == left.output));
        Ok(Network { source, options: self.options.clone(), base })
    }
}

/// Whether the node is the constant of that name.
fn is_constant(node: &pb::NodeProto, name: &str) -> bool {
    node.op_type() == "Constant" && node.output.iter().any(|o| o == name)
}

impl Imported {
    /// What a pass makes of the network, after `first` has been done to its graph.
    pub fn changed(&self, pass: &dyn Pass, first: impl FnOnce(&mut Graph) -> Result<()>) -> Result<Imported> {
        let mut graph = self.graph.clone();
        first(&mut graph)?;
        pass::apply(&mut graph, &[pass])?;
        self.over(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx;

    fn fixtures() -> Vec<std::path::PathBuf> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect()
    }

    /// All that an emitted graph would show, and all that passes read.
    fn text(network: &Imported) -> String {
        let Imported { graph, parameters, training, .. } = network;
        let constant = |v: &crate::ir::Value| (v.name.clone(), v.ty.clone(), v.elems.clone(), v.producer, v.constant.clone());
        let values: Vec<_> = graph.values.iter().map(constant).collect();
        let training: std::collections::BTreeMap<_, _> = training.iter().collect();
        format!("{values:?}\n{:?}\n{:?} {:?}\n{parameters:?}\n{training:?}", graph.nodes, graph.inputs, graph.outputs)
    }

    /// Whether the graph of one import equals the one that the model gives for that size.
    fn agrees(source: &onnx::SourceModel, n: usize) -> bool {
        let options = ImportOptions { batch: BatchSize::Dynamic, input_shape: None, keep_ties: false };
        let Ok(any) = import(source, &options) else { return false };
        let direct = import(source, &ImportOptions { batch: BatchSize::Fixed(n), ..options });
        let made = any.changed(&FixBatch(n), |_| Ok(()));
        if !any.freed_batch.is_empty() {
            // A batch size that is written into the model is the batch only where the batch is a symbol.
            assert!(made.is_ok(), "{} with {n} images: {:?}", source.path.display(), made.err());
            return true;
        }
        match (made, direct) {
            (Ok(made), Ok(direct)) => assert!(text(&made) == text(&direct), "{} with {n} images", source.path.display()),
            (Err(_), Err(_)) => {}
            (made, direct) => panic!("{} with {n} images: {:?}, {:?}", source.path.display(), made.err(), direct.err()),
        }
        true
    }

    #[test]
    fn one_import_gives_the_graph_of_every_batch_size() {
        let mut compared = 0;
        for path in fixtures() {
            let source = onnx::read(&path).unwrap();
            compared += [2, 3, 5].iter().filter(|&&n| agrees(&source, n)).count();
        }
        assert!(compared > 90, "{compared}");
    }
}
