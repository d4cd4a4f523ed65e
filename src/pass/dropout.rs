//! Dropout in training: import leaves all of it in the form for inference.

use super::Pass;
use crate::error::{Error, Refusal, Result};
use crate::ir::{Attr, Attrs, Becomes, DType, Dim, Graph, Node, Rebuild, TensorType, ValueId, rebuild};
use crate::operator::{Builder, Rule};
use crate::ops::dropout::{self, RATIO, UNKNOWN_RATIO};
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

/// Gives every Dropout that drops something a mask; none where there is no such Dropout. The input gets the name `state`. `training` is what the source says
/// of nodes for training only, by node.
///
/// Fails with every node that can have none.
pub fn keep_dropout(graph: &mut Graph, state: &str, training: &HashMap<String, Attrs>) -> Result<Option<Masks>> {
    let pass = KeepDropout {
        state,
        training,
        masks: RefCell::default(),
        key: RefCell::default(),
        places: RefCell::default(),
        indices: RefCell::default(),
    };
    super::apply(graph, &[&pass])?;
    Ok(pass.masks.into_inner())
}

struct KeepDropout<'a> {
    state: &'a str,
    training: &'a HashMap<String, Attrs>,
    masks: RefCell<Option<Masks>>,
    key: RefCell<Option<ValueId>>,
    /// How many there were so far.
    places: RefCell<usize>,
    /// What was made for an axis of a length, at a place in a rank.
    indices: RefCell<HashMap<(usize, usize, usize), ValueId>>,
}

impl KeepDropout<'_> {
    /// What is known of how much the node drops, where it is a Dropout.
    fn concerns(&self, node: &Node) -> Option<&Attrs> {
        self.training.get(&node.name).filter(|attrs| attrs.contains_key(RATIO) || attrs.contains_key(UNKNOWN_RATIO))
    }

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
        let Dim::Known(length) = b.shape(x)[axis] else { return dropout::counted_indices(b, x, axis) };
        let there = self.indices.borrow().get(&(length, axis, rank)).copied();
        if let Some(there) = there {
            return Ok(there);
        }
        let made = b.graph.constant(&format!("dropout.indices.{length}"), dropout::indices(length, axis, rank)?);
        self.indices.borrow_mut().insert((length, axis, rank), made);
        Ok(made)
    }

    fn replace(&self, r: &mut Rebuild, node: &Node, attrs: &Attrs) -> Rule<Becomes> {
        let ratio = match (attrs.get(RATIO), attrs.get(UNKNOWN_RATIO)) {
            (Some(Attr::Float(ratio)), _) => *ratio,
            (_, Some(Attr::String(why))) => return Err(why.clone()),
            _ => return Err("how much it drops is not known".into()),
        };
        if ratio == 0.0 {
            return Ok(Becomes::Itself);
        }
        let place = *self.places.borrow();
        let x = r.get(node.used().next().ok_or("it has no input")?)?;
        let key = self.key(r.graph)?;
        let mut b = Builder::new(r.graph);
        let name = &node.name;
        b.scope(name.rsplit_once('/').map_or(name.as_str(), |(parent, _)| parent));
        let indices = (0..b.rank(x)).map(|axis| self.axis(&mut b, x, axis)).collect::<Rule<Vec<_>>>()?;
        let y = dropout::train(&mut b, x, key, &indices, (place, ratio))?;
        r.name_as(y, node.outputs[0]);
        *self.places.borrow_mut() += 1;
        Ok(Becomes::Values(vec![y]))
    }
}

impl Pass for KeepDropout<'_> {
    fn name(&self) -> &'static str {
        "dropout"
    }

    /// The state of the masks is a new input.
    fn keeps_ports(&self) -> bool {
        false
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let mut refused = vec![];
        let made = rebuild(graph, |r, node| {
            let Some(attrs) = self.concerns(node) else { return Ok(Becomes::Itself) };
            Ok(self.replace(r, node, attrs).unwrap_or_else(|reason| {
                let reason = format!("{reason}: its mask cannot be made, and without it the network trains with its dropout off");
                refused.push(Refusal { node: node.name.clone(), op: "Dropout".into(), reason });
                Becomes::Itself
            }))
        });
        if !refused.is_empty() {
            return Err(Error::Unsupported(refused));
        }
        *graph = made.map_err(Error::internal)?;
        Ok(())
    }
}
