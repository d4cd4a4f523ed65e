//! The bundle, spgraph's own artifact: graphs with the state as inputs and outputs, for the loop of `spgraph finetune` or any other.

use super::Artifact;
use crate::bundle::manifest::{Manifest, Role};
use crate::bundle::{Bundle, start_name, template};
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, ExternalWriter, INLINE_LIMIT, pb};
use crate::operator::Builder;
use crate::rewrite::{Product, StateTensor};
use crate::storage::files::write_sealed_json;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Weights above this many bytes are worth a thread that writes them.
const LARGE: u64 = 1 << 20;

/// The row of the table.
pub struct BundleArtifact;

impl Artifact for BundleArtifact {
    fn name(&self) -> &'static str {
        "bundle"
    }

    fn marker(&self) -> &'static str {
        Bundle::MANIFEST
    }

    fn write(&self, product: &Product, dir: &Path) -> Result<Vec<String>> {
        let Product { options, manifest, .. } = product;
        let mut files = Files { dir: dir.to_path_buf(), weights: None, external: options.external_data, written: vec![], writers: vec![] };
        if options.split {
            files.write(Bundle::GRAD, emit::model(&product.gradients.graph, options.dialect)?)?;
            files.write(Bundle::APPLY, emit::model(&product.update.graph, options.dialect)?)?;
        }
        let text = serde_json::to_string_pretty(manifest).map_err(|e| Error::internal(format!("the manifest cannot be written: {e}")))?;
        files.write(Bundle::INIT, init_model(&product.state)?)?;
        let mut model = emit::model(&product.step.graph, options.dialect)?;
        model.metadata_props.push(pb::StringStringEntryProto { key: Some("spgraph.manifest".into()), value: Some(text.clone()) });
        files.write(Bundle::STEP, model)?;
        files.write(Bundle::EVAL, emit::model(&product.evaluation.graph, Dialect::Inlined)?)?;
        let names: Vec<&str> = product.state.iter().filter(|s| s.role.is_model()).map(|s| s.name.as_str()).collect();
        // Always whole: the tensors that are state are empty in it.
        let hash = onnx::write_hashed(
            dir.join(Bundle::TEMPLATE),
            &template(product.source.clone(), &product.evaluation.graph, &names, &product.plan.split)?,
        )?;
        files.written.push((Bundle::TEMPLATE.into(), hash));
        let written = files.finish()?;
        let names = written.iter().map(|(name, _)| name.clone()).chain([Bundle::MANIFEST.into()]).collect();
        write_sealed_json(&dir.join(Bundle::MANIFEST), true, &Manifest { files: written.into_iter().collect(), ..manifest.clone() })?;
        Ok(names)
    }
}

/// No inputs; every state tensor at its start. Zeros are made, not stored.
fn init_model(slots: &[StateTensor]) -> Result<pb::ModelProto> {
    let mut graph = Graph::new("init");
    let names: HashSet<&str> = slots.iter().map(|s| s.name.as_str()).collect();
    let mut starts: HashMap<&str, ValueId> = HashMap::new();
    let mut made = vec![];
    for slot in slots {
        let mut b = Builder::new(&mut graph);
        b.scope(slot.name.clone());
        // An average starts where its parameter does.
        let parameter = slot.of.as_deref().filter(|_| slot.role == Role::Ema);
        let value = match (&slot.start, parameter) {
            (Some(tensor), _) => {
                // A network may have two tensors `a` and `a.start`.
                let mut name = start_name(&slot.name);
                while names.contains(name.as_str()) {
                    name.push('_');
                }
                let start = b.graph.constant(&name, tensor.clone());
                starts.insert(&slot.name, start);
                b.op("Identity", &[start], Default::default())
            }
            (None, Some(parameter)) => match starts.get(parameter) {
                Some(&start) => b.op("Identity", &[start], Default::default()),
                None => Err(format!("the parameter `{parameter}` that it averages has no start")),
            },
            (None, None) => b.zeros(&slot.ty),
        };
        let value = value.map_err(|why| Error::internal(format!("there is no start of `{}` for the bundle: {why}", slot.name)))?;
        made.push((value, &slot.name));
    }
    for (value, name) in made {
        graph.rename(value, name);
        graph.outputs.push(value);
    }
    emit::model(&graph, Dialect::Inlined)
}

