//! A picture of what a network sees: the images of a batch as they are fed to it, beside each other, with their labels.

use super::loader::{Batch, IGNORED};
use super::preprocess::Recipe;
use crate::bundle::Layout;
use crate::error::{Error, Result};
use crate::ir::Tensor;
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage, imageops};
use ndarray::ArrayView4;

/// Pixels along the side of a letter.
const LETTER: u32 = 8;
/// Pixels between cells.
const GAP: u32 = 8;
/// A picture is enlarged, pixel by pixel, while it is narrower than this.
const NARROW: u32 = 96;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([32, 32, 32]);

/// One image of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// As it is fed to the network, without its normalization.
    pub image: RgbImage,
    /// What stands below it.
    pub label: String,
}

/// The images of a batch that count, as `recipe` says how they became values; `classes` names the labels.
pub fn cells(recipe: &Recipe, batch: &Batch, classes: &[String]) -> Result<Vec<Cell>> {
    let values = batch.data.to_f32()?;
    let view =
        ArrayView4::from_shape(four(&batch.data)?, &values).map_err(|e| Error::data(format!("a batch is no list of images: {e}")))?;
    let labels = labels(batch, classes)?;
    let images = view.outer_iter().zip(labels).take(batch.valid).map(|(image, label)| {
        let image = if recipe.layout() == Layout::Nhwc { image.permuted_axes([2, 0, 1]) } else { image };
        Ok(Cell { image: recipe.picture(image)?, label })
    });
    images.collect()
}

fn four(data: &Tensor) -> Result<[usize; 4]> {
    data.shape().try_into().map_err(|_| Error::data(format!("a batch of shape {:?} holds no images", data.shape())))
}

/// What each row shows; of mixed images both, with their shares.
fn labels(batch: &Batch, classes: &[String]) -> Result<Vec<String>> {
    let rows = batch.data.shape().first().copied().unwrap_or(0);
    let name = |label: i64| match usize::try_from(label) {
        Ok(label) => classes.get(label).cloned().unwrap_or_else(|| label.to_string()),
        Err(_) if label == IGNORED => String::new(),
        Err(_) => label.to_string(),
    };
    let plain: Vec<String> = if batch.target.dtype().is_float() {
        let values = batch.target.to_f64()?;
        let each = |row: &[f64]| match row {
            [one] => format!("{one:.3}"),
            several => {
                let right: Vec<String> = (0..).zip(several).filter(|(_, v)| **v >= 0.5).map(|(label, _)| name(label)).collect();
                right.join(", ")
            }
        };
        values.chunks((values.len() / rows.max(1)).max(1)).map(each).collect()
    } else {
        batch.target.to_i64()?.into_iter().map(name).collect()
    };
    let shown = |row: usize| match batch.mixed {
        Some(mixed) if mixed.share < 1.0 && row < mixed.rows => {
            let (own, other) = (&plain[row], &plain[mixed.partner(row)]);
            let percent = (mixed.share * 100.0).round();
            if own == other { own.clone() } else { format!("{percent}% {own}, {}% {other}", 100.0 - percent) }
        }
        _ => plain[row].clone(),
    };
    Ok((0..rows.min(plain.len())).map(shown).collect())
}

/// All cells in rows of `columns`, each with its label below. Small images are enlarged; labels that are too long are cut.
pub fn picture(cells: &[Cell], columns: usize) -> RgbImage {
    let columns = columns.clamp(1, cells.len().max(1)) as u32;
    let (wide, high) = cells.iter().fold((1, 1), |(w, h), cell| (w.max(cell.image.width()), h.max(cell.image.height())));
    let zoom = NARROW.div_ceil(wide).max(1);
    let (width, height) = (wide * zoom, high * zoom);
    let letters = (width / LETTER) as usize;
    let longest = cells.iter().map(|c| lines(&c.label, letters).len()).max().unwrap_or(0) as u32;
    let (across, down) = (width + GAP, height + longest * (LETTER + 2) + GAP);
    let rows = (cells.len() as u32).div_ceil(columns);
    let mut all = RgbImage::from_pixel(columns * across + GAP, rows * down + GAP, PAPER);
    for (at, cell) in (0..).zip(cells) {
        let (left, top) = (GAP + (at % columns) * across, GAP + (at / columns) * down);
        let (w, h) = (cell.image.width() * zoom, cell.image.height() * zoom);
        let large = imageops::resize(&cell.image, w, h, imageops::FilterType::Nearest);
        imageops::replace(&mut all, &large, left.into(), top.into());
        for (line, text) in (0..).zip(lines(&cell.label, letters)) {
            write(&mut all, &text, left, top + height + 3 + line * (LETTER + 2));
        }
    }
    all
}

