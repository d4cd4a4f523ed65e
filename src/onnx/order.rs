//! Whether a graph says one thing only: every name is defined once, everything that is read is computed, and nothing needs its own result. Nodes out
//! of order are sorted.

use super::pb;
use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Who defines a value.
#[derive(Clone, Copy)]
enum Origin {
    Input,
    Initializer,
    Node(usize),
}

/// Puts the nodes in an order in which each finds its inputs computed; nodes that are in order stay where they are.
///
/// Fails where a name is defined twice or nowhere, or nodes need each other's results.
pub fn put_in_order(graph: &mut pb::GraphProto) -> Result<()> {
    let origins = origins(graph)?;
    let mut needs: Vec<Vec<usize>> = vec![];
    for (index, node) in graph.node.iter().enumerate() {
        let mut needed = vec![];
        for name in node.input.iter().filter(|n| !n.is_empty()) {
            match origins.get(name.as_str()) {
                Some(Origin::Node(at)) => needed.push(*at),
                Some(_) => {}
                None => {
                    return Err(Error::model(format!(
                        "{} reads `{name}`, which no node computes and which is no input and no initializer: the model is not valid, export it \
                         again",
                        who(index, node)
                    )));
                }
            }
        }
        let captured = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).flat_map(outer_names);
        needed.extend(captured.filter_map(|name| match origins.get(name) {
            Some(Origin::Node(at)) => Some(*at),
            _ => None,
        }));
        needs.push(needed);
    }
    if let Some(output) = graph.output.iter().find(|o| !origins.contains_key(o.name())) {
        return Err(Error::model(format!("no node computes the output `{}`: the model is not valid, export it again", output.name())));
    }
    if needs.iter().enumerate().all(|(i, needed)| needed.iter().all(|&n| n < i)) {
        return Ok(());
    }
    let order = sorted(&needs).map_err(|at| {
        let names: Vec<String> = at.iter().filter_map(|&i| Some(format!("`{}`", label(i, graph.node.get(i)?)))).collect();
        let circle = match &names[..] {
            [one] => format!("the node {one} needs its own result"),
            _ => format!("the nodes {} need each other's results", names.join(", ")),
        };
        Error::model(format!("{circle}: the model is not valid, export it again"))
    })?;
    let mut nodes: Vec<Option<pb::NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|i| nodes.get_mut(i)?.take()).collect();
    Ok(())
}

/// Where each value comes from. Fails where it comes from two places.
fn origins(graph: &pb::GraphProto) -> Result<HashMap<&str, Origin>> {
    let mut found: HashMap<&str, Origin> = HashMap::new();
    for input in &graph.input {
        define(&mut found, graph, input.name(), Origin::Input)?;
    }
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref());
    for tensor in graph.initializer.iter().chain(sparse) {
        define(&mut found, graph, tensor.name(), Origin::Initializer)?;
    }
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            define(&mut found, graph, output, Origin::Node(index))?;
        }
    }
    Ok(found)
}

fn define<'a>(found: &mut HashMap<&'a str, Origin>, graph: &pb::GraphProto, name: &'a str, origin: Origin) -> Result<()> {
    let as_text = |origin: Origin| match origin {
        Origin::Input => "an input".to_string(),
        Origin::Initializer => "an initializer".to_string(),
        Origin::Node(i) => graph.node.get(i).map_or_else(|| "a result".into(), |node| format!("a result of {}", who(i, node))),
    };
    if name.is_empty() {
        return Err(Error::model(format!("the model has {} without a name: it is not valid, export it again", as_text(origin))));
    }
    match (found.insert(name, origin), origin) {
        // An initializer may be the default of an input; up to IR version 3 it has to be one.
        (None, _) | (Some(Origin::Input), Origin::Initializer) => Ok(()),
        (Some(first), second) => Err(Error::model(format!(
            "the value `{name}` is defined twice, as {} and as {}: the model is not valid, export it again",
            as_text(first),
            as_text(second)
        ))),
    }
}

/// What a graph inside a node reads of those around it.
pub(super) fn outer_names(graph: &pb::GraphProto) -> Vec<&str> {
    let own = graph.input.iter().map(|v| v.name()).chain(graph.initializer.iter().map(|t| t.name()));
    let own: HashSet<&str> = own.chain(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str))).collect();
    let inner = graph.node.iter().flat_map(|n| n.attribute.iter()).flat_map(|a| a.g.iter().chain(&a.graphs)).flat_map(outer_names);
    let read = graph.node.iter().flat_map(|n| n.input.iter().map(String::as_str)).chain(graph.output.iter().map(|o| o.name()));
    read.chain(inner).filter(|name| !own.contains(name)).collect()
}

