//! Random changes to images.

use spgraph::data::Augment;
use spgraph::data::augment::{self, Color, Operation};
use spgraph::error::Error;
use spgraph::train::Training;

#[derive(clap::Args)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentArgs {
    /// Random changes to images: none, light, standard, strong, or operations joined by +, such as flip-crop:4+color:0.25+erase:0.1 (docs/augmentation.md) [default: none]
    #[arg(long, value_name = "RECIPE", value_parser = parse_augment, long_help = long_help())]
    augment: Option<Augment>,
    /// Random brightness, contrast and saturation: +color in the recipe
    #[arg(long, value_name = "STRENGTH", num_args = 0..=1, default_missing_value = "0.25", allow_negative_numbers = true)]
    color: Option<f32>,
}

/// With all that can be joined.
fn long_help() -> String {
    format!(
        "Random changes to images: none, one of the policies light, standard and strong, or operations joined by +, each with its parameters, such as \
         flip-crop:4+color:0.25+erase:0.1 or rotate:degrees=10 (docs/augmentation.md) [default: none]\n\n{}",
        augment::list()
    )
}

fn parse_augment(text: &str) -> Result<Augment, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

impl AugmentArgs {
    pub fn set(&self, training: &mut Training) -> Result<(), Error> {
        if let Some(augment) = &self.augment {
            training.augment = augment.clone();
        }
        if let Some(strength) = self.color {
            if !(0.0..1.0).contains(&strength) {
                return Err(Error::usage(format!("--color {strength} is not at least 0 and below 1")));
            }
            let hue = training.augment.operations().iter().find_map(|o| match o {
                Operation::Color(color) => Some(color.hue),
                _ => None,
            });
            training.augment = std::mem::take(&mut training.augment).with(Color { strength, hue: hue.unwrap_or(0.0) });
        }
        Ok(())
    }
}
