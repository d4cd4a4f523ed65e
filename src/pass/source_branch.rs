//! The source network as a frozen branch of the training graph: its values for the images of the step, for the regularizers that compare.
//!
//! All its parameters are constants, BatchNorm uses the moving statistics of the source, and nothing of it is differentiated. What the
//! trained network computes in the same way from the same constants (frozen layers) is not computed twice.

use super::equal::EqualNodes;
use crate::error::{Error, Result};
use crate::ir::{Becomes, Graph, PerValue, Rebuild, Tensor, ValueId};
use std::collections::HashSet;

/// The constant with a parameter's starting point, `NAME.start`, made once in each graph.
pub fn start_constant(graph: &mut Graph, name: &str, tensor: &Tensor) -> ValueId {
    let own = format!("{name}.start");
    let there = graph.find(&own).filter(|&v| graph.value(v).constant.as_ref().is_some_and(|t| same(t, tensor)));
    there.unwrap_or_else(|| graph.constant_as(&own, tensor.clone()))
}

/// Equal, mostly without a look at the numbers: tensors of one model share their bytes.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape() && a.dtype() == b.dtype() && (a.bytes().as_ptr() == b.bytes().as_ptr() || a.bytes() == b.bytes())
}

/// The values of the source network in the training graph.
pub struct SourceBranch<'a> {
    source: &'a Graph,
    /// By the index of the source's value: the value of the training graph.
    place: PerValue<Option<ValueId>>,
}

impl<'a> SourceBranch<'a> {
    /// Appends the source network to `graph`; both take the images from `input`. `moving` are the names of the parameters and statistics that
    /// training changes.
    pub fn new(
        graph: &mut Graph,
        input: ValueId,
        source: &'a Graph,
        source_input: ValueId,
        moving: &HashSet<&str>,
    ) -> Result<SourceBranch<'a>> {
        let known = EqualNodes::of(graph);
        let mut copy = Rebuild::new(source, graph);
        copy.prefix("source/");
        copy.put(source_input, input);
        for id in source.ids() {
            let Some(tensor) = source.value(id).initializer() else { continue };
            let name = source.name_of(id);
            let there = copy.graph.find(name).filter(|_| !moving.contains(name));
            let still = there.filter(|&v| copy.graph.value(v).constant.as_ref().is_some_and(|t| same(t, tensor)));
            match still {
                Some(here) => copy.put(id, here),
                None if moving.contains(name) => {
                    let start = start_constant(copy.graph, name, tensor);
                    copy.put(id, start);
                }
                None => drop(copy.constant(id, tensor.clone())),
            }
        }
        copy.run(|r, node| {
            let here = r.mapped(node)?;
            Ok(known.find(r.graph, &here, node.outputs.len()).map_or(Becomes::Itself, Becomes::Values))
        })
        .map_err(failed)?;
        let mut place = PerValue::new(source, None);
        source.ids().for_each(|v| place[v] = copy.at(v));
        super::verified(graph, "the source network became a branch of it")?;
        Ok(SourceBranch { source, place })
    }

    /// What the source network computes for `value`, one of its own.
    pub fn at(&self, value: ValueId) -> Option<ValueId> {
        self.place[value]
    }

    /// Appends the part of the source network that depends on its value `from`, with `instead` in its place; gives what becomes of `wanted`.
    pub fn continued(&self, graph: &mut Graph, from: ValueId, instead: ValueId, wanted: ValueId) -> Result<ValueId> {
        let behind = self.source.dependents(from);
        let mut copy = Rebuild::new(self.source, graph);
        copy.prefix("source.tuned/");
        for v in self.source.ids() {
            if let Some(here) = self.place[v] {
                copy.put(v, here);
            }
        }
        copy.put(from, instead);
        copy.run(|_, node| Ok(if node.used().any(|v| behind.contains(&v)) { Becomes::Itself } else { Becomes::Nothing }))
            .map_err(failed)?;
        let found = copy.get(wanted).map_err(failed)?;
        super::verified(graph, "a part of the source network was continued in it")?;
        Ok(found)
    }
}

fn failed(reason: String) -> Error {
    Error::internal(format!("the source network cannot become a branch of the training graph: {reason}"))
}
