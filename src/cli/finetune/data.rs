//! Which images, and which of them are held out.

use crate::cli::choice::choice;
use crate::cli::subject_args::class_names;
use spgraph::data::BadImages;
use spgraph::error::Error;
use spgraph::train::{Training, Validation};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct DataArgs {
    /// Image folder with one sub-folder per class
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Images per step where the bundle leaves it open [default: 32]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Image folder for validation after every epoch
    #[arg(long, value_name = "FOLDER", conflicts_with = "val_split")]
    val_data: Option<PathBuf>,
    /// Hold out this fraction of every class for validation
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    val_split: Option<f64>,
    /// File with the class names by label: one on each line, or a list or object in JSON [default: the bundle's]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// What becomes of images that cannot be read, which is found out before the first step: the first one is an error, or they are left out
    /// and counted [default: refuse]
    #[arg(long, value_parser = choice::<BadImages>(&["refuse", "skip"]))]
    on_bad_image: Option<BadImages>,
}

impl DataArgs {
    /// The folder, which a new run needs.
    pub fn required(&self) -> Result<PathBuf, Error> {
        self.data
            .clone()
            .ok_or_else(|| Error::usage("--data is missing: give the folder of training images, with one sub-folder per class"))
    }

    pub fn set(&self, training: &mut Training) -> anyhow::Result<()> {
        if let Some(data) = &self.data {
            training.data = std::path::absolute(data).map_err(Error::io("cannot find", data))?;
        }
        if self.class_names.is_some() {
            training.classes = class_names(self.class_names.as_deref())?;
        }
        training.bad_images = self.on_bad_image.unwrap_or(training.bad_images);
        training.batch = self.batch.or(training.batch);
        let folder = self.val_data.clone().map(Validation::Folder);
        if let Some(validation) = folder.or(self.val_split.map(Validation::Split)) {
            training.validation = validation;
        }
        Ok(())
    }
}
