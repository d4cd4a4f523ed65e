//! Changes of brightness, contrast, saturation and hue on values between 0 and 1.

use super::operation::{Action, ChangeValues, Operate, Parameter};
use crate::data::preprocess::weighted;
use crate::data::random::Random;
use ndarray::{ArrayViewMut3, Axis, Zip};

/// torchvision's `ColorJitter`, on tensors: each change by a factor of its own, in random order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Color {
    /// Brightness, contrast and saturation change by factors between 1 − strength and 1 + strength; 0 for no change.
    pub strength: f32,
    /// The hue turns by at most this share of the circle, either way.
    pub hue: f32,
}

impl Default for Color {
    fn default() -> Self {
        Color { strength: 0.25, hue: 0.0 }
    }
}

impl Operate for Color {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("strength", &mut self.strength, [0.0, 1.0], "most by which the three factors differ from 1").always(),
            Parameter::number("hue", &mut self.hue, [0.0, 0.5], "most turn of the hue, as a share of the circle"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Values(self)
    }
}

impl ChangeValues for Color {
    fn change(&self, mut planes: ArrayViewMut3<f32>, random: &mut Random) {
        const ALL: [Change; 4] = [Change::Brightness, Change::Contrast, Change::Saturation, Change::Hue];
        let mut changes = ALL;
        // A recipe without hue draws as if there were none.
        let changes = match (self.strength > 0.0, self.hue > 0.0) {
            (_, true) => &mut changes[..],
            (true, false) => &mut changes[..3],
            (false, false) => return,
        };
        random.shuffle(changes);
        for &mut change in changes {
            let (middle, most) = if change == Change::Hue { (0.0, self.hue) } else { (1.0, self.strength) };
            if most > 0.0 {
                adjust(change, random.range(middle - most, middle + most), planes.view_mut());
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

/// torchvision's grey of tensors.
pub(super) const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// torchvision's `adjust_*`: away from black, from the mean grey of the image, or from the grey of each pixel; or around the circle of hues.
pub(super) fn adjust(change: Change, factor: f32, mut planes: ArrayViewMut3<f32>) {
    let blend = |value: f32, base: f32| (base + factor * (value - base)).clamp(0.0, 1.0);
    match change {
        Change::Brightness => planes.mapv_inplace(|v| blend(v, 0.0)),
        Change::Contrast => {
            let grey = weighted(planes.view(), GREY);
            let mean = grey.iter().map(|&v| v as f64).sum::<f64>() / grey.len() as f64;
            planes.mapv_inplace(|v| blend(v, mean as f32));
        }
        Change::Saturation => {
            let grey = weighted(planes.view(), GREY);
            Zip::from(&mut planes).and_broadcast(&grey).for_each(|v, base| *v = blend(*v, *base));
        }
        Change::Hue => {
            let mut all = planes.outer_iter_mut();
            if let (Some(mut r), Some(mut g), Some(mut b)) = (all.next(), all.next(), all.next()) {
                Zip::from(&mut r).and(&mut g).and(&mut b).for_each(|r, g, b| [*r, *g, *b] = turned([*r, *g, *b], factor));
            }
        }
    }
    debug_assert_eq!(planes.len_of(Axis(0)), 3);
}

/// A colour with its hue turned by `turn` of the circle.
fn turned([r, g, b]: [f32; 3], turn: f32) -> [f32; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    // A grey has no hue.
    if range == 0.0 {
        return [r, g, b];
    }
    let saturation = range / most;
    let [rc, gc, bc] = [r, g, b].map(|v| (most - v) / range);
    let sixths = if most == r {
        bc - gc
    } else if most == g {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    let hue = (sixths / 6.0 + 1.0) % 1.0;
    let hue = (hue + turn).rem_euclid(1.0) * 6.0;
    let sector = hue.floor();
    let f = hue - sector;
    let p = (most * (1.0 - saturation)).clamp(0.0, 1.0);
    let q = (most * (1.0 - saturation * f)).clamp(0.0, 1.0);
    let t = (most * (1.0 - saturation * (1.0 - f))).clamp(0.0, 1.0);
    match sector as i32 % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    const COLORS: [(Change, f32, [f32; 6]); 6] = [
        (Change::Brightness, 1.4, [0.28, 1.0, 0.7, 0.14, 0.98, 0.56]),
        (Change::Brightness, 0.6, [0.12, 0.54, 0.3, 0.06, 0.42, 0.24]),
        (Change::Contrast, 1.4, [0.118722, 1.0, 0.538722, 0.0, 0.818722, 0.398722]),
        (Change::Contrast, 0.6, [0.281278, 0.701278, 0.461278, 0.221278, 0.581278, 0.401278]),
        (Change::Saturation, 1.4, [0.106768, 1.0, 0.526768, 0.0, 0.806768, 0.410676]),
        (Change::Saturation, 0.6, [0.293232, 0.689324, 0.473232, 0.209324, 0.593232, 0.389324]),
    ];

    /// Red, green and blue of two pixels; the expected values are those of torchvision 0.29's `adjust_*` on floats.
    #[test]
    fn colors_change_as_in_torchvision() {
        let start = array![[[0.2, 0.9]], [[0.5, 0.1]], [[0.7, 0.4]]];
        for (change, factor, expected) in COLORS {
            let mut planes = start.clone();
            adjust(change, factor, planes.view_mut());
            for (ours, theirs) in planes.iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-5, "{change:?} {factor}: {planes:?}, not {expected:?}");
            }
        }
    }
}
