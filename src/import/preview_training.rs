//! The operators of `ai.onnx.preview.training`, in standard operators: each as the ONNX specification writes it down, with its own names.

use crate::error::Error;
use crate::grad;
use crate::ir::{Becomes, DType, Graph, Rebuild, Tensor, TensorType, ValueId};
use crate::onnx::Attributes;
use crate::operator::{Builder, Rule, attrs};
use std::collections::HashSet;

/// Their domain.
pub(super) const DOMAIN: &str = "ai.onnx.preview.training";

/// Learning rate R, count of updates T, and for each tensor what it is updated from.
struct Optimizer {
    rate: ValueId,
    count: ValueId,
    /// As many lists as there are kinds of tensors: X, G, then state.
    kinds: Vec<Vec<ValueId>>,
}

impl Optimizer {
    fn new(graph: &Graph, op: &str, inputs: &[Option<ValueId>], kinds: usize) -> Rule<Optimizer> {
        let all: Option<Vec<ValueId>> = inputs.iter().copied().collect();
        let all = all.ok_or("one of its inputs is left out, and it needs all")?;
        let Some((&[rate, count], tensors)) = all.split_first_chunk::<2>() else { return Err("it has no learning rate and count".into()) };
        let each = tensors.len().checked_div(kinds).unwrap_or_default();
        if each == 0 || !tensors.len().is_multiple_of(kinds) {
            return Err(format!("{op} takes {kinds} tensors for each that it updates, and has {}", tensors.len()));
        }
        for &v in std::iter::once(&rate).chain(tensors) {
            if !graph.ty(v).dtype.is_float() {
                return Err(format!("its input `{}` is {}", graph.name_of(v), graph.ty(v)));
            }
        }
        if graph.ty(count).dtype.is_float() || graph.ty(count).rank() > 1 {
            return Err(format!("its count of updates is {}", graph.ty(count)));
        }
        let kinds: Vec<Vec<ValueId>> = tensors.chunks(each).map(<[ValueId]>::to_vec).collect();
        // Each list is of the same tensors as the first.
        let (first, further) = kinds.split_first().ok_or("it updates nothing")?;
        for (&odd, &like) in further.iter().flat_map(|list| list.iter().zip(first)) {
            if graph.ty(odd) != graph.ty(like) {
                return Err(format!("its input `{}` is {}, where {} belongs", graph.name_of(odd), graph.ty(odd), graph.ty(like)));
            }
        }
        Ok(Optimizer { rate, count, kinds })
    }

    /// For each tensor that is updated one of every kind.
    fn each<const KINDS: usize>(&self) -> Vec<[ValueId; KINDS]> {
        let count = self.kinds.first().map_or(0, Vec::len);
        let one = |i: usize| self.kinds.iter().map(|list| list.get(i).copied()).collect::<Option<Vec<ValueId>>>()?.try_into().ok();
        (0..count).filter_map(one).collect()
    }
}

/// The operator's outputs.
pub(super) fn build(graph: &mut Graph, op: &str, name: &str, inputs: &[Option<ValueId>], attributes: &Attributes) -> Rule<Vec<ValueId>> {
    let mut b = Builder::new(graph);
    b.scope(name.to_string());
    let number = |name: &str, usual: Option<f32>| -> Rule<f64> {
        let found = attributes.float(name).map_err(|e: Error| e.to_string())?;
        found.or(usual).map(f64::from).ok_or_else(|| format!("its attribute `{name}` is missing"))
    };
    match op {
        "Adam" => {
            let given = Optimizer::new(b.graph, op, inputs, 4)?;
            let (alpha, beta) = (number("alpha", Some(0.9))?, number("beta", Some(0.999))?);
            let (decay, decay_after) = (number("norm_coefficient", Some(0.0))?, number("norm_coefficient_post", Some(0.0))?);
            adam(&mut b, &given, alpha, beta, decay, decay_after, number("epsilon", Some(1e-6))?)
        }
        "Adagrad" => {
            let given = Optimizer::new(b.graph, op, inputs, 3)?;
            let (decay, decay_factor) = (number("norm_coefficient", Some(0.0))?, number("decay_factor", Some(0.0))?);
            adagrad(&mut b, &given, decay, decay_factor, number("epsilon", Some(1e-6))?)
        }
        "Momentum" => {
            let given = Optimizer::new(b.graph, op, inputs, 3)?;
            let (alpha, beta, decay) = (number("alpha", None)?, number("beta", None)?, number("norm_coefficient", None)?);
            let mode = attributes.string("mode").map_err(|e: Error| e.to_string())?;
            let nesterov = match mode {
                Some("standard") => false,
                Some("nesterov") => true,
                other => return Err(format!("its mode is {other:?}, neither `standard` nor `nesterov`")),
            };
            momentum(&mut b, &given, alpha, beta, decay, nesterov)
        }
        other => Err(format!("spgraph does not know {DOMAIN}.{other}")),
    }
}

