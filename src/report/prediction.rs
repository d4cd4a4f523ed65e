//! Predictions as a table, and features as arrays.

use super::evaluation::table_bytes;
use super::table::{Align, Table};
use crate::error::{Error, Result};
use crate::train::{Prediction, Predictions};
use npyz::npz::file_name_from_array_name;
use npyz::{DType, TypeStr, WriteOptions, WriterBuilder};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::io::Cursor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// For a terminal.
pub fn predictions_text(found: &Predictions) -> String {
    if found.predictions.iter().any(|p| !p.numbers.is_empty()) {
        let mut table = Table::new([("image", Align::Left), ("numbers", Align::Right)]);
        for p in &found.predictions {
            let numbers: Vec<String> = p.numbers.iter().map(|v| format!("{v:.4}")).collect();
            table.row([p.image.display().to_string(), numbers.join("  ")]);
        }
        return table.to_string();
    }
    let mut table = Table::new([("image", Align::Left), ("class", Align::Left), ("probability", Align::Right)]);
    for p in &found.predictions {
        for (i, g) in p.guesses.iter().enumerate() {
            let image = if i == 0 { p.image.display().to_string() } else { String::new() };
            table.row([image, g.class.clone(), format!("{:.4}", g.probability)]);
        }
    }
    table.to_string()
}

/// A line for each image and guess: its file, which guess it is, the class and its probability. Images that could not be read have a line with the reason.
pub fn predictions_csv(found: &Predictions) -> Result<Vec<u8>> {
    if let Some(columns) = found.predictions.iter().map(|p| p.numbers.len()).max().filter(|&n| n > 0) {
        let head = std::iter::once("image".to_string()).chain((0..columns).map(|k| k.to_string())).chain(["error".to_string()]).collect();
        let lines = found.predictions.iter().map(|p| {
            let numbers = p.numbers.iter().map(f64::to_string);
            std::iter::once(p.image.display().to_string()).chain(numbers).chain([String::new()]).collect()
        });
        let unread = found
            .unread
            .iter()
            .map(|u| std::iter::once(u.image.display().to_string()).chain(vec![String::new(); columns]).chain([u.error.clone()]).collect());
        return table_bytes(std::iter::once(head).chain(lines).chain(unread));
    }
    let head = ["image", "rank", "label", "class", "probability", "error"].map(String::from).to_vec();
    let lines = |p: &Prediction| {
        let image = p.image.display().to_string();
        let line = move |(i, g): (usize, &crate::train::Guess)| {
            vec![
                image.clone(),
                i.saturating_add(1).to_string(),
                g.label.to_string(),
                g.class.clone(),
                g.probability.to_string(),
                String::new(),
            ]
        };
        p.guesses.iter().enumerate().map(line).collect::<Vec<_>>()
    };
    let unread = found.unread.iter().map(|u| {
        let empty = String::new;
        vec![u.image.display().to_string(), empty(), empty(), empty(), empty(), u.error.clone()]
    });
    table_bytes(std::iter::once(head).chain(found.predictions.iter().flat_map(lines)).chain(unread))
}

/// The names and the features of images.
struct Features {
    images: Vec<String>,
    width: usize,
    values: Vec<f32>,
}

fn features(found: &Predictions) -> Result<Features> {
    let width = found.predictions.first().map_or(0, |p| p.features.len());
    if found.predictions.iter().any(|p| p.features.len() != width) {
        return Err(Error::internal("images have different numbers of features"));
    }
    Ok(Features {
        images: found.predictions.iter().map(|p| p.image.display().to_string()).collect(),
        width,
        values: found.predictions.iter().flat_map(|p| p.features.iter().copied()).collect(),
    })
}

/// `features`, images × features, as safetensors; the metadata `images` is the list of files as JSON.
pub fn features_safetensors(found: &Predictions) -> Result<Vec<u8>> {
    let all = features(found)?;
    let failed = |why: String| Error::internal(format!("features cannot be written: {why}"));
    let bytes: Vec<u8> = all.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![all.images.len(), all.width], &bytes).map_err(|e| failed(e.to_string()))?;
    let names = serde_json::to_string(&all.images).map_err(|e| failed(e.to_string()))?;
    safetensors::serialize([("features", view)], Some(HashMap::from([("images".to_string(), names)]))).map_err(|e| failed(e.to_string()))
}

/// `features`, images × features, and `images`, their files in UTF-8 as bytes, for numpy.
pub fn features_npz(found: &Predictions) -> Result<Vec<u8>> {
    let all = features(found)?;
    npz(&all).map_err(|e| Error::internal(format!("features cannot be written: {e}")))
}

fn npz(all: &Features) -> std::io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    // As numpy's savez does: not compressed, of any length.
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let (images, width) = (all.images.len() as u64, all.width as u64);
    archive.start_file(file_name_from_array_name("features"), stored)?;
    let mut out = WriteOptions::new().default_dtype().shape(&[images, width]).writer(&mut archive).begin_nd()?;
    out.extend(all.values.iter().copied())?;
    out.finish()?;
    let longest = all.images.iter().map(String::len).max().unwrap_or(0).max(1);
    let kind: TypeStr = format!("|S{longest}").parse().map_err(std::io::Error::other)?;
    archive.start_file(file_name_from_array_name("images"), stored)?;
    let mut out = WriteOptions::<[u8]>::new().dtype(DType::Plain(kind)).shape(&[images]).writer(&mut archive).begin_nd()?;
    all.images.iter().try_for_each(|name| out.push(name.as_bytes()))?;
    out.finish()?;
    Ok(archive.finish()?.into_inner())
}
