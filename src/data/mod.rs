//! Training and evaluation data: image folders, arrays, augmentation, shuffling, batching, prefetch.

mod augment;
mod completeness;
mod dataset;
mod decode;
mod folder;
mod labels;
mod listing;
mod loader;
mod preprocess;
mod random;
mod split;
pub mod synth;

pub use augment::{Augment, Crop, Moment};
pub use dataset::{ArrayDataset, Dataset, ImageDataset};
pub use decode::{MAX_PIXELS, MAX_SIDE, load_image};
pub use folder::{ImageFolder, Sample};
pub use labels::KnownClasses;
pub use listing::EXTENSIONS;
pub use loader::{Batch, IGNORED, Last, Loader, LoaderOptions, Stream};
pub use preprocess::{Recipe, Region, resize, resize_shorter};
pub(crate) use random::{Purpose, Random};
pub use split::split;
