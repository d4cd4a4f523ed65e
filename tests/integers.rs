//! Integer arithmetic on shapes is done while the model is rewritten.

use spgraph::ir::{Attr, Attrs, DType, Elem, Graph, Node, Tensor, TensorType, ValueId};
use spgraph::operator::{Known, View};
use spgraph::ops::table;

/// What an operator makes of integers.
fn known(op: &str, attributes: &[(&str, Attr)], inputs: impl Fn(&mut Graph) -> Vec<ValueId>) -> Option<Known> {
    let mut graph = Graph::new("integers");
    let inputs = inputs(&mut graph).into_iter().map(Some).collect();
    let attributes: Attrs = attributes.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    let node = Node::new("node", op, inputs, attributes);
    table::find(op).unwrap().evaluate(&View { graph: &graph, node: &node })
}

fn of_constants(op: &str, attributes: &[(&str, Attr)], inputs: &[Tensor]) -> Option<Known> {
    known(op, attributes, |g| inputs.iter().map(|t| g.constant("c", t.clone())).collect())
}

fn list(values: &[i64]) -> Tensor {
    Tensor::from_i64(&[values.len()], values)
}

fn numbers(values: &[i64]) -> Option<Known> {
    Some(Known::Tensor(list(values)))
}

#[test]
fn pairs_of_lists() {
    let (a, b) = (list(&[7, -7, 7, -7]), list(&[3, 3, -3, -3]));
    let both = [a, b];
    // numpy: a // b is rounded downwards there; ONNX's Div truncates.
    assert_eq!(of_constants("Div", &[], &both), numbers(&[2, -2, -2, 2]));
    // np.mod and np.fmod
    assert_eq!(of_constants("Mod", &[("fmod", Attr::Int(0))], &both), numbers(&[1, 2, -2, -1]));
    assert_eq!(of_constants("Mod", &[("fmod", Attr::Int(1))], &both), numbers(&[1, -1, 1, -1]));
    assert_eq!(of_constants("Max", &[], &both), numbers(&[7, 3, 7, -3]));
    assert_eq!(of_constants("Min", &[], &both), numbers(&[3, -7, -3, -7]));
    assert_eq!(of_constants("Add", &[], &both), numbers(&[10, -4, 4, -10]));
    assert_eq!(of_constants("Sub", &[], &both), numbers(&[4, -10, 10, -4]));
    assert_eq!(of_constants("Mod", &[], &[list(&[1]), list(&[0])]), None);
    assert_eq!(of_constants("Add", &[], &[list(&[i64::MAX]), list(&[1])]), None);
}

#[test]
fn one_operand_and_many() {
    assert_eq!(of_constants("Neg", &[], &[list(&[3, -4])]), numbers(&[-3, 4]));
    assert_eq!(of_constants("Abs", &[], &[list(&[3, -4])]), numbers(&[3, 4]));
    assert_eq!(of_constants("Max", &[], &[list(&[3, -4]), list(&[0]), list(&[1, 2])]), numbers(&[3, 2]));
}

#[test]
fn tables_broadcast() {
    let (column, row) = (Tensor::from_i64(&[2, 1], &[10, 20]), list(&[1, 2, 3]));
    let expected = Tensor::from_i64(&[2, 3], &[11, 12, 13, 21, 22, 23]);
    assert_eq!(of_constants("Add", &[], &[column, row]), Some(Known::Tensor(expected)));
}

#[test]
fn lists_are_reduced() {
    let axes = [("axes", Attr::Ints(vec![0])), ("keepdims", Attr::Int(0))];
    let scalar = |v: i64| Some(Known::Tensor(Tensor::from_i64(&[], &[v])));
    assert_eq!(of_constants("ReduceProd", &axes, &[list(&[2, 3, 4])]), scalar(24));
    assert_eq!(of_constants("ReduceMin", &axes, &[list(&[2, 3, 4])]), scalar(2));
    assert_eq!(of_constants("ReduceMax", &axes, &[list(&[2, 3, 4])]), scalar(4));
    assert_eq!(of_constants("ReduceSum", &[("keepdims", Attr::Int(1))], &[list(&[2, 3, 4]), list(&[0])]), numbers(&[9]));
}

/// A list of the batch and a number, `[2·N, 3]`, with another list.
fn with_batch(op: &str, attributes: &[(&str, Attr)], other: &[&[i64]]) -> Option<Known> {
    known(op, attributes, |g| {
        let shape = g.input("shape", TensorType::new(DType::I64, [2]));
        g.value_mut(shape).elems = Some(vec![Elem::Batch(2), Elem::Int(3)]);
        std::iter::once(shape).chain(other.iter().map(|v| g.constant("c", list(v)))).collect()
    })
}

#[test]
fn of_the_batch_only_what_holds_for_every_size_is_known() {
    let elems = |a, b| Some(Known::Elems(vec![a, b]));
    assert_eq!(with_batch("Max", &[], &[&[1, 5]]), elems(Elem::Batch(2), Elem::Int(5)));
    assert_eq!(with_batch("Max", &[], &[&[3, 5]]), None);
    assert_eq!(with_batch("Min", &[], &[&[2, 5]]), numbers(&[2, 3]));
    assert_eq!(with_batch("Mod", &[], &[&[2, 2]]), numbers(&[0, 1]));
    assert_eq!(with_batch("Mod", &[], &[&[3, 2]]), None);
    let product = with_batch("ReduceProd", &[("axes", Attr::Ints(vec![0])), ("keepdims", Attr::Int(1))], &[]);
    assert_eq!(product, Some(Known::Elems(vec![Elem::Batch(6)])));
}
