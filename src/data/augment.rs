//! Random changes to training images.
//!
//! Every choice depends on (seed, epoch, sample) alone, so neither the order of the samples nor the number of threads
//! changes what a run sees.

use crate::data::preprocess::{self, Recipe, Region};
use crate::data::random::{Purpose, Random};
use crate::error::{Error, Result};
use image::RgbImage;
use ndarray::{ArrayViewMut3, Axis, Zip};
use std::fmt;
use std::str::FromStr;

/// Where the crop comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// The central crop, as in evaluation; no mirroring.
    Central,
    /// Resized by the shorter side, a random crop, mirrored half of the time: the paper's. `pad` pixels are added on each
    /// side first, repeating the border: for small images whose resize size is the input size (4 for 32×32).
    Flip {
        /// Pixels that are added on each side.
        pad: u32,
    },
    /// torchvision's `RandomResizedCrop`: a region of `scale`…1 of the area, width to height 3:4 to 4:3, scaled to the
    /// input size; mirrored half of the time.
    Resized {
        /// The least share of the area.
        scale: f32,
    },
}

/// A way to augment; as text, `none`, `flip-crop[:PAD]` or `resized-crop[:SCALE]`, with `+color[:STRENGTH]` if wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Which part of the image is taken.
    pub crop: Crop,
    /// Brightness, contrast and saturation change by factors between 1 − strength and 1 + strength; 0 for no change.
    pub color: f32,
}

impl Augment {
    /// The central part, unchanged.
    pub const NONE: Augment = Augment { crop: Crop::Central, color: 0.0 };
    /// The paper's, without its colour changes.
    pub const FLIP_CROP: Augment = Augment { crop: Crop::Flip { pad: 0 }, color: 0.0 };
    /// The usual training for ImageNet: a window of 8 % of the image or more.
    pub const RESIZED_CROP: Augment = Augment { crop: Crop::Resized { scale: 0.08 }, color: 0.0 };

    /// Strength of `+color` without a number.
    const COLOR: f32 = 0.25;

    /// Whether images come out as in evaluation.
    pub fn is_none(&self) -> bool {
        *self == Augment::NONE
    }

    /// Whether it starts from the image resized by the shorter side; otherwise from the image as it was decoded.
    pub(crate) fn wants_resized(&self) -> bool {
        !matches!(self.crop, Crop::Resized { .. })
    }

    /// Normalised C×H×W values in `out`, from an image that is resized if [`Augment::wants_resized`] says so.
    pub(crate) fn apply(&self, recipe: &Recipe, image: &RgbImage, moment: Moment, index: usize, out: ArrayViewMut3<f32>) -> Result<()> {
        if self.is_none() {
            return recipe.central(image, out);
        }
        let mut random = Random::new(Purpose::Augment, moment.seed, moment.epoch, index as u64);
        let (width, height) = (recipe.width, recipe.height);
        let scaled: RgbImage;
        let mut pixels = match self.crop {
            Crop::Central => {
                let Region { left, top, .. } = Region::central(image, width, height);
                preprocess::window(image, left as i64, top as i64, width, height)?
            }
            Crop::Flip { pad } => {
                let start = |random: &mut Random, outer: u32, inner: u32| {
                    let room = outer.saturating_sub(inner) as usize + 2 * pad as usize;
                    random.below(room + 1) as i64 - pad as i64
                };
                let left = start(&mut random, image.width(), width);
                let top = start(&mut random, image.height(), height);
                preprocess::window(image, left, top, width, height)?
            }
            Crop::Resized { scale } => {
                let region = random_region(&mut random, image, scale, width as f32 / height as f32);
                scaled = preprocess::resize(image, region, width, height)?;
                preprocess::pixels(&scaled)?.into()
            }
        };
        if self.crop != Crop::Central && random.chance(0.5) {
            pixels.invert_axis(Axis(1));
        }
        let mut planes = preprocess::planes(pixels.view());
        if self.color > 0.0 {
            jitter(&mut random, self.color, planes.view_mut());
        }
        recipe.finish(planes.view(), out)
    }
}

/// A point in training that random changes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
}

