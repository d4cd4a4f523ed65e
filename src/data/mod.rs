//! Training and evaluation data: image folders, arrays, augmentation, shuffling, batching, prefetch.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod animated;
mod array_file;
mod array_set;
// Places in images that were decoded, whose sides are at most MAX_SIDE, and in batches of them.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub mod augment;
mod balance;
mod cache;
mod check;
mod completeness;
mod csv_columns;
mod csv_list;
mod dataset;
mod decode;
mod files;
mod found;
mod given;
// Places in pictures that the program lays out itself.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub mod grid;
mod identical;
mod image_set;
mod joined_labels;
// Bits of at most 64, and coefficients of a block.
#[allow(clippy::arithmetic_side_effects)]
mod jpeg_codes;
#[allow(clippy::arithmetic_side_effects)]
mod jpeg_scans;
mod labels;
mod listing;
mod loader;
mod memory_set;
mod opening;
mod parts;
mod pixels;
mod preprocess;
mod random;
// The same.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod row_faults;
mod sheet;
mod split;
mod survey;
// Places in images that the program draws itself.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub mod synth;
mod targets;
mod ten_crop;

pub use crate::bundle::MAX_SIDE;
pub use augment::{Augment, Moment};
pub use cache::CacheOptions;
pub use check::{BadImages, check_images};
pub use dataset::{ArrayDataset, Dataset, ImageDataset};
pub use decode::{MAX_PIXELS, load_image};
pub use found::find_images;
pub(crate) use identical::shared;
pub use image_set::{ImageFolder, ImageSet, Sample};
pub use labels::KnownClasses;
pub use listing::EXTENSIONS;
pub use loader::{Batch, IGNORED, Last, Loader, LoaderOptions, Stream};
pub use parts::Part;
pub use preprocess::{Recipe, Region, as_input, resize, resize_shorter};
pub(crate) use preprocess::{empty_batch, images_of};
pub(crate) use random::{Purpose, Random};
pub use sheet::contact_sheet;
pub use split::{Split, split};
pub use survey::{Copies, PartSurvey, Range, Survey, survey};
pub use targets::{TargetKind, Targets};
pub use ten_crop::TenCrops;
