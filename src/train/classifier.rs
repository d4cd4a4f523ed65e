//! A network that is ready to classify images: graph, weights, preprocessing, class names.

use super::readout::{Readout, Scores};
use super::run_state::RunState;
use super::targets;
use super::training_form;
use super::tuned::{Subject, model_with_features, transplanted_state, with_features};
use crate::bundle::manifest::{Port, Preprocessing, State};
use crate::bundle::{Bundle, ClassNames, ImageMetadata, Images, Prepared, class_names, read_metadata};
use crate::data::{KnownClasses, Recipe, TargetKind, as_input};
use crate::engine::{Engine, Session};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::loss;
use crate::onnx::{self, ModelFile, pb};
use crate::storage::machine;
use crate::storage::temporaries::Scratch;
use ndarray::{Array2, Ix2};
use std::path::{Path, PathBuf};

/// What a caller may set instead of what the bundle, the run or the model says.
#[derive(Debug, Clone, Default)]
pub struct ClassifierOptions {
    /// Which state of a run.
    pub which: RunState,
    /// Take the classifier of this model instead of the tuned network's own.
    pub head_from: Option<PathBuf>,
    /// Class names by label.
    pub classes: Vec<String>,
    /// The output to read, of a model with several; `None`: the one that is clearly the classifier's.
    pub output: Option<String>,
    /// Sizes after the batch dimension, where a model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    /// How images are prepared.
    pub images: Images,
    /// Images per call where the model leaves it open.
    pub batch: Option<usize>,
    /// Also give what enters the classifier.
    pub features: bool,
}

/// A loaded network.
pub struct Classifier {
    session: Box<dyn Session>,
    input: Port,
    /// Inputs besides the images, with their values.
    state: Vec<(String, Tensor)>,
    readout: Readout,
    outputs: Option<usize>,
    classes: Vec<String>,
    preprocessing: Preprocessing,
    /// What of the preprocessing nobody said.
    assumed: Vec<Field>,
    own_preparation: bool,
    /// What images may have as their target; `None` where whatever there is will do.
    targets: Option<TargetKind>,
    /// Whether the labels are those that the network was first trained with.
    learnt: bool,
    batch: Option<usize>,
    asked_batch: Option<usize>,
    /// Whether the last output is what enters the classifier.
    features: bool,
    /// Holds the file of a transplanted network.
    _folder: Option<Scratch>,
}

impl Classifier {
    /// Loads `subject` into `engine`.
    pub fn open(subject: &Subject, options: &ClassifierOptions, engine: &dyn Engine) -> Result<Classifier> {
        match (subject.bundle(), subject) {
            (Some(bundle), _) => Classifier::of_state(bundle, &subject.state(options.which)?, options, engine),
            (None, Subject::Model(_)) if options.head_from.is_some() => {
                Err(Error::option(Field::HEAD_FROM, " needs a run or a bundle, not an ONNX model"))
            }
            (None, Subject::Model(path)) if options.features => {
                let source = onnx::read(path)?;
                training_form::refuse(&source.proto, path)?;
                let model = model_with_features(source, options.output.as_deref(), options.input_shape.as_deref())?;
                Classifier::in_memory(&model, options, engine)
            }
            (None, Subject::Model(path)) => {
                let source = onnx::open(path)?;
                training_form::refuse(&source.proto, path)?;
                Classifier::of_file(&source, None, options, engine)
            }
            (None, _) => Err(Error::usage("there is no model to load")),
        }
    }

    /// Loads a model that is in no file yet.
    fn in_memory(model: &pb::ModelProto, options: &ClassifierOptions, engine: &dyn Engine) -> Result<Classifier> {
        let folder = Scratch::new()?;
        let path = folder.path().join("model.onnx");
        onnx::write(&path, model)?;
        let mut classifier = Classifier::load(&path, None, options, engine)?;
        // Where another file is run, this one is not needed any more.
        classifier._folder = classifier._folder.take().or(Some(folder));
        classifier.features = options.features && options.head_from.is_none();
        Ok(classifier)
    }

