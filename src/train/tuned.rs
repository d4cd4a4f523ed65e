//! What can be evaluated and exported: a bundle at its start, a run, or a plain model.

use super::averages::averages;
use super::checkpoint::read_state;
use super::export_check::{self, Agreement};
use super::in_training::{in_training, meanwhile};
use super::options::image_shape;
use super::run::Run;
use super::run_state::RunState;
use super::trained_elsewhere::TrainedElsewhere;
use crate::bundle::manifest::{Role, State};
use crate::bundle::{self, Bundle, start_state};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::onnx::{self, SourceModel, pb};
use crate::rewrite;
use crate::storage::files::OutputFile;
use crate::storage::inputs::Inputs;
use crate::storage::run_folder::RunFolder;
use crate::storage::{exchange, presence};
use std::path::{Path, PathBuf};

/// A network with weights, wherever they are.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A bundle at its start.
    Bundle(Box<Bundle>),
    /// A run.
    Run(Box<Run>),
    /// A bundle with the weights that another runtime gave it.
    Trained(Box<TrainedElsewhere>),
    /// An ONNX file.
    Model(PathBuf),
}

impl Subject {
    /// Recognises what is at `path`.
    pub fn open(path: &Path) -> Result<Subject> {
        let Some(found) = presence::at(path)? else {
            // Who only reads moves nothing.
            let old = exchange::left_aside(path);
            return Err(Error::model(format!(
                "{} does not exist; give a run of `spgraph finetune`, a bundle of `spgraph rewrite`, or an ONNX model{old}",
                path.display()
            )));
        };
        if found.is_dir() && presence::is_file(&RunFolder::new(path).record())? {
            return Ok(Subject::Run(Box::new(Run::open(path)?)));
        }
        if found.is_dir() {
            return Ok(Subject::Bundle(Box::new(Bundle::open(path)?)));
        }
        Ok(Subject::Model(path.to_path_buf()))
    }

    /// What is at `path`; with `weights`, the bundle there with the weights in that safetensors file.
    pub fn with_weights(path: &Path, weights: Option<&Path>) -> Result<Subject> {
        match (weights, Subject::open(path)?) {
            (None, subject) => Ok(subject),
            (Some(weights), Subject::Bundle(bundle)) => Ok(Subject::Trained(Box::new(TrainedElsewhere::of(*bundle, weights)?))),
            (Some(_), _) => {
                Err(Error::option(Field::WEIGHTS, format!(" are those of a bundle of `spgraph rewrite`, and {} is none", path.display())))
            }
        }
    }

    /// The bundle behind it; `None` for a plain model.
    pub fn bundle(&self) -> Option<&Bundle> {
        match self {
            Subject::Bundle(bundle) => Some(bundle),
            Subject::Run(run) => Some(&run.bundle),
            Subject::Trained(trained) => Some(&trained.bundle),
            Subject::Model(_) => None,
        }
    }

    /// The bundle behind it. Fails for a plain model, and says what is wrong with a file that is not even that.
    pub fn needed_bundle(&self) -> Result<&Bundle> {
        let Subject::Model(path) = self else { return self.bundle().ok_or_else(|| Error::internal("a run or bundle has no bundle")) };
        onnx::read(path)?;
        Err(Error::usage(format!(
            "{} is an ONNX model as it was made, neither a run of `spgraph finetune` nor a bundle of `spgraph rewrite`: give one of these",
            path.display()
        )))
    }

    /// What is read of it, for who writes something.
    pub fn inputs(&self) -> Inputs {
        match self {
            Subject::Model(path) => Inputs::new(onnx::files_of(path)),
            Subject::Bundle(bundle) => Inputs::new(bundle.files()),
            Subject::Trained(trained) => Inputs::new(trained.bundle.files().into_iter().chain([trained.weights.clone()])),
            Subject::Run(run) => Inputs::new(run.folder.files().into_iter().chain(run.bundle.files())),
        }
    }

