//! Batched products of which nothing but the sum is wanted, as one product each.

use super::Pass;
use crate::error::{Error, Result};
use crate::ir::{Becomes, Dim, Graph, Node, Readers, Rebuild, ValueId, product, rebuild};
use crate::operator::{Builder, Meaning, View};
use crate::ops::table;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A product of matrices for each image, then the sum over the images, becomes one product in whose depth the images follow each other. The numbers are the
/// same but for their rounding: with factors of half precision each product would be rounded before it is added, and what cancels in the sum, as the gradients of a
/// convolution's weights before a BatchNormalization do, would leave the roundings.
pub struct JoinProducts;

impl Pass for JoinProducts {
    fn name(&self) -> &'static str {
        "joined products"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        *graph = joined(graph).map_err(Error::internal)?;
        Ok(())
    }
}

/// A product that is only summed.
struct Joined {
    product: ValueId,
    left: ValueId,
    right: ValueId,
    /// The axes that the sum is over; not the last two.
    over: Vec<usize>,
    /// The others before the last two.
    kept: Vec<usize>,
    /// The last two.
    matrix: [usize; 2],
}

fn joined(source: &Graph) -> std::result::Result<Graph, String> {
    let readers = source.readers();
    // By the sum's result.
    let found: HashMap<ValueId, Joined> = source.nodes.iter().filter_map(|n| summed(source, n, &readers)).collect();
    let dropped: HashSet<ValueId> = found.values().map(|j| j.product).collect();
    rebuild(source, |r, node| {
        if node.outputs.iter().any(|v| dropped.contains(v)) {
            return Ok(Becomes::Nothing);
        }
        if let Some(joined) = node.outputs.first().and_then(|v| found.get(v)) {
            let value = join(r, node, joined)?;
            return Ok(Becomes::Values(vec![value]));
        }
        let Some(body) = &node.body else { return Ok(Becomes::Itself) };
        let copied = Node { body: Some(Arc::new(joined(body)?)), ..r.mapped(node)? };
        let outputs = r.outputs(node);
        Ok(Becomes::Values(r.node(copied, outputs)))
    })
}

/// The sum's result, and the product, where the node is a sum over the images of a product that nobody else reads.
fn summed(graph: &Graph, node: &Node, readers: &Readers) -> Option<(ValueId, Joined)> {
    let meaning = |n: &Node| n.body.is_none().then(|| table::find(&n.op_type).map(|o| o.facts().meaning)).flatten();
    let (&[out], &[Some(product), ..]) = (node.outputs.as_slice(), node.inputs.as_slice()) else { return None };
    if meaning(node) != Some(Meaning::Total) || readers.count(product) != 1 {
        return None;
    }
    let over = table::find(&node.op_type)?.along(&View { graph, node })?;
    let rank = graph.ty(product).rank();
    let made = graph.producer(product).filter(|n| meaning(n) == Some(Meaning::MatrixProduct))?;
    let [Some(left), Some(right)] = *made.inputs else { return None };
    let (batch, last) = (rank.checked_sub(2).filter(|n| *n > 0)?, rank.checked_sub(1)?);
    let leading = |v: ValueId| graph.ty(v).shape.get(..batch);
    let alike = [left, right].iter().all(|&v| graph.ty(v).rank() == rank && leading(v) == leading(product));
    let dropped = rank.checked_sub(over.len()) == Some(graph.ty(out).rank());
    let kept = (0..batch).filter(|a| !over.contains(a)).collect();
    let fits = alike && dropped && !over.is_empty() && over.iter().all(|&a| a < batch);
    fits.then_some((out, Joined { product, left, right, over, kept, matrix: [batch, last] }))
}

/// The one product.
fn join(r: &mut Rebuild, node: &Node, found: &Joined) -> std::result::Result<ValueId, String> {
    let source = r.source();
    let (left, right) = (r.get(found.left)?, r.get(found.right)?);
    let name = source.name_of(node.output().ok_or("a sum has no result")?).to_string();
    let (kept, over, [first, last]) = (&found.kept[..], &found.over[..], found.matrix);
    let mut b = Builder::new(r.graph);
    let dims = |v: ValueId, axes: &[usize]| axes.iter().filter_map(|&a| source.ty(v).shape.get(a).copied()).collect::<Vec<Dim>>();
    let depth: Vec<Dim> = [dims(found.left, over), dims(found.left, &[last])].concat();
    let depth = product(&depth).ok_or("the batch size enters twice")?;
    let rows = b.transpose(left, &[kept, &[first], over, &[last]].concat())?;
    let rows = b.reshape(rows, &[dims(found.left, kept), dims(found.left, &[first]), vec![depth]].concat())?;
    let columns = b.transpose(right, &[kept, over, &[first, last]].concat())?;
    let columns = b.reshape(columns, &[dims(found.right, kept), vec![depth], dims(found.right, &[last])].concat())?;
    let value = b.matmul(rows, columns)?;
    r.graph.rename_as(value, &name);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};
    use crate::pass;

    /// The products of matrices for each image and group, summed over the images; with `twice` somebody else reads them.
    fn products(twice: bool) -> Graph {
        let mut graph = Graph::new("g");
        let shape =
            |rows, columns| TensorType { dtype: DType::F32, shape: vec![Dim::Batch(1), 2.into(), Dim::Known(rows), Dim::Known(columns)] };
        let (x, y) = (graph.input("x", shape(3, 5)), graph.input("y", shape(5, 7)));
        let mut b = Builder::new(&mut graph);
        let all = b.matmul(x, y).unwrap();
        let sum = b.sum(all, &[0], false).unwrap();
        let more = twice.then_some(all);
        graph.rename(sum, "sum");
        graph.outputs = [sum].into_iter().chain(more).collect();
        graph
    }

    #[test]
    fn a_sum_of_products_is_one_product_of_longer_rows() {
        let mut graph = products(false);
        let before = graph.ty(graph.outputs[0]).clone();
        pass::apply_verified(&mut graph, &[&JoinProducts]).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(names, ["Transpose", "Reshape", "Transpose", "Reshape", "MatMul"]);
        assert_eq!((graph.ty(graph.outputs[0]), graph.name_of(graph.outputs[0])), (&before, "sum"));
        let left = graph.nodes[4].inputs[0].unwrap();
        assert_eq!(graph.ty(left).shape, [2.into(), 3.into(), Dim::Batch(5)]);
    }

    #[test]
    fn what_somebody_else_reads_stays() {
        let mut graph = products(true);
        pass::apply_verified(&mut graph, &[&JoinProducts]).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(names, ["MatMul", "ReduceSum"]);
    }
}
