//! Training and evaluation data: image folders, arrays, augmentation, shuffling, batching, prefetch.

pub mod augment;
mod check;
mod completeness;
mod dataset;
mod decode;
mod files;
mod found;
pub mod grid;
mod identical;
mod image_set;
mod labels;
mod listing;
mod loader;
mod parts;
mod preprocess;
mod random;
mod split;
pub mod synth;
mod ten_crop;

pub use crate::bundle::MAX_SIDE;
pub use augment::{Augment, Moment};
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
pub use split::{Split, split};
pub use ten_crop::TenCrops;