    /// What `which` comes to here: never [`RunState::Usual`].
    pub fn which(&self, which: RunState) -> RunState {
        match (which, self) {
            // A run that did not come to its end has a best state as well, but the better ones may be still to come.
            (RunState::Usual, Subject::Run(run)) if run.folder.state().is_file() && run.folder.best().is_file() => RunState::Best,
            (RunState::Usual, _) => RunState::Final,
            (other, _) => other,
        }
    }

    /// Which state is taken where nobody says, and why; `None` where there is one only.
    pub fn usual(&self) -> Option<String> {
        let Subject::Run(run) = self else { return None };
        match self.which(RunState::Usual) {
            RunState::Best => {
                let results = run.record.results.as_ref();
                let best = results.and_then(|r| Some((r.steps, r.best.as_ref()?)));
                if best.is_some_and(|(steps, best)| best.step == steps) {
                    return None;
                }
                let at =
                    best.map_or(String::new(), |(steps, best)| format!(", that after step {} of {steps}, {}", best.step, best.headline()));
                Some(format!("the state that validation found best{at}; {} takes the last one", Field::FINAL_STATE))
            }
            _ => None,
        }
    }

    /// The state, in the manifest's order; zeros for the optimizer's. A bundle has its start only.
    pub fn state(&self, which: RunState) -> Result<Vec<Tensor>> {
        let which = self.which(which);
        if let (RunState::Ema, Some(bundle)) = (which, self.bundle())
            && !bundle.manifest.state.iter().any(|s| s.role == Role::Ema)
        {
            let why = "there is no moving average: the bundle was made without it. Rewrite the model with";
            return Err(Error::usage(format!("{why} {} 0.999", Field::EMA)));
        }
        let run = match self {
            Subject::Model(_) => return self.needed_bundle().and_then(start_state),
            Subject::Bundle(bundle) => return start_state(bundle),
            Subject::Trained(trained) => {
                return match which {
                    RunState::Start => start_state(&trained.bundle),
                    RunState::Best | RunState::Checkpoint => {
                        Err(Error::usage(format!("{} holds one state; only a run has others", trained.weights.display())))
                    }
                    RunState::Usual | RunState::Final => trained.state(),
                    RunState::Ema => averaged(trained.state()?, &trained.bundle.manifest.state),
                };
            }
            Subject::Run(run) => run,
        };
        let start = start_state(&run.bundle)?;
        let path = match which {
            RunState::Start => return Ok(start),
            RunState::Usual | RunState::Final | RunState::Ema => run.folder.state(),
            RunState::Best => run.folder.best(),
            RunState::Checkpoint => run.folder.checkpoint(),
        };
        if !path.is_file() {
            let why = match which {
                // Whatever is missing may be still to come.
                _ if let Some(training) = in_training(&run.folder) => {
                    format!("it is {training}. {}", meanwhile(&run.folder, which, run.record.images.validation))
                }
                RunState::Best => format!("it had no validation images ({})", Field::VALIDATION),
                RunState::Checkpoint => "it wrote none, or it is complete and needs none any more".to_string(),
                _ if run.folder.checkpoint().is_file() => {
                    format!("it did not come to its end. Continue it with {}, or take {}", Field::RESUME, Field::CHECKPOINT_STATE)
                }
                _ => "it did not come to its end, and wrote no checkpoint. Train again".to_string(),
            };
            let old = run.folder.own_replaced()?;
            let old = old.map_or(String::new(), |old| format!(". The run that was there before is in {}", old.path().display()));
            return Err(Error::usage(format!("the run {} has no {}: {why}{old}", run.folder.path().display(), name_of(&path))));
        }
        let manifest = &run.bundle.manifest;
        let (at, tensors) = read_state(&path, manifest.kept_state())?;
        at.check_owner(&path, &run.record)?;
        let mut state = start;
        let kept = manifest.state.iter().zip(&mut state).filter(|(s, _)| s.role != Role::Optimizer);
        kept.zip(tensors).for_each(|((_, value), tensor)| *value = tensor);
        if which == RunState::Ema { averaged(state, &manifest.state) } else { Ok(state) }
    }
}

