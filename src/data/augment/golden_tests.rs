//! Every change, given its random numbers, against torchvision and Pillow: tests/fixtures/augment.safetensors, by tests/generate/augment.py.

use super::choice::{Choice, Interpolation, Padding};
use super::color::{self, Change};
use super::erase::{self, Rectangle};
use super::operation::Blend;
use super::{blur, cutmix, gray, mixing, padding, policy, rand_augment, trivial_augment, warp};
use crate::data::preprocess::planes;
use crate::data::random::{Purpose, Random};
use image::RgbImage;
use ndarray::{Array3, Array4, ArrayView3};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;

const FILE: &[u8] = include_bytes!("../../../tests/fixtures/augment.safetensors");

/// What torchvision made of an image.
struct Case {
    name: String,
    image: String,
    numbers: Vec<f64>,
    texts: Vec<String>,
    result: String,
}

struct Golden {
    file: SafeTensors<'static>,
    cases: Vec<Case>,
}

impl Golden {
    fn read() -> Golden {
        let (_, header) = SafeTensors::read_metadata(FILE).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_string();
        let cases = cases.iter().map(|c| Case {
            name: text(&c["name"]),
            image: text(&c["image"]),
            numbers: c["numbers"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect(),
            texts: c["texts"].as_array().unwrap().iter().map(text).collect(),
            result: text(&c["result"]),
        });
        Golden { cases: cases.collect(), file: SafeTensors::deserialize(FILE).unwrap() }
    }

    /// The cases of that name, at least so many.
    fn cases(&self, name: &str, least: usize) -> Vec<&Case> {
        let found: Vec<&Case> = self.cases.iter().filter(|c| c.name == name).collect();
        assert!(found.len() >= least, "{} cases of {name}", found.len());
        found
    }

    fn image(&self, name: &str) -> RgbImage {
        let tensor = self.file.tensor(name).unwrap();
        let &[height, width, 3] = tensor.shape() else { panic!("{:?}", tensor.shape()) };
        RgbImage::from_raw(width as u32, height as u32, tensor.data().to_vec()).unwrap()
    }

    fn planes(&self, name: &str) -> Array3<f32> {
        let image = self.image(name);
        planes(ArrayView3::from_shape([image.height() as usize, image.width() as usize, 3], image.as_raw()).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn batch(&self) -> Array4<f32> {
        Array4::from_shape_vec([3, 3, 6, 8], self.floats("batch")).unwrap()
    }
}

fn equal(ours: &RgbImage, theirs: &RgbImage, what: &str) {
    assert_eq!(ours.dimensions(), theirs.dimensions(), "{what}");
    let wrong = ours.as_raw().iter().zip(theirs.as_raw()).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 0, "{what}: of {} bytes so many differ", ours.as_raw().len());
}

fn near<'a>(ours: impl IntoIterator<Item = &'a f32>, theirs: &[f32], tolerance: f32, what: &str) {
    let mut count = 0;
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, not {theirs}");
        count += 1;
    }
    assert_eq!(count, theirs.len(), "{what}");
}

fn mode(name: &str) -> Interpolation {
    let mut mode = Interpolation::Nearest;
    assert!(mode.set(name));
    mode
}

#[test]
fn rotations_are_pillows() {
    let golden = Golden::read();
    for case in golden.cases("rotate", 20) {
        let ours = warp::rotate(&golden.image(&case.image), case.numbers[0], mode(&case.texts[0]), [9, 8, 7]);
        equal(&ours, &golden.image(&case.result), &format!("{} {:?} {:?}", case.image, case.numbers, case.texts));
    }
}

#[test]
fn affine_maps_are_pillows() {
    let golden = Golden::read();
    for case in golden.cases("affine", 16) {
        let image = golden.image(&case.image);
        let &[angle, x, y, scale, shear] = case.numbers.as_slice() else { panic!() };
        let center = [f64::from(image.width()) * 0.5, f64::from(image.height()) * 0.5];
        let matrix = warp::inverse_matrix(center, angle, [x, y], scale, [shear, 0.0]);
        let ours = warp::warp(&image, &matrix, mode(&case.texts[0]), [9, 8, 7]);
        equal(&ours, &golden.image(&case.result), &format!("{} {:?} {:?}", case.image, case.numbers, case.texts));
    }
}

#[test]
fn changes_of_the_policies_are_pillows() {
    let golden = Golden::read();
    let mut kinds = BTreeMap::new();
    for case in golden.cases("policy", 80) {
        let mut image = golden.image(&case.image);
        let &[number, bin, sign] = case.numbers.as_slice() else { panic!() };
        let space = if case.texts[0] == "randaugment" { rand_augment::SPACE } else { trivial_augment::SPACE };
        let kind = policy::KINDS[number as usize];
        let (magnitude, _) = space.magnitude(kind, bin as u32, 31, image.dimensions());
        policy::apply(&mut image, kind, sign * magnitude, mode(&case.texts[1]), [1, 2, 3]);
        equal(&image, &golden.image(&case.result), &format!("{kind:?} {} {:?} {:?}", case.image, case.numbers, case.texts));
        *kinds.entry(number as usize).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), policy::KINDS.len());
}