/// torchvision's procedure: ten attempts at a region that fits, then the largest central one of an allowed ratio.
fn random_region(random: &mut Random, image: &RgbImage, least: f32, input_ratio: f32) -> Region {
    let (width, height) = (image.width() as f32, image.height() as f32);
    // Ratios are relative to the input's own, which torchvision takes to be square.
    let (low, high) = (input_ratio * 3.0 / 4.0, input_ratio * 4.0 / 3.0);
    for _ in 0..10 {
        let area = width * height * random.range(least, 1.0);
        let ratio = libm::expf(random.range(libm::logf(low), libm::logf(high)));
        let (w, h) = ((area * ratio).sqrt().round() as u32, (area / ratio).sqrt().round() as u32);
        if (1..=image.width()).contains(&w) && (1..=image.height()).contains(&h) {
            let left = random.below((image.width() - w) as usize + 1) as u32;
            let top = random.below((image.height() - h) as usize + 1) as u32;
            return Region { left, top, width: w, height: h };
        }
    }
    let ratio = width / height;
    let (w, h) = match ratio {
        r if r < low => (width, width / low),
        r if r > high => (height * high, height),
        _ => (width, height),
    };
    let whole = |v: f32, most: u32| (v.round() as u32).clamp(1, most);
    Region::central(image, whole(w, image.width()), whole(h, image.height()))
}

