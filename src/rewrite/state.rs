//! State tensors of a graph that is being built, and names for their next values.

use crate::bundle::StateMeaning;
use crate::bundle::manifest::Role;
use crate::error::{Error, Result};
use crate::ir::{Graph, Tensor, TensorType, ValueId};
use crate::operator::Builder;
use std::collections::HashSet;

/// A state tensor in a graph.
#[derive(Debug, Clone)]
pub struct StateTensor {
    /// In the source model, or made of the name of the parameter that it belongs to.
    pub name: String,
    /// What a person would call it.
    pub alias: String,
    /// What it is for.
    pub role: Role,
    /// Whether the penalty acts on it.
    pub penalized: bool,
    /// Factor on the learning rate.
    pub lr_mult: f64,
    /// The parameter that optimizer state or an average belongs to.
    pub of: Option<String>,
    /// What it is, where that is of the training as a whole.
    pub meaning: Option<StateMeaning>,
    /// The value at the start; `None` is zero, or for an average that of its parameter.
    pub start: Option<Tensor>,
    /// Element type and dimensions.
    pub ty: TensorType,
    /// Its value before a step.
    pub input: ValueId,
    /// Its value after a step.
    pub next: ValueId,
    /// Where gradients are clipped: the squared norm of its gradient.
    pub gradient_square: Option<ValueId>,
    /// Of a trained parameter: what the optimizer takes for its gradient.
    pub update_gradient: Option<ValueId>,
}

impl StateTensor {
    /// Declares state of the optimizer or an average, of one parameter or of all together, which is zero or its parameter's at the start.
    pub(super) fn beside(graph: &mut Graph, of: Option<&StateTensor>, role: Role, kind: &str, ty: TensorType) -> StateTensor {
        let name = of.map_or("optimizer", |p| &p.name);
        let input = graph.input(&format!("{name}.{kind}"), ty);
        StateTensor::at(graph, input, of, role, kind)
    }

    /// The same of an input that is there.
    pub(super) fn at(graph: &Graph, input: ValueId, of: Option<&StateTensor>, role: Role, kind: &str) -> StateTensor {
        let alias = of.map_or("optimizer", |p| &p.alias);
        StateTensor {
            name: graph.name_of(input).to_string(),
            alias: format!("{alias}.{kind}"),
            role,
            penalized: false,
            start: None,
            lr_mult: 1.0,
            of: of.map(|p| p.name.clone()),
            meaning: None,
            ty: graph.ty(input).clone(),
            input,
            next: input,
            gradient_square: None,
            update_gradient: None,
        }
    }
}

/// For `map_err` on a rule: a part of the graph that spgraph itself writes could not be built.
pub(super) fn failed(what: &'static str) -> impl Fn(String) -> Error {
    move |why| Error::internal(format!("{what} cannot be built: {why}"))
}

/// Gives results names of their own.
pub(super) struct Names {
    /// Nodes before this one compute values that are known by other names.
    built: usize,
    given: HashSet<ValueId>,
}

impl Names {
    /// For results of nodes from `built` on; where it is the graph's length or more, every value is known by another name.
    pub fn from(built: usize) -> Names {
        Names { built, given: HashSet::new() }
    }

    /// Gives the value that name; through an Identity where another name is known for it.
    pub fn give(&mut self, graph: &mut Graph, value: ValueId, name: &str) -> Result<ValueId> {
        if graph.name_of(value) == name {
            return Ok(value);
        }
        let own = graph.value(value).producer.is_some_and(|node| node >= self.built) && !self.given.contains(&value);
        let named = match own {
            true => value,
            false => {
                let mut b = Builder::new(graph);
                b.op("Identity", &[value], Default::default()).map_err(failed("a copy"))?
            }
        };
        graph.rename(named, name);
        self.given.insert(named);
        Ok(named)
    }
}
