//! What the programs of this example share: a bundle's manifest, batches, safetensors.

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Whatever went wrong, in words.
pub type Failure = Box<dyn std::error::Error>;

/// What is trained: `BUNDLE BATCHES STEPS RATE WEIGHTS`.
///
/// BATCHES has STEPS times a batch of normalised images (float32), then STEPS times its labels (int64). WEIGHTS is written as safetensors, for
/// `spgraph export BUNDLE --weights WEIGHTS -o tuned.onnx`.
pub struct Task {
    pub bundle: PathBuf,
    pub steps: usize,
    pub state: Vec<Value>,
    pub image: (String, Vec<usize>),
    pub label: (String, Vec<usize>),
    /// Names and values.
    pub scalars: Vec<(String, f32)>,
    /// The name of the output with the loss.
    pub loss: String,
    manifest: Value,
    weights: PathBuf,
    batches: Vec<u8>,
}

impl Task {
    /// What the command line asks for.
    pub fn of_arguments() -> Result<Task, Failure> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [bundle, file, steps, rate, weights] = &args[..] else {
            return Err("what to train is BUNDLE BATCHES STEPS RATE WEIGHTS".into());
        };
        let (bundle, steps, rate): (_, usize, f32) = (PathBuf::from(bundle), steps.parse()?, rate.parse()?);
        let text = std::fs::read(bundle.join("manifest.json")).map_err(|e| format!("{} is no bundle: {e}", bundle.display()))?;
        let manifest: Value = serde_json::from_slice(&text)?;
        if manifest["format"] != 2 {
            return Err(format!("{} has format {}, and this program reads 2", bundle.display(), manifest["format"]).into());
        }
        if manifest["precision"] != "float32" {
            return Err(format!("{} computes in {}, and this program in float32", bundle.display(), manifest["precision"]).into());
        }
        let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        let port = |key: &str| Ok::<_, Failure>((name(&manifest["data"][key]["name"])?, shape(&manifest["data"][key]["shape"])?));
        let (image, label) = (port("input")?, port("target")?);
        let scalars = list("scalars").into_iter().map(|s| {
            let value = if s["meaning"] == "learning-rate" { rate } else { s["default"].as_f64().unwrap_or(0.0) as f32 };
            Ok((name(&s["name"])?, value))
        });
        let scalars = scalars.collect::<Result<_, Failure>>()?;
        let loss = list("outputs").iter().find(|o| o["meaning"] == "loss").map(|o| name(&o["name"])).ok_or("no loss")??;
        let batches = std::fs::read(file).map_err(|e| format!("cannot read {file}: {e}"))?;
        let due = steps * (image.1.iter().product::<usize>() * 4 + label.1.iter().product::<usize>() * 8);
        if batches.len() != due {
            return Err(format!("{file} has {} bytes; {steps} batches of this bundle have {due}", batches.len()).into());
        }
        if manifest["data"]["target"]["dtype"] != "int64" {
            return Err(format!("{} takes several classes or numbers for each image, and this program one class", bundle.display()).into());
        }
        let classes = manifest["class_count"].as_i64().unwrap_or(0);
        let task = Task { bundle, steps, state: list("state"), image, label, scalars, loss, manifest, weights: weights.into(), batches };
        // -1 is an image that fills a batch up and counts for nothing.
        match (0..steps).flat_map(|step| task.batch(step).1).enumerate().find(|(_, label)| !(-1..classes).contains(label)) {
            Some((image, label)) => Err(format!("{file}: label {label} of image {image} is none of the network's {classes} classes").into()),
            None => Ok(task),
        }
    }

    /// Fails unless `own`, the manifest in the metadata of step.onnx, is this bundle's: all of it but what is known of finished files only.
    pub fn belongs(&self, own: Option<&str>) -> Result<(), Failure> {
        let mut due = self.manifest.clone();
        for key in ["blake3", "files", "sealed"] {
            due.as_object_mut().ok_or("the manifest is damaged: rewrite the model again")?.remove(key);
        }
        match own.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            Some(own) if own == due => Ok(()),
            _ => Err(format!("{} is not the step of this bundle's manifest.json: rewrite the model again", graph(&self.bundle, "step").display()).into()),
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
            return Err(format!("the loss of step {} is {loss}: lower the rate, or look at the images; nothing is written", step + 1).into());
        }
        println!("step {}  loss {loss:.6}", step + 1);
        Ok(())
    }

    /// Writes what was trained, whole or not at all: the length of the header, the header, the tensors. `values` are those of a tensor by its name.
    pub fn write(&self, mut values: impl FnMut(&str) -> Result<Vec<f32>, Failure>) -> Result<(), Failure> {
        let (mut header, mut body) = (Map::new(), vec![]);
        // Others are counts, not weights.
        for s in self.state.iter().filter(|s| s["dtype"] == "float32") {
            let (name, at) = (name(&s["name"])?, body.len());
            body.extend(values(&name)?.into_iter().flat_map(f32::to_le_bytes));
            header.insert(name, json!({"dtype": "F32", "shape": s["shape"], "data_offsets": [at, body.len()]}));
        }
        let header = serde_json::to_vec(&header)?;
        let part = self.weights.with_extension("part");
        std::fs::write(&part, [&(header.len() as u64).to_le_bytes()[..], &header, &body].concat())?;
        std::fs::rename(part, &self.weights)?;
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

/// A graph of the bundle, as a path.
pub fn graph(bundle: &Path, name: &str) -> PathBuf {
    bundle.join(name).with_extension("onnx")
}

/// A text of the manifest.
pub fn name(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or("the manifest is damaged: rewrite the model again")?.to_string())
}

fn shape(value: &Value) -> Result<Vec<usize>, Failure> {
    let sizes = value.as_array().ok_or("the manifest is damaged: rewrite the model again")?;
    let size = |v: &Value| v.as_u64().map(|n| n as usize).ok_or_else(|| "this program takes a fixed batch: rewrite with --batch N".into());
    sizes.iter().map(size).collect()
}
