//! Moving the pixels of an image by an affine map, with Pillow's arithmetic, pixel for pixel.

use super::choice::Interpolation;
use image::RgbImage;

/// From a place in the result to one in the source: `x' = m₀·x + m₁·y + m₂`, `y' = m₃·x + m₄·y + m₅`.
pub(super) type Matrix = [f64; 6];

/// torchvision's `_get_inverse_affine_matrix`: rotated by `angle`, sheared by `shear` (degrees), scaled and moved about `center`.
pub(super) fn inverse_matrix(center: [f64; 2], angle: f64, translate: [f64; 2], scale: f64, shear: [f64; 2]) -> Matrix {
    let rot = angle.to_radians();
    let [sx, sy] = shear.map(f64::to_radians);
    let ([cx, cy], [tx, ty]) = (center, translate);
    let (cos, sin, tan) = (libm::cos, libm::sin, libm::tan);
    let a = cos(rot - sy) / cos(sy);
    let b = -cos(rot - sy) * tan(sx) / cos(sy) - sin(rot);
    let c = sin(rot - sy) / cos(sy);
    let d = -sin(rot - sy) * tan(sx) / cos(sy) + cos(rot);
    let mut m = [d, -b, 0.0, -c, a, 0.0].map(|v| v / scale);
    m[2] += m[0] * (-cx - tx) + m[1] * (-cy - ty);
    m[5] += m[3] * (-cx - tx) + m[4] * (-cy - ty);
    m[2] += cx;
    m[5] += cy;
    m
}

/// Turned by `angle` degrees against the clock about the middle, as Pillow's `Image.rotate`; what comes from outside is `fill`.
pub(super) fn rotate(image: &RgbImage, angle: f64, interpolation: Interpolation, fill: [u8; 3]) -> RgbImage {
    use image::imageops;
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    // Python's remainder, never negative.
    let angle = angle.rem_euclid(360.0);
    match angle {
        0.0 => return image.clone(),
        180.0 => return imageops::rotate180(image),
        90.0 if width == height => return imageops::rotate270(image),
        270.0 if width == height => return imageops::rotate90(image),
        _ => {}
    }
    let turn = -angle.to_radians();
    let (cos, sin) = (rounded(libm::cos(turn)), rounded(libm::sin(turn)));
    let minus_sin = rounded(-libm::sin(turn));
    let (cx, cy) = (width / 2.0, height / 2.0);
    let mut m = [cos, sin, 0.0, minus_sin, cos, 0.0];
    m[2] = cos * -cx + sin * -cy + 0.0 + cx;
    m[5] = minus_sin * -cx + cos * -cy + 0.0 + cy;
    warp(image, &m, interpolation, fill)
}

/// To 15 decimal places, as Pillow has it.
fn rounded(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

/// The image of the same size whose pixels come from where `matrix` says; `fill` where that is outside.
pub(super) fn warp(image: &RgbImage, matrix: &Matrix, interpolation: Interpolation, fill: [u8; 3]) -> RgbImage {
    let size = (image.width(), image.height());
    let mut out = RgbImage::from_pixel(size.0, size.1, image::Rgb(fill));
    match interpolation {
        Interpolation::Bilinear => bilinear(image, matrix, &mut out),
        Interpolation::Nearest if matrix[1] == 0.0 && matrix[3] == 0.0 => scaled(image, matrix, &mut out),
        Interpolation::Nearest => nearest(image, matrix, &mut out),
    }
    out
}

/// The whole part of a place; −1 for what is negative.
fn place(v: f64) -> i64 {
    if v < 0.0 { -1 } else { v as i64 }
}

fn bilinear(image: &RgbImage, m: &Matrix, out: &mut RgbImage) {
    let (width, height) = (image.width() as i64, image.height() as i64);
    let bytes = image.as_raw();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let (x, y) = (m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]);
        if !(x >= 0.0 && x < width as f64 && y >= 0.0 && y < height as f64) {
            continue;
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor() as i64, y.floor() as i64);
        let (dx, dy) = (x - left as f64, y - top as f64);
        let column = |x: i64| x.clamp(0, width - 1) as usize * 3;
        let row = |y: i64| y.clamp(0, height - 1) as usize * width as usize * 3;
        let (x0, x1) = (column(left), column(left + 1));
        let (y0, y1) = (row(top), row(top + 1));
        let within = (0..height).contains(&(top + 1));
        for (c, to) in pixel.0.iter_mut().enumerate() {
            let across = |row: usize| {
                let (a, b) = (f64::from(bytes[row + x0 + c]), f64::from(bytes[row + x1 + c]));
                a + (b - a) * dx
            };
            let above = across(y0);
            let below = if within { across(y1) } else { above };
            *to = (above + (below - above) * dy) as u8;
        }
    }
}

/// Pillow's way for maps without rotation: places are summed up.
fn scaled(image: &RgbImage, m: &Matrix, out: &mut RgbImage) {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let mut columns = Vec::with_capacity(width as usize);
    let mut at = m[2] + m[0] * 0.5;
    for _ in 0..width {
        columns.push(place(at));
        at += m[0];
    }
    let mut at = m[5] + m[4] * 0.5;
    for y in 0..image.height() {
        let from = place(at);
        at += m[4];
        if !(0..height).contains(&from) {
            continue;
        }
        for (x, &column) in (0..).zip(&columns) {
            if (0..width).contains(&column) {
                out.put_pixel(x, y, *image.get_pixel(column as u32, from as u32));
            }
        }
    }
}

/// Pillow's nearest pixel: places as fixed-point numbers with 16 bits behind the point, which are summed up. Beyond their range, which no input's
/// size comes near, the places are the same in floats.
fn nearest(image: &RgbImage, m: &Matrix, out: &mut RgbImage) {
    let fixed = |v: f64| (v * 65536.0 + 0.5).floor() as i64;
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let (a0, a1, a3, a4) = (fixed(m[0]), fixed(m[1]), fixed(m[3]), fixed(m[4]));
    let mut start = (fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), fixed(m[5] + m[3] * 0.5 + m[4] * 0.5));
    let bytes = image.as_raw();
    let row_bytes = width as usize * 3;
    for row in out.chunks_exact_mut(row_bytes) {
        let (mut x, mut y) = start;
        for to in row.chunks_exact_mut(3) {
            let (column, line) = (x >> 16, y >> 16);
            if (0..width).contains(&column) && (0..height).contains(&line) {
                let from = line as usize * row_bytes + column as usize * 3;
                to.copy_from_slice(&bytes[from..from + 3]);
            }
            x = x.saturating_add(a0);
            y = y.saturating_add(a3);
        }
        start = (start.0.saturating_add(a1), start.1.saturating_add(a4));
    }
}
