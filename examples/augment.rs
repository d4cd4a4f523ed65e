//! What an augmentation does to the images of a folder: a picture of what a network would see, and how many images a second each operation takes.
//!
//!     cargo run --release --example augment -- FOLDER SIZE RECIPE GRID.png

use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::augment::OPERATIONS;
use spgraph::data::{Augment, Dataset, ImageDataset, ImageFolder, Loader, LoaderOptions, Moment, Recipe, grid};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, size, recipe, picture] = &args[..] else {
        anyhow::bail!("usage: augment FOLDER SIZE RECIPE GRID.png");
    };
    let (size, augment): (usize, Augment) = (size.parse()?, recipe.parse()?);
    let images = ImageFolder::open(Path::new(folder), None)?;
    let preprocessing = Preprocessing { resize: size, ..Preprocessing::default() };
    let recipe = Recipe::new(&preprocessing, &[1, 3, size as i64, size as i64])?;

    let classes = images.classes().to_vec();
    let data = ImageDataset::new(images.clone(), recipe.clone(), augment.clone(), 0);
    let loader = Loader::new(Arc::new(data), LoaderOptions::training(images.len().min(16), 0))?;
    if let Some(batch) = loader.start(0, 0)?.next() {
        std::fs::write(picture, grid::png(&grid::cells(&recipe, &batch?, &classes)?, 8)?)?;
        println!("{augment} in {picture}");
    }

    // On one thread, from images that are decoded and kept.
    let recipes = OPERATIONS.iter().map(|usual| usual()).filter(|o| !o.mixes()).map(|o| Augment::NONE.with(o));
    for augment in [Augment::NONE].into_iter().chain(recipes).chain([augment]) {
        let data = ImageDataset::new(images.clone(), recipe.clone(), augment.clone(), ImageDataset::CACHE);
        let mut out = ndarray::Array3::zeros([3, size, size]);
        let count = data.len().min(100);
        for index in 0..count {
            data.image(index, Moment::default(), out.view_mut())?;
        }
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < 0.5 {
            data.image(done % count, Moment { seed: 0, epoch: done as u64 }, out.view_mut())?;
            done += 1;
        }
        println!("{:>8.0} images/s  {augment}", done as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