/// The files of a bundle as they are written: each large one by a thread of its own, since most of that is waiting for the disk.
struct Files {
    dir: PathBuf,
    weights: Option<ExternalWriter>,
    external: bool,
    /// Names with hashes.
    written: Vec<(String, String)>,
    writers: Vec<(String, JoinHandle<Result<String>>)>,
}

impl Drop for Files {
    /// After an error elsewhere, nobody may still write into the folder when it is removed.
    fn drop(&mut self) {
        for (_, writer) in self.writers.drain(..) {
            let _ = writer.join();
        }
    }
}

impl Files {
    fn write(&mut self, name: &str, mut model: pb::ModelProto) -> Result<()> {
        let path = self.dir.join(name);
        let size: u64 = model.graph.iter().flat_map(|g| &g.initializer).map(|t| t.raw_data.as_ref().map_or(0, |d| d.len() as u64)).sum();
        let name = name.to_string();
        if self.external || size > INLINE_LIMIT {
            let weights = match &mut self.weights {
                Some(weights) => weights,
                none => none.insert(ExternalWriter::create(self.dir.join(Bundle::WEIGHTS))?),
            };
            self.written.push((name, onnx::write_external(&path, &mut model, weights)?));
        } else if size > LARGE {
            // The weights themselves are shared with the source, not copied.
            self.writers.push((name, std::thread::spawn(move || onnx::write_hashed(&path, &model))));
        } else {
            self.written.push((name, onnx::write_hashed(&path, &model)?));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(String, String)>> {
        while let Some((name, writer)) = self.writers.pop() {
            let hash = writer.join().map_err(|_| Error::model("writing a file of the bundle crashed; this is a mistake in spgraph"))??;
            self.written.push((name, hash));
        }
        if let Some(weights) = self.weights.take() {
            self.written.push((Bundle::WEIGHTS.into(), weights.finish()?));
        }
        // In the order in which they are explained, not in that in which threads end.
        let place = |name: &str| ORDER.iter().position(|n| *n == name).unwrap_or(ORDER.len());
        self.written.sort_by_key(|(name, _)| place(name));
        Ok(std::mem::take(&mut self.written))
    }
}

/// The order in which the files are listed.
const ORDER: [&str; 7] = [Bundle::GRAD, Bundle::APPLY, Bundle::INIT, Bundle::STEP, Bundle::EVAL, Bundle::TEMPLATE, Bundle::WEIGHTS];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Tensor, TensorType};

    fn slot(name: &str, role: Role, start: Option<Tensor>) -> StateTensor {
        let mut graph = Graph::new("g");
        let value = graph.input(name, TensorType::new(DType::F32, [2usize]));
        StateTensor {
            name: name.into(),
            alias: name.into(),
            role,
            penalized: false,
            lr_mult: 1.0,
            of: Some("w".into()).filter(|_| role == Role::Ema),
            start,
            ty: TensorType::new(DType::F32, [2usize]),
            input: value,
            next: value,
            gradient_square: None,
        }
    }

    #[test]
    fn every_state_tensor_has_a_start_or_there_is_no_bundle() {
        let tensor = || Some(Tensor::from_f32(&[2], &[1.0, 2.0]));
        // A tensor may have the name that another one's start would get.
        let whole = [slot("w", Role::Shared, tensor()), slot("w.start", Role::Shared, tensor()), slot("w.ema", Role::Ema, None)];
        let graph = init_model(&whole).unwrap().graph.unwrap();
        assert_eq!(graph.output.iter().map(|o| o.name()).collect::<Vec<_>>(), ["w", "w.start", "w.ema"]);
        let lost = init_model(&whole[1..]).unwrap_err().to_string();
        assert!(lost.contains("no start of `w.ema`") && lost.contains("fault of spgraph"), "{lost}");
    }
}
