//! The checkpoints of ONNX Runtime's training API: flatbuffers with the identifier `ODTC`, of parameters by name, whether they are trained or not, and of
//! the optimizer's state.

use super::flatbuffer::{Field, Table, View, write};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::regular;
use std::collections::HashMap;
use std::path::Path;

const IDENTIFIER: &[u8; 4] = b"ODTC";

/// The only version that releases read.
const VERSION: i32 = 2;

/// Flatbuffers refer with signed 32-bit numbers in one direction.
const LIMIT: usize = i32::MAX as usize;

/// The optimizer's state of one parameter: its moments, in order.
pub type Moments = (String, Vec<Tensor>);

/// What a checkpoint holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrtCheckpoint {
    /// Parameters that have a gradient.
    pub trained: Vec<(String, Tensor)>,
    /// Those that have none: BatchNorm's statistics, momenta of SGD.
    pub frozen: Vec<(String, Tensor)>,
    /// AdamW's moments, with the number of steps that they are of; none at the start.
    pub optimizer: Option<(i64, Vec<Moments>)>,
    /// Numbers by name.
    pub floats: Vec<(String, f32)>,
    /// Texts by name.
    pub texts: Vec<(String, String)>,
}

impl OrtCheckpoint {
    /// As the file's bytes. With `nominal` only the names and types are in it, for devices that get the values from elsewhere.
    pub(super) fn bytes(&self, nominal: bool) -> Result<Vec<u8>> {
        let module = Table(vec![
            (0, Field::Tables(tensors(&self.trained, nominal))),
            (1, Field::Tables(tensors(&self.frozen, nominal))),
            (2, Field::Bool(nominal)),
        ]);
        let floats = self.floats.iter().map(|(name, value)| Table(vec![(0, Field::Text(name)), (1, Field::F32(*value))]));
        let texts = self.texts.iter().map(|(name, value)| Table(vec![(0, Field::Text(name)), (1, Field::Text(value))]));
        let properties = Table(vec![(1, Field::Tables(floats.collect())), (2, Field::Tables(texts.collect()))]);
        let mut fields = vec![(0, Field::I32(VERSION)), (1, Field::Table(module)), (3, Field::Table(properties))];
        if let Some((step, moments)) = self.optimizer.as_ref().filter(|_| !nominal) {
            let states =
                moments.iter().map(|(name, list)| Table(vec![(0, Field::Text(name)), (1, Field::Tables(moments_of(list)))])).collect();
            let lr = self.floats.iter().find(|(name, _)| name == LEARNING_RATE).map_or(0.0, |(_, value)| *value);
            let group = vec![(0, Field::Text("group0")), (1, Field::I64(*step)), (2, Field::F32(lr)), (3, Field::Tables(states))];
            fields.push((2, Field::Tables(vec![Table(group)])));
        }
        let size: usize = self.trained.iter().chain(&self.frozen).map(|(_, t)| t.bytes().len()).sum();
        let moments: usize = self.optimizer.iter().flat_map(|o| &o.1).flat_map(|m| &m.1).map(|t| t.bytes().len()).sum();
        if size.saturating_add(moments) >= LIMIT - (LIMIT >> 4) {
            return Err(Error::model(
                "the weights take more than 2 GiB, which a checkpoint of ONNX Runtime cannot hold: take another artifact",
            ));
        }
        Ok(write(&Table(fields), IDENTIFIER))
    }

    /// Reads a checkpoint that ONNX Runtime saved. Fails where it is none, is damaged, or has its data elsewhere.
    pub fn read(path: &Path) -> Result<OrtCheckpoint> {
        let failed = |why: String| {
            Error::model(format!(
                "{} is no checkpoint of ONNX Runtime's training API, or it is damaged: {why}. Save it again",
                path.display()
            ))
        };
        let data = regular::read(path).map_err(Error::io("cannot read", path))?;
        parse(&data).map_err(failed)
    }
}

/// The property with the learning rate to begin with.
pub(super) const LEARNING_RATE: &str = "learning_rate";

/// The property with the hash of the source model.
pub(super) const SOURCE: &str = "spgraph.source";

fn tensors(list: &[(String, Tensor)], nominal: bool) -> Vec<Table<'_>> {
    list.iter().map(|(name, t)| tensor(name, t, nominal)).collect()
}

/// What the optimizer's moments are called, in order.
const MOMENTS: [&str; 2] = ["momentum0", "momentum1"];

fn moments_of(list: &[Tensor]) -> Vec<Table<'_>> {
    MOMENTS.iter().zip(list).map(|(name, t)| tensor(name, t, false)).collect()
}

