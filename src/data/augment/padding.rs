//! Windows that reach beyond an image.

use super::choice::{Background, Padding};
use crate::data::preprocess::{pixels, window};
use crate::error::Result;
use image::RgbImage;
use ndarray::{Array3, CowArray, Ix3};

/// The mean colour, each channel rounded.
pub(super) fn mean_color(image: &RgbImage) -> [u8; 3] {
    let mut sums = [0u64; 3];
    for pixel in image.as_raw().chunks_exact(3) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += u64::from(v));
    }
    let count = (u64::from(image.width()) * u64::from(image.height())).max(1);
    sums.map(|sum| ((sum + count / 2) / count) as u8)
}

/// What fills the places that a moved image leaves free.
pub(super) fn background(image: &RgbImage, background: Background) -> [u8; 3] {
    match background {
        Background::Black => [0; 3],
        Background::Mean => mean_color(image),
    }
}

/// A place on a line of `size` pixels that is mirrored at its two ends, which are not repeated.
fn reflected(at: i64, size: i64) -> i64 {
    let period = (2 * (size - 1)).max(1);
    let place = at.rem_euclid(period);
    if place < size { place } else { period - place }
}

/// A part of an image, `height`×`width`×3, with its corner at (`left`, `top`), which may lie outside.
pub(super) fn padded_window(
    image: &RgbImage,
    (left, top): (i64, i64),
    (width, height): (u32, u32),
    padding: Padding,
) -> Result<CowArray<'_, u8, Ix3>> {
    let (across, down) = (i64::from(image.width()), i64::from(image.height()));
    let inside = left >= 0 && top >= 0 && left + i64::from(width) <= across && top + i64::from(height) <= down;
    let color = match padding {
        Padding::Border => None,
        _ if inside => None,
        Padding::Reflect => {
            let all = pixels(image)?;
            let at = |(y, x, c)| all[[reflected(top + y as i64, down) as usize, reflected(left + x as i64, across) as usize, c]];
            return Ok(Array3::from_shape_fn([height as usize, width as usize, 3], at).into());
        }
        Padding::Black => Some([0; 3]),
        Padding::Mean => Some(mean_color(image)),
    };
    let Some(color) = color else { return window(image, left, top, width, height) };
    let mut all = Array3::from_shape_fn([height as usize, width as usize, 3], |(_, _, c)| color[c]);
    let source = pixels(image)?;
    for y in 0..height as usize {
        for x in 0..width as usize {
            let (from_y, from_x) = (top + y as i64, left + x as i64);
            if (0..down).contains(&from_y) && (0..across).contains(&from_x) {
                (0..3).for_each(|c| all[[y, x, c]] = source[[from_y as usize, from_x as usize, c]]);
            }
        }
    }
    Ok(all.into())
}
