//! Procedural images: a source task and two targets, for the demo and for tests that need real learning.
//!
//! Shapes and textures are drawn in random colours, positions, sizes and rotations over cluttered backgrounds, so
//! a network has to learn edges, corners and patterns; colour says nothing about the class. The targets have other
//! classes from the same machinery: what was learnt on the source helps, most of all with few images.

mod scene;
mod shape;
mod texture;

use crate::data::random::{Purpose, Random};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::{exchange, temporaries};
use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use rayon::prelude::*;
use scene::{Motif, Scene};
use shape::Emblem;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use texture::Texture;

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Ten classes: six shapes, four textures.
    Source,
    /// Six other shapes: close to the source.
    TargetA,
    /// Five other textures: further from it.
    TargetB,
}

const SOURCE: [(&str, Motif); 10] = [
    ("checker", Motif::Texture(Texture::Checker)),
    ("cross", Motif::Emblem(Emblem::Cross)),
    ("disk", Motif::Emblem(Emblem::Disk)),
    ("dots", Motif::Texture(Texture::Dots)),
    ("ring", Motif::Emblem(Emblem::Ring)),
    ("square", Motif::Emblem(Emblem::Square)),
    ("star", Motif::Emblem(Emblem::Star)),
    ("stripes", Motif::Texture(Texture::Stripes)),
    ("triangle", Motif::Emblem(Emblem::Triangle)),
    ("zigzag", Motif::Texture(Texture::Zigzag)),
];
const TARGET_A: [(&str, Motif); 6] = [
    ("arrow", Motif::Emblem(Emblem::Arrow)),
    ("crescent", Motif::Emblem(Emblem::Crescent)),
    ("ell", Motif::Emblem(Emblem::Ell)),
    ("heart", Motif::Emblem(Emblem::Heart)),
    ("pentagon", Motif::Emblem(Emblem::Pentagon)),
    ("tee", Motif::Emblem(Emblem::Tee)),
];
const TARGET_B: [(&str, Motif); 5] = [
    ("bricks", Motif::Texture(Texture::Bricks)),
    ("cells", Motif::Texture(Texture::Cells)),
    ("plaid", Motif::Texture(Texture::Plaid)),
    ("rings", Motif::Texture(Texture::Rings)),
    ("waves", Motif::Texture(Texture::Waves)),
];

impl Task {
    /// All of them, in the order of their documentation.
    pub const ALL: [Task; 3] = [Task::Source, Task::TargetA, Task::TargetB];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Source => "source",
            Task::TargetA => "target-a",
            Task::TargetB => "target-b",
        }
    }

    fn table(self) -> &'static [(&'static str, Motif)] {
        match self {
            Task::Source => &SOURCE,
            Task::TargetA => &TARGET_A,
            Task::TargetB => &TARGET_B,
        }
    }

    /// Class names, sorted: the label of a class is its place here.
    pub fn classes(self) -> Vec<&'static str> {
        self.table().iter().map(|(name, _)| *name).collect()
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(text: &str) -> Result<Task> {
        Task::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| {
            Error::usage(format!("there is no synthetic task `{text}`. Choose one of: {}", Task::ALL.map(Task::name).join(", ")))
        })
    }
}

/// What images to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthOptions {
    /// What the classes are.
    pub task: Task,
    /// Images per class, at least 1.
    pub per_class: usize,
    /// Images of different seeds have nothing in common but the classes: use one seed for training, another for testing.
    pub seed: u64,
    /// Width and height in pixels, 8 to 1024.
    pub size: u32,
    /// Deviation of the pixel noise on a scale of 0…1, at most 1.
    pub noise: f32,
    /// Replace the folder if it exists and holds nothing but classes of synthetic tasks.
    pub force: bool,
}

