//! The mode of BatchNormalization: import leaves all of them in the form for inference.

use super::Pass;
use crate::error::{Error, Refusal, Result, fault};
use crate::ir::{Attr, Attrs, Becomes, Graph, Node, Rebuild, ValueId, rebuild};
use crate::operator::{Builder, Rule, View};
use crate::ops::batch_norm::{self, BatchNormUpdate};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Puts the form with batch statistics in the place of every BatchNormalization whose scale is not one of `frozen`. Gives what moves the
/// running statistics on. `training` is what the source says of nodes for training only, by node.
///
/// Fails with every node that has no such form.
pub fn train_batch_norm(graph: &mut Graph, frozen: &HashSet<String>, training: &HashMap<String, Attrs>) -> Result<Vec<BatchNormUpdate>> {
    let pass = TrainBatchNorm { frozen, training, updates: RefCell::default(), moving: RefCell::default() };
    super::apply(graph, &[&pass])?;
    Ok(pass.updates.into_inner())
}

struct TrainBatchNorm<'a> {
    frozen: &'a HashSet<String>,
    training: &'a HashMap<String, Attrs>,
    updates: RefCell<Vec<BatchNormUpdate>>,
    /// Statistics that some node moves on.
    moving: RefCell<HashSet<ValueId>>,
}

impl TrainBatchNorm<'_> {
    /// Whether the node is to use the statistics of its batch.
    fn concerns(&self, graph: &Graph, node: &Node) -> bool {
        let scale = node.input(1);
        // What normalizes weights has no batch.
        let on_images = node.outputs.iter().any(|&v| graph.value(v).varies);
        node.is(batch_norm::INFERENCE)
            && on_images
            && !scale.and_then(|v| View::moved_constant(graph, v)).is_some_and(|v| self.frozen.contains(graph.name_of(v)))
    }

    fn replace(&self, r: &mut Rebuild, node: &Node) -> Rule<Becomes> {
        let source = r.source();
        for (i, label) in [(3, "running_mean"), (4, "running_var")] {
            let Some(constant) = node.input(i).and_then(|v| View::moved_constant(source, v)) else {
                return Err(format!("its {label} is computed while the model runs; use it as it is (frozen BatchNorm)"));
            };
            if !self.moving.borrow_mut().insert(constant) {
                let name = source.name_of(constant);
                return Err(format!("its {label} `{name}` is another statistic, too; use it as it is (frozen BatchNorm)"));
            }
        }
        let momentum = match self.training.get(&node.name).and_then(|attrs| attrs.get("momentum")) {
            Some(Attr::Float(m)) => *m as f64,
            _ => return Err("its momentum is not known".into()),
        };
        let here = r.mapped(node)?;
        let (y, update) = batch_norm::train(&mut Builder::new(r.graph), &here, momentum)?;
        r.name_as(y, node.output().ok_or_else(|| fault("it has no output"))?);
        self.updates.borrow_mut().push(update);
        Ok(Becomes::Values(vec![y]))
    }
}

impl Pass for TrainBatchNorm<'_> {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut failed = vec![];
        let made = rebuild(graph, |r, node| {
            if !self.concerns(r.source(), node) {
                return Ok(Becomes::Itself);
            }
            Ok(self.replace(r, node).unwrap_or_else(|reason| {
                failed.push(Refusal::of(&node.name, &node.op_type, reason));
                Becomes::Itself
            }))
        });
        let refused = failed.into_iter().collect::<Result<Vec<_>>>()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Tensor, TensorType};
    use crate::operator::attrs;

    fn norm(graph: &mut Graph, x: ValueId, name: &str) -> ValueId {
        let ty = graph.ty(x).clone();
        let mut inputs = vec![Some(x)];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            inputs.push(Some(graph.constant(&format!("{name}.{part}"), Tensor::from_f32(&[2], &[1.0, 2.0]))));
        }
        let node = Node::new(format!("/{name}/Norm"), batch_norm::INFERENCE, inputs, attrs([("epsilon", Attr::Float(1e-5))]));
        graph.node(node, vec![(format!("{name}.output"), ty)])[0]
    }

    /// Two normalizations, one behind the other.
    fn graph(shape: [usize; 4]) -> Graph {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::new(DType::F32, shape));
        let a = norm(&mut graph, x, "a");
        graph.outputs = vec![norm(&mut graph, a, "b")];
        graph
    }

    fn training() -> HashMap<String, Attrs> {
        ["/a/Norm", "/b/Norm"].map(|name| (name.to_string(), attrs([("momentum", Attr::Float(0.9))]))).into()
    }

    #[test]
    fn what_is_not_frozen_uses_its_batch_and_keeps_its_name() {
        let mut graph = graph([4, 2, 3, 3]);
        let updates = train_batch_norm(&mut graph, &HashSet::from(["b.weight".to_string()]), &training()).unwrap();
        assert_eq!(updates.len(), 1);
        assert_eq!(graph.name_of(updates[0].running_mean), "a.running_mean");
        assert_eq!(graph.name_of(updates[0].running_variance), "a.running_var");
        assert!(graph.producer(updates[0].next_variance).is_some());
        let (first, last) = (&graph.nodes[0], graph.nodes.last().unwrap());
        assert_eq!((first.name.as_str(), first.op_type.as_str()), ("/a/BatchNormTrain", batch_norm::TRAIN.name));
        assert_eq!(graph.name_of(first.outputs[0]), "a.output");
        assert_eq!((last.name.as_str(), last.op_type.as_str()), ("/b/Norm", batch_norm::INFERENCE));
    }

    #[test]
    fn all_that_have_no_batch_statistics_are_named() {
        let refused = |mut graph: Graph| match train_batch_norm(&mut graph, &HashSet::new(), &training()) {
            Err(Error::Unsupported(list)) => list.iter().map(|r| format!("{}: {}", r.node, r.reason)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let single = refused(graph([1, 2, 1, 1]));
        assert!(single.len() == 2 && single[1].starts_with("/b/Norm: each channel has a single value per batch"), "{single:?}");
        let mut computed = graph([4, 2, 3, 3]);
        computed.constant_to_input(computed.find("a.running_var").unwrap());
        assert_eq!(refused(computed), ["/a/Norm: its running_var is computed while the model runs; use it as it is (frozen BatchNorm)"]);
    }
}
