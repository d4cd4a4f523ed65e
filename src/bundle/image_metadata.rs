//! What a model's metadata says about the images that it wants, as spgraph and others write it.

use super::literal::{self, Literal};
use super::manifest::Preprocessing;
use super::preprocessing::{ChannelOrder, Images, Layout};
use crate::error::{Error, Result};
use crate::onnx::pb;

/// Metadata key: what is done to an image, the manifest's `preprocessing` as JSON.
pub const PREPROCESSING_KEY: &str = "spgraph.preprocessing";

/// Reads spgraph's own entry, or what others write: the keys of ONNX's specification, Ultralytics', and mean, std and the like under their usual
/// names. Fails where spgraph's own is damaged.
pub(super) fn find(model: &pb::ModelProto) -> Result<Images> {
    if let Some(own) = model.metadata_props.iter().find(|p| p.key() == PREPROCESSING_KEY) {
        let own: Preprocessing = serde_json::from_str(own.value())
            .map_err(|e| Error::model(format!("the model's metadata `{PREPROCESSING_KEY}` is damaged ({e}): export it again")))?;
        return Ok((&own).into());
    }
    let said = Said(model);
    Ok(said.specification().or(&said.ultralytics()).or(&said.usual_names()))
}

struct Said<'a>(&'a pb::ModelProto);

impl Said<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.metadata_props.iter().find(|p| p.key().eq_ignore_ascii_case(key)).map(|p| p.value().trim())
    }

    /// The first of `keys`, also in an entry that is a whole configuration.
    fn value(&self, keys: &[&str]) -> Option<Literal> {
        let plain = keys.iter().find_map(|key| self.text(key)).map(|text| literal::parse(text).unwrap_or_else(|| bare_list(text)));
        let nested = || self.0.metadata_props.iter().find_map(|p| literal::parse(p.value())?.get(keys).cloned());
        plain.or_else(nested)
    }

    /// The keys of ONNX's MetadataProps.md.
    fn specification(&self) -> Images {
        let order = self.text("Image.BitmapPixelFormat").and_then(order);
        let (scale, mean, std) = match self.text("Image.NominalPixelRange") {
            Some("NominalRange_0_255") => (Some(255), Some(0.0), Some(1.0)),
            Some("Normalized_0_1") => (Some(1), Some(0.0), Some(1.0)),
            Some("Normalized_1_1") => (Some(1), Some(0.5), Some(0.5)),
            _ => (None, None, None),
        };
        let grey = self.text("Image.BitmapPixelFormat").is_some_and(|f| f.to_lowercase().starts_with("gray"));
        let each = |value: Option<f32>| value.map(|v| vec![v; if grey { 1 } else { 3 }]);
        Images { channels: order, scale, mean: each(mean), std: each(std), ..Images::default() }
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

    fn usual_names(&self) -> Images {
        let mean = self.value(&["mean", "image_mean", "img_mean", "pixel_mean", "norm_mean"]).and_then(|v| numbers(&v));
        let std = self.value(&["std", "image_std", "img_std", "pixel_std", "norm_std", "stddev"]).and_then(|v| numbers(&v));
        let order = self.value(&["channel_order", "color_format", "color_order", "color_mode", "pixel_format", "color_space"]);
        let layout = self.value(&["layout", "input_layout", "data_format", "image_data_format", "input_format"]);
        let range = self.value(&["input_range", "pixel_range", "value_range"]).and_then(|v| numbers(&v));
        let statistics = mean.iter().chain(&std).flatten().any(|&v| v.abs() > 2.0);
        let scale = match range.as_deref() {
            Some([low, high]) if *low == 0.0 && (*high == 1.0 || *high == 255.0) => Some(*high as u16),
            // Numbers that have no meaning from 0 to 1.
            _ if statistics => Some(255),
            _ if mean.is_some() && std.is_some() && mean.iter().flatten().any(|&m| m != 0.0) => Some(1),
            _ => None,
        };
        Images {
            resize: None,
            mean,
            std,
            channels: order.as_ref().and_then(Literal::scalar).and_then(self::order),
            scale,
            layout: layout.as_ref().and_then(Literal::scalar).and_then(|text| match text.to_lowercase().as_str() {
                "nchw" | "channels_first" | "channels-first" | "chw" => Some(Layout::Nchw),
                "nhwc" | "channels_last" | "channels-last" | "hwc" => Some(Layout::Nhwc),
                _ => None,
            }),
        }
    }
}

/// `0.485,0.456,0.406`, or a word.
fn bare_list(text: &str) -> Literal {
    let whole = literal::parse(&format!("[{text}]")).filter(|v| matches!(v, Literal::List(items) if items.len() > 1));
    whole.unwrap_or_else(|| Literal::Text(text.to_string()))
}

fn order(text: &str) -> Option<ChannelOrder> {
    let text = text.to_lowercase();
    match (text.contains("bgr"), text.contains("rgb")) {
        (true, false) => Some(ChannelOrder::Bgr),
        (false, true) => Some(ChannelOrder::Rgb),
        _ => None,
    }
}

fn numbers(value: &Literal) -> Option<Vec<f32>> {
    let number = |v: &Literal| v.scalar()?.parse().ok().filter(|n: &f32| n.is_finite());
    match value {
        Literal::List(items) => items.iter().map(number).collect(),
        other => Some(vec![number(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: &[(&str, &str)]) -> Images {
        let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto { key: Some(key.to_string()), value: Some(value.to_string()) };
        let model = pb::ModelProto { metadata_props: entries.iter().map(entry).collect(), ..Default::default() };
        find(&model).unwrap()
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
        for mean in ["[0.5, 0.4, 0.3]", "(0.5, 0.4, 0.3)", "0.5,0.4,0.3"] {
            let own = found(&[("mean", mean), ("std", "[0.2, 0.2, 0.2]"), ("channel_order", "BGR"), ("data_format", "channels_last")]);
            let expected = (Some(vec![0.5, 0.4, 0.3]), Some(1), Some(ChannelOrder::Bgr), Some(Layout::Nhwc));
            assert_eq!((own.mean, own.scale, own.channels, own.layout), expected);
        }
        let caffe = found(&[("config", r#"{"image_mean": [103.9, 116.8, 123.7], "image_std": [1, 1, 1]}"#)]);
        assert_eq!((caffe.mean, caffe.scale), (Some(vec![103.9, 116.8, 123.7]), Some(255)));
        assert_eq!(found(&[("description", "mean of nothing"), ("imgsz", "[64, 64]")]), Images::default());
    }
}