impl SynthOptions {
    /// 32×32 pixels, noise 0.03.
    pub fn new(task: Task, per_class: usize, seed: u64) -> SynthOptions {
        SynthOptions { task, per_class, seed, size: 32, noise: 0.03, force: false }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The folder.
    pub dir: PathBuf,
    /// Class names by label.
    pub classes: Vec<String>,
    /// The number of images in all.
    pub images: usize,
    /// Size of the files in all.
    pub bytes: u64,
}

/// One image of a class, as [`write()`] would store it. `class` is the label; `None` if the task has no such class.
pub fn render(options: &SynthOptions, class: usize, index: usize) -> Option<image::RgbImage> {
    let (_, motif) = *options.task.table().get(class)?;
    // The task is part of the key: equal labels of two tasks must not share backgrounds.
    let stream = (options.task as u64) << 32 | class as u64;
    let mut random = Random::new(Purpose::Synth, options.seed, stream, index as u64);
    let scene = Scene::new(motif, &mut random);
    Some(scene.render(options.size, options.noise, &mut random))
}

/// Writes the images as PNG files, one folder per class, named `<class>/<class>-s<seed>-<number>.png`.
///
/// Equal options give equal files, bit for bit. The images are first written beside `dir` and then moved into place, so
/// an interrupted run leaves nothing that looks complete.
///
/// Fails for options out of range, when `dir` exists and isn't empty (unless `force`), and when a file cannot be written.
pub fn write(options: &SynthOptions, dir: &Path) -> Result<Summary> {
    check(options)?;
    exchange::restore(dir);
    let old = occupied(options, dir)?;
    let parent = match dir.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if !parent.is_dir() {
        std::fs::create_dir_all(&parent).map_err(Error::io("cannot create the folder", &parent))?;
    }
    let temporary = temporaries::folder_in(&parent, dir)?;
    let _unfinished = crate::storage::pending_outputs::PendingOutput::new(temporary.path(), dir);
    // A temporary folder is private; what is moved into place must be readable like any other new folder.
    let root = temporary.path().join("images");
    for class in options.task.classes() {
        let folder = root.join(class);
        std::fs::create_dir_all(&folder).map_err(Error::io("cannot create the folder", &folder))?;
    }
    let total = options.task.table().len() * options.per_class;
    let bytes = (0..total)
        .into_par_iter()
        .map(|i| write_one(options, &root, i / options.per_class, i % options.per_class))
        .try_reduce(|| 0, |a, b| Ok(a + b))?;
    let failed = |e| Error::io("cannot move the new images to", dir)(e);
    match old {
        true => exchange::exchange(&root, dir).and_then(|old| exchange::remove(&old)).map_err(failed)?,
        false => std::fs::rename(&root, dir).map_err(failed)?,
    }
    let classes = options.task.classes().into_iter().map(String::from).collect();
    Ok(Summary { dir: dir.to_path_buf(), classes, images: total, bytes })
}

fn check(options: &SynthOptions) -> Result<()> {
    if options.per_class == 0 || options.per_class > 1_000_000 {
        return Err(Error::usage(format!("cannot make {} images per class. Ask for 1 to 1000000", options.per_class)));
    }
    if !(8..=1024).contains(&options.size) {
        return Err(Error::usage(format!("cannot make images of {0}×{0} pixels. Ask for a size from 8 to 1024", options.size)));
    }
    if !(0.0..=1.0).contains(&options.noise) {
        return Err(Error::usage(format!(
            "a noise of {} makes no sense. It is a deviation on a scale of 0 to 1; the default is 0.03",
            options.noise
        )));
    }
    Ok(())
}

/// Whether there is something to replace; an error if that is not allowed.
fn occupied(options: &SynthOptions, dir: &Path) -> Result<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    if !dir.is_dir() {
        return Err(Error::usage(format!("{} is a file; give the name of a folder", dir.display())));
    }
    let entries: Vec<_> = std::fs::read_dir(dir)
        .and_then(|entries| entries.collect::<std::io::Result<_>>())
        .map_err(Error::io("cannot write synthetic images to", dir))?;
    if entries.is_empty() {
        return Ok(true);
    }
    if !options.force {
        let why = "exists and is not empty. Choose another folder, or replace it with";
        return Err(Error::usage(format!("{} {why} {}", dir.display(), Field::FORCE)));
    }
    match foreign(dir).map_err(Error::io("cannot list the folder", dir))? {
        None => Ok(true),
        Some(other) => Err(Error::usage(format!(
            "{} holds `{}`, which spgraph did not make, so it is not replaced, not even by force. Remove it yourself, or choose another folder",
            dir.display(),
            other.strip_prefix(dir).unwrap_or(&other).display()
        ))),
    }
}

/// The first file or folder in `dir` that [`write()`] does not make.
fn foreign(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(dir)? {
        let (path, name) = entry.map(|e| (e.path(), e.file_name()))?;
        let class = name.to_str().filter(|name| Task::ALL.iter().any(|t| t.classes().contains(name)));
        let Some(class) = class.filter(|_| path.is_dir() && !path.is_symlink()) else { return Ok(Some(path)) };
        for entry in std::fs::read_dir(&path)? {
            let (path, name) = entry.map(|e| (e.path(), e.file_name()))?;
            let ours = name.to_str().is_some_and(|n| n.starts_with(&format!("{class}-s")) && n.ends_with(".png"));
            if !ours {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// Returns the size of the file.
fn write_one(options: &SynthOptions, root: &Path, class: usize, index: usize) -> Result<u64> {
    let (name, _) = options.task.table()[class];
    let path = root.join(name).join(format!("{name}-s{}-{index:05}.png", options.seed));
    let mut file = Vec::new();
    if let Some(picture) = render(options, class, index) {
        PngEncoder::new(&mut file)
            .write_image(picture.as_raw(), picture.width(), picture.height(), image::ExtendedColorType::Rgb8)
            .map_err(|e| Error::data(format!("cannot encode {}: {e}", path.display())))?;
    }
    std::fs::write(&path, &file).map_err(Error::io("cannot write the image", &path))?;
    Ok(file.len() as u64)
}
