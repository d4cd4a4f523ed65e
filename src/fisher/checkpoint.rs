//! The checkpoint of an unfinished estimation: the sums so far in float64, and what they are sums of.

use super::layout::BatchLayout;
use super::mode::Mode;
use crate::bundle::manifest::Preprocessing;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::storage::tensor_file;
use ndarray::{Array, Array2, ArrayD, Dimension};
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
        note(self.mode != asked.mode, format!("{} was {}, now {}", Field::MODE, self.mode, asked.mode));
        note(self.samples != asked.samples, format!("{} was {}, now {}", Field::SAMPLES, self.samples, asked.samples));
        note(self.seed != asked.seed, format!("{} was {}, now {}", Field::SEED, self.seed, asked.seed));
        let pairs = |i: &Identity| i.rows.saturating_mul(i.copies);
        note(self.shape() != asked.shape(), format!("{} was {}, now {}", Field::PAIRS, pairs(self), pairs(asked)));
        note(self.input != asked.input, format!("{} was {:?}, now {:?}", Field::INPUT_SHAPE, self.input, asked.input));
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

/// Writes the sums whole or not at all.
pub fn write(path: &Path, identity: &Identity, sums: &Sums) -> Result<()> {
    let Sums { batches, images, calls, pairs, .. } = *sums;
    let header = Header { format: FORMAT, batches, images, calls, pairs, identity: identity.clone() };
    let tensor = |values: Vec<f64>| Tensor::from_vec(&[values.len()], values);
    let mut tensors: Vec<(String, Tensor)> =
        sums.squares.iter().enumerate().map(|(i, v)| (format!("squares.{i}"), tensor(v.iter().copied().collect()))).collect();
    tensors.push(("traces".into(), tensor(sums.traces.iter().flatten().copied().collect())));
    tensors.push(("open".into(), tensor(sums.open.iter().copied().collect())));
    tensor_file::write(path, true, &header, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
}

/// Reads the sums back, in the shapes that those of `like` have. Fails where they are of another estimation than `asked`.
pub fn read(path: &Path, asked: &Identity, like: &Sums) -> Result<Sums> {
    let damaged = |why: String| {
        let (shown, replace) = (path.display(), Field::REPLACE);
        Error::model(format!("{shown} is no checkpoint of `spgraph fisher`, or it is damaged: {why}. {replace} starts anew"))
    };
    let (header, tensors): (Header, _) = tensor_file::read(path, "cannot read", FORMAT, damaged)?;
    let differences = header.identity.differences(asked);
    if !differences.is_empty() {
        return Err(Error::usage(format!(
            "{} cannot be resumed: {}. Give the options that it was started with, or start anew with {}",
            path.display(),
            differences.join("; "),
            Field::REPLACE
        )));
    }
    let values = |name: &str, count: usize| {
        let tensor = tensors.get(name).ok_or_else(|| damaged(format!("it lacks `{name}`")))?;
        if tensor.dtype() != DType::F64 || tensor.shape() != [count] {
            return Err(damaged(format!("`{name}` has another type or size")));
        }
        Ok(tensor.to_f64()?)
    };
    let squares = like.squares.iter().enumerate();
    let squares = squares.map(|(i, sum)| shaped(values(&format!("squares.{i}"), sum.len())?, sum)).collect::<Result<_>>()?;
    let traces = values("traces", like.traces.len().saturating_mul(2))?.as_chunks::<2>().0.to_vec();
    let open = shaped(values("open", like.open.len())?, &like.open)?;
    let Header { batches, images, calls, pairs, .. } = header;
    Ok(Sums { batches, images, calls, pairs, squares, traces, open })
}

/// The values in the shape of `like`, which has as many.
fn shaped<D: Dimension>(values: Vec<f64>, like: &Array<f64, D>) -> Result<Array<f64, D>> {
    Array::from_shape_vec(like.raw_dim(), values).map_err(|e| Error::model(format!("a sum of shape {:?}: {e}", like.shape())))
}
