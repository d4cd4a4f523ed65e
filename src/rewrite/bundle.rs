//! Writes a bundle to disk, and reads its starting state back.

use super::graphs::{self, StateTensor};
use super::options::{HeadOption, Options, Penalize, PenaltyStep};
use super::plan::{Plan, network, plan};
use super::strengths::Penalties;
use crate::bundle::manifest::{self, DataPorts, FORMAT, Manifest, Output, Port, Role, Source, SplitOutputs, State};
use crate::bundle::{Bundle, Measure, default_preprocessing, read_metadata, start_name, template};
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::ir::{DType, Graph, ValueId};
use crate::onnx::{self, ExternalWriter, pb};
use crate::storage::folders::OutputDir;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Weights above this many bytes go to `weights.bin`.
pub const INLINE_LIMIT: u64 = 1 << 30;

/// Weights above this many bytes are worth a thread that writes them.
const LARGE: u64 = 1 << 20;

/// What [`rewrite`] did.
#[derive(Debug)]
pub struct Report {
    pub path: PathBuf,
    pub manifest: Manifest,
    pub plan: Plan,
    /// The files written, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

/// Rewrites the model at `model` into a bundle in the new folder `output`; an existing bundle there is replaced only with `force`.
pub fn rewrite(model: &Path, output: &Path, options: &Options, force: bool) -> Result<Report> {
    let strength = options.check()?;
    let out = OutputDir::create_marked(output, force, "manifest.json")?;
    let source = onnx::read(model)?;
    let known = read_metadata(&source.proto)?;
    let original = network(source, options)?;
    let (plan, replaced, imported) = plan(&original, options)?;
    let source = replaced.as_ref().unwrap_or(&original).source();
    let penalties = strength.map(|s| Penalties::new(&s, options, &plan, &imported, source)).transpose()?;
    let back = graphs::backward(&imported, &original, options, &plan)?;
    drop(imported);
    let data = port(&back.graph, back.data);
    let target = port(&back.graph, back.target);
    let regularizers = back.regularizers.manifest.clone();

    let mut files = Files { dir: out.path().to_path_buf(), weights: None, external: options.external_data, names: vec![], writers: vec![] };
    let gradient_names: Vec<String> = back.gradients.iter().map(|&g| back.graph.name_of(g).to_string()).collect();
    let mut split = None;
    if options.split {
        let (model, grad) = gradient_model(&back, options.dialect)?;
        files.write(Bundle::GRAD, model)?;
        let (model, apply) = apply_model(&back, options, penalties.as_ref())?;
        files.write(Bundle::APPLY, model)?;
        split = Some(SplitOutputs { grad, apply });
    }
    let Step { graph: step, slots, scalars, outputs } = step_graph(back, options, penalties.as_ref())?;
    let manifest = Manifest {
        format: FORMAT,
        spgraph: env!("CARGO_PKG_VERSION").into(),
        source: Source {
            file: model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: source.sha256.clone(),
            producer: format!("{} {}", source.proto.producer_name(), source.proto.producer_version()).trim().to_string(),
            opset: original.base().opset,
        },
        data: DataPorts { input: data.clone(), target },
        scalars,
        outputs,
        split,
        state: slots
            .iter()
            .map(|s| State {
                name: s.name.clone(),
                role: s.role,
                dtype: s.ty.dtype,
                shape: s.ty.dims().unwrap_or_default(),
                input: step.name_of(s.input).into(),
                output: step.name_of(s.next).into(),
                alias: s.alias.clone(),
                penalized: s.penalized,
                channel_axis: plan.channel_axis(&s.name),
                lr_mult: s.lr_mult,
                of: s.of.clone(),
                gradient: (options.split && matches!(s.role, Role::Shared | Role::New))
                    .then(|| gradient_names.iter().find(|g| **g == format!("{}.grad", s.name)).cloned())
                    .flatten(),
            })
            .collect(),
        penalty: manifest::Penalty {
            kind: options.penalty.clone(),
            parameters: match &options.penalize {
                Penalize::Weights => "weights".into(),
                Penalize::All => "all".into(),
                Penalize::Patterns(list) => list.join(" "),
            },
            step: match options.penalty_step {
                PenaltyStep::Gradient => manifest::PenaltyAction::Gradient,
                PenaltyStep::Proximal => manifest::PenaltyAction::Proximal,
                PenaltyStep::Decoupled => manifest::PenaltyAction::Decoupled,
            },
        },
        regularizers,
        optimizer: options.optimizer,
        batch_norm: plan.batch_norm,
        precision: slots.first().map_or(DType::F32, |s| s.ty.dtype),
        class_count: Some(plan.classes),
        classes: match &options.classes {
            // A kept head keeps its names, which a model that spgraph exported knows.
            none if none.is_empty() && options.head == HeadOption::Keep && known.classes.len() == plan.classes => known.classes,
            given => given.clone(),
        },
        preprocessing: options.preprocessing.clone().or(known.preprocessing).unwrap_or_else(|| default_preprocessing(&data)),
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| Error::model(format!("cannot write the manifest: {e}")))?;

    files.write(Bundle::INIT, init_model(&slots)?)?;
    let mut model = emit::model(&step, options.dialect)?;
    model.metadata_props.push(pb::StringStringEntryProto { key: Some("spgraph.manifest".into()), value: Some(text.clone()) });
    files.write("step.onnx", model)?;
    let network = replaced.unwrap_or(original);
    let evaluation = graphs::evaluation(network.base(), &slots)?;
    files.write("eval.onnx", emit::model(&evaluation, Dialect::Inlined)?)?;
    let names: Vec<&str> = slots.iter().filter(|s| s.role.is_model()).map(|s| s.name.as_str()).collect();
    // Always whole: the tensors that are state are empty in it.
    onnx::write(out.path().join("template.onnx"), &template(network.into_source(), &names, &plan.split)?)?;
    files.names.push("template.onnx".into());
    let manifest_path = out.path().join("manifest.json");
    std::fs::write(&manifest_path, text).map_err(Error::io("cannot write", &manifest_path))?;
    let names = files.finish()?;
    let path = out.commit()?;
    let files = names.into_iter().chain(["manifest.json".to_string()]).map(|n| {
        let size = std::fs::metadata(path.join(&n)).map(|m| m.len()).unwrap_or(0);
        (n, size)
    });
    Ok(Report { files: files.collect(), path, manifest, plan })
}

fn port(graph: &Graph, value: ValueId) -> Port {
    let ty = graph.ty(value);
    Port {
        name: graph.name_of(value).into(),
        dtype: ty.dtype,
        shape: ty.shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect(),
    }
}

/// The whole step.
struct Step {
    graph: Graph,
    /// In the manifest's order.
    slots: Vec<StateTensor>,
    scalars: Vec<manifest::Scalar>,
    outputs: Vec<Output>,
}

fn step_graph(back: graphs::Backward, options: &Options, penalties: Option<&Penalties>) -> Result<Step> {
    let graphs::Backward { mut graph, data, target, loss, parameters, gradients, buffers, regularizers } = back;
    let updates = graphs::updates(&mut graph, options, penalties, parameters, &gradients)?;
    let failed = |reason| Error::model(format!("the loss cannot be added to the penalty: {reason}"));
    let mut b = crate::operator::Builder::new(&mut graph);
    let penalty = match regularizers.value {
        Some(value) => b.add(updates.penalty, value).map_err(failed)?,
        None => updates.penalty,
    };
    let total = b.add(loss.value, penalty).map_err(failed)?;
    let results = [(Measure::Loss, total), (Measure::DataLoss, loss.value), (Measure::Penalty, penalty), (Measure::Correct, loss.correct)];
    let scalars: Vec<_> = updates.scalars.into_iter().chain(regularizers.scalars).collect();
    let outputs = name_outputs(&mut graph, &results);
    let slots: Vec<StateTensor> = updates.parameters.into_iter().chain(buffers).chain(updates.optimizer).collect();
    graph.inputs = [data, target].into_iter().chain(scalars.iter().map(|s| s.1)).chain(slots.iter().map(|s| s.input)).collect();
    graph.outputs = results.iter().map(|r| r.1).chain(slots.iter().map(|s| s.next)).collect();
    graph.name = "step".into();
    graph.verify().map_err(|e| Error::model(format!("the training step is malformed: {e}")))?;
    Ok(Step { graph, slots, scalars: scalars.into_iter().map(|s| s.0).collect(), outputs })
}

/// Gives the outputs the names of their meanings, or what is free of these.
fn name_outputs(graph: &mut Graph, results: &[(Measure, ValueId)]) -> Vec<Output> {
    let named = results.iter().map(|&(meaning, value)| {
        graph.rename(value, meaning.name());
        Output { name: graph.name_of(value).to_string(), meaning }
    });
    named.collect()
}

/// State and batch → data loss, correct, count, gradients, next statistics. With regularizers also their strengths → their sum; the
/// gradients are those of both.
fn gradient_model(back: &graphs::Backward, dialect: Dialect) -> Result<(pb::ModelProto, Vec<Output>)> {
    let mut graph = back.graph.clone();
    let mut b = crate::operator::Builder::new(&mut graph);
    b.scope("loss");
    let count = crate::loss::count(&mut b, back.target).map_err(graphs::failed("count"))?;
    let state = || back.parameters.iter().chain(&back.buffers);
    let strengths = back.regularizers.scalars.iter().map(|s| s.1);
    graph.inputs = [back.data, back.target].into_iter().chain(strengths).chain(state().map(|s| s.input)).collect();
    // Here it is the loss.
    graph.rename(back.loss.value, "loss");
    let mut outputs = vec![Output { name: graph.name_of(back.loss.value).to_string(), meaning: Measure::DataLoss }];
    let mut others = vec![(Measure::Correct, back.loss.correct)];
    others.extend(back.regularizers.value.map(|value| (Measure::Regularizers, value)));
    others.push((Measure::Count, count));
    outputs.extend(name_outputs(&mut graph, &others));
    graph.outputs = std::iter::once(back.loss.value)
        .chain(others.iter().map(|o| o.1))
        .chain(back.gradients.iter().copied())
        .chain(back.buffers.iter().map(|s| s.next))
        .collect();
    graph.name = "grad".into();
    Ok((emit::model(&graph, dialect)?, outputs))
}

/// Gradients, scalars and state → penalty and next state.
fn apply_model(back: &graphs::Backward, options: &Options, penalties: Option<&Penalties>) -> Result<(pb::ModelProto, Vec<Output>)> {
    let mut graph = Graph::new("apply");
    let mut parameters = back.parameters.clone();
    for p in &mut parameters {
        p.input = graph.input(&p.name, p.ty.clone());
        p.next = p.input;
    }
    let gradients: Vec<ValueId> = parameters.iter().map(|p| graph.input(&format!("{}.grad", p.name), p.ty.clone())).collect();
    let updates = graphs::updates(&mut graph, options, penalties, parameters, &gradients)?;
    let outputs = name_outputs(&mut graph, &[(Measure::Penalty, updates.penalty)]);
    let slots = || updates.parameters.iter().chain(&updates.optimizer);
    graph.inputs = gradients.iter().copied().chain(updates.scalars.iter().map(|s| s.1)).chain(slots().map(|s| s.input)).collect();
    graph.outputs = std::iter::once(updates.penalty).chain(slots().map(|s| s.next)).collect();
    Ok((emit::model(&graph, options.dialect)?, outputs))
}

/// No inputs; every state tensor at its start. Zeros are made, not stored.
fn init_model(slots: &[StateTensor]) -> Result<pb::ModelProto> {
    let mut graph = Graph::new("init");
    let names: HashSet<&str> = slots.iter().map(|s| s.name.as_str()).collect();
    let mut starts: HashMap<&str, ValueId> = HashMap::new();
    let mut made = vec![];
    for slot in slots {
        let mut b = crate::operator::Builder::new(&mut graph);
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
        let value = value.map_err(|why| Error::model(format!("there is no start of `{}` for the bundle: {why}", slot.name)))?;
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
    names: Vec<String>,
    writers: Vec<JoinHandle<Result<()>>>,
}

impl Drop for Files {
    /// After an error elsewhere, nobody may still write into the folder when it is removed.
    fn drop(&mut self) {
        for writer in self.writers.drain(..) {
            let _ = writer.join();
        }
    }
}

impl Files {
    fn write(&mut self, name: &str, mut model: pb::ModelProto) -> Result<()> {
        let path = self.dir.join(name);
        let size: u64 = model.graph.iter().flat_map(|g| &g.initializer).map(|t| t.raw_data.as_ref().map_or(0, |d| d.len() as u64)).sum();
        if self.external || size > INLINE_LIMIT {
            if self.weights.is_none() {
                self.weights = Some(ExternalWriter::create(self.dir.join("weights.bin"))?);
            }
            if let Some(weights) = &mut self.weights {
                onnx::write_external(&path, &mut model, weights)?;
            }
        } else if size > LARGE {
            // The weights themselves are shared with the source, not copied.
            self.writers.push(std::thread::spawn(move || onnx::write(&path, &model)));
        } else {
            onnx::write(&path, &model)?;
        }
        self.names.push(name.to_string());
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>> {
        while let Some(writer) = self.writers.pop() {
            writer.join().map_err(|_| Error::model("writing a file of the bundle crashed; this is a mistake in spgraph"))??;
        }
        if let Some(weights) = self.weights.take() {
            weights.finish()?;
            self.names.push("weights.bin".into());
        }
        Ok(std::mem::take(&mut self.names))
    }
}
