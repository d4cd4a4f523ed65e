//! A batch size for a graph that was made for any.

use super::{InferTypes, Pass};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Dim, Graph};

/// Gives the symbolic batch a size: the graph becomes the one that import makes for that size.
pub struct FixBatch(pub usize);

impl Pass for FixBatch {
    fn name(&self) -> &'static str {
        "batch size"
    }

    fn requires(&self, graph: &Graph) -> Result<(), String> {
        InferTypes.requires(graph)
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        for input in graph.inputs.clone() {
            for dim in &mut graph.value_mut(input).ty.shape {
                if let Dim::Batch(k) = *dim {
                    let size = k.checked_mul(self.0);
                    *dim = Dim::Known(size.ok_or_else(|| {
                        Error::option(
                            Field::BATCH,
                            format!(" {} is not possible: the model would get {k} times as many entries along an axis", self.0),
                        )
                    })?);
                }
            }
        }
        InferTypes.run(graph)
    }

    /// Nothing depends on the batch any more.
    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        match graph.ids().find(|&v| graph.ty(v).dims().is_none()) {
            Some(v) => Err(format!("`{}` is still {}", graph.name_of(v), graph.ty(v))),
            None => InferTypes.ensures(graph),
        }
    }

    fn keeps_ports(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};

    #[test]
    fn a_batch_that_no_number_holds_is_refused() {
        let mut graph = Graph::new("g");
        graph.input("x", TensorType { dtype: DType::F32, shape: vec![Dim::Batch(3)] });
        let error = FixBatch(usize::MAX / 2).run(&mut graph).unwrap_err().to_string();
        assert!(error.contains("the model would get 3 times as many entries along an axis"), "{error}");
    }
}
