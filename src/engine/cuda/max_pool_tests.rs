use super::super::{host, max_pool_grad};
use super::*;
use std::ffi::c_void;

/// Windows over images, and the gradient of their largest elements, by their definition in double precision.
struct Truth {
    y: Vec<f32>,
    dx: Vec<f64>,
}

fn truth(window: &Window, [n, c, height, width]: [usize; 4], [rows, columns]: [usize; 2], x: &[f32], dy: &[f32]) -> Truth {
    let mut found = Truth { y: vec![], dx: vec![0.0; x.len()] };
    assert_eq!(dy.len(), n * rows * columns * c);
    for (at, cotangent) in dy.iter().enumerate() {
        let (channel, column, row, image) = (at % c, at / c % columns, at / c / columns % rows, at / c / columns / rows);
        let mut best: Option<usize> = None;
        for k in 0..window.kernel[0] * window.kernel[1] {
            let h = row * window.strides[0] + k / window.kernel[1] * window.dilations[0];
            let w = column * window.strides[1] + k % window.kernel[1] * window.dilations[1];
            let (Some(h), Some(w)) = (h.checked_sub(window.pads[0]), w.checked_sub(window.pads[1])) else { continue };
            if h < height && w < width {
                let here = ((image * height + h) * width + w) * c + channel;
                let larger = best.is_none_or(|b| x[here] > x[b] || x[here].is_nan() && !x[b].is_nan());
                best = if larger { Some(here) } else { best };
            }
        }
        found.y.push(best.map_or(f32::NEG_INFINITY, |b| x[b]));
        best.into_iter().for_each(|b| found.dx[b] += f64::from(*cotangent));
    }
    found
}

#[test]
fn windows_have_their_largest_and_the_first_of_these_has_the_gradient() {
    let window = |kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2], pads: [usize; 2]| Window {
        kernel,
        strides,
        dilations,
        pads,
        groups: 1,
    };
    let cases = [
        (window([3, 3], [2, 2], [1, 1], [1, 1]), [2, 3, 7, 8], [4, 4]),
        (window([2, 3], [1, 2], [2, 1], [0, 1]), [1, 2, 6, 9], [4, 5]),
        (window([2, 2], [2, 2], [1, 1], [0, 0]), [3, 1, 4, 4], [2, 2]),
        (window([1, 1], [3, 3], [1, 1], [0, 0]), [1, 4, 7, 7], [3, 3]),
    ];
    for (window, sizes @ [n, c, height, width], behind) in cases {
        // Few values, so that windows have several largest; and what is no number.
        let mut x: Vec<f32> = (0..n * c * height * width).map(|i| (i * 7919 % 13 % 5) as f32 - 2.0).collect();
        x[5] = f32::NAN;
        let results = n * behind[0] * behind[1] * c;
        let mut dy: Vec<f32> = (0..results).map(|i| (i % 9) as f32 - 3.5).collect();
        let truth = truth(&window, sizes, behind, &x, &dy);
        let defined = pool::defined(&window, [c, height, width], behind);
        let defined = Element::F32.alias() + &defined;
        let forward = host::compile(&[&defined, SOURCE].concat(), &["pool"], false);
        let (mut y, mut elements) = (vec![0f32; results], results as u32);
        let mut list: Vec<*mut c_void> = vec![x.as_mut_ptr().cast(), (&raw mut elements).cast(), y.as_mut_ptr().cast()];
        forward.call("pool", &mut list, [3, 1]);
        let bits = |list: &[f32]| list.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&y), bits(&truth.y), "{window:?}");
        let backward = host::compile(&[&defined, max_pool_grad::SOURCE].concat(), &["pool_grad"], false);
        let (mut dx, mut elements) = (vec![9f32; x.len()], x.len() as u32);
        let mut list: Vec<*mut c_void> = [&mut x, &mut y, &mut dy].map(|v| v.as_mut_ptr().cast()).to_vec();
        list.extend([(&raw mut elements).cast(), dx.as_mut_ptr().cast()]);
        backward.call("pool_grad", &mut list, [3, 1]);
        assert!(dx.iter().zip(&truth.dx).all(|(a, b)| f64::from(*a) == *b), "{window:?}");
    }
}
