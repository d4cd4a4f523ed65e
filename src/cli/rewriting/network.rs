//! What is read of the network, and what is minimised.

use crate::cli::numbers::{ShapeArg, parse_shape};
use spgraph::bundle::Options;

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// The output whose scores are trained, of a model with several [default: the one that is clearly the classifier's]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// What is minimised [default: bce where the network ends with a sigmoid, else cross-entropy]
    ///
    /// cross-entropy is that of a softmax, bce the binary cross-entropy of each class on the logits before a sigmoid, mse the squared error of the
    /// outputs.
    #[arg(long, value_name = "LOSS", value_parser = ["cross-entropy", "bce", "mse"])]
    loss: Option<String>,
    /// Share of a label that is spread evenly over all classes [default: 0]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    label_smoothing: Option<f64>,
    /// Targets are a number for every score instead of labels: for mixup and cutmix, several labels for an image, or numbers
    #[arg(long)]
    soft_targets: bool,
    /// Sizes of the input after the batch, which the model leaves open or in the place of its own: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = parse_shape)]
    input_shape: Option<ShapeArg>,
    /// Train parameters that the exporter stored together as one
    #[arg(long)]
    keep_ties: bool,
}

impl NetworkArgs {
    pub fn set(&self, options: &mut Options) {
        if self.output.is_some() {
            options.prediction = self.output.clone();
        }
        if self.loss.is_some() {
            options.loss = self.loss.clone();
        }
        options.label_smoothing = self.label_smoothing.unwrap_or(options.label_smoothing);
        options.soft_targets |= self.soft_targets;
        if let Some(ShapeArg(shape)) = &self.input_shape {
            options.input_shape = Some(shape.clone());
        }
        options.keep_ties |= self.keep_ties;
    }
}
