//! From an image file to the numbers that enter the network.
//!
//! Follows torchvision's evaluation transform, `Resize` (bilinear, antialiased), `CenterCrop`, `ToTensor`, `Normalize`, to
//! within a step of 1/255 for rounding inside the resizer.

use super::decode::MAX_SIDE;
use crate::bundle::manifest::Preprocessing;
use crate::error::{Error, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ndarray::{Array2, Array3, ArrayView3, ArrayViewMut3, Axis, CowArray, Ix3, Zip, s};

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The first column.
    pub left: u32,
    /// The first row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Region {
    /// All of the image.
    pub fn whole(image: &RgbImage) -> Region {
        Region { left: 0, top: 0, width: image.width(), height: image.height() }
    }

    /// The middle, with torchvision's rounding (half to even).
    pub fn central(image: &RgbImage, width: u32, height: u32) -> Region {
        let middle = |outer: u32, inner: u32| ((outer.saturating_sub(inner)) as f64 / 2.0).round_ties_even() as u32;
        Region { left: middle(image.width(), width), top: middle(image.height(), height), width, height }
    }
}

/// A region of an image, scaled to `width`×`height`: bilinear, with the support of the filter widened when shrinking.
/// Pixels outside the region have no influence. Fails when the region isn't inside the image.
pub fn resize(image: &RgbImage, region: Region, width: u32, height: u32) -> Result<RgbImage> {
    let failed = |e: &dyn std::fmt::Display| Error::data(format!("cannot resize an image from {region:?} to {width}×{height}: {e}"));
    // The resizer's own crop option would let the filter look over the region's edge, which torchvision doesn't.
    let cut: RgbImage;
    let source = if region == Region::whole(image) {
        image
    } else {
        let Region { left, top, width, height } = region;
        if left as u64 + width as u64 > image.width() as u64 || top as u64 + height as u64 > image.height() as u64 {
            return Err(failed(&format!("the image has {}×{} pixels only", image.width(), image.height())));
        }
        cut = image::imageops::crop_imm(image, left, top, width, height).to_image();
        &cut
    };
    if source.dimensions() == (width, height) {
        return Ok(source.clone());
    }
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let view = TypedImageRef::<U8x3>::from_buffer(source.width(), source.height(), source.as_raw()).map_err(|e| failed(&e))?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    // Typed, so that the resizer is compiled for this one kind of pixels: all of them together were half of this crate's code.
    Resizer::new().resize_typed(&view, &mut target, &options).map_err(|e| failed(&e))?;
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| failed(&"too few pixels"))
}

/// Scales the whole image so that the shorter side is `shorter`, and both sides are at least those of the crop.
pub fn resize_shorter(image: &RgbImage, shorter: u32, crop_width: u32, crop_height: u32) -> Result<RgbImage> {
    let (width, height) = (image.width() as u64, image.height() as u64);
    if width == 0 || height == 0 {
        return Err(Error::data(format!("an image of {width}×{height} pixels has nothing to show. Remove it")));
    }
    // Torchvision truncates the longer side. For oblong crops the shorter side grows until the crop fits.
    let mut shorter = shorter as u64;
    let scaled = |shorter: u64| {
        if width <= height { (shorter, shorter * height / width) } else { (shorter * width / height, shorter) }
    };
    while scaled(shorter).0 < crop_width as u64 || scaled(shorter).1 < crop_height as u64 {
        shorter += 1;
    }
    let (new_width, new_height) = scaled(shorter);
    if new_width.max(new_height) > MAX_SIDE as u64 {
        return Err(Error::data(format!(
            "an image of {width}×{height} pixels is too oblong: scaled to the network's input it would be {new_width}×{new_height}. Crop it, or remove it"
        )));
    }
    resize(image, Region::whole(image), new_width as u32, new_height as u32)
}

/// How images become a network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub(crate) resize: u32,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    pub(crate) height: u32,
    pub(crate) width: u32,
}

impl Recipe {
    /// Joins the manifest's preprocessing with the shape of the network's input, `[N, C, H, W]` (N may be anything).
    ///
    /// Fails when C isn't 1 or 3, when H or W is symbolic, when mean and std don't have C numbers each, or when
    /// the crop doesn't fit into the resized image.
    pub fn new(preprocessing: &Preprocessing, input_shape: &[i64]) -> Result<Recipe> {
        let side = |v: i64| u32::try_from(v).ok().filter(|v| (1..=MAX_SIDE).contains(v));
        let sizes = match *input_shape {
            [_, channels @ (1 | 3), height, width] => side(height).zip(side(width)).map(|(h, w)| (channels as usize, h, w)),
            _ => None,
        };
        let Some((channels, height, width)) = sizes else {
            return Err(Error::data(format!(
                "images cannot feed an input of shape {input_shape:?}: it must be [batch, 3, height, width] for colour or [batch, 1, height, width] \
                 for grey, with known height and width. Export the network with a fixed input size"
            )));
        };
        let Preprocessing { resize, mean, std } = preprocessing;
        if mean.len() != channels || std.len() != channels {
            return Err(Error::data(format!(
                "the network takes {channels} channel{}, but the preprocessing has {} mean and {} std values. Give one of each per channel",
                if channels == 1 { "" } else { "s" },
                mean.len(),
                std.len()
            )));
        }
        if mean.iter().any(|v| !v.is_finite()) || std.iter().any(|v| !v.is_finite() || *v <= 0.0) {
            return Err(Error::data(format!("the preprocessing has mean {mean:?} and std {std:?}: all must be finite, and std above 0")));
        }
        let fits = u32::try_from(*resize).ok().filter(|r| (height.min(width)..=MAX_SIDE).contains(r));
        let Some(resize) = fits else {
            return Err(Error::data(format!(
                "images resized to {resize} pixels have no {height}×{width} crop. Set the resize size to {} or more (usual: 8/7 of it), at most {MAX_SIDE}",
                height.min(width)
            )));
        };
        Ok(Recipe { resize, mean: mean.clone(), std: std.clone(), height, width })
    }