fn tensor<'a>(name: &'a str, tensor: &'a Tensor, nominal: bool) -> Table<'a> {
    let dims = if nominal { vec![] } else { tensor.shape().iter().map(|&d| d as i64).collect() };
    let data: &[u8] = if nominal { &[] } else { tensor.bytes() };
    Table(vec![(0, Field::Text(name)), (2, Field::Numbers(dims)), (3, Field::I32(tensor.dtype().onnx())), (4, Field::Bytes(data))])
}

fn parse(data: &[u8]) -> std::result::Result<OrtCheckpoint, String> {
    let root = View::root(data, IDENTIFIER)?;
    match root.i32(0)?.unwrap_or(0) {
        VERSION => {}
        other => return Err(format!("it has version {other}, and only {VERSION} is known")),
    }
    let module = root.table(1)?.ok_or("it has no parameters")?;
    if module.bool(2)?.unwrap_or(false) {
        return Err("it is nominal: it has names and no values".into());
    }
    if module.bool(3)?.unwrap_or(false) {
        return Err("its values are in another file, which is not supported".into());
    }
    let list = |slot| -> std::result::Result<Vec<(String, Tensor)>, String> {
        module.tables(slot)?.unwrap_or_default().into_iter().map(read_tensor).collect()
    };
    let mut found = OrtCheckpoint { trained: list(0)?, frozen: list(1)?, ..OrtCheckpoint::default() };
    if let Some(group) = root.tables(2)?.unwrap_or_default().into_iter().next() {
        let mut moments = vec![];
        for state in group.tables(3)?.unwrap_or_default() {
            let name = state.text(0)?.ok_or("a moment belongs to no parameter")?.to_string();
            let mut named: HashMap<String, Tensor> =
                state.tables(1)?.unwrap_or_default().into_iter().map(read_tensor).collect::<std::result::Result<_, _>>()?;
            moments.push((name, MOMENTS.iter().filter_map(|m| named.remove(*m)).collect()));
        }
        found.optimizer = Some((group.i64(1)?.unwrap_or(0), moments));
    }
    if let Some(properties) = root.table(3)? {
        for text in properties.tables(2)?.unwrap_or_default() {
            let name = text.text(0)?.unwrap_or_default();
            found.texts.push((name.to_string(), text.text(1)?.unwrap_or_default().to_string()));
        }
    }
    Ok(found)
}

fn read_tensor(view: View) -> std::result::Result<(String, Tensor), String> {
    let name = view.text(0)?.ok_or("a tensor has no name")?.to_string();
    let shape: Option<Vec<usize>> = view.numbers(2)?.unwrap_or_default().into_iter().map(|d| usize::try_from(d).ok()).collect();
    let dtype = DType::from_onnx(view.i32(3)?.unwrap_or(0)).ok_or_else(|| format!("`{name}` has an element type that is not known"))?;
    let data = view.bytes(4)?.ok_or_else(|| format!("`{name}` has no values"))?;
    let shape = shape.ok_or_else(|| format!("`{name}` has a negative dimension"))?;
    let needed = shape.iter().try_fold(dtype.size(), |size, &d| size.checked_mul(d));
    if needed != Some(data.len()) {
        return Err(format!("`{name}` has {} bytes, which do not fit its shape {shape:?}", data.len()));
    }
    let tensor = Tensor::new(dtype, shape, bytes::Bytes::copy_from_slice(data)).map_err(|e| e.to_string())?;
    Ok((name, tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> OrtCheckpoint {
        let tensor = |n: usize| Tensor::from_f32(&[n, 1], &vec![0.5; n]);
        OrtCheckpoint {
            trained: vec![("a".into(), tensor(2)), ("ü".into(), tensor(3))],
            frozen: vec![("m".into(), tensor(1))],
            optimizer: Some((7, vec![("a".into(), vec![tensor(2), tensor(2)])])),
            floats: vec![],
            texts: vec![(SOURCE.into(), "hash".into())],
        }
    }

    #[test]
    fn what_is_written_is_read_and_names_alone_are_not() {
        assert_eq!(parse(&sample().bytes(false).unwrap()).unwrap(), sample());
        assert!(parse(&sample().bytes(true).unwrap()).unwrap_err().contains("nominal"));
    }

    #[test]
    fn damaged_ones_are_refused_or_read() {
        let whole = sample().bytes(false).unwrap();
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = parse(&damaged);
        }
        assert!(parse(b"PK\x03\x04ODTX").unwrap_err().contains("ODTC"));
    }
}
