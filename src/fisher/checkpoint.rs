//! The checkpoint of an unfinished estimation: the sums so far in float64, and what they are sums of.

use super::layout::BatchLayout;
use super::mode::Mode;
use crate::bundle::manifest::Preprocessing;
use crate::error::{Error, Result};
use crate::storage::tensor_file::{self, KEY};
use ndarray::{Array, Array2, ArrayD, Dimension};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::path::Path;

const FORMAT: u32 = 1;

/// What an estimate depends on, besides the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub model: String,
    /// Over the images' labels and relative paths.
    pub images: String,
    pub mode: Mode,
    pub samples: u64,
    pub seed: u64,
    pub rows: usize,
    pub copies: usize,
    pub input: Vec<usize>,
    pub preprocessing: Preprocessing,
}

impl Identity {
    pub fn shape(&self) -> BatchLayout {
        BatchLayout { rows: self.rows, copies: self.copies }
    }

    /// How `asked` differs, for people.
    fn differences(&self, asked: &Identity) -> Vec<String> {
        let mut found = vec![];
        let mut note = |differs: bool, text: String| {
            if differs {
                found.push(text);
            }
        };
        note(self.model != asked.model, "the model is another one, or was changed".into());
        note(self.images != asked.images, "the images are others".into());
        note(self.mode != asked.mode, format!("--mode was {}, now {}", self.mode, asked.mode));
        note(self.samples != asked.samples, format!("--samples was {}, now {}", self.samples, asked.samples));
        note(self.seed != asked.seed, format!("--seed was {}, now {}", self.seed, asked.seed));
        let pairs = |i: &Identity| i.rows * i.copies;
        note(self.shape() != asked.shape(), format!("--pairs was {}, now {}", pairs(self), pairs(asked)));
        note(self.input != asked.input, format!("--input-shape was {:?}, now {:?}", self.input, asked.input));
        note(self.preprocessing != asked.preprocessing, "the images are prepared in another way".into());
        found
    }
}

/// Where an estimation stands.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Batches of images of which all classes are done, and the images in them.
    pub batches: u64,
    pub images: u64,
    /// Calls that are done of the batch in hand, and pairs that are done in all.
    pub calls: u64,
    pub pairs: u64,
    /// By parameter: squared gradients.
    pub squares: Vec<ArrayD<f64>>,
    /// By layer: the sum over images of the image's own sum, and of its square.
    pub traces: Vec<[f64; 2]>,
    /// Parameters × rows: the sums of the batch in hand.
    pub open: Array2<f64>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    batches: u64,
    images: u64,
    calls: u64,
    pairs: u64,
    identity: Identity,
}

fn bytes_of(values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(f64::to_le_bytes).collect()
}

/// Writes the sums whole or not at all.
pub fn write(path: &Path, identity: &Identity, sums: &Sums) -> Result<()> {
    let failed = |why: String| Error::training(format!("cannot write {}: {why}", path.display()));
    let Sums { batches, images, calls, pairs, .. } = *sums;
    let header = Header { format: FORMAT, batches, images, calls, pairs, identity: identity.clone() };
    let mut data: Vec<(String, Vec<u8>)> =
        sums.squares.iter().enumerate().map(|(i, v)| (format!("squares.{i}"), bytes_of(v.iter().copied()))).collect();
    data.push(("traces".into(), bytes_of(sums.traces.iter().flatten().copied())));
    data.push(("open".into(), bytes_of(sums.open.iter().copied())));
    let views = data.iter().map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F64, vec![bytes.len() / 8], bytes)?)));
    let views = views.collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>().map_err(|e| failed(e.to_string()))?;
    tensor_file::write(path, true, &header, views, failed)
}

/// Reads the sums back, in the shapes that those of `like` have. Fails where they are of another estimation than `asked`.
pub fn read(path: &Path, asked: &Identity, like: &Sums) -> Result<Sums> {
    let damaged = |why: String| {
        Error::model(format!("{} is no checkpoint of `spgraph fisher`, or it is damaged: {why}. --force starts anew", path.display()))
    };
    let data = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| damaged(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| damaged("spgraph did not write it".into()))?;
    let header: Header = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
    if header.format != FORMAT {
        return Err(damaged(format!("it has format {}, and this spgraph reads {FORMAT}", header.format)));
    }
    let differences = header.identity.differences(asked);
    if !differences.is_empty() {
        return Err(Error::usage(format!(
            "{} cannot be resumed: {}. Give the options that it was started with, or start anew with --force",
            path.display(),
            differences.join("; ")
        )));
    }
    let file = SafeTensors::deserialize(&data).map_err(|e| damaged(e.to_string()))?;
    let values = |name: &str, count: usize| {
        let view = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
        if view.dtype() != Dtype::F64 || view.shape() != [count] {
            return Err(damaged(format!("`{name}` has another type or size")));
        }
        Ok(view.data().chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect::<Vec<_>>())
    };
    let squares = like.squares.iter().enumerate();
    let squares = squares.map(|(i, sum)| shaped(values(&format!("squares.{i}"), sum.len())?, sum)).collect::<Result<_>>()?;
    let traces = values("traces", 2 * like.traces.len())?.chunks_exact(2).map(|c| [c[0], c[1]]).collect();
    let open = shaped(values("open", like.open.len())?, &like.open)?;
    let Header { batches, images, calls, pairs, .. } = header;
    Ok(Sums { batches, images, calls, pairs, squares, traces, open })
}

/// The values in the shape of `like`, which has as many.
fn shaped<D: Dimension>(values: Vec<f64>, like: &Array<f64, D>) -> Result<Array<f64, D>> {
    Array::from_shape_vec(like.raw_dim(), values).map_err(|e| Error::model(format!("a sum of shape {:?}: {e}", like.shape())))
}