/// Brightness, contrast and saturation, each by a factor of its own, in random order, on 3×H×W values from 0 to 1.
fn jitter(random: &mut Random, strength: f32, mut planes: ArrayViewMut3<f32>) {
    let mut changes = [Change::Brightness, Change::Contrast, Change::Saturation];
    random.shuffle(&mut changes);
    for change in changes {
        adjust(change, random.range(1.0 - strength, 1.0 + strength), planes.view_mut());
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Brightness,
    Contrast,
    Saturation,
}

/// torchvision's `adjust_*`: away from black, from the mean grey of the image, or from the grey of each pixel.
fn adjust(change: Change, factor: f32, mut planes: ArrayViewMut3<f32>) {
    const GREY: [f32; 3] = [0.2989, 0.587, 0.114];
    let blend = |value: f32, base: f32| (base + factor * (value - base)).clamp(0.0, 1.0);
    match change {
        Change::Brightness => planes.mapv_inplace(|v| blend(v, 0.0)),
        Change::Contrast => {
            let grey = preprocess::weighted(planes.view(), GREY);
            let mean = grey.iter().map(|&v| v as f64).sum::<f64>() / grey.len() as f64;
            planes.mapv_inplace(|v| blend(v, mean as f32));
        }
        Change::Saturation => {
            let grey = preprocess::weighted(planes.view(), GREY);
            Zip::from(&mut planes).and_broadcast(&grey).for_each(|v, base| *v = blend(*v, *base));
        }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.crop {
            Crop::Central => f.write_str("none")?,
            Crop::Flip { pad: 0 } => f.write_str("flip-crop")?,
            Crop::Flip { pad } => write!(f, "flip-crop:{pad}")?,
            Crop::Resized { scale } => write!(f, "resized-crop:{scale}")?,
        }
        if self.color > 0.0 { write!(f, "+color:{}", self.color) } else { Ok(()) }
    }
}

impl FromStr for Augment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Augment> {
        let bad = |why: &str| {
            Error::usage(format!(
                "cannot augment by `{text}`: {why}. Give none, flip-crop[:PAD] or resized-crop[:SCALE], and +color[:STRENGTH] behind it if wanted, \
                 such as flip-crop:4+color:0.2"
            ))
        };
        let split = |part: &str| match part.split_once(':') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (part.to_string(), None),
        };
        let number = |value: Option<String>, default: f32, least: f32, most: f32| match value {
            None => Ok(default),
            Some(v) => match v.parse::<f32>() {
                Ok(n) if (least..=most).contains(&n) => Ok(n),
                _ => Err(bad(&format!("`{v}` is no number from {least} to {most}"))),
            },
        };
        let (crop, color) = match text.split_once('+') {
            Some((crop, color)) => (crop, Some(color)),
            None if split(text).0 == "color" => ("none", Some(text)),
            None => (text, None),
        };
        let crop = match split(crop) {
            (name, None) if name == "none" => Crop::Central,
            (name, value) if name == "flip-crop" => {
                let pad = number(value, 0.0, 0.0, 256.0)?;
                if pad.fract() != 0.0 {
                    return Err(bad("PAD is a whole number of pixels"));
                }
                Crop::Flip { pad: pad as u32 }
            }
            (name, value) if name == "resized-crop" => Crop::Resized { scale: number(value, 0.08, 0.001, 1.0)? },
            (name, _) => return Err(bad(&format!("there is no `{name}`"))),
        };
        let color = match color.map(split) {
            None => 0.0,
            Some((name, value)) if name == "color" => number(value, Augment::COLOR, 0.0, 1.0)?,
            Some((name, _)) => return Err(bad(&format!("there is no `{name}`"))),
        };
        Ok(Augment { crop, color })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::Preprocessing;
    use ndarray::{Array3, array};

    const COLORS: [(Change, f32, [f32; 6]); 6] = [
        (Change::Brightness, 1.4, [0.28, 1.0, 0.7, 0.14, 0.98, 0.56]),
        (Change::Brightness, 0.6, [0.12, 0.54, 0.3, 0.06, 0.42, 0.24]),
        (Change::Contrast, 1.4, [0.118722, 1.0, 0.538722, 0.0, 0.818722, 0.398722]),
        (Change::Contrast, 0.6, [0.281278, 0.701278, 0.461278, 0.221278, 0.581278, 0.401278]),
        (Change::Saturation, 1.4, [0.106768, 1.0, 0.526768, 0.0, 0.806768, 0.410676]),
        (Change::Saturation, 0.6, [0.293232, 0.689324, 0.473232, 0.209324, 0.593232, 0.389324]),
    ];

    /// Red, green and blue of two pixels; the expected values are those of torchvision 0.29's `adjust_*` on floats.
    #[test]
    fn colors_change_as_in_torchvision() {
        let start = array![[[0.2, 0.9]], [[0.5, 0.1]], [[0.7, 0.4]]];
        for (change, factor, expected) in COLORS {
            let mut planes = start.clone();
            adjust(change, factor, planes.view_mut());
            for (ours, theirs) in planes.iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-5, "{change:?} {factor}: {planes:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn text_and_back() {
        for (text, augment) in [
            ("none", Augment::NONE),
            ("flip-crop", Augment::FLIP_CROP),
            ("flip-crop:4", Augment { crop: Crop::Flip { pad: 4 }, color: 0.0 }),
            ("resized-crop:0.08", Augment::RESIZED_CROP),
            ("resized-crop:0.5+color:0.1", Augment { crop: Crop::Resized { scale: 0.5 }, color: 0.1 }),
            ("none+color:0.25", Augment { crop: Crop::Central, color: 0.25 }),
        ] {
            assert_eq!(text.parse::<Augment>().unwrap(), augment);
            assert_eq!(augment.to_string(), text);
        }
        assert_eq!("color".parse::<Augment>().unwrap().to_string(), "none+color:0.25");
        assert_eq!("resized-crop".parse::<Augment>().unwrap(), Augment::RESIZED_CROP);
        for bad in [
            "",
            "flip",
            "flip-crop:x",
            "flip-crop:1.5",
            "flip-crop:-1",
            "resized-crop:0",
            "resized-crop:2",
            "none:1",
            "none+flip",
            "color:9",
            "color:nan",
        ] {
            let error = bad.parse::<Augment>().unwrap_err();
            assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("flip-crop:4+color:0.2"), "{bad}: {error}");
        }
    }

    #[test]
    fn regions_stay_inside_and_keep_their_bounds() {
        for (width, height) in [(64, 48), (48, 64), (7, 200), (200, 7), (1, 1)] {
            let image = RgbImage::new(width, height);
            let mut random = Random::new(Purpose::Augment, 1, 2, 3);
            for _ in 0..500 {
                let r = random_region(&mut random, &image, 0.2, 1.0);
                assert!(r.width > 0 && r.height > 0 && r.left + r.width <= width && r.top + r.height <= height, "{r:?}");
                if width.min(height) > 20 {
                    let (area, ratio) = ((r.width * r.height) as f32 / (width * height) as f32, r.width as f32 / r.height as f32);
                    assert!(area > 0.18 && (0.7..1.4).contains(&ratio), "{r:?}");
                }
            }
        }
    }

    /// A ramp tells where the crop was and whether it is mirrored.
    #[test]
    fn flip_crops_reach_every_place_and_mirror_half() {
        let recipe =
            Recipe::new(&Preprocessing { resize: 8, mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::default() }, &[1, 3, 8, 8])
                .unwrap_or_else(|e| panic!("{e}"));
        let ramp = RgbImage::from_fn(8, 8, |x, y| image::Rgb([10 * x as u8, 10 * y as u8, 0]));
        let augment = Augment { crop: Crop::Flip { pad: 2 }, color: 0.0 };
        let (mut mirrored, mut places) = (0, std::collections::BTreeSet::new());
        for index in 0..1000 {
            let mut out = Array3::zeros([3, 8, 8]);
            augment.apply(&recipe, &ramp, Moment { seed: 1, epoch: 0 }, index, out.view_mut()).unwrap();
            let at = |plane: usize, y: usize, x: usize| (out[[plane, y, x]] * 25.5).round() as i32;
            let flip = at(0, 0, 0) > at(0, 0, 7);
            mirrored += flip as usize;
            // The middle is never beyond the border, so its value is its place.
            places.insert((at(0, 4, if flip { 3 } else { 4 }) - 4, at(1, 4, 4) - 4));
        }
        assert!((440..560).contains(&mirrored), "{mirrored}");
        let all: std::collections::BTreeSet<_> = (-2..=2).flat_map(|x| (-2..=2).map(move |y| (x, y))).collect();
        assert_eq!(places, all);
    }
}
