//! What a command reads, so that nothing of it is replaced by what the command writes. Every command that has both asks here first.

use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The files and folders that a command reads.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// With links followed; whether it is a folder of images.
    paths: Vec<(PathBuf, PathBuf, bool)>,
}

impl Inputs {
    /// Files, and folders such as bundles and runs. What does not exist is left out: reading it fails elsewhere.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Inputs {
        let mut inputs = Inputs::default();
        paths.into_iter().for_each(|path| inputs.push(path.as_ref(), false));
        inputs
    }

    /// More files and folders.
    pub fn with<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Inputs {
        paths.into_iter().for_each(|path| self.push(path.as_ref(), false));
        self
    }

    /// Folders of images as well: nothing is made among them, for it would be taken for a class.
    pub fn with_data<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Inputs {
        paths.into_iter().for_each(|path| self.push(path.as_ref(), true));
        self
    }

    fn push(&mut self, path: &Path, data: bool) {
        if let Ok(real) = path.canonicalize() {
            self.paths.push((path.to_path_buf(), real, data));
        }
    }

    /// Fails where writing the file `output` would replace an input or a part of one, whatever they are called.
    pub fn check_file(&self, output: &Path) -> Result<()> {
        let real = real(output);
        let there = identity(&real);
        for (shown, input, data) in &self.paths {
            let (input_is, output_is) = (shown.display(), output.display());
            if real == *input {
                return Err(refused(output, format!("it is what is read, {input_is}")));
            }
            if there.is_none() {
                continue;
            }
            if there == identity(input) {
                return Err(refused(output, format!("it is another name of {input_is}, which is read (a hard link)")));
            }
            if real.starts_with(input) {
                return Err(refused(output, format!("{output_is} is a part of {input_is}, which is read")));
            }
            // Bundles and runs have a dozen files; images are not gone through.
            let parts = if *data || !input.is_dir() { None } else { fs::read_dir(input).ok() };
            if let Some(part) = parts.into_iter().flatten().flatten().find(|part| identity(&part.path()) == there) {
                let part = part.file_name();
                return Err(refused(output, format!("it is another name of {} in {input_is}, which is read", part.to_string_lossy())));
            }
        }
        Ok(())
    }

    /// Fails where the folder `output`, into which files are put, is one of images or lies in one, where images are looked for.
    pub fn check_within(&self, output: &Path) -> Result<()> {
        let real = real(output);
        // Hidden folders are no classes.
        let hidden = |below: &Path| below.components().any(|c| c.as_os_str().as_encoded_bytes().starts_with(b"."));
        let within = |input: &PathBuf| real.strip_prefix(input).is_ok_and(|below| !hidden(below));
        match self.paths.iter().find(|(_, input, data)| *data && within(input)) {
            None => Ok(()),
            Some((shown, ..)) => Err(refused(
                output,
                format!("it is or lies in {}, which is read, and whose folders are classes of images", shown.display()),
            )),
        }
    }

    /// Fails where the folder `output` is an input or holds one, or would lie among images.
    pub fn check_folder(&self, output: &Path) -> Result<()> {
        let real = real(output);
        for (shown, input, data) in &self.paths {
            let input_is = shown.display();
            if real == *input {
                return Err(refused(output, format!("it is what is read, {input_is}")));
            }
            if input.starts_with(&real) {
                return Err(refused(output, format!("it holds {input_is}, which is read")));
            }
            if *data && real.starts_with(input) {
                return Err(refused(output, format!("it lies in {input_is}, which is read, and whose folders are classes of images")));
            }
        }
        Ok(())
    }
}

/// Fails where writing the file `output` would replace one of `files`, which are read: images that a list names, for example.
pub fn check_among(output: &Path, files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let there = identity(&real(output));
    let same = |file: &PathBuf| there.is_some() && identity(file) == there;
    match files.into_iter().find(same) {
        None => Ok(()),
        Some(file) => Err(refused(output, format!("it is what is read, {}", file.display()))),
    }
}

fn refused(output: &Path, why: String) -> Error {
    Error::usage(format!("cannot write {}: {why}. Give another name", output.display()))
}

/// With links followed as far as the path exists.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    // A link that leads nowhere yet would be written through.
    if let Ok(target) = fs::read_link(path) {
        let target = path.parent().map_or(target.clone(), |above| above.join(&target));
        if let (Some(above), Some(name)) = (target.parent().and_then(|p| p.canonicalize().ok()), target.file_name()) {
            return above.join(name);
        }
    }
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match (full.parent(), full.file_name()) {
        (Some(above), Some(name)) => real(above).join(name),
        _ => full,
    }
}

/// What all names of a file have in common; `None` where there is no file.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn nothing_that_is_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("work/bundle")).unwrap();
        fs::create_dir_all(at("data/cat")).unwrap();
        for file in ["work/m.onnx", "work/bundle/step.onnx", "data/cat/1.png", "other"] {
            fs::write(at(file), file).unwrap();
        }
        for (to, name) in [("work/m.onnx", "link"), ("work", "folder")] {
            std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        }
        fs::hard_link(at("work/m.onnx"), at("hard")).unwrap();
        fs::hard_link(at("work/bundle/step.onnx"), at("step")).unwrap();
        let inputs = Inputs::new([at("work/m.onnx"), at("work/bundle"), at("gone")]).with_data([at("data")]);
        for name in ["work/m.onnx", "work/./m.onnx", "folder/m.onnx", "link", "hard", "work/bundle/step.onnx", "step", "data/cat/1.png"] {
            assert!(inputs.check_file(&at(name)).is_err(), "{name}");
        }
        for name in ["other", "new", "work/new.onnx", "work/bundle/new.onnx", "data/f.safetensors", "deep/new"] {
            inputs.check_file(&at(name)).unwrap();
        }
        for name in ["work", "folder", "work/bundle", "folder/bundle", "", "data", "data/run", "data/cat", "data/deep/run"] {
            assert!(inputs.check_folder(&at(name)).is_err(), "{name}");
        }
        for name in ["data", "data/cache", "data/cat/deep"] {
            assert!(inputs.check_within(&at(name)).is_err(), "{name}");
        }
        for name in ["work", "", "data2", "data/.cache", "data/cat/.deep/cache"] {
            inputs.check_within(&at(name)).unwrap();
        }
        let listed = || [at("gone"), at("other"), at("work/m.onnx")];
        for name in ["other", "link", "hard", "folder/m.onnx"] {
            assert!(check_among(&at(name), listed()).is_err(), "{name}");
        }
        for name in ["gone", "new", "data/cat/1.png", "step"] {
            check_among(&at(name), listed()).unwrap();
        }
        for name in ["new", "work/run", "work/bundle/run", "deep/er/run", "data2"] {
            inputs.check_folder(&at(name)).unwrap();
        }
    }
}