    /// 1 for grey, 3 for RGB.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// C×H×W of the network's input.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height as usize, self.width as usize]
    }

    /// Resizes by the shorter side: the first step, which training and evaluation share.
    pub fn resized(&self, image: &RgbImage) -> Result<RgbImage> {
        resize_shorter(image, self.resize, self.width, self.height)
    }

    /// The central crop of an image from [`Recipe::resized`], normalised, as C×H×W values in `out`.
    pub fn central(&self, resized: &RgbImage, out: ArrayViewMut3<f32>) -> Result<()> {
        let Region { left, top, width, height } = Region::central(resized, self.width, self.height);
        self.finish(planes(window(resized, left as i64, top as i64, width, height)?.view()).view(), out)
    }

    /// The whole way for evaluation, C×H×W: resize, central crop, scale to 0…1, subtract mean, divide by std.
    pub fn evaluate(&self, image: &RgbImage) -> Result<Array3<f32>> {
        let mut out = Array3::zeros(self.shape());
        self.central(&self.resized(image)?, out.view_mut())?;
        Ok(out)
    }

    /// RGB planes of 0…1 values, 3×H×W → normalised C×H×W values.
    pub(crate) fn finish(&self, planes: ArrayView3<f32>, mut out: ArrayViewMut3<f32>) -> Result<()> {
        let [_, height, width] = self.shape();
        if planes.shape() != [3, height, width] || out.shape() != self.shape() {
            return Err(Error::data(format!("an input of shape {:?} cannot hold an image of shape {:?}", out.shape(), self.shape())));
        }
        let grey: Array3<f32>;
        let source = if self.channels() == 1 {
            // ITU-R 601, as PIL's `convert("L")`.
            grey = weighted(planes, [0.299, 0.587, 0.114]).insert_axis(Axis(0));
            grey.view()
        } else {
            planes
        };
        for (((mut to, from), mean), std) in out.outer_iter_mut().zip(source.outer_iter()).zip(&self.mean).zip(&self.std) {
            Zip::from(&mut to).and(&from).for_each(|to, from| *to = (from - mean) / std);
        }
        Ok(())
    }
}

/// The sum of three planes, 3×H×W, each times its weight: H×W.
pub(crate) fn weighted(planes: ArrayView3<f32>, [red, green, blue]: [f32; 3]) -> Array2<f32> {
    let [r, g, b] = [0, 1, 2].map(|c| planes.index_axis_move(Axis(0), c));
    Zip::from(&r).and(&g).and(&b).map_collect(|r, g, b| red * r + green * g + blue * b)
}

/// An image as H×W×3 numbers.
pub(crate) fn pixels(image: &RgbImage) -> Result<ArrayView3<'_, u8>> {
    let shape = [image.height() as usize, image.width() as usize, 3];
    ArrayView3::from_shape(shape, image.as_raw()).map_err(|e| Error::data(format!("an image of shape {shape:?} lacks pixels: {e}")))
}

/// A part of an image, `height`×`width`×3, with its corner at (`left`, `top`). Points outside the image repeat its border.
pub(crate) fn window(image: &RgbImage, left: i64, top: i64, width: u32, height: u32) -> Result<CowArray<'_, u8, Ix3>> {
    let all = pixels(image)?;
    let within = |start: i64, length: u32, size: u32| start >= 0 && start + length as i64 <= size as i64;
    if within(left, width, image.width()) && within(top, height, image.height()) {
        let (top, left) = (top as usize, left as usize);
        return Ok(all.slice_move(s![top..top + height as usize, left..left + width as usize, ..]).into());
    }
    let nearest = |start: i64, length: u32, size: u32| -> Vec<usize> {
        (start..start + length as i64).map(|at| at.clamp(0, size as i64 - 1) as usize).collect()
    };
    let rows = all.select(Axis(0), &nearest(top, height, image.height()));
    Ok(rows.select(Axis(1), &nearest(left, width, image.width())).into())
}

/// H×W×3 pixels as 3×H×W values from 0 to 1.
pub(crate) fn planes(pixels: ArrayView3<u8>) -> Array3<f32> {
    let pixels = pixels.permuted_axes([2, 0, 1]);
    let mut planes = Array3::zeros(pixels.raw_dim());
    Zip::from(&mut planes).and(&pixels).for_each(|to, from| *to = *from as f32 / 255.0);
    planes
}
