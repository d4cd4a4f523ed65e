//! What is done to an image before it enters the network: as the caller says, else as the model says, else as most networks want it.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::DType;
use serde::{Deserialize, Serialize};

/// The order in which colours enter the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV has it.
    Bgr,
}

/// Where the channels stand among the dimensions of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Batch, channels, height, width.
    #[default]
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

impl Layout {
    /// The layout of an input of that shape, and whether the other one would do as well; `None` for an input that takes no images.
    pub fn of(shape: &[i64]) -> Option<(Layout, bool)> {
        let image = |n: i64| n == 1 || n == 3;
        let [_, first, _, last] = *shape else { return None };
        match (image(first), image(last)) {
            (true, other) => Some((Layout::Nchw, other)),
            (false, true) => Some((Layout::Nhwc, false)),
            (false, false) => None,
        }
    }

    /// Channels, height, width of an input of that shape; -1 where one is open.
    pub fn sizes(self, shape: &[i64]) -> Option<[i64; 3]> {
        match (self, shape) {
            (Layout::Nchw, &[_, channels, height, width]) | (Layout::Nhwc, &[_, height, width, channels]) => {
                Some([channels, height, width])
            }
            _ => None,
        }
    }
}

/// Image → input tensor. Pixels are scaled to 0…`scale`, then `(x − mean) / std` per channel, channels in the network's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The shorter side after resizing, before the central crop of the network's input size.
    pub resize: usize,
    /// One for each channel, in the network's order.
    pub mean: Vec<f32>,
    /// As many as `mean`; none is 0.
    pub std: Vec<f32>,
    /// The order of the colours.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub channels: ChannelOrder,
    /// What white is before mean and std: 1 or 255.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub scale: u16,
    /// Where the channels stand.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub layout: Layout,
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u16 {
    1
}

fn is_one(scale: &u16) -> bool {
    *scale == 1
}

impl Default for Preprocessing {
    /// ImageNet's channel statistics and the usual 256 → 224.
    fn default() -> Self {
        Preprocessing {
            resize: 256,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            channels: ChannelOrder::Rgb,
            scale: 1,
            layout: Layout::Nchw,
        }
    }
}

/// What somebody says about images; the rest is open.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// See [`Preprocessing`].
    pub resize: Option<usize>,
    /// See [`Preprocessing`].
    pub mean: Option<Vec<f32>>,
    /// See [`Preprocessing`].
    pub std: Option<Vec<f32>>,
    /// See [`Preprocessing`].
    pub channels: Option<ChannelOrder>,
    /// See [`Preprocessing`].
    pub scale: Option<u16>,
    /// See [`Preprocessing`].
    pub layout: Option<Layout>,
}

/// How images are prepared, and what of it nobody said.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// All of it.
    pub preprocessing: Preprocessing,
    /// What was assumed.
    pub assumed: Vec<Field>,
    /// Whether the network's own nodes say which numbers it gets.
    pub own: bool,
}

impl From<&Preprocessing> for Images {
    fn from(p: &Preprocessing) -> Images {
        Images {
            resize: Some(p.resize),
            mean: Some(p.mean.clone()),
            std: Some(p.std.clone()),
            channels: Some(p.channels),
            scale: Some(p.scale),
            layout: Some(p.layout),
        }
    }
}

impl Images {
    /// This, and where it says nothing, `other`. Another scale makes the other's mean and std meaningless.
    pub fn or(&self, other: &Images) -> Images {
        let same_scale = self.scale.is_none() || other.scale.is_none() || self.scale == other.scale;
        let other = if same_scale { other.clone() } else { Images { mean: None, std: None, ..other.clone() } };
        Images {
            resize: self.resize.or(other.resize),
            mean: self.mean.clone().or(other.mean),
            std: self.std.clone().or(other.std),
            channels: self.channels.or(other.channels),
            scale: self.scale.or(other.scale),
            layout: self.layout.or(other.layout),
        }
    }

    /// With what the network's own nodes say of the numbers that images are, where nothing else does, and with what is usual where they say nothing:
    /// ImageNet's statistics at the network's input size, one grey channel with their mean; numbers of 0…255 as they are. Fails for what cannot be.
    pub fn complete(&self, dtype: DType, input_shape: &[i64], own: Option<&Images>) -> Result<Prepared> {
        match own.filter(|_| self.mean.is_none() && self.std.is_none() && self.scale.is_none()) {
            Some(own) => Ok(Prepared { own: true, ..self.or(own).completed(dtype, input_shape)? }),
            None => self.completed(dtype, input_shape),
        }
    }

