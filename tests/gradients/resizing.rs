//! Cases of Resize and Upsample.

use super::cases::{Case, on};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::attributes::attr_floats;

pub fn cases() -> Vec<Case> {
    let scales = |list: &[f64]| Tensor::from_floats(DType::F32, &[list.len()], list).clone();
    let by = |case: Case, list: &[f64]| case.absent().exactly(scales(list));
    let to = |case: Case, list: &[i64]| case.absent().absent().list(list);
    let image = [2, 3, 4, 5];
    let resize =
        |mode: &str, coordinates: &str| on("Resize", &image).string("mode", mode).string("coordinate_transformation_mode", coordinates);
    let mut cases = vec![];
    for coordinates in ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"] {
        for nearest in ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"] {
            cases.push(by(resize("nearest", coordinates).string("nearest_mode", nearest), &[1.0, 1.0, 2.0, 2.0]));
            cases.push(to(resize("nearest", coordinates).string("nearest_mode", nearest), &[2, 3, 7, 3]).fixed_batch());
        }
        for mode in ["linear", "cubic"] {
            cases.push(by(resize(mode, coordinates), &[1.0, 1.0, 2.0, 3.0]));
            cases.push(to(resize(mode, coordinates), &[2, 3, 7, 3]).fixed_batch());
            cases.push(by(resize(mode, coordinates), &[1.0, 1.0, 0.6, 1.7]));
            cases.push(to(resize(mode, coordinates), &[2, 3, 1, 1]).fixed_batch());
        }
    }
    cases.extend([
        by(resize("cubic", "half_pixel").int("exclude_outside", 1).float("cubic_coeff_a", -0.5), &[1.0, 1.0, 1.5, 2.0]),
        by(resize("linear", "half_pixel_symmetric").at(19), &[1.0, 1.0, 1.3, 0.7]),
        by(resize("linear", "half_pixel").ints("axes", &[2, 3]).int("antialias", 1).at(18), &[2.0, 1.5]),
        by(resize("linear", "half_pixel").ints("axes", &[2, 3]).int("antialias", 1).at(18), &[0.6, 0.4]),
        by(resize("cubic", "half_pixel").ints("axes", &[2, 3]).int("antialias", 1).at(18), &[0.5, 1.3]),
        by(resize("cubic", "align_corners").ints("axes", &[2, 3]).int("antialias", 1).int("exclude_outside", 1).at(19), &[0.5, 0.8]),
        to(resize("nearest", "asymmetric").ints("axes", &[3, 2]).at(18), &[7, 6]),
        by(on("Resize", &[2, 3, 4, 5, 3]).string("mode", "linear"), &[1.0, 1.0, 2.0, 1.5, 2.0]),
        by(on("Resize", &[2, 3, 5]).string("nearest_mode", "floor"), &[1.0, 1.0, 2.0]),
        by(on("Resize", &[2, 3, 5]).string("mode", "linear"), &[1.0, 1.0, 2.5]),
        by(on("Resize", &image), &[1.0, 1.0, 1.0, 1.0]),
        on("Resize", &image).exactly(scales(&[1.0, 1.0, 2.0, 3.0])).at(10),
        on("Resize", &image).exactly(scales(&[1.0, 1.0, 0.5, 0.4])).at(10),
        on("Resize", &image).exactly(scales(&[1.0, 1.0, 2.0, 2.5])).string("mode", "linear").at(10),
        on("Upsample", &image).exactly(scales(&[1.0, 1.0, 2.0, 3.0])).at(9),
        on("Upsample", &image).exactly(scales(&[1.0, 1.0, 2.0, 2.0])).string("mode", "linear").at(9),
        on("Upsample", &image).attribute(attr_floats("scales", vec![1.0, 1.0, 2.0, 2.0])).at(7),
    ]);
    cases
}