fn op(b: &mut Builder, op: &str, inputs: [ValueId; 2]) -> Rule<ValueId> {
    b.op(op, &inputs, Default::default())
}

/// `factor·x`
fn times(b: &mut Builder, factor: f64, x: ValueId) -> Rule<ValueId> {
    let factor = b.number(factor, x);
    op(b, "Mul", [factor, x])
}

/// `kept·old + new·x`
fn mixed(b: &mut Builder, kept: f64, old: ValueId, new: f64, x: ValueId) -> Rule<ValueId> {
    let (old, x) = (times(b, kept, old)?, times(b, new, x)?);
    op(b, "Add", [old, x])
}

/// The number of axes and the type that an update computes in.
fn as_tensor(b: &mut Builder, scalar: ValueId, like: ValueId) -> Rule<ValueId> {
    let to = b.dtype(like);
    let cast =
        if b.dtype(scalar) == to { scalar } else { b.op("Cast", &[scalar], attrs([("to", crate::ir::Attr::Int(to.onnx() as i64))]))? };
    let shape = vec![crate::ir::Dim::Known(1); b.rank(like)];
    b.reshape(cast, &shape)
}

/// `count > 0 ? then : otherwise`
fn if_moved(b: &mut Builder, count: ValueId, then: ValueId, otherwise: ValueId) -> Rule<ValueId> {
    let zero = b.constant(Tensor::zeros(b.dtype(count), &vec![1; b.rank(count)]));
    let moved = op(b, "Greater", [count, zero])?;
    let shape = vec![crate::ir::Dim::Known(1); b.rank(then)];
    let moved = b.reshape(moved, &shape)?;
    b.op("Where", &[moved, then, otherwise], Default::default())
}

/// `norm_coefficient·X + G`
fn regularized(b: &mut Builder, decay: f64, x: ValueId, g: ValueId) -> Rule<ValueId> {
    if decay == 0.0 {
        return Ok(g);
    }
    let term = times(b, decay, x)?;
    op(b, "Add", [term, g])
}

fn adam(b: &mut Builder, given: &Optimizer, alpha: f64, beta: f64, decay: f64, decay_after: f64, epsilon: f64) -> Rule<Vec<ValueId>> {
    let mut kinds = [vec![], vec![], vec![]];
    for [x, g, v, h] in given.each() {
        let g = regularized(b, decay, x, g)?;
        let v = mixed(b, alpha, v, 1.0 - alpha, g)?;
        let square = op(b, "Mul", [g, g])?;
        let h = mixed(b, beta, h, 1.0 - beta, square)?;
        let root = b.op("Sqrt", &[h], Default::default())?;
        let epsilon = b.number(epsilon, root);
        let root = op(b, "Add", [root, epsilon])?;
        let (rate, count) = (as_tensor(b, given.rate, x)?, as_tensor(b, given.count, x)?);
        let mut correction = |factor: f64| -> Rule<ValueId> {
            let (factor, one) = (b.number(factor, count), b.number(1.0, count));
            let power = op(b, "Pow", [factor, count])?;
            op(b, "Sub", [one, power])
        };
        let (first, second) = (correction(alpha)?, correction(beta)?);
        let second = b.op("Sqrt", &[second], Default::default())?;
        let adjusted = op(b, "Mul", [rate, second])?;
        let adjusted = op(b, "Div", [adjusted, first])?;
        let adjusted = if_moved(b, given.count, adjusted, rate)?;
        let direction = op(b, "Mul", [adjusted, v])?;
        let direction = op(b, "Div", [direction, root])?;
        let mut next = op(b, "Sub", [x, direction])?;
        if decay_after != 0.0 {
            next = times(b, 1.0 - decay_after, next)?;
        }
        kinds.iter_mut().zip([next, v, h]).for_each(|(kind, value)| kind.push(value));
    }
    Ok(kinds.concat())
}

