//! Permutations of an image's channels, which exporters write as a view with more axes, a transposition and a view again.

use super::kernel::is_image;
use crate::ir::{Dim, Domain, Graph, Node, Readers, ValueId, product};
use crate::operator::{View, table_of};
use crate::ops::table;
use std::collections::HashMap;

/// All such permutations of a graph.
pub struct Shuffles {
    /// Of each result the image, and which of its channels each channel of the result is.
    orders: HashMap<ValueId, (ValueId, Vec<i64>)>,
    /// What lies between an image and results alone, with that image.
    between: HashMap<ValueId, ValueId>,
}

impl Shuffles {
    /// Where no kernel computes them.
    pub fn none() -> Shuffles {
        Shuffles { orders: HashMap::new(), between: HashMap::new() }
    }

    /// Those of the graph.
    pub fn of(graph: &Graph) -> Shuffles {
        let (readers, mut found) = (graph.readers(), Shuffles::none());
        for node in &graph.nodes {
            if let Some(chain) = Chain::ending_at(graph, node) {
                found.add(&readers, chain);
            }
        }
        found
    }

    fn add(&mut self, readers: &Readers, chain: Chain) {
        // What others read as well stays.
        if readers.count(chain.moved) == 1 {
            self.between.insert(chain.moved, chain.image);
            if readers.count(chain.apart) == 1 {
                self.between.insert(chain.apart, chain.image);
            }
        }
        self.orders.insert(chain.result, (chain.image, chain.order));
    }

    /// The image whose channels the value is in another order, and the order.
    pub fn order(&self, result: ValueId) -> Option<(ValueId, &[i64])> {
        self.orders.get(&result).map(|(image, order)| (*image, order.as_slice()))
    }

    /// The image of which the value is nothing but a step to its permutation.
    pub fn between(&self, value: ValueId) -> Option<ValueId> {
        self.between.get(&value).copied()
    }
}

/// One permutation.
struct Chain {
    image: ValueId,
    apart: ValueId,
    moved: ValueId,
    result: ValueId,
    order: Vec<i64>,
}

impl Chain {
    fn ending_at(graph: &Graph, node: &Node) -> Option<Chain> {
        let moved = viewed(node)?;
        let transposition = graph.producer(moved).filter(|n| n.domain == Domain::Onnx)?;
        let perm = table::find(&transposition.op_type)?.order(&View { graph, node: transposition })?;
        let apart = transposition.input(0)?;
        let image = viewed(graph.producer(apart)?)?;
        let result = *node.outputs.first()?;
        let (from, to) = (graph.ty(image), graph.ty(result));
        let order = (is_image(from) && from == to).then(|| permuted(&from.shape, &graph.ty(apart).shape, &perm))??;
        Some(Chain { image, apart, moved, result, order })
    }
}

/// What the node shows in another shape.
fn viewed(node: &Node) -> Option<ValueId> {
    let is_view = node.domain == Domain::Onnx && table::find(&node.op_type)?.facts().view;
    node.input(0).filter(|_| is_view)
}

/// Which channel of an image each channel of the result is, where `perm` moves none but axes that the channels were taken apart into.
fn permuted(image: &[Dim], apart: &[Dim], perm: &[usize]) -> Option<Vec<i64>> {
    let [images, channels, pixels @ ..] = image else { return None };
    let pixels = product(pixels)?;
    let whole = |range: &[Dim], size: Dim| product(range) == Some(size);
    let stays = |mut places: std::ops::Range<usize>| places.all(|i| perm.get(i) == Some(&i));
    let ends = (0..=apart.len()).flat_map(|a| (a..=apart.len()).map(move |b| (a, b)));
    let parts = |(a, b): (usize, usize)| {
        let (before, own, behind) = (apart.get(..a)?, apart.get(a..b)?, apart.get(b..)?);
        let sizes = whole(before, *images) && whole(own, *channels) && whole(behind, pixels);
        (sizes && stays(0..a) && stays(b..apart.len())).then_some((a, own, perm.get(a..b)?))
    };
    let (first, own, moved) = { ends }.find_map(parts)?;
    let sizes: Vec<usize> = own.iter().map(|d| d.known()).collect::<Option<_>>()?;
    table_of(&sizes).ok()?;
    let (mut strides, mut stride) = (vec![], 1usize);
    for &size in sizes.iter().rev() {
        strides.push(stride);
        stride = stride.checked_mul(size)?;
    }
    strides.reverse();
    let mut order = vec![0i64];
    for &axis in moved {
        let axis = axis.checked_sub(first)?;
        let (&size, &stride) = (sizes.get(axis)?, strides.get(axis)?);
        let steps = || (0..size).map(|i| i64::try_from(i.checked_mul(stride)?).ok());
        order = order.iter().flat_map(|at| steps().map(|step| at.checked_add(step?))).collect::<Option<_>>()?;
    }
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[usize]) -> Vec<Dim> {
        sizes.iter().map(|&n| Dim::Known(n)).collect()
    }

    #[test]
    fn channels_are_found_wherever_they_come_from() {
        let image = dims(&[2, 6, 3, 5]);
        assert_eq!(permuted(&image, &dims(&[2, 2, 3, 3, 5]), &[0, 2, 1, 3, 4]).unwrap(), [0, 3, 1, 4, 2, 5]);
        // The way back, and with the pixels in one axis or in three.
        assert_eq!(permuted(&image, &dims(&[2, 3, 2, 3, 5]), &[0, 2, 1, 3, 4]).unwrap(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(permuted(&image, &dims(&[2, 2, 3, 15]), &[0, 2, 1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(permuted(&image, &dims(&[2, 3, 2, 3, 1, 5]), &[0, 2, 1, 3, 4, 5]).unwrap(), [0, 2, 4, 1, 3, 5]);
        // Three axes.
        let eight = permuted(&dims(&[1, 8, 2, 2]), &dims(&[1, 2, 2, 2, 2, 2]), &[0, 3, 1, 2, 4, 5]).unwrap();
        assert_eq!(eight, [0, 2, 4, 6, 1, 3, 5, 7]);
        // With a symbolic batch.
        let batch = |image: &[usize]| [vec![Dim::Batch(1)], dims(image)].concat();
        assert_eq!(permuted(&batch(&[4, 3, 3]), &batch(&[2, 2, 3, 3]), &[0, 2, 1, 3, 4]).unwrap(), [0, 2, 1, 3]);
    }

    #[test]
    fn what_moves_pixels_or_images_is_none() {
        let image = dims(&[2, 6, 3, 5]);
        assert_eq!(permuted(&image, &dims(&[2, 2, 3, 3, 5]), &[0, 2, 1, 4, 3]), None);
        assert_eq!(permuted(&image, &dims(&[2, 6, 3, 5]), &[0, 2, 1, 3]), None);
        assert_eq!(permuted(&image, &dims(&[4, 3, 3, 5]), &[1, 0, 2, 3]), None);
        // Axes that join channels and pixels.
        assert_eq!(permuted(&image, &dims(&[2, 2, 9, 5]), &[0, 2, 1, 3]), None);
    }
}
