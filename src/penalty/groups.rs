//! Groups of a parameter's elements, for the group-lasso penalties: one for each output channel, with the weight `s_g = √p_g`.

use crate::ir::{Attr, Dim};
use crate::ops::blocks::Expr;

/// What the paper's authors add inside the square root, so that the gradient is 0 at 0 and not 0/0.
const INSIDE_ROOT: f64 = 1e-16;

/// How a parameter's elements fall into groups of equal size: as the rows, so to say, of a shape with the same elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The parameter's shape; split into one axis more for a transposed convolution in several blocks.
    shape: Vec<usize>,
    /// The axes of `shape` that lie within a group.
    within: Vec<usize>,
}

impl Groups {
    /// Of a kernel whose output channels lie along `axis`: a group is what one channel is computed from. Where the first axis falls into
    /// several `blocks`, each has channels of its own.
    pub fn channels(shape: &[usize], axis: usize, blocks: usize) -> Groups {
        if blocks <= 1 || axis == 0 {
            return Groups { shape: shape.to_vec(), within: (0..shape.len()).filter(|&a| a != axis).collect() };
        }
        let Some((first, others)) = shape.split_first() else { return Groups::elements(shape) };
        let each = first.checked_div(blocks).unwrap_or(0);
        let split: Vec<usize> = [blocks, each].into_iter().chain(others.iter().copied()).collect();
        Groups { within: (0..split.len()).filter(|&a| a != 0 && a.checked_sub(1) != Some(axis)).collect(), shape: split }
    }

    /// Every element by itself: what has one number for each channel, such as a bias.
    pub fn elements(shape: &[usize]) -> Groups {
        Groups { shape: shape.to_vec(), within: vec![] }
    }

    /// p_g: elements in one group.
    pub fn size(&self) -> usize {
        self.within.iter().filter_map(|&a| self.shape.get(a)).product()
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.shape.iter().enumerate().filter(|(a, _)| !self.within.contains(a)).map(|(_, d)| d).product()
    }

    /// For each element of the parameter, in its order, the number of its group.
    pub fn of_elements(&self) -> Vec<usize> {
        let total: usize = self.shape.iter().product();
        let group = |mut index: usize| {
            let (mut number, mut factor) = (0usize, 1usize);
            // Numbers of elements that there are: nothing here is larger than their count.
            for (axis, &length) in self.shape.iter().enumerate().rev() {
                let at = index.checked_rem(length).unwrap_or(0);
                index = index.checked_div(length).unwrap_or(0);
                if !self.within.contains(&axis) {
                    number = at.saturating_mul(factor).saturating_add(number);
                    factor = factor.saturating_mul(length);
                }
            }
            number
        };
        (0..total).map(group).collect()
    }

    /// s_g.
    pub fn weight(&self) -> f64 {
        (self.size() as f64).sqrt()
    }

    /// `v`, of the parameter's shape, with its groups along axes of their own.
    fn view<'f>(&self, v: Expr<'f>) -> Expr<'f> {
        v.reshape(&self.shape.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>())
    }

    /// A number for each group, with the axes within it of length 1: `Σ_{j∈g} d_j·e_j`. On ONNX Runtime's CPU provider twice as
    /// fast as ReduceSumSquare over some axes.
    fn products<'f>(&self, d: Expr<'f>, e: Expr<'f>) -> Expr<'f> {
        (d * e).sum(&self.within, true)
    }

    /// `t·Σ_g √q_g` for a scalar `t` and a number for each group.
    fn total<'f>(&self, square: Expr<'f>, strength: Expr<'f>) -> Expr<'f> {
        square.sqrt().sum_all() * strength.reshape(&[])
    }

    /// `strength·s_g`, with as many axes as the view has.
    fn weighted<'f>(&self, strength: Expr<'f>) -> Expr<'f> {
        strength.reshape(&vec![Dim::Known(1); self.shape.len()]) * self.weight()
    }
}

/// `α·Σ_g s_g·√q_g` with `q_g = Σ_{j∈g} d_j·e_j`, and its gradient `α·s_g·e / √(q_g + 1e-16)`. `d` is `w − w⁰`, and `e` the same where it
/// is not given, or `F̂⊙d`; both have the parameter's shape.
pub(super) fn lasso<'f>(groups: &Groups, difference: Expr<'f>, e: Option<Expr<'f>>, strength: Expr<'f>) -> [Expr<'f>; 2] {
    let d = groups.view(difference);
    let e = e.map_or(d, |e| groups.view(e));
    let square = groups.products(d, e);
    let strength = groups.weighted(strength);
    let value = groups.total(square, strength);
    let gradient = e * (strength / (square + INSIDE_ROOT).sqrt());
    [value, gradient.reshape_like(difference)]
}

/// `α·Σ_g s_g·‖d_g‖`.
pub(super) fn norms<'f>(groups: &Groups, d: Expr<'f>, strength: Expr<'f>) -> Expr<'f> {
    let d = groups.view(d);
    let square = groups.products(d, d);
    groups.total(square, groups.weighted(strength))
}

/// The group soft-threshold `w⁰ + d·max(0, 1 − t·s_g/‖d_g‖)` for `d = w − w⁰` and a threshold `t`. Where `‖d_g‖ ≤ t·s_g` that is
/// `w⁰ + 0`, and so exactly `w⁰`. (`Where` would cost more than all of this together.)
pub(super) fn shrink<'f>(groups: &Groups, w: Expr<'f>, start: Expr<'f>, threshold: Expr<'f>) -> Expr<'f> {
    let d = groups.view(w - start);
    // A group at its start stays there: its quotient must be a number.
    let norm = groups.products(d, d).sqrt().max(1e-30);
    let kept = (1.0 - groups.weighted(threshold) / norm).relu();
    start + (d * kept).reshape_like(w)
}

/// Attributes of a call that tell a native kernel the groups.
pub(super) fn attributes(groups: &Groups) -> crate::ir::Attrs {
    let list = |v: &[usize]| Attr::Ints(v.iter().map(|&d| d as i64).collect());
    [("shape".to_string(), list(&groups.shape)), ("within".to_string(), list(&groups.within))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_what_one_output_channel_is_computed_from() {
        let conv = Groups::channels(&[4, 3, 2, 2], 0, 1);
        assert_eq!((conv.size(), conv.count()), (12, 4));
        let rows = Groups::channels(&[2, 3], 0, 1);
        assert_eq!(rows.of_elements(), [0, 0, 0, 1, 1, 1]);
        let columns = Groups::channels(&[2, 3], 1, 1);
        assert_eq!(columns.of_elements(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(Groups::elements(&[3]).of_elements(), [0, 1, 2]);
    }

    #[test]
    fn blocks_of_a_transposed_convolution_are_apart() {
        // Two blocks of two inputs, each with three outputs of one pixel.
        let groups = Groups::channels(&[4, 3, 1], 1, 2);
        assert_eq!((groups.size(), groups.count()), (2, 6));
        assert_eq!(groups.of_elements(), [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
    }
}
