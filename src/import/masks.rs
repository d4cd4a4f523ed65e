//! Products with random masks, as what they are in inference.

use super::importer::Importer;
use super::names::node_name;
use super::options::BatchSize;
use crate::ir::{Attr, Attrs, Dim};
use crate::onnx::noise::{Like, Noise};
use crate::onnx::pb;
use crate::ops::dropout::{AXES, RATIO};

impl Importer {
    /// Imports the node at `index`, which hands on what the model multiplies with `noise`, and takes note of what it drops in training. `batch` is that of the
    /// import.
    pub fn quiet(&mut self, index: usize, node: &pb::NodeProto, noise: &Noise, batch: BatchSize) {
        self.node(index, node);
        let Some(of) = self.values.get(&noise.of).map(|&v| self.graph.ty(v).shape.clone()) else { return };
        let mask = match &noise.like {
            Like::Value(name) => self.values.get(name).map(|&v| self.graph.ty(v).shape.clone()),
            Like::Sizes(sizes) => sizes.iter().map(|&n| usize::try_from(n).ok().map(Dim::Known)).collect(),
        };
        // What it is read from was refused.
        let Some(mut mask) = mask else { return };
        if noise.rank > of.len() {
            // Then it would make more of what it lies over.
            let missing = noise.rank.saturating_sub(mask.len());
            mask.splice(0..0, std::iter::repeat_n(Dim::Known(1), missing));
        }
        match along(&mask, &of, self.declared_batch, batch) {
            Some(axes) => {
                let axes = axes.into_iter().map(|a| a as i64).collect();
                let training = Attrs::from([(RATIO.to_string(), Attr::Float(noise.ratio)), (AXES.to_string(), Attr::Ints(axes))]);
                self.training.insert(node_name(index, node), training);
            }
            None => {
                let shown = |shape: &[Dim]| shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
                let (mask, of) = (shown(&mask), shown(&of));
                let why = format!(
                    "its random mask of the shape {mask} does not lie over {of}, or not in one way only for any number of images; {}, or with a symbolic batch",
                    super::refusals::IN_EVALUATION_MODE
                );
                self.refusals.refuse(node, why);
            }
        }
    }
}

/// Along which axes of what it lies over a mask differs. `None` where it does not lie over it, or nobody can say how.
///
/// A size that is the declared batch is the batch wherever that stands: an exporter that was shown one image writes 1 for a mask of every image. With a fixed
/// batch it is known at the first axis only.
fn along(mask: &[Dim], of: &[Dim], declared: Option<usize>, batch: BatchSize) -> Option<Vec<usize>> {
    let first = of.len().checked_sub(mask.len())?;
    let (mut axes, mut batched) = (vec![], false);
    for (axis, (&mask, &of)) in (first..).zip(mask.iter().zip(of.get(first..)?)) {
        let freed = declared.is_some_and(|d| match (mask, of, batch) {
            (Dim::Known(n), Dim::Batch(k), _) => k.checked_mul(d) == Some(n),
            (Dim::Known(n), Dim::Known(m), BatchSize::Fixed(b)) if axis == 0 => {
                n.checked_mul(b).is_some_and(|n| Some(n) == m.checked_mul(d))
            }
            _ => false,
        });
        batched |= freed && axis == 0;
        // One of several rows of the one image, or perhaps of a batch that stands further behind.
        let several = |m: usize, b: usize| b > 1 && m.checked_rem(b) == Some(0);
        let unclear = declared == Some(1)
            && match (of, batch) {
                (Dim::Batch(_), _) => true,
                (Dim::Known(m), BatchSize::Fixed(b)) => !batched && several(m, b),
                _ => false,
            };
        match mask {
            _ if freed => axes.push(axis),
            Dim::Known(1) if unclear => return None,
            Dim::Known(1) => {}
            _ if mask == of => axes.push(axis),
            _ => return None,
        }
    }
    Some(axes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_differs_along_the_axes_that_it_has() {
        let known = |sizes: &[usize]| sizes.iter().map(|&n| Dim::Known(n)).collect::<Vec<_>>();
        let batch = |sizes: &[usize]| std::iter::once(Dim::Batch(1)).chain(known(sizes)).collect::<Vec<_>>();
        let dynamic = BatchSize::Dynamic;
        assert_eq!(along(&batch(&[1, 1, 1]), &batch(&[4, 6, 6]), None, dynamic), Some(vec![0]));
        assert_eq!(along(&batch(&[4, 1, 1]), &batch(&[4, 6, 6]), None, dynamic), Some(vec![0, 1]));
        assert_eq!(along(&known(&[1, 1, 1, 1]), &batch(&[4, 6, 6]), None, dynamic), Some(vec![]), "one for the whole batch");
        assert_eq!(along(&known(&[1, 4, 1, 1]), &batch(&[4, 6, 6]), Some(1), dynamic), Some(vec![0, 1]), "the exporter saw one image");
        assert_eq!(along(&known(&[2, 1, 1, 1]), &batch(&[4, 6, 6]), Some(2), dynamic), Some(vec![0]));
        assert_eq!(along(&known(&[2, 1]), &known(&[8, 5]), Some(2), BatchSize::Fixed(8)), Some(vec![0]));
        let sequence = |images: Dim| [Dim::Known(5), images, Dim::Known(8)];
        assert_eq!(
            along(&known(&[5, 1, 8]), &sequence(Dim::Batch(1)), Some(1), dynamic),
            Some(vec![0, 1, 2]),
            "the batch is the second axis"
        );
        assert_eq!(along(&known(&[1, 1, 1]), &sequence(Dim::Batch(1)), Some(1), dynamic), Some(vec![1]));
        assert_eq!(along(&known(&[5, 1, 8]), &sequence(Dim::Batch(1)), Some(3), dynamic), Some(vec![0, 2]), "one for the whole batch");
        assert_eq!(
            along(&known(&[5, 1, 8]), &sequence(Dim::Known(4)), Some(1), BatchSize::Fixed(4)),
            None,
            "the second axis may be the batch"
        );
        assert_eq!(along(&known(&[1, 5, 1]), &known(&[4, 5, 8]), Some(1), BatchSize::Fixed(4)), Some(vec![0, 1]), "the first is");
        assert_eq!(along(&known(&[1, 8]), &[Dim::Batch(5), Dim::Known(8)], Some(1), dynamic), None, "one for every five rows");
        assert_eq!(along(&known(&[6, 1]), &batch(&[4, 6, 6]), Some(1), dynamic), Some(vec![2]));
        assert_eq!(along(&known(&[3, 1]), &batch(&[4, 6, 6]), Some(1), dynamic), None);
        assert_eq!(along(&batch(&[4, 6, 6]), &known(&[6]), None, dynamic), None, "it would make more of it");
    }
}
