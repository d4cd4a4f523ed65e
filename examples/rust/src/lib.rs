//! What the programs of this example share: a bundle's manifest, batches, safetensors.

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Whatever went wrong, in words.
pub type Failure = Box<dyn std::error::Error>;

/// What is trained: `BUNDLE BATCHES STEPS RATE WEIGHTS`.
///
/// BUNDLE is a folder, or one file of the artifact `single`. BATCHES has STEPS times a batch of normalised images (float32), then STEPS times its labels
/// (int64). WEIGHTS is written as safetensors, for `spgraph export BUNDLE --weights WEIGHTS -o tuned.onnx`.
pub struct Task {
    /// The graph of a step.
    pub step: PathBuf,
    /// The graph that gives the state at its start; none where the step has it inside.
    pub init: Option<PathBuf>,
    pub steps: usize,
    pub state: Vec<Value>,
    pub image: (String, Vec<usize>),
    pub label: (String, Vec<usize>),
    /// Names and values.
    pub scalars: Vec<(String, f32)>,
    /// The name of the output with the loss.
    pub loss: String,
    weights: PathBuf,
    batches: Vec<u8>,
}

impl Task {
    /// What the command line asks for, held against the bundle.
    pub fn of_arguments() -> Result<Task, Failure> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [bundle, file, steps, rate, weights] = &args[..] else {
            return Err("what to train is BUNDLE BATCHES STEPS RATE WEIGHTS".into());
        };
        let steps: usize = steps.parse().map_err(|e| format!("STEPS is `{steps}`: {e}"))?;
        let rate: f32 = rate.parse().map_err(|e| format!("RATE is `{rate}`: {e}"))?;
        let bundle = Path::new(bundle);
        let single = bundle.extension().is_some_and(|e| e == "onnx") && bundle.is_file();
        let (step, init, manifest) = match single {
            true => (bundle.to_path_buf(), None, manifest_of(bundle)?),
            false => (bundle.join("step.onnx"), Some(bundle.join("init.onnx")), checked(bundle)?),
        };
        if manifest["precision"] != "float32" {
            return Err(format!("{} computes in {}, and this program in float32", bundle.display(), manifest["precision"]).into());
        }
        if manifest["data"]["target"]["dtype"] != "int64" {
            return Err(format!("{} takes several classes or numbers for each image, and this program one class", bundle.display()).into());
        }
        let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        let port = |key: &str| Ok::<_, Failure>((name(&manifest["data"][key]["name"])?, shape(&manifest["data"][key]["shape"])?));
        let (image, label) = (port("input")?, port("target")?);
        let scalars = list("scalars").into_iter().map(|s| {
            let value = if s["meaning"] == "learning-rate" { rate } else { s["default"].as_f64().unwrap_or(0.0) as f32 };
            Ok((name(&s["name"])?, value))
        });
        let scalars = scalars.collect::<Result<_, Failure>>()?;
        let loss = list("outputs").iter().find(|o| o["meaning"] == "loss").map(|o| name(&o["name"])).ok_or(DAMAGED)??;
        let batches = std::fs::read(file).map_err(|e| format!("cannot read {file}: {e}"))?;
        let due = steps * (image.1.iter().product::<usize>() * 4 + label.1.iter().product::<usize>() * 8);
        if steps == 0 || batches.len() != due {
            return Err(format!("{file} has {} bytes; {steps} batches of this bundle have {due}", batches.len()).into());
        }
        let classes = manifest["class_count"].as_i64().unwrap_or(0);
        let task = Task { step, init, steps, state: list("state"), image, label, scalars, loss, weights: weights.into(), batches };
        // -1 is an image that fills a batch up and counts for nothing.
        match (0..steps).flat_map(|step| task.batch(step).1).enumerate().find(|(_, label)| !(-1..classes).contains(label)) {
            Some((image, label)) => {
                Err(format!("{file}: label {label} of image {image} is none of the network's {classes} classes").into())
            }
            None => Ok(task),
        }
    }

    /// The images and labels of a step.
    pub fn batch(&self, step: usize) -> (Vec<f32>, Vec<i64>) {
        let (pixels, labels) = (self.image.1.iter().product::<usize>() * 4, self.label.1.iter().product::<usize>() * 8);
        let at = self.steps * pixels + step * labels;
        let images = self.batches[step * pixels..(step + 1) * pixels].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let classes = self.batches[at..at + labels].chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap_or_default()));
        (images.collect(), classes.collect())
    }

    /// Says what a step's loss was. Fails where it is no number.
    pub fn say(&self, step: usize, loss: f32) -> Result<(), Failure> {
        if !loss.is_finite() {
            return Err(
                format!("the loss of step {} is {loss}: lower the rate, or look at the images; nothing is written", step + 1).into()
            );
        }
        println!("step {}  loss {loss:.6}", step + 1);
        Ok(())
    }

    /// Writes what was trained, whole or not at all: the length of the header, the header, the tensors. `values` are those of a row of the state.
    pub fn write(&self, values: impl Fn(&Value) -> Result<Vec<f32>, Failure>) -> Result<(), Failure> {
        let (mut header, mut body) = (Map::new(), vec![]);
        // Others are counts, not weights.
        for s in self.state.iter().filter(|s| s["dtype"] == "float32") {
            let (name, at) = (name(&s["name"])?, body.len());
            body.extend(values(s)?.into_iter().flat_map(f32::to_le_bytes));
            header.insert(name, json!({"dtype": "F32", "shape": s["shape"], "data_offsets": [at, body.len()]}));
        }
        let header = serde_json::to_vec(&header)?;
        let part = PathBuf::from(format!("{}.part", self.weights.display()));
        let written = std::fs::write(&part, [&(header.len() as u64).to_le_bytes()[..], &header, &body].concat());
        written.and_then(|()| std::fs::rename(&part, &self.weights)).map_err(|e| {
            let _ = std::fs::remove_file(&part);
            format!("cannot write {}: {e}", self.weights.display())
        })?;
        println!("wrote {}", self.weights.display());
        Ok(())
    }
}

