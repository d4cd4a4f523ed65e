//! A backward pass with several cotangents for each row of the forward pass.
//!
//! The network runs once on `rows` images. Differentiation happens in a second graph of the same network for `rows·copies`
//! images, and its nodes are then taken over: what they read of the forward pass is repeated, row by row. The second graph's
//! own forward pass is never emitted.

use crate::error::{Error, Result};
use crate::ir::{Dim, Graph, Rebuild, ValueId};
use crate::operator::Builder;
use crate::ops::blocks::repeat;

/// Fails unless `wide`'s values are `narrow`'s, with `factor` times as many rows along the leading axis or with none at all.
///
/// Anything else means that samples are not the leading axis somewhere, and could not be told apart.
pub fn leading_samples(narrow: &Graph, wide: &Graph, factor: usize) -> Result<()> {
    let same = narrow.values.len() == wide.values.len() && narrow.nodes.len() == wide.nodes.len();
    let differs = narrow.values.iter().zip(&wide.values).find(|(n, w)| {
        let wider = match (n.ty.shape.split_first(), w.ty.shape.split_first()) {
            (Some((Dim::Known(a), rest)), Some((Dim::Known(b), wide_rest))) => a.checked_mul(factor) == Some(*b) && rest == wide_rest,
            _ => false,
        };
        n.name != w.name || !(n.ty == w.ty || wider)
    });
    match (same, differs) {
        (true, None) => Ok(()),
        (_, value) => Err(Error::model(format!(
            "the images of a batch are not the leading axis of {}, so their gradients cannot be told apart. Export the network with the batch as the \
             first axis throughout",
            value.map_or("every value".to_string(), |(n, w)| format!(
                "`{}` ({}, and {} for {factor} times as many images)",
                n.name, n.ty, w.ty
            ))
        ))),
    }
}

/// A graph whose first `nodes` nodes and `values` values are those of a network for `rows·copies` images.
pub struct Wide<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// How many nodes belong to the forward pass.
    pub nodes: usize,
    /// How many values belong to the forward pass.
    pub values: usize,
    /// Images that the forward pass runs on.
    pub rows: usize,
    /// Cotangents for each of them.
    pub copies: usize,
}

impl Wide<'_> {
    /// Appends the nodes behind the forward pass to `graph`, which begins with the same forward pass for `rows` images; `known.1` stands in it
    /// for the input `known.0` of the wide graph. Gives, for each of `wanted`, the value in `graph`.
    pub fn append_to(&self, graph: &mut Graph, known: (ValueId, ValueId), wanted: &[ValueId]) -> Result<Vec<ValueId>> {
        let failed = |reason: String| Error::model(format!("the backward pass cannot be widened: {reason}"));
        let mut copy = Rebuild::new(self.graph, graph);
        for v in self.graph.ids().take(self.values) {
            if self.graph.ty(v) == copy.graph.ty(v) {
                copy.put(v, v);
            }
        }
        copy.put(known.0, known.1);
        for node in self.graph.nodes.iter().skip(self.nodes) {
            for v in node.used() {
                self.place(&mut copy, v).map_err(failed)?;
            }
            let made = copy.copy(node).map_err(failed)?;
            node.outputs.iter().zip(made).for_each(|(&from, to)| copy.put(from, to));
        }
        let found = wanted.iter().map(|&v| copy.get(v).map_err(failed)).collect::<Result<_>>()?;
        super::verified(graph, "the backward pass of several cotangents was appended")?;
        Ok(found)
    }

    /// Carries a constant over, and lets a value of the forward pass stand there once for each cotangent.
    fn place(&self, r: &mut Rebuild, v: ValueId) -> Result<(), String> {
        if r.at(v).is_some() {
            return Ok(());
        }
        match self.graph.value(v).initializer() {
            Some(tensor) if v.index() >= self.values => drop(r.constant(v, tensor.clone())),
            _ if v.index() >= self.values => return Err(format!("`{}` comes from nowhere", self.graph.name_of(v))),
            _ => {
                let mut b = Builder::new(r.graph);
                b.scope(format!("{}.copies", self.graph.name_of(v)));
                let repeated = repeat(&mut b, v, self.rows, self.copies)?;
                r.put(v, repeated);
            }
        }
        Ok(())
    }
}
