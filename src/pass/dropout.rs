//! Dropout in training: import leaves all of it in the form for inference.

use super::Pass;
use crate::error::{Error, Refusal, Result, fault};
use crate::ir::{Becomes, DType, Dim, Graph, Node, Rebuild, TensorType, ValueId, rebuild};
use crate::operator::{Builder, Rule};
use crate::ops::dropout;
use std::cell::RefCell;
use std::collections::HashMap;

/// What the masks of a step are made of: a seed and the number of the step.
#[derive(Debug, Clone, Copy)]
pub struct Masks {
    /// An input of two integers.
    pub state: ValueId,
    /// What it is in the next step.
    pub next: ValueId,
}

/// Where elements are dropped, and how much.
#[derive(Debug, Clone, PartialEq)]
pub enum Drops {
    /// In the place of a node that hands its input on: that share, of whole slices where the mask differs along these axes alone.
    Instead(f32, Option<Vec<usize>>),
    /// Of what the node reads of the images.
    Before(f32),
}

/// Has the nodes of those names drop elements by masks; gives nothing where none of them drops any. The state gets that name.
///
/// Fails with every node that can have no mask.
pub fn drop_elements(graph: &mut Graph, state: &str, nodes: &HashMap<String, Drops>) -> Result<Option<Masks>> {
    let pass = DropElements {
        state,
        nodes,
        masks: RefCell::default(),
        key: RefCell::default(),
        places: RefCell::default(),
        indices: RefCell::default(),
    };
    super::apply(graph, &[&pass])?;
    Ok(pass.masks.into_inner())
}

struct DropElements<'a> {
    state: &'a str,
    nodes: &'a HashMap<String, Drops>,
    masks: RefCell<Option<Masks>>,
    key: RefCell<Option<ValueId>>,
    /// How many there were so far.
    places: RefCell<usize>,
    /// What was made for an axis of a length, at a place in a rank.
    indices: RefCell<HashMap<(usize, usize, usize), ValueId>>,
}

impl DropElements<'_> {
    /// The key of the step's masks, made once.
    fn key(&self, graph: &mut Graph) -> Rule<ValueId> {
        let there = *self.key.borrow();
        if let Some(key) = there {
            return Ok(key);
        }
        let state = graph.input(self.state, TensorType::new(DType::I64, [2usize]));
        graph.value_mut(state).varies = false;
        let mut b = Builder::new(graph);
        b.scope("dropout");
        let [key, next] = dropout::key(&mut b, state)?;
        *self.masks.borrow_mut() = Some(Masks { state, next });
        *self.key.borrow_mut() = Some(key);
        Ok(key)
    }

    /// `h` of the indices along an axis of a value.
    fn axis(&self, b: &mut Builder, x: ValueId, axis: usize) -> Rule<ValueId> {
        let rank = b.rank(x);
        let Some(&Dim::Known(length)) = b.shape(x).get(axis) else { return dropout::counted_indices(b, x, axis) };
        let there = self.indices.borrow().get(&(length, axis, rank)).copied();
        if let Some(there) = there {
            return Ok(there);
        }
        let made = b.graph.constant(&format!("dropout.indices.{length}"), dropout::indices(length, axis, rank)?);
        self.indices.borrow_mut().insert((length, axis, rank), made);
        Ok(made)
    }

    /// A value of which that share is dropped, with masks that differ along these axes, or along all.
    fn dropped(&self, r: &mut Rebuild, node: &Node, x: ValueId, (ratio, axes): (f32, Option<&[usize]>)) -> Rule<ValueId> {
        let (place, key) = (*self.places.borrow(), self.key(r.graph)?);
        let mut b = Builder::new(r.graph);
        let name = &node.name;
        b.scope(name.rsplit_once('/').map_or(name.as_str(), |(parent, _)| parent));
        let differs = |axis: &usize| axes.is_none_or(|axes| axes.contains(axis));
        let indices = (0..b.rank(x)).filter(differs).map(|axis| self.axis(&mut b, x, axis)).collect::<Rule<Vec<_>>>()?;
        let y = dropout::train(&mut b, x, key, &indices, (place, ratio))?;
        self.places.replace_with(|places| places.saturating_add(1));
        Ok(y)
    }

    fn replace(&self, r: &mut Rebuild, node: &Node, drops: &Drops) -> Rule<Becomes> {
        match drops {
            Drops::Instead(ratio, axes) if *ratio > 0.0 => {
                let x = r.get(node.used().next().ok_or_else(|| fault("it has no input"))?)?;
                let y = self.dropped(r, node, x, (*ratio, axes.as_deref()))?;
                r.name_as(y, node.output().ok_or_else(|| fault("it has no output"))?);
                Ok(Becomes::Values(vec![y]))
            }
            Drops::Before(ratio) if *ratio > 0.0 => {
                let read = node.used().find(|&v| r.source().value(v).varies).ok_or("it reads nothing of the images")?;
                let x = r.get(read)?;
                let y = self.dropped(r, node, x, (*ratio, None))?;
                // For this node alone.
                r.put(read, y);
                let made = r.copy(node)?;
                r.put(read, x);
                Ok(Becomes::Values(made))
            }
            _ => Ok(Becomes::Itself),
        }
    }
}

