//! One number of an example, or all of a list, as an extreme.

use crate::cases::{Case, Input};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::pb::AttributeProto;

/// An example with other numbers.
pub struct Mutant<'a> {
    pub case: &'a Case,
    pub label: String,
    pub attributes: Vec<AttributeProto>,
    /// The constants among the inputs, as they are in the model; `None` for others.
    pub constants: Vec<Option<Tensor>>,
    /// The dimensions of the model's input.
    pub shape: Vec<i64>,
}

const EXTREMES: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    -(1 << 62),
    -(1 << 32),
    i32::MIN as i64,
    -1,
    0,
    1 << 16,
    1 << 30,
    1 << 31,
    1 << 32,
    1 << 62,
    i64::MAX - 1,
    i64::MAX,
];

/// Lists with one element replaced, and with all of them.
fn lists(list: &[i64]) -> Vec<(String, Vec<i64>)> {
    let mut found = vec![];
    for v in EXTREMES {
        for i in 0..list.len().min(4) {
            let mut other = list.to_vec();
            other[i] = v;
            found.push((format!("[{i}] = {v}"), other));
        }
        if list.len() > 1 {
            found.push((format!("[..] = {v}"), vec![v; list.len()]));
        }
    }
    found
}

/// All of an example.
pub fn of(case: &Case) -> Vec<Mutant<'_>> {
    let constants: Vec<Option<Tensor>> = case
        .inputs
        .iter()
        .map(|input| match input {
            Input::Fixed(t) if t.dtype().is_float() => Some(t.cast(DType::F32).unwrap()),
            Input::Fixed(t) | Input::Exactly(t) => Some(t.clone()),
            Input::Float { .. } | Input::Absent => None,
        })
        .collect();
    let shape: Vec<i64> = case
        .inputs
        .iter()
        .find_map(|i| if let Input::Float { shape, .. } = i { Some(shape.iter().map(|&d| d as i64).collect()) } else { None })
        .unwrap_or_default();
    let base = |what: String| Mutant {
        case,
        label: format!("{} with {what}", case.label()),
        attributes: case.attributes.clone(),
        constants: constants.clone(),
        shape: shape.clone(),
    };
    let mut found = vec![];
    for (i, attribute) in case.attributes.iter().enumerate() {
        for v in EXTREMES.into_iter().filter(|_| attribute.i.is_some()) {
            let mut mutant = base(format!("{} = {v}", attribute.name()));
            mutant.attributes[i].i = Some(v);
            found.push(mutant);
        }
        for (what, list) in lists(&attribute.ints) {
            let mut mutant = base(format!("{}{what}", attribute.name()));
            mutant.attributes[i].ints = list;
            found.push(mutant);
        }
    }
    for (i, constant) in constants.iter().enumerate() {
        let Some(constant) = constant else { continue };
        match constant.dtype() {
            DType::I64 => {
                for (what, list) in lists(&constant.to_i64().unwrap()) {
                    let mut mutant = base(format!("input {i}{what}"));
                    mutant.constants[i] = Some(Tensor::from_i64(constant.shape(), &list));
                    found.push(mutant);
                }
            }
            DType::F32 if constant.count() <= 8 => {
                for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1.0, 0.0, 1e-30] {
                    let mut mutant = base(format!("input {i} = {v}"));
                    mutant.constants[i] = Some(Tensor::from_floats(DType::F32, constant.shape(), &vec![v; constant.count()]));
                    found.push(mutant);
                }
            }
            _ => {}
        }
    }
    for (what, shape) in lists(&shape) {
        let mut mutant = base(format!("x{what}"));
        mutant.shape = shape;
        found.push(mutant);
    }
    found
}
