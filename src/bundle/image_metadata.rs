//! What a model's metadata says about the images that it wants, as spgraph and others write it.

use super::entry::{Entry, numbers};
use super::literal::{self, Literal};
use super::manifest::Preprocessing;
use super::preprocessing::{ChannelOrder, Images, Layout};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx::pb;

/// Metadata key: what is done to an image, the manifest's `preprocessing` as JSON.
pub const PREPROCESSING_KEY: &str = "spgraph.preprocessing";

/// What a model says about its images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageMetadata {
    said: Images,
    /// What it says and cannot be used: the option that says it in its place, and why.
    doubts: Vec<(Field, String)>,
}

impl ImageMetadata {
    /// Where `given` says nothing, what the model says. Fails where what the model says of that cannot be used.
    pub fn choose(&self, given: &Images) -> Result<Images> {
        let open = |field: Field| match field {
            Field::MEAN => given.mean.is_none(),
            Field::STD => given.std.is_none(),
            Field::CHANNELS => given.channels.is_none(),
            Field::LAYOUT => given.layout.is_none(),
            _ => given.scale.is_none(),
        };
        match self.doubts.iter().find(|(field, _)| open(*field)) {
            Some((field, why)) => {
                Err(Error::model(format!("the model does not say clearly how its images are prepared: {why}. Say it with {field}")))
            }
            None => Ok(given.or(&self.said)),
        }
    }
}

impl From<Images> for ImageMetadata {
    fn from(said: Images) -> ImageMetadata {
        ImageMetadata { said, doubts: vec![] }
    }
}

/// Reads spgraph's own entry, or what others write: the keys of ONNX's specification, Ultralytics', and mean, std and the like under their usual
/// names. Fails where spgraph's own is damaged.
pub(super) fn find(model: &pb::ModelProto) -> Result<ImageMetadata> {
    if let Some(own) = model.metadata_props.iter().find(|p| p.key() == PREPROCESSING_KEY) {
        let own: Preprocessing = serde_json::from_str(own.value())
            .map_err(|e| Error::model(format!("the model's metadata `{PREPROCESSING_KEY}` is damaged ({e}): export it again")))?;
        return Ok(Images::from(&own).into());
    }
    let mut said = Said { model, doubts: vec![] };
    let first = said.specification();
    let images = first.or(&said.ultralytics()).or(&said.usual_names());
    // What another entry says is no longer open.
    said.doubts.retain(|(field, _)| match *field {
        Field::MEAN => images.mean.is_none(),
        Field::STD => images.std.is_none(),
        Field::CHANNELS => images.channels.is_none(),
        Field::LAYOUT => images.layout.is_none(),
        _ => images.scale.is_none(),
    });
    Ok(ImageMetadata { said: images, doubts: said.doubts })
}

const MEAN: [&str; 8] = ["mean", "image_mean", "img_mean", "pixel_mean", "norm_mean", "mean_values", "mean_value", "means"];
const STD: [&str; 10] =
    ["std", "image_std", "img_std", "pixel_std", "norm_std", "stddev", "std_values", "std_value", "stds", "scale_values"];
const SCALE: [&str; 5] = ["scale", "input_scale", "image_scale", "pixel_scale", "rescale_factor"];
const RANGE: [&str; 3] = ["input_range", "pixel_range", "value_range"];
const ORDER: [&str; 9] = [
    "channel_order",
    "color_format",
    "color_order",
    "color_mode",
    "pixel_format",
    "color_space",
    "channels",
    "image_channels",
    "input_channels",
];
const LAYOUT: [&str; 4] = ["layout", "input_layout", "data_format", "image_data_format"];

/// Means something else in many files.
const FORMAT: [&str; 1] = ["input_format"];

/// Keys under which files say other things as well: what cannot be read there says nothing about images.
const ALSO_OTHERS: [&str; 6] = ["means", "stds", "scale_values", "channels", "image_channels", "input_channels"];

/// Pixels from 0 to 1 have no statistics above that.
const LARGEST_SHARE: f32 = 2.0;

