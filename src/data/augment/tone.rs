//! Changes of brightness and colour on bytes, with Pillow's arithmetic: `ImageEnhance` and `ImageOps`.

use image::RgbImage;

/// Pillow's `Image.blend`: from `base` (factor 0) over the pixel (factor 1) and beyond.
fn blend(base: u8, pixel: u8, factor: f32) -> u8 {
    let (base, pixel) = (i32::from(base), i32::from(pixel));
    let value = base as f32 + factor * (pixel - base) as f32;
    // Between the two no value is cut; a cast takes the whole part and stays within a byte's bounds.
    value as u8
}

/// Pillow's grey of a pixel, `convert("L")`.
fn grey(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

fn with_base(image: &mut RgbImage, factor: f32, base: impl Fn(&[u8]) -> u8) {
    for pixel in image.chunks_exact_mut(3) {
        let base = base(pixel);
        pixel.iter_mut().for_each(|v| *v = blend(base, *v, factor));
    }
}

/// Away from black.
pub(super) fn brightness(image: &mut RgbImage, factor: f32) {
    with_base(image, factor, |_| 0);
}

/// Away from the grey of each pixel.
pub(super) fn saturation(image: &mut RgbImage, factor: f32) {
    with_base(image, factor, grey);
}

/// Away from the mean grey of the image.
pub(super) fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.as_raw().chunks_exact(3).map(|p| u64::from(grey(p))).sum();
    let count = (u64::from(image.width()) * u64::from(image.height())).max(1);
    let mean = (sum as f64 / count as f64 + 0.5) as u8;
    with_base(image, factor, |_| mean);
}

/// Away from the smoothed image, whose outermost pixels stay as they are.
pub(super) fn sharpness(image: &mut RgbImage, factor: f32) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let source = image.as_raw().clone();
    let (around, middle) = (1f32 / 13f32, 5f32 / 13f32);
    let row_bytes = width * 3;
    for y in 1..height.saturating_sub(1) {
        for x in 3..row_bytes.saturating_sub(3) {
            let at = |line: usize, column: usize| f32::from(source[line * row_bytes + column]);
            let line = |l: usize, weight: f32| at(l, x - 3) * around + at(l, x) * weight + at(l, x + 3) * around;
            let mut sum = 0.5;
            sum += line(y + 1, around);
            sum += line(y, middle);
            sum += line(y - 1, around);
            let smooth = sum.clamp(0.0, 255.0) as u8;
            let place = y * row_bytes + x;
            image.as_flat_samples_mut().samples[place] = blend(smooth, source[place], factor);
        }
    }
}

/// Every value through a table, for each channel one.
fn look_up(image: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for pixel in image.chunks_exact_mut(3) {
        pixel.iter_mut().zip(tables).for_each(|(v, table)| *v = table[usize::from(*v)]);
    }
}

fn table(f: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|i| f(i as u8))
}

/// The first `bits` bits of each value.
pub(super) fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = !((1u32 << (8 - bits.min(8))) - 1);
    look_up(image, &[table(|v| (u32::from(v) & mask) as u8); 3]);
}

/// Values from `threshold` on inverted.
pub(super) fn solarize(image: &mut RgbImage, threshold: f64) {
    look_up(image, &[table(|v| if f64::from(v) < threshold { v } else { 255 - v }); 3]);
}

fn histograms(image: &RgbImage) -> [[u64; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.as_raw().chunks_exact(3) {
        counts.iter_mut().zip(pixel).for_each(|(count, &v)| count[usize::from(v)] += 1);
    }
    counts
}

/// Each channel stretched to the whole range.
pub(super) fn autocontrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let low = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        if high <= low {
            return table(|v| v);
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        table(|v| (f64::from(v) * scale + offset) as u8)
    });
    look_up(image, &tables);
}

/// Each channel's values spread evenly.
pub(super) fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let total: u64 = counts.iter().sum();
        let last = counts.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        // A single value, or too few pixels to spread.
        if step == 0 {
            return table(|v| v);
        }
        let mut sum = step / 2;
        let mut values = [0; 256];
        for (value, count) in values.iter_mut().zip(counts) {
            *value = (sum / step).min(255) as u8;
            sum += count;
        }
        values
    });
    look_up(image, &tables);
}