    /// Loads a bundle's network with `state`, in the manifest's order.
    pub fn of_state(bundle: &Bundle, state: &[Tensor], options: &ClassifierOptions, engine: &dyn Engine) -> Result<Classifier> {
        if let Some(donor) = &options.head_from {
            return Classifier::in_memory(&transplanted_state(bundle, state, donor)?, options, engine);
        }
        if options.features {
            return Classifier::in_memory(&with_features(bundle, state)?, options, engine);
        }
        let mut classifier = Classifier::load(&bundle.eval(), Some(bundle), options, engine)?;
        classifier.learnt = !bundle.manifest.has_new_head();
        classifier.set_state(&bundle.manifest.state, state);
        Ok(classifier)
    }

    /// `bundle` says what there is to know, where the model is its; otherwise the model's metadata does.
    pub(super) fn load(path: &Path, bundle: Option<&Bundle>, options: &ClassifierOptions, engine: &dyn Engine) -> Result<Classifier> {
        Classifier::of_file(&onnx::open(path)?, bundle, options, engine)
    }

    /// [`Classifier::load`] of a file that was opened.
    fn of_file(source: &ModelFile, bundle: Option<&Bundle>, options: &ClassifierOptions, engine: &dyn Engine) -> Result<Classifier> {
        let (graph, path) = (source.graph()?, source.path.as_path());
        let mut input = image_input(graph, path, bundle.is_some())?;
        if let Some(shape) = &options.input_shape {
            let behind = input.shape.get(1..).unwrap_or_default();
            let fits = !input.shape.is_empty()
                && shape.len() == behind.len()
                && behind.iter().zip(shape).all(|(&d, &s)| d < 0 || usize::try_from(d) == Ok(s));
            if !fits {
                let why = format!(" {shape:?} does not fit the input `{}` of shape {:?}", input.name, input.shape);
                return Err(Error::option(Field::INPUT_SHAPE, why));
            }
            input.shape.splice(1.., shape.iter().map(|&s| s as i64));
        }
        let image = input.shape.iter().skip(1).filter(|&&d| d > 0).try_fold(input.dtype.size() as u64, |a, &d| a.checked_mul(d as u64));
        if image.is_none_or(|bytes| bytes > machine::memory().unwrap_or(u64::MAX)) {
            let (name, shape) = (&input.name, &input.shape);
            return Err(Error::model(format!("the input `{name}` of {} is impossibly large: {shape:?}", path.display())));
        }
        let (classes, images) = match bundle.map(|b| &b.manifest) {
            Some(manifest) => {
                let names = manifest.classes.clone();
                (Some(ClassNames { names, ..ClassNames::default() }), ImageMetadata::from(Images::from(&manifest.preprocessing)))
            }
            None => (None, read_metadata(&source.proto)?.images),
        };
        let readout = match (bundle, &options.output) {
            (Some(bundle), None) => Readout::of_bundle(bundle)?,
            (Some(_), Some(name)) => {
                return Err(Error::option(
                    Field::PREDICTION,
                    format!(" {name} is for plain models: a bundle or run has the output that it trains"),
                ));
            }
            (None, name) => Readout::of_model(source, name.as_deref(), options.input_shape.as_deref(), engine.kind())?,
        };
        let Prepared { preprocessing, assumed, own } =
            images.choose(&options.images)?.complete(input.dtype, &input.shape, readout.own.as_ref())?;
        let (folder, path) = match &readout.instead {
            Some(model) => {
                let folder = Scratch::new()?;
                let file = folder.path().join("model.onnx");
                let mut model = model.clone();
                onnx::inline_external(&mut model, &source.external)?;
                onnx::write(&file, &model)?;
                (Some(folder), file)
            }
            None => (None, path.to_path_buf()),
        };
        let graph = readout.instead.as_ref().and_then(|m| m.graph.as_ref()).unwrap_or(graph);
        let output = graph.output.get(readout.index).ok_or_else(|| Error::model(format!("{} has no output", path.display())))?;
        let declared = shape_of(output).and_then(|s| s.get(1).copied()).and_then(|n| usize::try_from(n).ok());
        let outputs = readout.scores.or(declared).map(loss::class_count);
        let classes = classes.map_or_else(|| class_names(&source.proto, output.name()), Ok)?;
        let classes = classes.choose(&options.classes, outputs, &source.path)?;
        let targets = match (readout.loss_kind(), bundle.map(|b| targets::kind(&b.manifest))) {
            ("bce", Some(TargetKind::Several)) => Some(TargetKind::Several),
            ("bce", _) => None,
            ("mse", Some(kind @ TargetKind::Numbers(_))) => Some(kind),
            ("mse", _) => readout.scores.or(declared).map(TargetKind::Numbers),
            _ => Some(TargetKind::Class),
        };
        let batch = input.shape.first().and_then(|&n| usize::try_from(n).ok());
        if let (Some(own), Some(asked)) = (batch, options.batch)
            && own != asked
        {
            return Err(Error::option(Field::BATCH, format!(" {asked} cannot be had: the model takes {own} images at a time")));
        }
        Ok(Classifier {
            session: engine.load(&path)?,
            input,
            state: vec![],
            readout,
            outputs,
            classes,
            preprocessing,
            assumed,
            own_preparation: own,
            targets,
            learnt: true,
            batch,
            asked_batch: options.batch,
            features: false,
            _folder: folder,
        })
    }

