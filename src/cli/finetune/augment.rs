//! Random changes to images.

use spgraph::data::Augment;
use spgraph::error::Error;
use spgraph::train::Training;

#[derive(clap::Args)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentArgs {
    /// Random changes to images: none, flip-crop[:PAD] or resized-crop[:SCALE] [default: none]
    #[arg(long, value_name = "RECIPE", value_parser = parse_augment)]
    augment: Option<Augment>,
    /// Random brightness, contrast and saturation
    #[arg(long, value_name = "STRENGTH", num_args = 0..=1, default_missing_value = "0.25", allow_negative_numbers = true)]
    color: Option<f32>,
}

fn parse_augment(text: &str) -> Result<Augment, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

impl AugmentArgs {
    pub fn set(&self, training: &mut Training) -> Result<(), Error> {
        training.augment = self.augment.unwrap_or(training.augment);
        if let Some(strength) = self.color {
            if !(0.0..1.0).contains(&strength) {
                return Err(Error::usage(format!("--color {strength} is not at least 0 and below 1")));
            }
            training.augment.color = strength;
        }
        Ok(())
    }
}
