//! From an image file to the numbers that enter the network.
//!
//! Follows torchvision's evaluation transform, `Resize` (bilinear, antialiased), `CenterCrop`, `ToTensor`, `Normalize`, to
//! within a step of 1/255 for rounding inside the resizer.

use crate::bundle::{ChannelOrder, Layout, MAX_SIDE, Preprocessing};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ndarray::{Array2, Array3, Array4, ArrayView3, ArrayViewMut3, Axis, CowArray, Ix3, Zip, s};

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
        let ends = (left.checked_add(width), top.checked_add(height));
        if ends.0.is_none_or(|right| right > image.width()) || ends.1.is_none_or(|bottom| bottom > image.height()) {
            return Err(failed(&format!("the image has {}×{} pixels only", image.width(), image.height())));
        }
        cut = image::imageops::crop_imm(image, left, top, width, height).to_image();
        &cut
    };
    if source.dimensions() == (width, height) {
        return Ok(source.clone());
    }
    let mut pixels = vec![0; (width as usize).saturating_mul(height as usize).saturating_mul(3)];
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
        let longer = |along: u64, other: u64| shorter.saturating_mul(along).checked_div(other).unwrap_or(u64::MAX);
        if width <= height { (shorter, longer(height, width)) } else { (longer(width, height), shorter) }
    };
    while scaled(shorter).0 < crop_width as u64 || scaled(shorter).1 < crop_height as u64 {
        shorter = shorter.saturating_add(1);
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
    channels: ChannelOrder,
    scale: f32,
    layout: Layout,
}

impl Recipe {
    /// Joins the manifest's preprocessing with the shape of the network's input. Fails where they do not fit, see [`Preprocessing::fits`].
    pub fn new(preprocessing: &Preprocessing, input_shape: &[i64]) -> Result<Recipe> {
        let [_, height, width] = preprocessing.fits(input_shape)?;
        let Preprocessing { resize, mean, std, channels, scale, layout } = preprocessing.clone();
        Ok(Recipe { resize: resize as u32, mean, std, height, width, channels, scale: scale.into(), layout })
    }

    /// 1 for grey, 3 for colour.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// C×H×W of an image, in whatever order the network's input has them.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height as usize, self.width as usize]
    }

    /// What one of 256 levels of a channel is in the network's input.
    pub(crate) fn level(&self, channel: usize) -> f64 {
        f64::from(self.scale) / 255.0 / self.std.get(channel).copied().map_or(1.0, f64::from)
    }

    /// Where the channels stand in the network's input.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Resizes by the shorter side: the first step, which training and evaluation share.
    pub fn resized(&self, image: &RgbImage) -> Result<RgbImage> {
        resize_shorter(image, self.resize, self.width, self.height)
    }

    /// What [`Recipe::resized`] does, for those who keep its results.
    pub(crate) fn resizing(&self) -> String {
        format!("shorter side {}, at least {}x{}", self.resize, self.width, self.height)
    }

    /// The central crop of an image from [`Recipe::resized`], normalised, as C×H×W values in `out`.
    pub fn central(&self, resized: &RgbImage, out: ArrayViewMut3<f32>) -> Result<()> {
        let Region { left, top, width, height } = Region::central(resized, self.width, self.height);
        self.finish(planes(window(resized, left as i64, top as i64, width, height)?.view()).view(), out)
    }

    /// The whole way for evaluation, C×H×W: resize, central crop, scale, subtract mean, divide by std.
    pub fn evaluate(&self, image: &RgbImage) -> Result<Array3<f32>> {
        let mut out = Array3::zeros(self.shape());
        self.central(&self.resized(image)?, out.view_mut())?;
        Ok(out)
    }

    /// RGB planes of 0…1 values, 3×H×W → normalised C×H×W values, channels in the network's order.
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
        } else if self.channels == ChannelOrder::Bgr {
            planes.slice_move(s![..;-1, .., ..])
        } else {
            planes
        };
        let scale = self.scale;
        for (((mut to, from), mean), std) in out.outer_iter_mut().zip(source.outer_iter()).zip(&self.mean).zip(&self.std) {
            Zip::from(&mut to).and(&from).for_each(|to, from| *to = (from * scale - mean) / std);
        }
        Ok(())
    }
}

impl Recipe {
    /// The picture that a network is shown by normalized C×H×W values: [`Recipe`]'s steps taken back, rounded to bytes.
    pub fn picture(&self, input: ArrayView3<f32>) -> Result<RgbImage> {
        if input.shape() != self.shape() {
            return Err(Error::data(format!("values of shape {:?} are no image of shape {:?}", input.shape(), self.shape())));
        }
        let value = |channel: usize, y: usize, x: usize| {
            let c = channel.min(self.channels().saturating_sub(1));
            let place = if self.channels == ChannelOrder::Bgr && self.channels() == 3 { 2usize.saturating_sub(c) } else { c };
            let of = |list: &[f32], or: f32| list.get(place).copied().unwrap_or(or);
            let given = input.get([place, y, x]).copied().unwrap_or(0.0) * of(&self.std, 1.0) + of(&self.mean, 0.0);
            (given / self.scale * 255.0).round() as u8
        };
        Ok(RgbImage::from_fn(self.width, self.height, |x, y| image::Rgb([0, 1, 2].map(|c| value(c, y as usize, x as usize)))))
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
    let within = |start: i64, length: u32, size: u32| start >= 0 && start.saturating_add(length.into()) <= i64::from(size);
    if within(left, width, image.width()) && within(top, height, image.height()) {
        let (top, left) = (top as usize, left as usize);
        let (bottom, right) = (top.saturating_add(height as usize), left.saturating_add(width as usize));
        return Ok(all.slice_move(s![top..bottom, left..right, ..]).into());
    }
    let nearest = |start: i64, length: u32, size: u32| -> Vec<usize> {
        (start..start.saturating_add(length.into())).map(|at| at.clamp(0, i64::from(size).saturating_sub(1).max(0)) as usize).collect()
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

/// Images as the element type in which a network takes them. Bytes are rounded, since resizing and colour changes leave fractions.
pub fn as_input(images: &Tensor, dtype: DType) -> Result<Tensor> {
    if dtype.is_float() {
        return Ok(images.cast(dtype)?);
    }
    let rounded: Vec<f64> = images.to_f64()?.into_iter().map(f64::round_ties_even).collect();
    Ok(Tensor::from_floats(dtype, images.shape(), &rounded))
}

/// Views C×H×W of the images in a batch, which has them in that layout.
pub(crate) fn images_of(batch: &mut Array4<f32>, layout: Layout) -> Vec<ArrayViewMut3<'_, f32>> {
    let axes = match layout {
        Layout::Nchw => [0, 1, 2],
        Layout::Nhwc => [2, 0, 1],
    };
    batch.outer_iter_mut().map(|image| image.permuted_axes(axes)).collect()
}

/// A batch of zeros for so many images of C×H×W.
pub(crate) fn empty_batch(images: usize, [channels, height, width]: [usize; 3], layout: Layout) -> Array4<f32> {
    match layout {
        Layout::Nchw => Array4::zeros([images, channels, height, width]),
        Layout::Nhwc => Array4::zeros([images, height, width, channels]),
    }
}
