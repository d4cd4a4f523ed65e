//! The mode of BatchNormalization: import leaves all of them in the form for inference.

use super::Pass;
use crate::error::{Error, Refusal, Result};
use crate::ir::{Attr, Attrs, Becomes, Graph, Node, Rebuild, rebuild};
use crate::operator::{Builder, Rule};
use crate::ops::batch_norm::{self, BatchNormUpdate};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Puts the form with batch statistics in the place of every BatchNormalization whose scale is not one of `frozen`. Gives what moves the
/// running statistics on. `training` is what the source says of nodes for training only, by node.
///
/// Fails with every node that has no such form.
pub fn train_batch_norm(graph: &mut Graph, frozen: &HashSet<String>, training: &HashMap<String, Attrs>) -> Result<Vec<BatchNormUpdate>> {
    let pass = TrainBatchNorm { frozen, training, updates: RefCell::default() };
    super::apply(graph, &[&pass])?;
    Ok(pass.updates.into_inner())
}

struct TrainBatchNorm<'a> {
    frozen: &'a HashSet<String>,
    training: &'a HashMap<String, Attrs>,
    updates: RefCell<Vec<BatchNormUpdate>>,
}

impl TrainBatchNorm<'_> {
    /// Whether the node is to use the statistics of its batch.
    fn concerns(&self, graph: &Graph, node: &Node) -> bool {
        let scale = node.inputs.get(1).copied().flatten();
        node.is(batch_norm::INFERENCE) && !scale.is_some_and(|v| self.frozen.contains(graph.name_of(v)))
    }

    fn replace(&self, r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
        let source = r.source();
        for (i, label) in [(3, "running_mean"), (4, "running_var")] {
            if node.inputs.get(i).copied().flatten().is_none_or(|v| source.value(v).constant.is_none()) {
                return Err(format!("its {label} is computed while the model runs"));
            }
        }
        let momentum = match self.training.get(&node.name).and_then(|attrs| attrs.get("momentum")) {
            Some(Attr::Float(m)) => *m as f64,
            _ => return Err("its momentum is not known".into()),
        };
        let here = r.mapped(node)?;
        let (y, update) = batch_norm::train(&mut Builder::new(r.graph), &here, momentum)?;
        r.name_as(y, node.outputs[0]);
        self.updates.borrow_mut().push(update);
        Ok(Becomes::Values(vec![y]))
    }
}

impl Pass for TrainBatchNorm<'_> {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut refused = vec![];
        let made = rebuild(graph, |r, node| {
            if !self.concerns(r.source(), node) {
                return Ok(Becomes::Itself);
            }
            Ok(self.replace(r, node).unwrap_or_else(|reason| {
                refused.push(Refusal { node: node.name.clone(), op: node.op_type.clone(), reason });
                Becomes::Itself
            }))
        });
        if !refused.is_empty() {
            return Err(Error::Unsupported(refused));
        }
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        match graph.nodes.iter().find(|n| self.concerns(graph, n)) {
            Some(node) => Err(format!("`{}` still uses its moving statistics", node.name)),
            None => Ok(()),
        }
    }
}
