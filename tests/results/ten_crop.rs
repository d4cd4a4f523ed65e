//! Ten views of an image, against torchvision's `TenCrop` (`tests/generate/measures.py`).

use ndarray::Array3;
use serde_json::Value;
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{Dataset, ImageFolder, Moment, Recipe, TenCrops};

#[test]
fn views_are_those_of_torchvision() {
    let text = std::fs::read_to_string(format!("{}/tests/fixtures/ten_crop.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    for case in &cases {
        let at = |v: &Value, c: usize, y: usize, x: usize| v[c][y][x].as_u64().unwrap() as u8;
        let (height, width) = (case["image"][0].as_array().unwrap().len(), case["image"][0][0].as_array().unwrap().len());
        let size = [case["size"][0].as_u64().unwrap() as usize, case["size"][1].as_u64().unwrap() as usize];
        let image = image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
            image::Rgb([0, 1, 2].map(|c| at(&case["image"], c, y as usize, x as usize)))
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        image.save(dir.path().join("a/1.png")).unwrap();
        // As large as it is already: nothing is resized.
        let preprocessing = Preprocessing { resize: width.min(height), mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::default() };
        let recipe = Recipe::new(&preprocessing, &[-1, 3, size[0] as i64, size[1] as i64]).unwrap();
        let views = TenCrops::new(ImageFolder::open(dir.path(), None).unwrap(), recipe);
        assert_eq!((views.len(), views.views(), views.label(9)), (10, 10, 0));
        assert_eq!(views.note().is_some(), width.min(height) <= size[0].min(size[1]));
        for (view, expected) in case["crops"].as_array().unwrap().iter().enumerate() {
            let mut out = Array3::zeros([3, size[0], size[1]]);
            views.image(view, Moment { seed: 0, epoch: 0 }, out.view_mut()).unwrap();
            for ((c, y, x), value) in out.indexed_iter() {
                assert_eq!((value * 255.0).round() as u8, at(expected, c, y, x), "view {view}: {c} {y} {x}");
            }
        }
    }
}
