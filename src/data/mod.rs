//! Training and evaluation data: image folders, arrays, augmentation, shuffling, batching, prefetch.

mod augment;
mod dataset;
mod folder;
mod loader;
mod preprocess;
mod random;
mod split;
pub mod synth;

pub use augment::{Augment, Crop, Moment};
pub use dataset::{ArrayDataset, Dataset, ImageDataset};
pub use folder::{EXTENSIONS, ImageFolder, Sample};
pub use loader::{Batch, IGNORED, Last, Loader, LoaderOptions, Stream};
pub use preprocess::{MAX_SIDE, Recipe, Region, load_image, resize, resize_shorter};
pub(crate) use random::{Purpose, Random};
pub use split::split;
