//! A model file on its way into a runtime: as a typed graph where spgraph wrote it, so that passes can change it; as it is otherwise.

use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::import::{BatchSize, ImportOptions, import};
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, ExternalData, ModelFile, SourceModel, declared_type, half, inline_functions, pb, put_in_order, tell_apart};
use crate::pass::{self, Inline, Pass, RestoreOperators};
use crate::storage::{files, listed};
use bytes::Bytes;
use prost::Message;
use std::path::Path;

/// Reads a model file, once. Large tensors share the bytes that were read.
pub(super) fn read_model(path: &Path) -> Result<ModelFile> {
    Ok(read_bytes(path)?.0)
}

/// [`read_model`], and the bytes of the file.
pub(super) fn read_bytes(path: &Path) -> Result<(ModelFile, Bytes)> {
    let external = ExternalData::new(files::parent(path));
    let bytes = listed::read(path, "cannot read the model")?;
    let proto = onnx::decode(bytes.clone()).map_err(|e| e.at(path, "is no ONNX model, or it is damaged"))?;
    Ok((ModelFile { proto, path: path.to_path_buf(), external }, bytes))
}

/// What a runtime is given: a model, and the content of the files that it refers to, by name. It opens no file itself, so it sees what was checked.
pub(super) struct Given {
    pub model: Bytes,
    pub files: Vec<(String, Bytes)>,
}

/// What is wrong with a model's external data, with the model's name.
pub(super) fn in_model(path: &Path) -> impl Fn(Error) -> Error {
    move |error| Error::model(format!("{}: {error}", path.display()))
}

impl Given {
    /// The model as it was read.
    pub fn as_read(file: &ModelFile, bytes: Bytes) -> Result<Given> {
        if !onnx::refers_to_files(&file.proto) {
            return Ok(Given { model: bytes, files: vec![] });
        }
        Given::of(file.proto.clone(), &file.external)
    }

    /// A model whose external data is `external`.
    pub fn of(mut model: pb::ModelProto, external: &ExternalData) -> Result<Given> {
        onnx::inline_inner(&mut model, external)?;
        let files = onnx::external_files(model.graph.iter().flat_map(|g| &g.initializer), external)?;
        Ok(Given { model: model.encode_to_vec().into(), files })
    }
}

/// The typed graph of a model that spgraph wrote. Others' models have none, nor have those of spgraph that were edited since: a runtime
/// takes them as they are.
pub(super) fn typed(file: &ModelFile) -> Option<Graph> {
    if emit::is_emitted(&file.proto) { emit::read(file, None).ok() } else { None }
}

/// The typed graph of a model for kernels that know some of its operators: of others' models what import makes of them, where it
/// understands all of it and keeps the names of inputs and outputs.
pub(super) fn understood(file: &ModelFile) -> Option<Graph> {
    typed(file).or_else(|| {
        // Import would read it in float32, and who calls feeds what the file declares.
        if half::is_in(&file.proto) {
            return None;
        }
        let ModelFile { proto, path, external } = file.clone();
        let dir = files::parent(&path).to_path_buf();
        let source = SourceModel { proto, path, external, dir, sha256: String::new(), bytes: 0 };
        let declared = source.proto.graph.as_ref()?;
        let (_, dims) = declared.input.iter().find_map(declared_type)?;
        let batch = (*dims.first()?).map_or(BatchSize::Dynamic, BatchSize::Fixed);
        let graph = import(&source, &ImportOptions { batch, input_shape: None, keep_ties: true }).ok()?.graph;
        let same = |ids: &[ValueId], infos: &[pb::ValueInfoProto]| ids.iter().map(|&v| graph.name_of(v)).eq(infos.iter().map(|i| i.name()));
        (same(&graph.inputs, &declared.input) && same(&graph.outputs, &declared.output)).then_some(graph)
    })
}

/// The graph as a model again, beside the files with its weights.
pub(super) fn emitted(graph: &Graph, file: &ModelFile) -> Result<pb::ModelProto> {
    let mut model = emit::model(graph, Dialect::Functions)?;
    file.external.refer(&mut model);
    Ok(model)
}

/// The model after `passes`, which leave no function in it. Others' models come through import where it understands them: a runtime may read a
/// spelling wrong that import brings into canonical form. What has no typed graph is taken as it is, with its functions written out.
pub(super) fn without_functions(file: ModelFile, passes: &[&dyn Pass]) -> Result<pb::ModelProto> {
    match understood(&file) {
        Some(mut graph) => {
            pass::apply(&mut graph, passes)?;
            emitted(&graph, &file)
        }
        None => {
            let shown = file.path.display().to_string();
            let of_file = |why: Error| Error::model(format!("{shown}: {why}"));
            let mut model = file.proto;
            inline_functions(&mut model).map_err(of_file)?;
            if let Some(graph) = &mut model.graph {
                put_in_order(graph).map_err(of_file)?;
                tell_apart(graph);
            }
            Ok(model)
        }
    }
}

/// What a graph is for the CUDA provider: other forms of operators are chosen for the processor's kernels.
pub(super) const FOR_CUDA: &[&dyn Pass] = &[&RestoreOperators, &Inline];

/// What a runtime needs that is to tell the nodes of functions' bodies apart.
pub(super) const WRITTEN_OUT: &[&dyn Pass] = &[&Inline];