/// At most two lines of so many letters.
fn lines(text: &str, letters: usize) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    // The two labels of a mixed image go below each other.
    for part in text.splitn(2, ", ").filter(|p| !p.is_empty()) {
        let short = match part.chars().count() > letters {
            true => part.chars().take(letters.saturating_sub(1)).chain(['~']).collect(),
            false => part.to_string(),
        };
        all.push(short);
    }
    all
}

/// Letters at a place; those that the font lacks as `?`.
fn write(image: &mut RgbImage, text: &str, left: u32, top: u32) {
    for (at, letter) in (0..).zip(text.chars()) {
        let fonts = [font8x8::BASIC_FONTS.get(letter), font8x8::LATIN_FONTS.get(letter), font8x8::GREEK_FONTS.get(letter)];
        let shape = fonts.into_iter().flatten().next().or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default();
        for (y, bits) in (0..).zip(shape) {
            for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                if let Some(pixel) = image.get_pixel_mut_checked(left + at * LETTER + x, top + y) {
                    *pixel = INK;
                }
            }
        }
    }
}

/// A grid as the bytes of a PNG. Fails where there is no image.
pub fn png(cells: &[Cell], columns: usize) -> Result<Vec<u8>> {
    if cells.is_empty() {
        return Err(Error::data("there is no image to show"));
    }
    let mut bytes = std::io::Cursor::new(vec![]);
    picture(cells, columns)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| Error::data(format!("cannot draw the images: {e}")))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ChannelOrder;
    use crate::bundle::manifest::Preprocessing;
    use crate::data::augment::Mixed;
    use ndarray::Array3;

    fn batch(labels: &[i64], mixed: Option<Mixed>) -> Batch {
        let data = Tensor::zeros(crate::ir::DType::F32, &[labels.len(), 3, 4, 4]);
        Batch { mixed, ..Batch::of(data, Tensor::from_i64(&[labels.len()], labels)) }
    }

    /// Whatever the network's normalization and order, the picture is the image again.
    #[test]
    fn a_picture_is_the_image_that_was_normalized() {
        let image = RgbImage::from_fn(9, 9, |x, y| Rgb([(20 * x) as u8, (25 * y) as u8, (3 * x * y) as u8]));
        for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            for scale in [1, 255] {
                let preprocessing = Preprocessing {
                    resize: 9,
                    mean: vec![0.4, 0.5, 0.6],
                    std: vec![0.2, 0.3, 0.25],
                    channels,
                    scale,
                    ..Preprocessing::default()
                };
                let recipe = Recipe::new(&preprocessing, &[1, 3, 9, 9]).unwrap_or_else(|e| panic!("{e}"));
                let mut values = Array3::zeros([3, 9, 9]);
                recipe.central(&image, values.view_mut()).unwrap();
                assert_eq!(recipe.picture(values.view()).unwrap(), image);
            }
        }
    }

    #[test]
    fn labels_name_what_is_shown() {
        let classes = ["cat".to_string(), "dog".to_string()];
        let shown = |labels: &[i64], mixed| super::labels(&batch(labels, mixed), &classes).unwrap();
        assert_eq!(shown(&[0, 1, 7, -1], None), ["cat", "dog", "7", ""]);
        assert_eq!(shown(&[0, 1, 1], Some(Mixed { rows: 3, share: 0.7 })), ["70% cat, 30% dog", "70% dog, 30% cat", "dog"]);
        assert_eq!(shown(&[0, 1], Some(Mixed { rows: 2, share: 1.0 })), ["cat", "dog"]);
    }

    #[test]
    fn a_grid_has_room_for_every_image_and_label() {
        let cell = |label: &str| Cell { image: RgbImage::from_pixel(32, 20, Rgb([200, 10, 10])), label: label.into() };
        let cells: Vec<Cell> = (0..5).map(|i| cell(if i == 1 { "70% a very long name of a class, 30% other" } else { "a" })).collect();
        let all = picture(&cells, 3);
        let red = all.pixels().filter(|p| **p == Rgb([200, 10, 10])).count();
        assert_eq!(red, 5 * (32 * 3) * (20 * 3));
        assert!(all.pixels().any(|p| *p == INK));
        assert_eq!(all.width(), 3 * (96 + GAP) + GAP);
    }
}
