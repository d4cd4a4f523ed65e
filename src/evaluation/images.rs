//! The images of a cell: dealt out by fixed rules, so that test, validation and training have none in common.
//!
//! The images of each class are put in an order that depends on their names alone (by a hash, so that photographs that were taken one after
//! the other, and have neighbouring names, do not all end up on one side). The first go to the test, the next to validation, the rest is the pool. The
//! training set of a seed is the beginning of the pool in that seed's order: with fewer images it is part of that with more.

use super::study::{Images, Target};
use crate::data::ImageFolder;
use crate::data::synth::{SynthOptions, write};
use crate::error::{Error, Result};
use crate::storage::folders::sync_content;
use crate::storage::pending_outputs::PendingOutput;
use crate::storage::sha256;
use crate::storage::temporaries::{self, Scratch};
use std::fs;
use std::path::{Path, PathBuf};

/// Which part of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For final cells.
    Test,
    /// For the selection.
    Validation,
    /// So many images of each class, drawn by a seed.
    Training {
        /// Of each class.
        images: usize,
        /// Which ones.
        seed: u64,
    },
}

/// Makes image folders below `place`, once.
pub struct ImageFolders<'a> {
    /// What relative paths are relative to.
    pub base: &'a Path,
    /// Where they are made.
    pub place: &'a Path,
}

/// Of the files of a class, those that are wanted; or why there are not enough.
type Choice<'a> = dyn for<'n> Fn(&str, &[&'n Path]) -> Result<Vec<&'n Path>, String> + 'a;

/// Order of an image: a hash of its class, its name and a salt.
fn rank(salt: &str, class: &str, name: &str) -> [u8; 32] {
    sha256::digest(format!("{salt}/{class}/{name}").as_bytes())
}

/// The images of one class in that order.
fn ordered<'n>(salt: &str, class: &str, names: &[&'n Path]) -> Vec<&'n Path> {
    let mut names = names.to_vec();
    names.sort_by_cached_key(|name| rank(salt, class, &name.to_string_lossy()));
    names
}

/// Which of a class's images belong to the part. Fails where there are too few, with the number that is missing.
fn choose<'n>(target: &Target, part: Part, class: &str, names: &[&'n Path]) -> Result<Vec<&'n Path>, String> {
    let (test, held_out) = (target.test_per_class, target.validation_per_class);
    let dealt = ordered("deal", class, names);
    let need = test.saturating_add(held_out).saturating_add(if let Part::Training { images, .. } = part { images } else { 0 });
    if dealt.len() < need {
        return Err(format!(
            "the class `{class}` has {} images, and {test} for the test, {held_out} for validation and those for training make {need}",
            dealt.len()
        ));
    }
    Ok(match part {
        Part::Test => dealt.into_iter().take(test).collect(),
        Part::Validation => dealt.into_iter().skip(test).take(held_out).collect(),
        Part::Training { images, seed } => {
            let pool: Vec<&Path> = dealt.into_iter().skip(test).skip(held_out).collect();
            let mut pool = ordered(&format!("seed {seed}"), class, &pool);
            pool.truncate(images);
            pool
        }
    })
}

impl ImageFolders<'_> {
    /// The folder of a part of a target.
    pub fn part(&self, target: &Target, part: Part) -> Result<PathBuf> {
        let whole = self.whole(&target.images)?;
        let name = match part {
            Part::Test => format!("test-{}", target.test_per_class),
            Part::Validation => format!("validation-{}-{}", target.test_per_class, target.validation_per_class),
            Part::Training { images, seed } => {
                format!("training-{}-{}-{images}-seed{seed}", target.test_per_class, target.validation_per_class)
            }
        };
        self.linked(&whole, &name, &|class, names| choose(target, part, class, names))
    }

    /// The folder of all images, or of so many of each class.
    pub fn all(&self, images: &Images) -> Result<PathBuf> {
        let whole = self.whole(images)?;
        let Images::Folder { per_class: Some(count), .. } = images else { return Ok(whole) };
        self.linked(&whole, &format!("first-{count}"), &|class, names| {
            let mut found = ordered("deal", class, names);
            found.truncate(*count);
            Ok(found)
        })
    }

    fn whole(&self, images: &Images) -> Result<PathBuf> {
        match images {
            Images::Folder { folder, .. } => Ok(self.base.join(folder)),
            Images::Synthetic { synthetic, per_class, seed } => {
                let dir = self.place.join(format!("{synthetic}-{per_class}-seed{seed}"));
                let options = SynthOptions::new(synthetic.parse()?, *per_class, *seed);
                made_once(&dir, |dir| write(&options, dir).map(|_| ()))?;
                Ok(dir)
            }
        }
    }

    /// A folder with some of the images of `whole`, as links where the file system has them.
    fn linked(&self, whole: &Path, name: &str, choose: &Choice) -> Result<PathBuf> {
        let mark = sha256::mark(&whole.to_string_lossy(), 3);
        let stem = whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let dir = self.place.join(format!("{stem}-{mark}")).join(name);
        made_once(&dir, |dir| link_chosen(whole, dir, choose))?;
        Ok(dir)
    }
}