    /// Takes the model's part of the state, given in the manifest's order.
    pub fn set_state(&mut self, states: &[State], tensors: &[Tensor]) {
        let wanted = self.session.signature().input_names();
        let pairs = states.iter().zip(tensors).filter(|(s, _)| wanted.contains(&s.input.as_str()));
        self.state = pairs.map(|(s, t)| (s.input.clone(), t.clone())).collect();
    }

    /// Class names by label; empty where nothing says them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What is known of its classes.
    pub fn known_classes(&self) -> KnownClasses<'_> {
        KnownClasses { names: &self.classes, count: self.outputs, learnt: self.learnt, targets: self.targets, ..KnownClasses::default() }
    }

    /// Replaces names by the folder's where there are none.
    pub(super) fn name_classes(&mut self, names: &[String]) {
        if self.classes.is_empty() {
            self.classes = names.to_vec();
        }
    }

    /// The number of classes, where the graph says it.
    pub fn outputs(&self) -> Option<usize> {
        self.outputs
    }

    /// The name of a label; its number where there is none.
    pub fn class_name(&self, label: usize) -> String {
        self.classes.get(label).cloned().unwrap_or_else(|| label.to_string())
    }

    /// What is done to images.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// What people have to know of the preprocessing, where the model does not say all of it.
    pub fn preprocessing_note(&self) -> Option<String> {
        self.preprocessing.note(&self.assumed, self.own_preparation)
    }

    /// What turns an image file into its input.
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::new(&self.preprocessing, &self.input.shape)
    }

    /// The number of images that a call must have; `None` where any will do.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.batch
    }

    /// The number of images for each of the calls that `images` take; `usual` where neither the network nor anybody says it.
    pub(super) fn batch_for(&self, images: usize, usual: usize) -> usize {
        self.batch.unwrap_or_else(|| self.asked_batch.unwrap_or(usual).min(images)).max(1)
    }

    /// What had to be assumed about the network's output before it was run, for people.
    pub fn output_assumed(&self) -> Option<&str> {
        self.readout.assumed.as_deref()
    }

    /// What the network's numbers decided about its output, for people, once it was run: that they are probabilities, where nothing else says it.
    pub fn output_decided(&self) -> Option<String> {
        let decided = self.readout.decided && self.readout.assumed.is_none();
        decided.then(|| "the network's numbers lie between 0 and 1 and sum to 1 for each image: they were taken for probabilities".into())
    }

    /// What the network's loss is, for people.
    pub fn loss_name(&self) -> &'static str {
        self.readout.loss_name()
    }

    /// Whether it was trained on numbers, so that there are no classes to name.
    pub fn gives_numbers(&self) -> bool {
        self.loss_kind() == "mse" && self.classes.is_empty()
    }

    /// The name of that loss.
    pub(super) fn loss_kind(&self) -> &'static str {
        self.readout.loss_kind()
    }

    /// What the network gives for a batch in its layout. Fails where that are no scores of classes.
    pub fn scores(&mut self, data: &Tensor) -> Result<Scores> {
        Ok(self.scores_and_features(data)?.0)
    }

    /// The same, with what enters the classifier, one row for each image, where [`ClassifierOptions::features`] asked for it.
    pub(super) fn scores_and_features(&mut self, data: &Tensor) -> Result<(Scores, Option<Array2<f64>>)> {
        let data = as_input(data, self.input.dtype)?;
        let mut feeds: Vec<(&str, &Tensor)> = vec![(self.input.name.as_str(), &data)];
        feeds.extend(self.state.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        let results = self.session.run(&feeds)?;
        let given = results.get(self.readout.index).ok_or_else(|| Error::engine("the network gave no output"))?;
        let rows = data.shape().first().copied().unwrap_or(0);
        let scores = given.count().checked_div(rows).unwrap_or(0);
        let long = given.shape().iter().skip(1).filter(|&&d| d != 1).count();
        if scores == 0 || given.shape().first() != Some(&rows) || long > 1 {
            return Err(Error::model(format!(
                "the network's output has the shape {:?} for {rows} images; a classifier's is [images, classes]",
                given.shape()
            )));
        }
        self.outputs = Some(loss::class_count(scores));
        let given = matrix(given, rows, scores)?;
        let features = match results.last().filter(|_| self.features) {
            Some(tensor) => Some(matrix(tensor, rows, tensor.count().checked_div(rows).unwrap_or(0))?),
            None => None,
        };
        Ok((self.readout.read(given), features))
    }
}