/// The first order that respects what each needs; those that need each other where there is none.
fn sorted(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waits: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![vec![]; needs.len()];
    needs.iter().enumerate().for_each(|(i, needed)| needed.iter().for_each(|&n| readers.get_mut(n).into_iter().for_each(|r| r.push(i))));
    let mut ready: BinaryHeap<Reverse<usize>> = waits.iter().enumerate().filter(|(_, w)| **w == 0).map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for &reader in readers.get(at).into_iter().flatten() {
            let Some(left) = waits.get_mut(reader) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() == needs.len() { Ok(order) } else { Err(circle(needs, &waits)) }
}

/// Some nodes in a circle, in the order of reading.
fn circle(needs: &[Vec<usize>], waits: &[usize]) -> Vec<usize> {
    // Every node that waits needs one that waits: going on, some node comes again.
    let Some(mut at) = waits.iter().position(|&w| w > 0) else { return vec![] };
    let mut path: Vec<usize> = vec![];
    loop {
        if let Some(start) = path.iter().position(|&p| p == at) {
            return path.iter().copied().skip(start).take(5).collect();
        }
        path.push(at);
        match needs.get(at).into_iter().flatten().find(|&&n| waits.get(n).is_some_and(|&w| w > 0)) {
            Some(&next) => at = next,
            None => return path,
        }
    }
}

fn label(index: usize, node: &pb::NodeProto) -> String {
    match (node.name(), node.output.iter().find(|o| !o.is_empty())) {
        ("", Some(output)) => output.clone(),
        ("", None) => format!("{}_{index}", node.op_type()),
        (name, _) => name.to_string(),
    }
}

fn who(index: usize, node: &pb::NodeProto) -> String {
    format!("the node `{}` ({})", label(index, node), node.op_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        pb::NodeProto { name: Some(name.into()), op_type: Some("Op".into()), input, output: vec![output.into()], ..Default::default() }
    }

    fn graph(node: Vec<pb::NodeProto>) -> pb::GraphProto {
        let value = |name: &str| pb::ValueInfoProto { name: Some(name.into()), ..Default::default() };
        pb::GraphProto { node, input: vec![value("x")], output: vec![value("y")], ..Default::default() }
    }

    fn names(g: &pb::GraphProto) -> String {
        g.node.iter().map(|n| n.name()).collect()
    }

    #[test]
    fn nodes_are_sorted_and_those_in_order_stay() {
        let (a, b, c, d) = (node("a", &["x"], "a"), node("b", &["x"], "b"), node("c", &["a", "", "b"], "c"), node("d", &["c", "c"], "y"));
        let mut g = graph(vec![b.clone(), a.clone(), c.clone(), d.clone()]);
        put_in_order(&mut g).unwrap();
        assert_eq!(names(&g), "bacd");
        let mut g = graph(vec![d, c, b, a]);
        put_in_order(&mut g).unwrap();
        assert_eq!(names(&g), "bacd");
    }

    #[test]
    fn what_a_graph_inside_reads_comes_first() {
        let mut outer = node("if", &["x"], "y");
        let branch = graph(vec![node("inner", &["late"], "y")]);
        outer.attribute = vec![pb::AttributeProto { name: Some("then_branch".into()), g: Some(branch), ..Default::default() }];
        let mut g = graph(vec![outer, node("late", &["x"], "late")]);
        put_in_order(&mut g).unwrap();
        assert_eq!(names(&g), "lateif");
    }

    #[test]
    fn names_with_two_meanings_or_none_are_refused() {
        let refused = |mut g: pb::GraphProto, parts: &[&str]| {
            let error = put_in_order(&mut g).unwrap_err().to_string();
            assert!(parts.iter().all(|p| error.contains(p)), "{error}");
        };
        refused(graph(vec![node("a", &["x"], "y"), node("b", &["x"], "y")]), &["`y` is defined twice", "`a` (Op)", "`b` (Op)"]);
        refused(graph(vec![node("a", &["x"], "x"), node("b", &["x"], "y")]), &["`x` is defined twice", "an input"]);
        refused(graph(vec![node("a", &["gone"], "y")]), &["the node `a` (Op) reads `gone`"]);
        refused(graph(vec![node("a", &["x"], "z")]), &["no node computes the output `y`"]);
        refused(graph(vec![node("a", &["x", "y"], "z"), node("b", &["z"], "y")]), &["`a`, `b` need each other"]);
        refused(graph(vec![node("a", &["y"], "y")]), &["the node `a` needs its own result"]);
        let mut twice = graph(vec![node("a", &["x"], "y")]);
        twice.initializer = vec![pb::TensorProto { name: Some("w".into()), ..Default::default() }; 2];
        refused(twice, &["`w` is defined twice, as an initializer"]);
    }
}