fn link_chosen(whole: &Path, dir: &Path, choose: &Choice) -> Result<()> {
    let folder = ImageFolder::open(whole, None)?;
    for (label, class) in folder.classes().iter().enumerate() {
        let below = whole.join(class);
        let own = folder.samples().filter(|s| s.label == label);
        let names: Vec<PathBuf> = own.map(|s| s.path.strip_prefix(&below).map_or(s.path.clone(), Path::to_path_buf)).collect();
        let names: Vec<&Path> = names.iter().map(PathBuf::as_path).collect();
        let chosen = choose(class, &names).map_err(|why| Error::data(format!("{}: {why}", whole.display())))?;
        let to = dir.join(class);
        fs::create_dir_all(&to).map_err(Error::io("cannot create", &to))?;
        for name in chosen {
            let flat: Vec<String> = name.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
            let (from, to) = (below.join(name), to.join(flat.join("-")));
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).map_err(Error::io("cannot copy to", &to))?;
        }
    }
    Ok(())
}

/// Makes a folder under another name beside its place, and gives it its name at the end. Several processes may do so at once: the first one's
/// stays.
pub(super) fn made_once(dir: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let above = crate::storage::files::parent(dir);
    if dir.is_dir() {
        // Who made it may have been killed before it could remove what is left of that.
        temporaries::sweep(above);
        return Ok(());
    }
    fs::create_dir_all(above).map_err(Error::io("cannot create", above))?;
    let temporary = Scratch::within(above)?;
    let inner = temporary.path().join("folder");
    // Messages name it as it will be called.
    let _named = PendingOutput::new(&inner, dir);
    make(&inner)?;
    // After a loss of power a folder of that name has everything, or is not there.
    sync_content(&inner).map_err(Error::io("cannot write", dir))?;
    match fs::rename(&inner, dir) {
        Ok(()) => Ok(()),
        Err(_) if dir.is_dir() => Ok(()),
        Err(e) => Err(Error::io("cannot create", dir)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn parts_have_nothing_in_common_and_small_training_sets_are_part_of_large_ones() {
        let images = Images::Folder { folder: "x".into(), per_class: None };
        let target = Target { images, test_per_class: 7, validation_per_class: 3 };
        let names: Vec<String> = (0..40).map(|i| format!("IMG_{i:04}.JPG")).collect();
        let names: Vec<&Path> = names.iter().map(Path::new).collect();
        let part = |part| choose(&target, part, "a", &names).unwrap();
        let (test, validation) = (part(Part::Test), part(Part::Validation));
        assert_eq!((test.len(), validation.len()), (7, 3));
        let mut seen = HashSet::new();
        for seed in 0..5 {
            let large = part(Part::Training { images: 20, seed });
            let small = part(Part::Training { images: 5, seed });
            assert_eq!(small, large[..5]);
            assert!(large.iter().all(|n| !test.contains(n) && !validation.contains(n)));
            assert!(seen.insert(small), "two seeds draw the same images in the same order");
        }
        assert!(validation.iter().all(|n| !test.contains(n)));
        // Neighbours in name are not neighbours in order.
        assert_ne!(test, names[..7]);
        let error = choose(&target, Part::Training { images: 31, seed: 0 }, "a", &names).unwrap_err();
        assert!(error.contains("has 40 images") && error.contains("41"), "{error}");
    }
}