fn adagrad(b: &mut Builder, given: &Optimizer, decay: f64, decay_factor: f64, epsilon: f64) -> Rule<Vec<ValueId>> {
    let mut kinds = [vec![], vec![]];
    for [x, g, h] in given.each() {
        let (rate, count) = (as_tensor(b, given.rate, x)?, as_tensor(b, given.count, x)?);
        let slower = times(b, decay_factor, count)?;
        let one = b.number(1.0, slower);
        let slower = op(b, "Add", [one, slower])?;
        let rate = op(b, "Div", [rate, slower])?;
        let g = regularized(b, decay, x, g)?;
        let square = op(b, "Mul", [g, g])?;
        let h = op(b, "Add", [h, square])?;
        let root = b.op("Sqrt", &[h], Default::default())?;
        let epsilon = b.number(epsilon, root);
        let root = op(b, "Add", [root, epsilon])?;
        let direction = op(b, "Mul", [rate, g])?;
        let direction = op(b, "Div", [direction, root])?;
        let next = op(b, "Sub", [x, direction])?;
        kinds.iter_mut().zip([next, h]).for_each(|(kind, value)| kind.push(value));
    }
    Ok(kinds.concat())
}

fn momentum(b: &mut Builder, given: &Optimizer, alpha: f64, beta: f64, decay: f64, nesterov: bool) -> Rule<Vec<ValueId>> {
    let mut kinds = [vec![], vec![]];
    for [x, g, v] in given.each() {
        let rate = as_tensor(b, given.rate, x)?;
        let g = regularized(b, decay, x, g)?;
        let (one, usual) = (b.number(1.0, x), b.number(beta, x));
        let adjusted = if_moved(b, given.count, usual, one)?;
        let (kept, new) = (times(b, alpha, v)?, op(b, "Mul", [adjusted, g])?);
        let v = op(b, "Add", [kept, new])?;
        let direction = match nesterov {
            false => v,
            true => {
                let ahead = times(b, alpha, v)?;
                op(b, "Add", [g, ahead])?
            }
        };
        let step = op(b, "Mul", [rate, direction])?;
        let next = op(b, "Sub", [x, step])?;
        kinds.iter_mut().zip([next, v]).for_each(|(kind, value)| kind.push(value));
    }
    Ok(kinds.concat())
}

/// `Gradient`: the derivatives of `y` for each of `xs`, where the function from `xs` and `zs` to `y` is taken at `given`, the values of both in order.
pub(super) fn gradient(graph: &mut Graph, xs: &[ValueId], zs: &[ValueId], y: ValueId, given: &[ValueId]) -> Rule<Vec<ValueId>> {
    let named: Vec<ValueId> = xs.iter().chain(zs).copied().collect();
    if named.len() != given.len() {
        return Err(format!("it has {} inputs, and its `xs` and `zs` name {}", given.len(), named.len()));
    }
    if !graph.ty(y).dtype.is_float() {
        return Err(format!("its `y` is {}, which has no gradient", graph.ty(y)));
    }
    let (xs, y) = match named == given {
        true => (xs.to_vec(), y),
        false => (given.iter().copied().take(xs.len()).collect(), at(graph, &named, y, given)?),
    };
    let ones = filled(graph, 1.0, y)?;
    let found = grad::backward(graph, &[(y, ones)], &xs).map_err(|e| e.to_string())?;
    let mut results = vec![];
    for x in xs {
        let ty: TensorType = graph.ty(x).clone();
        results.push(match found.get(&x) {
            Some(&cotangent) => cotangent,
            None if matches!(ty.dtype, DType::F32 | DType::F64) => filled(graph, 0.0, x)?,
            None => return Err(format!("`{}` is {ty}, which has no gradient", graph.name_of(x))),
        });
    }
    Ok(results)
}

/// A tensor of one number, of the shape of `like`.
fn filled(graph: &mut Graph, number: f64, like: ValueId) -> Rule<ValueId> {
    let mut b = Builder::new(graph);
    let number = b.number(number, like);
    b.expand_like(number, like)
}

/// `y` with `given` in the place of `named`: what lies between is computed again.
fn at(graph: &mut Graph, named: &[ValueId], y: ValueId, given: &[ValueId]) -> Rule<ValueId> {
    for (&name, &value) in named.iter().zip(given) {
        if graph.ty(name) != graph.ty(value) {
            return Err(format!("it is given {} for `{}`, which is {}", graph.ty(value), graph.name_of(name), graph.ty(name)));
        }
    }
    let before = graph.clone();
    let behind: HashSet<ValueId> = named.iter().flat_map(|&v| before.dependents(v)).collect();
    let mut copy = Rebuild::new(&before, graph);
    copy.prefix("gradient/");
    before.ids().for_each(|v| copy.put(v, v));
    named.iter().zip(given).for_each(|(&name, &value)| copy.put(name, value));
    let inner = |outputs: &[ValueId]| outputs.iter().all(|o| behind.contains(o) && !named.contains(o));
    copy.run(|_, node| Ok(if inner(&node.outputs) { Becomes::Itself } else { Becomes::Nothing }))?;
    copy.get(y)
}