#[test]
fn magnitudes_are_torchvisions() {
    let golden = Golden::read();
    for case in golden.cases("magnitudes", 9) {
        let (bins, size) = (case.numbers[0] as u32, (case.numbers[2] as u32, case.numbers[1] as u32));
        let space = if case.texts[0] == "randaugment" { rand_augment::SPACE } else { trivial_augment::SPACE };
        let table: Vec<f64> =
            golden.file.tensor(&case.result).unwrap().data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
        for (k, &kind) in policy::KINDS.iter().enumerate() {
            for bin in 0..bins {
                let (magnitude, signed) = space.magnitude(kind, bin, bins, size);
                assert_eq!(magnitude, table[k * bins as usize + bin as usize], "{kind:?} {bin} of {bins} {}", case.texts[0]);
                assert_eq!(f64::from(u8::from(signed)), case.numbers[3 + k], "{kind:?}");
            }
        }
    }
}

#[test]
fn padded_windows_are_torchvisions() {
    let golden = Golden::read();
    for case in golden.cases("window", 9) {
        let image = golden.image(&case.image);
        let &[left, top, width, height] = case.numbers.as_slice() else { panic!() };
        let mut fill = Padding::Mean;
        assert!(fill.set(&case.texts[0]));
        let ours = padding::padded_window(&image, (left as i64, top as i64), (width as u32, height as u32), fill).unwrap();
        let ours = RgbImage::from_raw(width as u32, height as u32, ours.iter().copied().collect()).unwrap();
        equal(&ours, &golden.image(&case.result), &format!("{:?} {:?}", case.numbers, case.texts));
    }
}

#[test]
fn changes_of_values_are_torchvisions() {
    let golden = Golden::read();
    for case in golden.cases("hue", 8) {
        let mut planes = golden.planes(&case.image);
        color::adjust(Change::Hue, case.numbers[0] as f32, planes.view_mut());
        near(&planes, &golden.floats(&case.result), 2e-6, &format!("hue {:?}", case.numbers));
    }
    for case in golden.cases("gray", 2) {
        let mut planes = golden.planes(&case.image);
        gray::discolor(planes.view_mut());
        near(&planes, &golden.floats(&case.result), 1e-6, "gray");
    }
    for case in golden.cases("blur", 6) {
        let mut planes = golden.planes(&case.image);
        blur::smooth(planes.view_mut(), case.numbers[0] as usize, case.numbers[1] as f32);
        near(&planes, &golden.floats(&case.result), 1e-6, &format!("blur {:?}", case.numbers));
    }
    for case in golden.cases("erase", 2) {
        let mut planes = golden.planes(&case.image);
        let [top, left, height, width] = [0, 1, 2, 3].map(|i| case.numbers[i] as usize);
        let mut random = Random::new(Purpose::Augment, 0, 0, 0);
        erase::fill(planes.view_mut(), Rectangle { top, left, height, width }, super::Erased::Zero, &mut random);
        near(&planes, &golden.floats(&case.result), 0.0, "erase");
    }
}

/// Images and targets, with channels first and last.
#[test]
fn mixed_batches_are_torchvisions() {
    let golden = Golden::read();
    let mut blends = vec![];
    for case in golden.cases("mixup", 2) {
        blends.push((Blend::Sum(case.numbers[0] as f32), case));
    }
    for case in golden.cases("cutmix", 4) {
        blends.push((cutmix::cut(case.numbers[0], (6, 8), (case.numbers[2] as usize, case.numbers[1] as usize)), case));
    }
    for (blend, case) in &blends {
        let what = format!("{} {:?}", case.name, case.numbers);
        let mut batch = golden.batch();
        mixing::mix(&mut batch, 3, false, *blend);
        near(&batch, &golden.floats(&case.result), 0.0, &what);
        let mut last = golden.batch().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        mixing::mix(&mut last, 3, true, *blend);
        near(&last.permuted_axes([0, 3, 1, 2]), &golden.floats(&case.result), 0.0, &what);
        // A row that only fills the batch up takes no part.
        let mut short = golden.batch();
        mixing::mix(&mut short, 1, false, *blend);
        assert_eq!(short, golden.batch(), "{what}");
        let targets = golden.cases(&format!("{}-target", case.name), 2);
        let target = targets.iter().find(|t| t.numbers.starts_with(&case.numbers)).unwrap();
        let labels: Vec<usize> = target.numbers[case.numbers.len()..].iter().map(|&l| l as usize).collect();
        let mixed = super::Mixed { rows: 3, share: blend.share() };
        let mut ours = vec![0.0; 12];
        for row in 0..3 {
            ours[row * 4 + labels[mixed.partner(row)]] += 1.0 - mixed.share;
            ours[row * 4 + labels[row]] += mixed.share;
        }
        near(&ours, &golden.floats(&target.result), 1e-7, &what);
    }
}
