//! What images of other sizes than a model declares change in what its network computes.

use crate::ir::{Graph, Node, ValueId};
use crate::operator::{Meaning, View};
use std::collections::HashMap;

/// Which node does something else at the sizes of `now` than at the declared ones of `before`, and what: numbers of the file may stand for its own sizes.
pub(super) fn changed(before: &Graph, now: &Graph) -> Option<String> {
    let declared: HashMap<&str, &Node> = before.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    now.nodes.iter().find_map(|node| {
        let own = View { graph: before, node: declared.get(node.name.as_str())? };
        let here = View { graph: now, node };
        cut(own, here).or_else(|| counted(own, here))
    })
}

/// A part that was the whole.
fn cut(before: View, now: View) -> Option<String> {
    let whole = |view: View| {
        let (x, y) = (view.input(0)?, *view.node.outputs.first()?);
        Some(view.graph.ty(x).shape == view.graph.ty(y).shape)
    };
    let one = now.facts().moves && now.node.used().filter(|&v| now.graph.value(v).varies).count() == 1;
    let cuts = one && whole(before)? && !whole(now)?;
    let Node { name, op_type, .. } = now.node;
    cuts.then(|| format!("`{name}` ({op_type}) passes all that it reads on at the size that is declared, and a part of it at this one"))
}

/// A sum that a number of the file makes a mean, of as many numbers as there were.
fn counted(before: View, now: View) -> Option<String> {
    if now.facts().meaning != Meaning::Total {
        return None;
    }
    let (own, here) = (count(before)?, count(now)?);
    let mut sum = *now.node.outputs.first()?;
    if own == here {
        return None;
    }
    loop {
        let reader = now.graph.nodes.iter().find(|n| n.used().any(|v| v == sum))?;
        let view = View { graph: now.graph, node: reader };
        if view.handed_on() == Some(sum) {
            sum = *reader.outputs.first()?;
            continue;
        }
        let number = reader.used().find(|&v| v != sum).and_then(|v| single(now.graph, v))?;
        let share = match view.facts().meaning {
            Meaning::Product => number,
            Meaning::Quotient if reader.input(0) == Some(sum) => 1.0 / number,
            _ => return None,
        };
        let mean = (share * own as f64 - 1.0).abs() < ROUNDING;
        let Node { name, op_type, .. } = reader;
        return mean.then(|| format!("`{name}` ({op_type}) makes a mean of the {own} numbers that are summed at the size that is declared, and here they are {here}"));
    }
}

/// Of a share that the file has in half precision.
const ROUNDING: f64 = 1e-3;

/// How many numbers each sum has.
fn count(view: View) -> Option<usize> {
    let ty = view.graph.ty(view.input(0)?);
    view.operator()?.along(&view)?.iter().try_fold(1usize, |all, &axis| all.checked_mul(ty.shape.get(axis)?.known()?))
}

/// The one number that a constant holds.
fn single(graph: &Graph, value: ValueId) -> Option<f64> {
    let constant = graph.value(value).constant.as_ref().filter(|t| t.count() == 1)?;
    constant.to_f64().ok()?.first().copied()
}