    fn completed(&self, dtype: DType, input_shape: &[i64]) -> Result<Prepared> {
        let bytes = dtype == DType::U8;
        let (found, ambiguous) = Layout::of(input_shape).unwrap_or_default();
        let layout = self.layout.unwrap_or(found);
        let scale = self.scale.unwrap_or(if bytes { 255 } else { 1 });
        if !matches!(scale, 1 | 255) {
            return Err(Error::option(Field::SCALE, format!(" {scale} is not possible: pixels are numbers from 0 to 1, or from 0 to 255")));
        }
        let usual = Preprocessing::default();
        let [channels, height, width] = layout.sizes(input_shape).unwrap_or([3, 224, 224]);
        // 224 from 256, and in that proportion; small images are taken as they are.
        let side = height.min(width).max(1) as usize;
        let resize = if side >= 96 { side.saturating_mul(8).div_ceil(7) } else { side };
        let channels = if channels == 1 { 1 } else { 3 };
        let statistics = |imagenet: &[f32], plain: f32| match (scale, channels) {
            (255, n) => vec![plain; n],
            (_, 1) => vec![imagenet.iter().sum::<f32>() / 3.0],
            _ => imagenet.to_vec(),
        };
        let preprocessing = Preprocessing {
            resize: self.resize.unwrap_or(resize),
            mean: self.mean.clone().unwrap_or_else(|| statistics(&usual.mean, 0.0)),
            std: self.std.clone().unwrap_or_else(|| statistics(&usual.std, 1.0)),
            channels: self.channels.unwrap_or_default(),
            scale,
            layout,
        };
        check(&preprocessing, bytes)?;
        let unknown = self.mean.is_none() || self.std.is_none();
        // Pixels as they are have any order.
        let plain = preprocessing.mean.iter().all(|&m| m == 0.0) && preprocessing.std.iter().all(|&s| s == 1.0);
        let open = [
            (Field::RESIZE, self.resize.is_none()),
            (Field::MEAN, self.mean.is_none() && !bytes),
            (Field::STD, self.std.is_none() && !bytes),
            // Whoever knows the statistics knows of what.
            (Field::CHANNELS, self.channels.is_none() && channels == 3 && (unknown || plain)),
            (Field::SCALE, self.scale.is_none() && unknown && !bytes),
            (Field::LAYOUT, self.layout.is_none() && ambiguous),
        ];
        let assumed = open.into_iter().filter(|(_, open)| *open).map(|(field, _)| field).collect();
        Ok(Prepared { preprocessing, assumed, own: false })
    }
}

/// Largest width or height in pixels that an image may have.
pub const MAX_SIDE: u32 = 20_000;

impl Preprocessing {
    /// What people have to know of it where the model does not say all of it; `own` as in [`Prepared`].
    pub fn note(&self, assumed: &[Field], own: bool) -> Option<String> {
        let shown = self.shown(assumed);
        match (own, assumed.is_empty()) {
            (false, true) => None,
            (false, false) => Some(format!("the model does not say how images are prepared; assuming {shown}")),
            (true, true) => Some(format!("the network's first nodes normalise its images, so that it gets {shown}")),
            (true, false) => Some(format!(
                "the network's first nodes normalise its images, and nothing says how else they are prepared; assuming {shown}"
            )),
        }
    }

    /// Its options, as `option `preprocessing.resize` 256 …`: those that every network needs, what is unusual, and what was `assumed`.
    pub fn shown(&self, assumed: &[Field]) -> String {
        let join = |values: &[f32]| values.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(",");
        let mut parts = vec![
            format!("{} {}", Field::RESIZE, self.resize),
            format!("{} {}", Field::MEAN, join(&self.mean)),
            format!("{} {}", Field::STD, join(&self.std)),
        ];
        let order = if self.channels == ChannelOrder::Bgr { "bgr" } else { "rgb" };
        let layout = if self.layout == Layout::Nhwc { "nhwc" } else { "nchw" };
        let others = [
            (Field::CHANNELS, order.to_string(), self.channels == ChannelOrder::Rgb),
            (Field::SCALE, self.scale.to_string(), self.scale == 1),
            (Field::LAYOUT, layout.to_string(), self.layout == Layout::Nchw),
        ];
        parts.extend(others.into_iter().filter(|(f, _, usual)| !usual || assumed.contains(f)).map(|(f, value, _)| format!("{f} {value}")));
        parts.join(" ")
    }