/// The state with the moving averages in the place of the weights.
fn averaged(mut state: Vec<Tensor>, states: &[State]) -> Result<Vec<Tensor>> {
    for (average, parameter) in averages(states)? {
        if let Some(value) = state.get(average).cloned() {
            state.get_mut(parameter).into_iter().for_each(|to| to.clone_from(&value));
        }
    }
    Ok(state)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes the tuned inference model to `path`: the source's graph and names. Without training steps it equals the source. Fails, and writes
/// nothing, where the file does not give what the run's network gives.
pub fn export_tuned(subject: &Subject, which: RunState, path: &Path, force: bool) -> Result<Agreement> {
    let bundle = subject.needed_bundle()?;
    let out = place(&subject.inputs(), path, force)?;
    export(bundle, &subject.state(which)?, out)
}

/// Writes the inference model with `state` (in the manifest's order) to `path`, once it was run beside the bundle's network.
pub fn export_state(bundle: &Bundle, state: &[Tensor], path: &Path, force: bool) -> Result<Agreement> {
    export(bundle, state, place(&Inputs::new(bundle.files()), path, force)?)
}

/// Where an export goes: never over what it is made of.
pub(super) fn place(reads: &Inputs, path: &Path, force: bool) -> Result<OutputFile> {
    reads.check_file(path)?;
    OutputFile::create(path, force)
}

/// The same into a file that has its [`place`].
pub(super) fn export(bundle: &Bundle, state: &[Tensor], out: OutputFile) -> Result<Agreement> {
    onnx::write_checked(out, &bundle::tuned(bundle, state)?, |file| export_check::check(bundle, state, file))
}

/// A bundle's network with `state`, in the manifest's order, and with what enters its classifier as one more output, the last.
pub(super) fn with_features(bundle: &Bundle, state: &[Tensor]) -> Result<pb::ModelProto> {
    let output = bundle.manifest.prediction.as_ref().map(|p| p.output.as_str());
    let source = in_memory(bundle, bundle::tuned(bundle, state)?);
    model_with_features(source, output, Some(&image_shape(&bundle.manifest)?))
}

/// The same for a model.
pub(super) fn model_with_features(mut source: SourceModel, output: Option<&str>, input_shape: Option<&[usize]>) -> Result<pb::ModelProto> {
    rewrite::show_features(&mut source, output, input_shape)?;
    onnx::inline_external(&mut source.proto, &onnx::ExternalData::new(&source.dir))?;
    Ok(source.proto)
}

/// A model that is in no file.
fn in_memory(bundle: &Bundle, proto: pb::ModelProto) -> SourceModel {
    let dir = bundle.dir.clone();
    SourceModel { proto, path: bundle.template(), external: onnx::ExternalData::new(&dir), dir, sha256: String::new(), bytes: 0 }
}

/// The tuned network under the classifier of the model `donor`: it shows what the tuned features still know of the donor's task.
pub fn transplanted(subject: &Subject, which: RunState, donor: &Path) -> Result<pb::ModelProto> {
    let bundle = subject.bundle().ok_or_else(|| Error::option(Field::HEAD_FROM, " needs a run or a bundle, not an ONNX model"))?;
    transplanted_state(bundle, &subject.state(which)?, donor)
}

/// The same for a bundle's network with any `state`, in the manifest's order.
pub fn transplanted_state(bundle: &Bundle, state: &[Tensor], donor: &Path) -> Result<pb::ModelProto> {
    let donor = onnx::read(donor)?;
    let mut target = in_memory(bundle, bundle::tuned(bundle, state)?);
    let output = bundle.manifest.prediction.as_ref().map(|p| p.output.as_str());
    rewrite::transplant(&mut target, &donor, &image_shape(&bundle.manifest)?, output)?;
    bundle::adopt_class_names(&mut target.proto, donor.proto);
    Ok(target.proto)
}
