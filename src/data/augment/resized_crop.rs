//! A random region, scaled to the input's size.

use super::operation::{Action, Crop, Operate, Parameter};
use crate::data::preprocess::{Recipe, Region, pixels, resize};
use crate::data::random::Random;
use crate::error::Result;
use image::RgbImage;
use ndarray::{Axis, CowArray, Ix3};

/// torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`: the usual training for ImageNet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizedCrop {
    /// The least share of the image's area.
    pub scale: f32,
    /// The widest region's width to height, and the narrowest one's height to width.
    pub ratio: f32,
    /// How often the region is mirrored.
    pub flip: f32,
}

impl ResizedCrop {
    const RATIO: f32 = 4.0 / 3.0;
}

impl Default for ResizedCrop {
    fn default() -> Self {
        ResizedCrop { scale: 0.08, ratio: ResizedCrop::RATIO, flip: 0.5 }
    }
}

impl Operate for ResizedCrop {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("scale", &mut self.scale, [0.001, 1.0], "least share of the area").always(),
            Parameter::number("ratio", &mut self.ratio, [1.0, 10.0], "most width to height, and height to width"),
            Parameter::number("flip", &mut self.flip, [0.0, 1.0], "probability of mirroring left to right"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Crop(self)
    }
}

impl Crop for ResizedCrop {
    fn wants_resized(&self) -> bool {
        false
    }

    fn crop<'i>(&self, image: &'i RgbImage, recipe: &Recipe, random: &mut Random) -> Result<CowArray<'i, u8, Ix3>> {
        let region = self.region(random, image, recipe.width as f32 / recipe.height as f32);
        let scaled = resize(image, region, recipe.width, recipe.height)?;
        // Its numbers, for the image itself ends here.
        let mut values: CowArray<u8, Ix3> = pixels(&scaled)?.to_owned().into();
        if random.chance(self.flip) {
            values.invert_axis(Axis(1));
        }
        Ok(values)
    }
}

impl ResizedCrop {
    /// torchvision's procedure: ten attempts at a region that fits, then the largest central one of an allowed ratio.
    fn region(&self, random: &mut Random, image: &RgbImage, input_ratio: f32) -> Region {
        let (width, height) = (image.width() as f32, image.height() as f32);
        // Ratios are relative to the input's own, which torchvision takes to be square.
        let (low, high) = match self.ratio {
            ResizedCrop::RATIO => (input_ratio * 3.0 / 4.0, input_ratio * 4.0 / 3.0),
            ratio => (input_ratio / ratio, input_ratio * ratio),
        };
        for _ in 0..10 {
            let area = width * height * random.range(self.scale, 1.0);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::Purpose;

    #[test]
    fn regions_stay_inside_and_keep_their_bounds() {
        let crop = ResizedCrop { scale: 0.2, ..ResizedCrop::default() };
        for (width, height) in [(64, 48), (48, 64), (7, 200), (200, 7), (1, 1)] {
            let image = RgbImage::new(width, height);
            let mut random = Random::new(Purpose::Augment, 1, 2, 3);
            for _ in 0..500 {
                let r = crop.region(&mut random, &image, 1.0);
                assert!(r.width > 0 && r.height > 0 && r.left + r.width <= width && r.top + r.height <= height, "{r:?}");
                if width.min(height) > 20 {
                    let (area, ratio) = ((r.width * r.height) as f32 / (width * height) as f32, r.width as f32 / r.height as f32);
                    assert!(area > 0.18 && (0.7..1.4).contains(&ratio), "{r:?}");
                }
            }
        }
    }

    /// torchvision draws the area evenly between the bounds and the logarithm of the ratio evenly between theirs.
    #[test]
    fn areas_and_ratios_are_drawn_evenly() {
        let crop = ResizedCrop { scale: 0.1, ratio: 2.0, flip: 0.5 };
        // A region of any ratio fits while its area is below half.
        let image = RgbImage::new(2000, 2000);
        let mut random = Random::new(Purpose::Augment, 5, 0, 0);
        let (mut small, mut logs) = (vec![], vec![]);
        for _ in 0..20_000 {
            let r = crop.region(&mut random, &image, 1.0);
            let area = f64::from(r.width) * f64::from(r.height) / 4e6;
            if area < 0.45 {
                small.push(area);
                logs.push((f64::from(r.width) / f64::from(r.height)).ln());
            }
        }
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!((mean(&small) - 0.275).abs() < 0.005, "{}", mean(&small));
        assert!(mean(&logs).abs() < 0.015, "{}", mean(&logs));
        let second = mean(&logs.iter().map(|v| v * v).collect::<Vec<_>>());
        assert!((second / (2f64.ln().powi(2) / 3.0) - 1.0).abs() < 0.03, "{second}");
    }
}
