//! Where the pixels of images lie.

use super::decode::load_image;
use super::files::Files;
use crate::error::{Error, Result};
use image::RgbImage;
use ndarray::{Array4, ArrayView3, Axis};
use std::path::PathBuf;

/// The images behind a set, by number.
#[derive(Debug, PartialEq)]
pub(super) enum Store {
    Files(Files),
    Pixels(PixelArray),
    /// Inputs that are ready: N×C×H×W.
    Values(Array4<f32>),
}

impl Store {
    pub fn len(&self) -> usize {
        match self {
            Store::Files(files) => files.len(),
            Store::Pixels(array) => array.count,
            Store::Values(values) => values.len_of(Axis(0)),
        }
    }

    pub fn path(&self, number: usize) -> Option<PathBuf> {
        match self {
            Store::Files(files) => Some(files.path(number)),
            _ => None,
        }
    }

    /// 8-bit RGB, upright.
    pub fn image(&self, number: usize) -> Result<RgbImage> {
        match self {
            Store::Files(files) => load_image(&files.path(number)),
            Store::Pixels(array) => array.image(number).ok_or_else(|| Error::data(format!("there is no image {number}"))),
            Store::Values(_) => Err(Error::data("these inputs are numbers for the network, not images")),
        }
    }

    /// C×H×W of an input that is ready.
    pub fn values(&self, number: usize) -> Option<ArrayView3<'_, f32>> {
        match self {
            Store::Values(values) if number < values.len_of(Axis(0)) => Some(values.index_axis(Axis(0), number)),
            _ => None,
        }
    }

    /// What identifies the content of an image in memory.
    pub fn hash(&self, number: usize) -> Option<blake3::Hash> {
        match self {
            Store::Files(_) => None,
            Store::Pixels(array) => Some(blake3::hash(array.bytes(number)?)),
            Store::Values(_) => {
                let bytes: Vec<u8> = self.values(number)?.iter().flat_map(|v| v.to_le_bytes()).collect();
                Some(blake3::hash(&bytes))
            }
        }
    }
}

/// Images of one size as bytes.
#[derive(Debug, PartialEq)]
pub(super) struct PixelArray {
    pub bytes: Vec<u8>,
    pub count: usize,
    pub height: usize,
    pub width: usize,
    /// 1, 3 or 4, of which the last is dropped.
    pub channels: usize,
    /// Whether an image is C×H×W rather than H×W×C.
    pub planes: bool,
}

impl PixelArray {
    fn bytes(&self, number: usize) -> Option<&[u8]> {
        let size = self.height.checked_mul(self.width)?.checked_mul(self.channels)?;
        self.bytes.chunks_exact(size.max(1)).nth(number)
    }

    fn image(&self, number: usize) -> Option<RgbImage> {
        let bytes = self.bytes(number)?;
        let (area, channels) = (self.height.checked_mul(self.width)?, self.channels);
        let colour = |c: usize| if channels == 1 { 0 } else { c };
        let mut pixels = Vec::with_capacity(area.saturating_mul(3));
        for at in 0..area {
            let place = |c: usize| match self.planes {
                true => colour(c).saturating_mul(area).saturating_add(at),
                false => at.saturating_mul(channels).saturating_add(colour(c)),
            };
            pixels.extend((0..3).map(|c| bytes.get(place(c)).copied().unwrap_or(0)));
        }
        RgbImage::from_raw(self.width as u32, self.height as u32, pixels)
    }
}