/// Runs a program: what fails is said, and the exit code is 1.
pub fn ended(result: Result<(), Failure>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

const DAMAGED: &str = "the manifest is damaged: rewrite the model again";

/// The manifest of a bundle, whose files have the hashes in it (bundles of older versions have none). The step has the same manifest in its metadata, all but what is known of finished files only.
fn checked(bundle: &Path) -> Result<Value, Failure> {
    let text = std::fs::read(bundle.join("manifest.json"))
        .map_err(|e| format!("{} is no bundle: cannot read manifest.json ({e})", bundle.display()))?;
    let manifest = of_format(&text, &bundle.join("manifest.json"))?;
    for (name, hash) in manifest["files"].as_object().into_iter().flatten() {
        let path = bundle.join(name);
        let data = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}; rewrite the model again", path.display()))?;
        if hash.as_str() != Some(blake3::hash(&data).to_hex().as_str()) {
            return Err(format!(
                "{} was changed since it was written, or is of another bundle (its hash is another one than the manifest's): rewrite the model again",
                path.display()
            )
            .into());
        }
    }
    let step = bundle.join("step.onnx");
    let (mut due, own) = (manifest.clone(), manifest_of(&step)?);
    for key in ["blake3", "files", "sealed"] {
        due.as_object_mut().ok_or(DAMAGED)?.remove(key);
    }
    match own == due {
        true => Ok(manifest),
        false => Err(format!("{} is not the step of this bundle's manifest.json: rewrite the model again", step.display()).into()),
    }
}

/// The manifest in the metadata of a step.
fn manifest_of(step: &Path) -> Result<Value, Failure> {
    let model = std::fs::read(step).map_err(|e| format!("cannot read {}: {e}", step.display()))?;
    let text = metadata(&model, b"spgraph.manifest")
        .ok_or_else(|| format!("{} is no step that spgraph wrote: it has no manifest in its metadata", step.display()))?;
    of_format(text, step)
}

fn of_format(text: &[u8], path: &Path) -> Result<Value, Failure> {
    let manifest: Value =
        serde_json::from_slice(text).map_err(|e| format!("{} is damaged ({e}): rewrite the model again", path.display()))?;
    match manifest["format"] == 2 {
        true => Ok(manifest),
        false => {
            Err(format!("{} has format {}, and this program reads 2: rewrite the model again", path.display(), manifest["format"]).into())
        }
    }
}

/// What an ONNX file has in its metadata under a key: field 14 of the model is a pair of texts.
fn metadata<'a>(model: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let text = |pair, number| fields(pair).find(|(n, _)| *n == number).map(|(_, text)| text);
    fields(model).filter(|(number, _)| *number == 14).find(|(_, pair)| text(pair, 1) == Some(key)).and_then(|(_, pair)| text(pair, 2))
}

/// The fields of a protobuf message, with what lies in those that have a length. Ends where it is damaged.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let tag = varint(&mut bytes)?;
        let length = match tag % 8 {
            0 => varint(&mut bytes).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (field, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some((tag / 8, field))
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().take(10).position(|b| b & 128 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |value, b| value << 7 | u64::from(b & 127)))
}

/// A text of the manifest.
pub fn name(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or(DAMAGED)?.to_string())
}

fn shape(value: &Value) -> Result<Vec<usize>, Failure> {
    let sizes = value.as_array().ok_or(DAMAGED)?;
    let size = |v: &Value| v.as_u64().map(|n| n as usize).ok_or_else(|| "this program takes a fixed batch: rewrite with --batch N".into());
    sizes.iter().map(size).collect()
}
