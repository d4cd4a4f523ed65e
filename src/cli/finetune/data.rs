//! Which images, and which of them are held out.

use crate::cli::choice::choice;
use crate::cli::numbers::parse_size;
use spgraph::data::{BadImages, CacheOptions};
use spgraph::error::Error;
use spgraph::train::{Training, Validation};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Image folder with one sub-folder per class, or with such folders called train, val and test: val validates after every epoch, test judges
    /// the finished network
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Image folder for validation after every epoch [default: the val folder in --data, if there is one]
    #[arg(long, value_name = "FOLDER", conflicts_with = "val_split")]
    val_data: Option<PathBuf>,
    /// Hold out this fraction of every class for validation; 0 for none, where a configuration has another
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    val_split: Option<f64>,
    /// Image folder that judges the finished network, and nothing else [default: the test folder in --data, if there is one]
    #[arg(long, value_name = "FOLDER")]
    test_data: Option<PathBuf>,
    /// What becomes of images that cannot be read, which is found out before the first step: the first one is an error, or they are left out
    /// and counted [default: refuse]
    #[arg(long, value_parser = choice::<BadImages>(&["refuse", "skip"]))]
    on_bad_image: Option<BadImages>,
    /// Memory for decoded images, such as 2GB or 500MB; 0 for none [default: a quarter of what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    cache: Option<u64>,
    /// Folder for decoded images, which further runs read; may be shared, and removed at any time
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    /// How large the folder may become [default: 20GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "cache_dir")]
    cache_dir_limit: Option<u64>,
}

impl DataArgs {
    /// Where decoded images are kept: `before` where nothing is given.
    pub fn cache_over(&self, before: CacheOptions) -> CacheOptions {
        CacheOptions {
            memory: self.cache.or(before.memory),
            folder: self.cache_dir.clone().or(before.folder),
            folder_bytes: self.cache_dir_limit.unwrap_or(before.folder_bytes),
            by_content: before.by_content,
        }
    }

    /// The folder, which a new run needs.
    pub fn required(&self, configured: bool) -> Result<PathBuf, Error> {
        let missing = if configured {
            "the images are missing: give --data, or `data` in the configuration's table [training],"
        } else {
            "--data is missing: give"
        };
        self.data.clone().ok_or_else(|| Error::usage(format!("{missing} the folder of training images, with one sub-folder per class")))
    }

    pub fn set(&self, training: &mut Training) -> Result<(), Error> {
        if let Some(data) = &self.data {
            training.data = std::path::absolute(data).map_err(Error::io("cannot find", data))?;
        }
        training.bad_images = self.on_bad_image.unwrap_or(training.bad_images);
        let folder = self.val_data.clone().map(Validation::Folder);
        if let Some(validation) = folder.or(self.val_split.map(held_out)) {
            training.validation = validation;
        }
        if self.test_data.is_some() {
            training.test = self.test_data.clone();
        }
        Ok(())
    }
}

/// A share of 0 is no validation at all, as people write it.
fn held_out(fraction: f64) -> Validation {
    if fraction == 0.0 { Validation::None } else { Validation::Split(fraction) }
}
