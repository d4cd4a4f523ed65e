//! The options that say which weights to use, what to do to images, and where the tuned model goes: the same in every subcommand.

use super::choice::choice;
use super::flags::with_flags;
use super::output::note;
use clap::ValueEnum;
use spgraph::bundle::{ChannelOrder, Images, Layout, read_class_names};
use spgraph::train::{Classifier, ClassifierOptions, RunState, Subject};
use std::path::{Path, PathBuf};

/// One of a run's states.
#[derive(Clone, Copy, ValueEnum)]
pub enum StateArg {
    /// After the last step
    Final,
    /// The best by validation
    Best,
    /// The last checkpoint of a run that has not ended
    Checkpoint,
    /// The moving average of the weights, from a bundle with --ema
    Ema,
    /// The starting point
    Start,
}

impl From<StateArg> for RunState {
    fn from(state: StateArg) -> RunState {
        match state {
            StateArg::Final => RunState::Final,
            StateArg::Best => RunState::Best,
            StateArg::Checkpoint => RunState::Checkpoint,
            StateArg::Ema => RunState::Ema,
            StateArg::Start => RunState::Start,
        }
    }
}

// No text of their own: a flattened struct's would become the subcommand's.
#[derive(clap::Args)]
pub struct WeightsArgs {
    /// Safetensors file with the weights that another runtime gave the bundle
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Which state of a run [default: best where it had validation images, else final]
    #[arg(long, value_enum)]
    state: Option<StateArg>,
}

#[derive(clap::Args)]
pub struct TunedModelArgs {
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

#[derive(clap::Args)]
pub struct SubjectArgs {
    #[command(flatten)]
    pub weights: WeightsArgs,
    /// File with the class names by label: one on each line, or a list or object in JSON
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// The output to read, of a model with several [default: the one that is clearly the classifier's]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Images per call where the model leaves it open
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Sizes of the input after the batch, which the model leaves open or in the place of its own: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = super::numbers::parse_shape, help_heading = "Preprocessing")]
    input_shape: Option<super::numbers::ShapeArg>,
    #[command(flatten)]
    preprocessing: PreprocessingArgs,
}

/// What is done to an image.
#[derive(clap::Args)]
pub struct PreprocessingArgs {
    /// Length of the shorter side before the central crop
    #[arg(long, value_name = "PIXELS", help_heading = "Preprocessing")]
    pub resize: Option<usize>,
    /// Subtracted from each channel, in the network's order and on its scale: 0.485,0.456,0.406
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', allow_negative_numbers = true, help_heading = "Preprocessing")]
    pub mean: Option<Vec<f32>>,
    /// Each channel is divided by it: 0.229,0.224,0.225
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', help_heading = "Preprocessing")]
    pub std: Option<Vec<f32>>,
    /// Order of the colours that the network takes [default: as the model says, or rgb]
    #[arg(long, value_parser = choice::<ChannelOrder>(&["rgb", "bgr"]), help_heading = "Preprocessing")]
    pub channels: Option<ChannelOrder>,
    /// What white is before mean and std: pixels from 0 to 1, or from 0 to 255 [default: as the model says, or 1, or 255 for bytes]
    #[arg(long, value_name = "1|255", help_heading = "Preprocessing")]
    pub scale: Option<u16>,
    /// Where the channels stand in the network's input [default: as its shape says]
    #[arg(long, value_parser = choice::<Layout>(&["nchw", "nhwc"]), help_heading = "Preprocessing")]
    pub layout: Option<Layout>,
}

impl PreprocessingArgs {
    /// What they say.
    pub fn images(&self) -> Images {
        Images {
            resize: self.resize,
            mean: self.mean.clone(),
            std: self.std.clone(),
            channels: self.channels,
            scale: self.scale,
            layout: self.layout,
        }
    }
}

/// The class names in the file, where one is given; else none.
pub fn class_names(file: Option<&Path>) -> anyhow::Result<Vec<String>> {
    Ok(file.map(read_class_names).transpose()?.unwrap_or_default())
}

impl WeightsArgs {
    /// What is at `path`, with the weights that are given.
    pub fn open(&self, path: &Path) -> spgraph::Result<Subject> {
        Subject::with_weights(path, self.weights.as_deref())
    }

    /// Says which state of a run is taken where nobody asked for one.
    pub fn say_state(&self, subject: &Subject) {
        if let Some(text) = subject.usual().filter(|_| self.state.is_none()) {
            note(&format!("note: {}", with_flags(&text)));
        }
    }

    /// The state that is asked for, or the usual one.
    pub fn state(&self) -> RunState {
        self.state.map_or(RunState::Usual, RunState::from)
    }
}

impl SubjectArgs {
    /// The files that they name, which are read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.class_names.iter().chain(&self.weights.weights)
    }

    pub fn options(&self, head_from: Option<PathBuf>) -> anyhow::Result<ClassifierOptions> {
        Ok(ClassifierOptions {
            which: self.weights.state(),
            head_from,
            classes: class_names(self.class_names.as_deref())?,
            output: self.output.clone(),
            input_shape: self.input_shape.as_ref().map(|s| s.0.clone()),
            images: self.preprocessing.images(),
            batch: self.batch.map(usize::from),
            features: false,
        })
    }
}

/// Says so where nothing tells what a model expects.
pub fn warn_if_assumed(classifier: &Classifier) {
    if let Some(assumed) = classifier.output_assumed() {
        note(&format!("note: {}", with_flags(assumed)));
    }
    if let Some(said) = classifier.preprocessing_note() {
        note(&format!("note: {said}"));
    }
}
