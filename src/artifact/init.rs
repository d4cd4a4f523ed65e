//! The start of a training's state.

use crate::bundle::manifest::{Role, State};
use crate::bundle::start_name;
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::ir::{Graph, Tensor, TensorType, ValueId};
use crate::onnx::pb;
use crate::operator::Builder;
use std::collections::{HashMap, HashSet};

/// The parameter that an average averages.
fn averaged(state: &State) -> Option<&str> {
    state.of.as_deref().filter(|_| state.role == Role::Ema)
}

fn no_start(state: &State, why: String) -> Error {
    Error::internal(format!("there is no start of `{}`: {why}", state.name))
}

/// No inputs; every state tensor at its start. Zeros are made, not stored.
pub(super) fn init_model(states: &[State], tensors: &[Option<Tensor>]) -> Result<pb::ModelProto> {
    let mut graph = Graph::new("init");
    let names: HashSet<&str> = states.iter().map(|s| s.name.as_str()).collect();
    let mut starts: HashMap<&str, ValueId> = HashMap::new();
    let mut made = vec![];
    for (state, tensor) in states.iter().zip(tensors) {
        let mut b = Builder::new(&mut graph);
        b.scope(state.name.clone());
        let value = match (tensor, averaged(state)) {
            (Some(tensor), _) => {
                // A network may have two tensors `a` and `a.start`.
                let mut name = start_name(&state.name);
                while names.contains(name.as_str()) {
                    name.push('_');
                }
                let start = b.graph.constant(&name, tensor.clone());
                starts.insert(&state.name, start);
                b.op("Identity", &[start], Default::default())
            }
            (None, Some(parameter)) => match starts.get(parameter) {
                Some(&start) => b.op("Identity", &[start], Default::default()),
                None => Err(format!("the parameter `{parameter}` that it averages has no start")),
            },
            (None, None) => b.zeros(&TensorType::new(state.dtype, state.shape.iter().copied())),
        };
        made.push((value.map_err(|why| no_start(state, why))?, &state.name));
    }
    for (value, name) in made {
        graph.rename(value, name);
        graph.outputs.push(value);
    }
    emit::model(&graph, Dialect::Inlined)
}

/// The same as tensors.
pub(super) fn starts(states: &[State], tensors: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    let known: HashMap<&str, &Tensor> = states.iter().zip(tensors).filter_map(|(s, t)| Some((s.name.as_str(), t.as_ref()?))).collect();
    let start = |state: &State| match (known.get(state.name.as_str()), averaged(state)) {
        (Some(&tensor), _) => Ok(tensor.clone()),
        (None, None) => Ok(Tensor::zeros(state.dtype, &state.shape)),
        (None, Some(parameter)) => {
            let found = known.get(parameter).map(|&t| t.clone());
            found.ok_or_else(|| no_start(state, format!("the parameter `{parameter}` that it averages has no start")))
        }
    };
    states.iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    fn state(name: &str, role: Role) -> State {
        serde_json::from_value(serde_json::json!({
            "name": name, "role": role, "dtype": DType::F32, "shape": [2], "input": name, "output": format!("{name}.next"), "alias": name,
            "of": (role == Role::Ema).then_some("w"),
        }))
        .unwrap()
    }

    #[test]
    fn every_state_tensor_has_a_start_or_there_is_no_bundle() {
        let tensor = || Some(Tensor::from_f32(&[2], &[1.0, 2.0]));
        // A tensor may have the name that another one's start would get.
        let states = [state("w", Role::Shared), state("w.start", Role::Shared), state("w.ema", Role::Ema)];
        let tensors = [tensor(), tensor(), None];
        let graph = init_model(&states, &tensors).unwrap().graph.unwrap();
        assert_eq!(graph.output.iter().map(|o| o.name()).collect::<Vec<_>>(), ["w", "w.start", "w.ema"]);
        assert_eq!(starts(&states, &tensors).unwrap()[2].to_f32().unwrap(), [1.0, 2.0]);
        for lost in [init_model(&states[1..], &tensors[1..]).map(drop), starts(&states[1..], &tensors[1..]).map(drop)] {
            let lost = lost.unwrap_err().to_string();
            assert!(lost.contains("no start of `w.ema`") && lost.contains("fault of spgraph"), "{lost}");
        }
    }
}
