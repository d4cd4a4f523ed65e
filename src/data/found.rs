//! Image files that a person names: files, folders, patterns.

use super::listing::{EXTENSIONS, is_litter_name, visible};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Folders in each other.
const DEEPEST: usize = 100;

/// The files behind `given`: a file is taken whatever it is called, of a folder all images in and below it by their endings, of a pattern such as
/// `photos/**/*.jpg` what matches. In the order of `given`, each sorted; what is named twice is there twice. Fails for what does not exist and
/// where nothing is found.
pub fn find_images(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for path in given {
        let before = found.len();
        match std::fs::metadata(path) {
            Ok(data) if data.is_dir() => {
                walk(path, 0, &mut HashSet::new(), &mut found)?;
                if found.len() == before {
                    return Err(Error::data(format!(
                        "{} and the folders below it hold no images ({})",
                        path.display(),
                        EXTENSIONS.join(", ")
                    )));
                }
            }
            Ok(_) => found.push(path.clone()),
            Err(_) if path.to_str().is_some_and(|text| text.contains(['*', '?', '['])) => {
                matching(path.to_str().unwrap_or_default(), &mut found)?;
                if found.len() == before {
                    return Err(Error::data(format!("no image matches {}", path.display())));
                }
            }
            // It is reported with the images that cannot be read.
            Err(_) => found.push(path.clone()),
        }
    }
    Ok(found)
}

/// Images in and below a folder; a folder that links lead back to is visited once.
fn walk(dir: &Path, depth: usize, seen: &mut HashSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let real = dir.canonicalize().map_err(Error::io("cannot open the folder", dir))?;
    if depth > DEEPEST || !seen.insert(real) {
        return Ok(());
    }
    for entry in visible(dir)? {
        if !entry.folder {
            found.extend(is_image(&entry.path).then(|| entry.path.clone()));
        } else if !is_litter_name(&entry.name) {
            walk(&entry.path, depth.saturating_add(1), seen, found)?;
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&ending.as_str())
}

/// Files that match; of folders that match their images.
fn matching(pattern: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let all = glob::glob_with(pattern, options).map_err(|e| Error::usage(format!("`{pattern}` is no pattern: {e}")))?;
    for path in all {
        let path = path.map_err(|e| Error::io("cannot read", e.path())(e.error().kind().into()))?;
        match path.is_dir() {
            true => walk(&path, 0, &mut HashSet::new(), found)?,
            false => found.extend(is_image(&path).then_some(path)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b/2.png", "b/deep/3.JPG", "b/notes.txt", "b/.hidden.png", "__MACOSX/4.png", "1.png", "odd"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), b"").unwrap();
        }
        let names = |given: &[&str]| -> Vec<String> {
            let given: Vec<PathBuf> = given.iter().map(|n| at(n)).collect();
            let found = find_images(&given).unwrap();
            found.iter().map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(&["odd", "."]), ["odd", "./1.png", "./b/2.png", "./b/deep/3.JPG"].map(|n| n.replace("./", "")));
        assert_eq!(names(&["*.png", "b/**/*.JPG"]), ["1.png", "b/deep/3.JPG"]);
        assert_eq!(names(&["missing.png"]), ["missing.png"]);
        let none = |name: &str| find_images(&[at(name)]).unwrap_err().to_string();
        assert!(none("*.gif").contains("no image matches") && none("__MACOSX/*.bmp").contains("no image matches"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path(), at("b/loop")).unwrap();
            assert_eq!(names(&["b"]).len(), 3, "each image once, though links lead in a circle");
        }
    }
}