    /// Channels, height and width of a network's input of that shape (the batch may be anything).
    ///
    /// Fails when there are not 1 or 3 channels, when height or width is open, when mean and std don't have a number for each channel, or when the
    /// crop doesn't fit into the resized image.
    pub fn fits(&self, input_shape: &[i64]) -> Result<[u32; 3]> {
        let side = |v: i64| u32::try_from(v).ok().filter(|v| (1..=MAX_SIDE).contains(v));
        let sizes = match self.layout.sizes(input_shape) {
            Some([channels @ (1 | 3), height, width]) => side(height).zip(side(width)).map(|(h, w)| (channels as usize, h, w)),
            _ => None,
        };
        let Some((channels, height, width)) = sizes else {
            let dims = match self.layout {
                Layout::Nchw => "[batch, 3, height, width] for colour or [batch, 1, height, width]",
                Layout::Nhwc => "[batch, height, width, 3] for colour or [batch, height, width, 1]",
            };
            return Err(Error::data(format!(
                "images cannot feed an input of shape {input_shape:?}: it must be {dims} for grey, with known height and width. Export the network with a \
                 fixed input size, give the sizes with {}, or the place of the channels with {}",
                Field::INPUT_SHAPE,
                Field::LAYOUT
            )));
        };
        let Preprocessing { resize, mean, std, scale, .. } = self;
        if mean.len() != channels || std.len() != channels {
            return Err(Error::data(format!(
                "the network takes {channels} channel{}, but the preprocessing has {} mean and {} std values. Give one of each per channel",
                if channels == 1 { "" } else { "s" },
                mean.len(),
                std.len()
            )));
        }
        if mean.iter().any(|v| !v.is_finite()) || std.iter().any(|v| !v.is_finite() || *v <= 0.0) || !matches!(scale, 1 | 255) {
            return Err(Error::data(format!(
                "the preprocessing has mean {mean:?}, std {std:?} and scale {scale}: all must be finite, std above 0, and the scale 1 or 255"
            )));
        }
        let fits = u32::try_from(*resize).ok().filter(|r| (height.min(width)..=MAX_SIDE).contains(r));
        if fits.is_none() {
            return Err(Error::data(format!(
                "images resized to {resize} pixels have no {height}×{width} crop. Set the resize size to {} or more (usual: 8/7 of it), at most {MAX_SIDE}",
                height.min(width)
            )));
        }
        Ok([channels as u32, height, width])
    }
}

/// Fails for numbers that are meant for another scale.
fn check(p: &Preprocessing, bytes: bool) -> Result<()> {
    let plain = p.mean.iter().all(|&m| m == 0.0) && p.std.iter().all(|&s| s == 1.0);
    if bytes && (p.scale != 255 || !plain) {
        return Err(Error::option(
            Field::PREPROCESSING,
            ": the network takes bytes (uint8), which are pixels from 0 to 255 as they are; what is subtracted and divided is inside the network",
        ));
    }
    if p.scale == 1 && p.mean.iter().any(|m| m.abs() > 2.0) {
        let why = format!(" {:?} is not for pixels from 0 to 1. For pixels from 0 to 255 give {} 255", p.mean, Field::SCALE);
        return Err(Error::option(Field::MEAN, why));
    }
    let shares = |values: &[f32]| values.iter().all(|v| v.abs() <= 1.0);
    if p.scale == 255 && shares(&p.mean) && shares(&p.std) && p.mean.iter().any(|&m| m != 0.0) && p.std.iter().any(|&s| s < 1.0) {
        let why = format!(
            " {:?} and {} {:?} are not for pixels from 0 to 255. For pixels from 0 to 1 give {} 1",
            p.mean,
            Field::STD,
            p.std,
            Field::SCALE
        );
        return Err(Error::option(Field::MEAN, why));
    }
    Ok(())
}
