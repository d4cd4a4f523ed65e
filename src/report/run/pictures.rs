//! The images that were told wrong most surely, small enough to be part of a page.

use crate::data::load_image;
use crate::report::html::{Page, data_uri, escape};
use crate::train::{Answer, Evaluation, Reading};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, thumbnail};
use rayon::prelude::*;
use std::path::Path;

/// The longer side of a picture.
const SIDE: u32 = 160;

/// A list of them, with what they are and what was said.
pub fn mistakes(found: &Evaluation) -> String {
    if found.mistakes.is_empty() {
        return Page::paragraph("No image was told wrong.");
    }
    let name = |label: usize| found.classes.get(label).map_or("", |c| c.name.as_str());
    let item = |a: &Answer| {
        let (right, said) = (escape(name(a.label)), escape(name(a.prediction)));
        let picture = match small(Path::new(&a.image)) {
            Some(jpeg) => format!("<img src=\"{}\" alt=\"{right}, told to be {said}\">", data_uri("image/jpeg", &jpeg)),
            None => "<p>(cannot be read any more)</p>".into(),
        };
        let file = escape(&a.image);
        let short = Path::new(&a.image).file_name().map_or_else(|| file.clone(), |n| escape(&n.to_string_lossy()));
        format!(
            "<li>{picture}<b>{right}</b> ({:.1} %)<br>told to be <b>{said}</b> ({:.1} %)<br>loss {:.3}<br><span class=\"file\" title=\"{file}\">{short}</span></li>",
            100.0 * a.label_probability,
            100.0 * a.probability,
            a.loss
        )
    };
    let items: Vec<String> = found.mistakes.par_iter().map(item).collect();
    let words = "The wrong answers with the highest losses. Labels that are wrong, images that are of two classes, and classes that look alike end up here.";
    Page::paragraph(words) + &format!("<ul class=\"pictures\">{}</ul>\n", items.concat())
}

/// The images with the highest losses, where they have several classes or numbers.
pub fn readings(found: &Evaluation) -> String {
    if found.worst.is_empty() {
        return Page::paragraph("No image was told wrong.");
    }
    let name = |label: usize| found.classes.get(label).map_or("", |c| c.name.as_str());
    let classes = |values: &[f64]| {
        let all: Vec<&str> = values.iter().enumerate().filter(|(_, v)| **v >= 0.5).map(|(k, _)| name(k)).collect();
        if all.is_empty() { "none".to_string() } else { all.join(", ") }
    };
    let numbers = |values: &[f64]| values.iter().take(8).map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(", ");
    let item = |r: &Reading| {
        let words = |values: &[f64]| escape(&if found.several { classes(values) } else { numbers(values) });
        let (right, said) = (words(&r.targets), words(&r.outputs));
        let picture = match small(Path::new(&r.image)) {
            Some(jpeg) => format!("<img src=\"{}\" alt=\"{right}, told to be {said}\">", data_uri("image/jpeg", &jpeg)),
            None => "<p>(cannot be read any more)</p>".into(),
        };
        let file = escape(&r.image);
        let short = Path::new(&r.image).file_name().map_or_else(|| file.clone(), |n| escape(&n.to_string_lossy()));
        format!(
            "<li>{picture}<b>{right}</b><br>told to be <b>{said}</b><br>loss {:.3}<br><span class=\"file\" title=\"{file}\">{short}</span></li>",
            r.loss
        )
    };
    let items: Vec<String> = found.worst.par_iter().map(item).collect();
    Page::paragraph("The images with the highest losses.") + &format!("<ul class=\"pictures\">{}</ul>\n", items.concat())
}

fn small(path: &Path) -> Option<Vec<u8>> {
    let whole = load_image(path).ok()?;
    let (width, height) = whole.dimensions();
    let longer = width.max(height);
    let scaled = |side: u32| u64::from(side).saturating_mul(u64::from(SIDE)).checked_div(u64::from(longer)).unwrap_or(1).max(1) as u32;
    // Tiny images are shown with their pixels.
    let picture = match longer {
        0 => return None,
        1..SIDE => image::imageops::resize(&whole, scaled(width), scaled(height), FilterType::Nearest),
        _ => thumbnail(&whole, scaled(width), scaled(height)),
    };
    let mut out = vec![];
    JpegEncoder::new_with_quality(&mut out, 82).encode_image(&picture).ok()?;
    Some(out)
}
