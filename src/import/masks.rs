//! Products with random masks, as what they are in inference.

use super::importer::{Importer, node_name};
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
        let Some(mask) = mask else { return };
        match along(&mask, &of, self.declared_batch, batch) {
            Some(axes) => {
                let axes = axes.into_iter().map(|a| a as i64).collect();
                let training = Attrs::from([(RATIO.to_string(), Attr::Float(noise.ratio)), (AXES.to_string(), Attr::Ints(axes))]);
                self.training.insert(node_name(index, node), training);
            }
            None => {
                let shown = |shape: &[Dim]| shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
                let (mask, of) = (shown(&mask), shown(&of));
                let why = format!("its random mask of the shape {mask} does not lie over {of}; {}", super::refusals::IN_EVALUATION_MODE);
                self.refusals.refuse(node, why);
            }
        }
    }
}

/// Along which axes of what it lies over a mask differs. `None` where it does not lie over it.
///
/// A first size that is the declared batch is the batch, as everywhere: an exporter that was shown one image writes 1 for a mask of every image.
fn along(mask: &[Dim], of: &[Dim], declared: Option<usize>, batch: BatchSize) -> Option<Vec<usize>> {
    let first = of.len().checked_sub(mask.len())?;
    let mut axes = vec![];
    for (axis, (&mask, &of)) in (first..).zip(mask.iter().zip(of.get(first..)?)) {
        let freed = axis == 0
            && declared.is_some_and(|d| match (mask, of, batch) {
                (Dim::Known(n), Dim::Batch(k), _) => k.checked_mul(d) == Some(n),
                (Dim::Known(n), Dim::Known(m), BatchSize::Fixed(b)) => n.checked_mul(b).is_some_and(|n| Some(n) == m.checked_mul(d)),
                _ => false,
            });
        match mask {
            _ if freed => axes.push(axis),
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
        assert_eq!(along(&known(&[6, 1]), &batch(&[4, 6, 6]), Some(1), dynamic), Some(vec![2]));
        assert_eq!(along(&known(&[3, 1]), &batch(&[4, 6, 6]), Some(1), dynamic), None);
        assert_eq!(along(&batch(&[4, 6, 6]), &known(&[6]), None, dynamic), None, "it would make more of it");
    }
}
