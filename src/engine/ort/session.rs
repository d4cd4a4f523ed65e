//! A graph in ONNX Runtime for plain calls: everything goes in and comes out through the processor's memory.

use super::super::session::Session;
use super::super::signature::Signature;
use super::explain::explain;
use super::values::{output, to_ort};
use crate::error::Result;
use crate::ir::Tensor;
use ::ort::session::Session as Loaded;

pub(super) struct OrtSession {
    pub session: Loaded,
    pub signature: Signature,
}

impl Session for OrtSession {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let Signature { model, inputs, outputs } = &self.signature;
        let all: Vec<usize> = (0..inputs.len()).collect();
        let order = self.signature.match_feeds(&all, feeds)?;
        let values = inputs
            .iter()
            .zip(&order)
            .map(|(port, (_, tensor))| Ok((port.name.as_str(), to_ort(tensor)?)))
            .collect::<::ort::Result<Vec<_>>>()
            .map_err(|e| explain("take the inputs of", model, &e))?;
        let results = self.session.run(values).map_err(|e| explain("run", model, &e))?;
        outputs.iter().map(|port| output(results.get(&port.name), &port.name, model)).collect()
    }
}