impl Pass for DropElements<'_> {
    fn name(&self) -> &'static str {
        "dropout"
    }

    /// The state of the masks is a new input.
    fn keeps_ports(&self) -> bool {
        false
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut failed = vec![];
        let made = rebuild(graph, |r, node| {
            let Some(drops) = self.nodes.get(&node.name) else { return Ok(Becomes::Itself) };
            Ok(self.replace(r, node, drops).unwrap_or_else(|reason| {
                failed.push(Refusal::of(&node.name, "Dropout", reason));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::apply_verified;

    fn network() -> Graph {
        let mut graph = Graph::new("network");
        let ty = TensorType::new(DType::F32, [2usize, 6]);
        let x = graph.input("x", ty.clone());
        let hidden = graph.node(Node::new("relu", "Relu", vec![Some(x)], Default::default()), vec![("hidden".into(), ty.clone())]);
        let dropped =
            graph.node(Node::new("drop", "Identity", vec![Some(hidden[0])], Default::default()), vec![("dropped".into(), ty.clone())]);
        graph.outputs = graph.node(Node::new("top", "Neg", vec![Some(dropped[0])], Default::default()), vec![("y".into(), ty)]);
        graph
    }

    fn with(nodes: &[(&str, Drops)]) -> (Graph, Option<Masks>) {
        let mut graph = network();
        let nodes = nodes.iter().map(|(name, drops)| (name.to_string(), drops.clone())).collect();
        let pass = DropElements {
            state: "dropout.state",
            nodes: &nodes,
            masks: RefCell::default(),
            key: RefCell::default(),
            places: RefCell::default(),
            indices: RefCell::default(),
        };
        apply_verified(&mut graph, &[&pass]).unwrap();
        (graph, pass.masks.into_inner())
    }

    #[test]
    fn a_mask_stands_in_the_place_of_the_node_and_before_the_reader() {
        for (name, drops, output) in [("drop", Drops::Instead(0.5, None), "dropped"), ("top", Drops::Before(0.25), "y")] {
            let (graph, masks) = with(&[(name, drops)]);
            let masks = masks.unwrap();
            assert_eq!(graph.name_of(masks.state), "dropout.state");
            assert!(graph.inputs.contains(&masks.state) && graph.producer(masks.next).is_some());
            assert_eq!(graph.nodes.iter().filter(|n| n.op_type == dropout::TRAIN.name).count(), 1);
            assert_eq!(graph.nodes.iter().any(|n| n.name == "drop"), name != "drop");
            assert!(graph.find(output).is_some_and(|v| graph.producer(v).is_some()), "`{output}` has lost its name");
        }
    }

    #[test]
    fn where_nothing_is_dropped_nothing_changes() {
        let (graph, masks) = with(&[("drop", Drops::Instead(0.0, None))]);
        assert!(masks.is_none());
        assert_eq!(format!("{:?}", graph.nodes), format!("{:?}", network().nodes));
    }
}
