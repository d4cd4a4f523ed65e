//! Images whose files have the same content.

use super::image_set::ImageSet;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Where a look at a part of the file begins to be worth it.
const PEEK: u64 = 16 << 10;

/// Groups of two and more images with the same content, each in order, by their first. Files that cannot be read are in none.
///
/// Only files of one size are compared, first by some bytes of their middle: most data sets are hardly read.
pub(super) fn groups(sets: &[&ImageSet]) -> Vec<Vec<(usize, usize)>> {
    let all: Vec<(usize, usize)> = sets.iter().enumerate().flat_map(|(s, set)| (0..set.len()).map(move |i| (s, i))).collect();
    let path = |&(s, i): &(usize, usize)| -> Option<PathBuf> { sets.get(s)?.path(i) };
    let hash = |&(s, i): &(usize, usize)| sets.get(s).and_then(|set| set.content_hash(i));
    let hashes: Vec<Option<[u8; 32]>> = all.par_iter().map(hash).collect();
    let in_memory = alike(all.iter().copied().zip(hashes));
    let sizes: Vec<Option<u64>> = all.par_iter().map(|at| Some(std::fs::metadata(path(at)?).ok()?.len())).collect();
    let same_size = alike(all.into_iter().zip(sizes));
    let middle = |at: &(usize, usize)| {
        let mut file = File::open(path(at)?).ok()?;
        let length = file.metadata().ok()?.len();
        let mut part = Vec::new();
        if length > PEEK {
            file.seek(SeekFrom::Start(length / 2)).ok()?;
        }
        file.take(PEEK / 4).read_to_end(&mut part).ok()?;
        Some(blake3::hash(&part))
    };
    let whole = |at: &(usize, usize)| {
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut File::open(path(at)?).ok()?, &mut hasher).ok()?;
        Some(hasher.finalize())
    };
    let mut same = refine(refine(same_size, middle), whole);
    same.extend(in_memory);
    same.sort();
    same
}

/// What to tell where images of `other` are copies of images of `set`: results on them say nothing. `what` are the other images.
pub fn shared(set: &ImageSet, other: &ImageSet, what: &str) -> Option<String> {
    let both: Vec<(usize, usize)> = groups(&[set, other])
        .into_iter()
        .filter_map(|group| Some((group.iter().find(|(s, _)| *s == 0)?.1, group.iter().find(|(s, _)| *s == 1)?.1)))
        .collect();
    let &(first, copy) = both.first()?;
    Some(format!(
        "{} of the {what} images {} the same content as images that are trained on, so that results on them say too much: {} is {}{}",
        both.len(),
        if both.len() == 1 { "has" } else { "have" },
        other.name(copy),
        set.name(first),
        if both.len() == 1 { "" } else { ", …" }
    ))
}

/// Each group divided by what `of` gives for its members.
fn refine<T: Copy + Send + Sync + Ord, K: Hash + Eq + Send>(groups: Vec<Vec<T>>, of: impl Fn(&T) -> Option<K> + Sync) -> Vec<Vec<T>> {
    let refined = |group: Vec<T>| {
        let keys: Vec<Option<K>> = group.par_iter().map(&of).collect();
        alike(group.into_iter().zip(keys))
    };
    groups.into_iter().flat_map(refined).collect()
}

/// Items with the same key, of which there are two or more.
fn alike<T, K: Hash + Eq>(items: impl Iterator<Item = (T, Option<K>)>) -> Vec<Vec<T>> {
    let mut groups: HashMap<K, Vec<T>> = HashMap::new();
    for (item, key) in items {
        if let Some(key) = key {
            groups.entry(key).or_default().push(item);
        }
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}
