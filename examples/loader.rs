//! How many images a second are read, resized, changed and batched, without a network: `loader PATH [RECIPE] [THREADS] [EPOCHS]`.
//! `bench/loader.py` compares it with torchvision.

use spgraph::Result;
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{Augment, CacheOptions, ImageDataset, ImageSet, Last, Loader, LoaderOptions, Recipe};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |place: usize, otherwise: &str| args.get(place).cloned().unwrap_or_else(|| otherwise.to_string());
    let number = |place: usize, otherwise: u64| args.get(place).and_then(|t| t.parse().ok()).unwrap_or(otherwise);
    let images = ImageSet::open(Path::new(&text(0, "photos")), None)?;
    let recipe = Recipe::new(&Preprocessing::default(), &[-1, 3, 224, 224])?;
    let augment: Augment = text(1, "resized-crop").parse()?;
    // Every epoch reads the files.
    let cache = CacheOptions { memory: Some(0), ..CacheOptions::default() };
    let dataset = ImageDataset::cached(images, recipe, augment, &cache)?;
    let options = LoaderOptions { last: Last::Short, threads: number(2, 2) as usize, ..LoaderOptions::training(32, 0) };
    let loader = Loader::new(Arc::new(dataset), options)?;
    let (start, mut seen) = (Instant::now(), 0);
    for batch in loader.stream(0, 0, Some(number(3, 3)))? {
        seen += batch?.valid;
    }
    println!("{:.1}", seen as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