struct Said<'a> {
    model: &'a pb::ModelProto,
    doubts: Vec<(Field, String)>,
}

impl<'a> Said<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.model.metadata_props.iter().find(|p| p.key().eq_ignore_ascii_case(key)).map(|p| p.value().trim())
    }

    /// The first of `keys`, also in an entry that is a whole configuration; none where it says nothing.
    fn entry(&self, keys: &[&str]) -> Option<Entry> {
        let alone = keys.iter().find_map(|&key| Some((key, self.text(key)?))).map(|(key, text)| Entry {
            key: key.into(),
            text: text.into(),
            value: literal::parse(text).unwrap_or_else(|| Literal::Text(text.into())),
            alone: true,
        });
        let nested = || {
            self.model.metadata_props.iter().find_map(|p| {
                let value = literal::parse(p.value())?.get(keys)?.clone();
                let text = value.scalar().unwrap_or("a list").to_string();
                Some(Entry { key: p.key().into(), text, value, alone: false })
            })
        };
        alone.or_else(nested).filter(|e| !matches!(e.text.to_lowercase().as_str(), "" | "none" | "null"))
    }

    fn doubt(&mut self, field: Field, entry: &Entry, why: &str) {
        self.doubts.push((field, format!("its metadata `{}` is `{}`, {why}", entry.key, entry.text)));
    }

    /// The numbers under the first of `keys`.
    fn statistics(&mut self, keys: &[&str], field: Field) -> Option<Vec<f32>> {
        let entry = self.entry(keys)?;
        let found = entry.numbers().filter(|n| matches!(n.len(), 1 | 3));
        if found.is_none() && entry.alone && !ALSO_OTHERS.contains(&entry.key.as_str()) {
            self.doubt(field, &entry, "which is no number for each channel");
        }
        found
    }

    /// The keys of ONNX's MetadataProps.md.
    fn specification(&mut self) -> Images {
        let format = self.entry(&["Image.BitmapPixelFormat"]);
        let (scale, mean, std) = match self.text("Image.NominalPixelRange") {
            Some("NominalRange_0_255") => (Some(255), Some(0.0), Some(1.0)),
            Some("Normalized_0_1") => (Some(1), Some(0.0), Some(1.0)),
            Some("Normalized_1_1") => (Some(1), Some(0.5), Some(0.5)),
            None | Some("") => (None, None, None),
            Some(other) => {
                let why = format!("its metadata `Image.NominalPixelRange` is `{other}`, which spgraph cannot make of pixels");
                self.doubts.push((Field::SCALE, why));
                (None, None, None)
            }
        };
        let grey = format.as_ref().is_some_and(|f| f.text.to_lowercase().starts_with("gray"));
        let each = |value: Option<f32>| value.map(|v| vec![v; if grey { 1 } else { 3 }]);
        let channels = format.and_then(|f| self.order(&f));
        Images { channels, scale, mean: each(mean), std: each(std), ..Images::default() }
    }

    /// Its classifiers take the central square of the image, from 0 to 1.
    fn ultralytics(&self) -> Images {
        if self.text("author") != Some("Ultralytics") || self.text("task") != Some("classify") {
            return Images::default();
        }
        let size = self.text("imgsz").and_then(literal::parse).and_then(|v| numbers(&v)).unwrap_or_default();
        let side = size.into_iter().reduce(f32::min).filter(|&side| side >= 1.0).map(|side| side as usize);
        Images {
            resize: side,
            mean: Some(vec![0.0; 3]),
            std: Some(vec![1.0; 3]),
            channels: Some(ChannelOrder::Rgb),
            scale: Some(1),
            layout: None,
        }
    }

    fn usual_names(&mut self) -> Images {
        let (mut mean, mut std) = (self.statistics(&MEAN, Field::MEAN), self.statistics(&STD, Field::STD));
        let scale = self.scale(&mut mean, &mut std);
        let order = self.entry(&ORDER).and_then(|entry| self.order(&entry));
        let format = self.entry(&FORMAT);
        let order = order.or_else(|| format.as_ref().and_then(|f| colours(&f.text)));
        let layout = self.entry(&LAYOUT).and_then(|entry| {
            let found = layout(&entry.text);
            let text = entry.text.to_lowercase();
            let meant = text.starts_with("channel") || (text.len() > 2 && text.chars().all(|c| "nchw".contains(c)));
            if found.is_none() && entry.alone && meant {
                self.doubt(Field::LAYOUT, &entry, "and neither NCHW nor NHWC");
            }
            found
        });
        let layout = layout.or_else(|| format.as_ref().and_then(|f| self::layout(&f.text)));
        Images { resize: None, mean, std, channels: order, scale, layout }
    }

    /// What white is, as a range, a factor or the statistics say it. A factor may also be what stands for a deviation.
    fn scale(&mut self, mean: &mut Option<Vec<f32>>, std: &mut Option<Vec<f32>>) -> Option<u16> {
        let numbers = || mean.iter().chain(std.iter()).flatten();
        let large = numbers().any(|v| v.abs() > LARGEST_SHARE);
        let known = mean.is_some() && std.is_some() && mean.iter().flatten().any(|&m| m != 0.0);
        let of_statistics = match (large, known) {
            (true, _) => Some(255),
            (false, true) => Some(1),
            (false, false) => None,
        };
        if let Some(entry) = self.entry(&RANGE) {
            let half = |v: &Option<Vec<f32>>| v.as_ref().is_none_or(|v| v.iter().all(|&n| n == 0.5));
            match entry.range() {
                Some((0.0, high)) if high == 1.0 || high == 255.0 => return Some(high as u16),
                Some((-1.0, 1.0)) if half(mean) && half(std) => {
                    (*mean, *std) = (mean.take().or(Some(vec![0.5; 3])), std.take().or(Some(vec![0.5; 3])));
                    return Some(1);
                }
                _ if entry.alone && entry.text.contains(|c: char| c.is_ascii_digit()) => {
                    self.doubt(Field::SCALE, &entry, "and not what pixels are before mean and std: 0 to 1, or 0 to 255");
                    return None;
                }
                _ => {}
            }
        }
        let Some(entry) = self.entry(&SCALE) else { return of_statistics };
        let factor = entry.numbers().and_then(|n| if let [one] = n[..] { Some(one) } else { None });
        let is = |v: f32| factor.is_some_and(|f| (f / v - 1.0).abs() < 1e-3);
        match of_statistics {
            // Whether white is that or pixels are multiplied by it: the same.
            Some(255) if is(1.0) || (is(255.0) && std.is_some()) => Some(255),
            // Caffe's: the mean is subtracted first.
            Some(255) if entry.alone && std.is_none() && factor.is_some_and(|f| f > 0.0 && f < 1.0) => {
                *std = mean.as_ref().map(|m| vec![1.0 / factor.unwrap_or(1.0); m.len()]);
                Some(255)
            }
            // Whether white is 1, or pixels are multiplied by 1/255 or divided by 255: the same.
            Some(1) if is(1.0) || is(255.0) || is(1.0 / 255.0) => Some(1),
            None if is(1.0 / 255.0) => Some(1),
            // Alone it may be the size of the model, or a factor between images.
            _ if entry.alone && (mean.is_some() || std.is_some()) => {
                self.doubt(Field::SCALE, &entry, "which beside its mean and std does not say whether pixels are 0 to 1 or 0 to 255");
                None
            }
            found => found,
        }
    }

    /// The order of the colours. Grey and a number of channels have none.
    fn order(&mut self, entry: &Entry) -> Option<ChannelOrder> {
        let text = entry.text.to_lowercase();
        let found = colours(&text);
        let none = text.contains("gray") || text.contains("grey") || text == "l" || text.starts_with("colo") || text.parse::<u32>().is_ok();
        if found.is_none() && !none && entry.alone && !ALSO_OTHERS.contains(&entry.key.as_str()) {
            self.doubt(Field::CHANNELS, entry, "and neither RGB nor BGR");
        }
        found
    }
}