/// A tensor as rows of numbers.
fn matrix(tensor: &Tensor, rows: usize, columns: usize) -> Result<Array2<f64>> {
    let floats = if tensor.dtype().is_float() { tensor.cast(DType::F64)? } else { tensor.clone() };
    Ok(floats.reshaped(vec![rows, columns])?.floats::<Ix2>()?.into_owned())
}

/// Declared sizes; -1 where one is open.
fn shape_of(info: &pb::ValueInfoProto) -> Option<Vec<i64>> {
    use pb::tensor_shape_proto::dimension::Value;
    let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    let size = |d: &pb::tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(n)) if n > 0 => n,
        _ => -1,
    };
    Some(t.shape.as_ref()?.dim.iter().map(size).collect())
}

/// The input for images. In a bundle's graph it is the first, and the weights follow.
fn image_input(graph: &pb::GraphProto, path: &Path, bundle: bool) -> Result<Port> {
    let inputs: Vec<_> = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name())).collect();
    let info = match inputs[..] {
        [one] => one,
        [first, ..] if bundle => first,
        _ => {
            return Err(Error::model(format!(
                "{} has {} inputs; a classifier of images has one. Give a model that takes nothing but images",
                path.display(),
                inputs.len()
            )));
        }
    };
    let code = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(t)) => t.elem_type(),
        _ => 0,
    };
    match DType::from_onnx(code) {
        Some(dtype) if dtype.is_float() || dtype == DType::U8 => {
            Ok(Port { name: info.name().into(), dtype, shape: shape_of(info).unwrap_or_default() })
        }
        _ => Err(Error::model(format!(
            "the input `{}` of {} holds no images of floating-point numbers or bytes",
            info.name(),
            path.display()
        ))),
    }
}