fn colours(text: &str) -> Option<ChannelOrder> {
    let text = text.to_lowercase();
    match (text.contains("bgr"), text.contains("rgb")) {
        (true, false) => Some(ChannelOrder::Bgr),
        (false, true) => Some(ChannelOrder::Rgb),
        _ => None,
    }
}

fn layout(text: &str) -> Option<Layout> {
    match text.to_lowercase().as_str() {
        "nchw" | "channels_first" | "channels-first" | "chw" => Some(Layout::Nchw),
        "nhwc" | "channels_last" | "channels-last" | "hwc" => Some(Layout::Nhwc),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(entries: &[(&str, &str)]) -> ImageMetadata {
        let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) };
        let model = pb::ModelProto { metadata_props: entries.iter().map(entry).collect(), ..Default::default() };
        find(&model).unwrap()
    }

    fn found(entries: &[(&str, &str)]) -> Images {
        let found = said(entries);
        assert_eq!(found.doubts, []);
        found.said
    }

    #[test]
    fn others_metadata_is_understood() {
        let bgr = found(&[("Image.BitmapPixelFormat", "Bgr8"), ("Image.NominalPixelRange", "NominalRange_0_255")]);
        assert_eq!(
            (bgr.channels, bgr.scale, bgr.mean, bgr.std),
            (Some(ChannelOrder::Bgr), Some(255), Some(vec![0.0; 3]), Some(vec![1.0; 3]))
        );
        let grey = found(&[("Image.BitmapPixelFormat", "Gray8"), ("Image.NominalPixelRange", "Normalized_1_1")]);
        assert_eq!((grey.channels, grey.scale, grey.mean, grey.std), (None, Some(1), Some(vec![0.5]), Some(vec![0.5])));
        let yolo = found(&[("author", "Ultralytics"), ("task", "classify"), ("imgsz", "[64, 64]")]);
        assert_eq!((yolo.resize, yolo.mean, yolo.std), (Some(64), Some(vec![0.0; 3]), Some(vec![1.0; 3])));
        for mean in [
            "[0.5, 0.4, 0.3]",
            "(0.5, 0.4, 0.3)",
            "0.5,0.4,0.3",
            "0.5 0.4 0.3",
            "[0.5 0.4 0.3]",
            "0.5; 0.4; 0.3",
            "[[[0.5]], [[0.4]], [[0.3]]]",
        ] {
            let own = found(&[("mean", mean), ("std", "[0.2, 0.2, 0.2]"), ("channel_order", "BGR"), ("data_format", "channels_last")]);
            let expected = (Some(vec![0.5, 0.4, 0.3]), Some(1), Some(ChannelOrder::Bgr), Some(Layout::Nhwc));
            assert_eq!((own.mean, own.scale, own.channels, own.layout), expected);
        }
        let caffe = found(&[("config", r#"{"image_mean": [103.9, 116.8, 123.7], "image_std": [1, 1, 1]}"#)]);
        assert_eq!((caffe.mean, caffe.scale), (Some(vec![103.9, 116.8, 123.7]), Some(255)));
        assert_eq!(found(&[("description", "mean of nothing"), ("imgsz", "[64, 64]")]), Images::default());
    }

    #[test]
    fn what_else_says_which_numbers_pixels_are() {
        let caffe = Some(vec![104.0, 117.0, 123.0]);
        let small = ("mean", "0.485 0.456 0.406");
        for (entries, scale, mean, std) in [
            (&[("mean_values", "104 117 123"), ("scale_values", "58.4,57.1,57.4")][..], 255, caffe.clone(), Some(vec![58.4, 57.1, 57.4])),
            (&[("mean_values", "104,117,123"), ("scale", "1.0")], 255, caffe.clone(), None),
            (&[("mean_values", "104,117,123"), ("scale", "1/128")], 255, caffe, Some(vec![128.0; 3])),
            (&[small, ("std", "0.25"), ("scale", "255")], 1, Some(vec![0.485, 0.456, 0.406]), Some(vec![0.25])),
            (&[small, ("std", "0.25"), ("rescale_factor", "0.00392156862745098")], 1, Some(vec![0.485, 0.456, 0.406]), Some(vec![0.25])),
            (&[("scale", "1/255")], 1, None, None),
            (&[("input_range", "-1..1")], 1, Some(vec![0.5; 3]), Some(vec![0.5; 3])),
            (&[("input_range", "0-255")], 255, None, None),
            (
                &[("preprocessor", r#"{"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 0.003921569}"#)],
                1,
                Some(vec![0.5]),
                Some(vec![0.5]),
            ),
        ] {
            let found = found(entries);
            assert_eq!((found.scale, found.mean, found.std), (Some(scale), mean, std), "{entries:?}");
        }
        for (key, value, order) in
            [("channels", "bgr", Some(ChannelOrder::Bgr)), ("input_format", "RGB", Some(ChannelOrder::Rgb)), ("channels", "3", None)]
        {
            assert_eq!(found(&[(key, value)]).channels, order, "{key} {value}");
        }
        for nothing in [
            ("mean", "None"),
            ("std", ""),
            ("color_mode", "grayscale"),
            ("color_mode", "color"),
            ("input_format", "jpeg"),
            ("train", r#"{"scale": [0.08, 1]}"#),
            ("metrics", r#"{"mean": "high"}"#),
            ("scale", "n"),
            ("scale", "4"),
            ("scale_values", "[1,1]"),
            ("channels", "[3]"),
            ("channels", "3, 16, 16"),
            ("input_channels", "three"),
            ("layout", "single"),
            ("means", "ok"),
        ] {
            assert_eq!(found(&[nothing]), Images::default(), "{nothing:?}");
        }
    }

    #[test]
    fn an_augmentation_is_no_deviation() {
        let found = found(&[("mean", "123.675,116.28,103.53"), ("args", r#"{"scale": 0.5, "lr": 0.1}"#)]);
        assert_eq!((found.scale, found.std), (Some(255), None));
    }

    #[test]
    fn what_cannot_be_read_is_said_until_an_option_says_it() {
        let given = |field: Field| match field {
            Field::MEAN => Images { mean: Some(vec![0.0; 3]), ..Images::default() },
            Field::STD => Images { std: Some(vec![1.0; 3]), ..Images::default() },
            Field::CHANNELS => Images { channels: Some(ChannelOrder::Rgb), ..Images::default() },
            Field::LAYOUT => Images { layout: Some(Layout::Nchw), ..Images::default() },
            _ => Images { scale: Some(255), ..Images::default() },
        };
        for (entries, key, field) in [
            (&[("mean", "imagenet")][..], "mean", Field::MEAN),
            (&[("mean", "0,485; 0,456; 0,406")], "mean", Field::MEAN),
            (&[("pixel_std", "{'r': 1}")], "pixel_std", Field::STD),
            (&[("std", "0.2 nan 0.2")], "std", Field::STD),
            (&[("channel_order", "YCbCr")], "channel_order", Field::CHANNELS),
            (&[("data_format", "NCWH")], "data_format", Field::LAYOUT),
            (&[("scale", "255"), ("mean", "104,117,123")], "scale", Field::SCALE),
            (&[("scale", "0.5"), ("mean", "0.5"), ("std", "0.5")], "scale", Field::SCALE),
            (&[("input_range", "[0, 65535]")], "input_range", Field::SCALE),
            (&[("input_range", "[-1, 1]"), ("mean", "0.4"), ("std", "0.2")], "input_range", Field::SCALE),
            (&[("Image.NominalPixelRange", "NominalRange_16_235")], "Image.NominalPixelRange", Field::SCALE),
            (&[("Image.BitmapPixelFormat", "Yuv")], "Image.BitmapPixelFormat", Field::CHANNELS),
        ] {
            let said = said(entries);
            let why = said.choose(&Images::default()).unwrap_err().to_string();
            assert!(why.contains(&format!("`{key}`")) && why.contains(&field.to_string()), "{entries:?}: {why}");
            assert!(said.choose(&given(field)).is_ok(), "{entries:?}");
        }
    }
}
