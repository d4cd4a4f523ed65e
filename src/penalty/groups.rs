//! Groups of a parameter's elements, for the group-lasso penalties: one for each output channel, with the weight `s_g = √p_g`.

use crate::ir::{Attr, Dim, ValueId};
use crate::operator::{Builder, Rule};

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
        let split: Vec<usize> = [blocks, shape[0] / blocks].into_iter().chain(shape[1..].iter().copied()).collect();
        Groups { within: (0..split.len()).filter(|&a| a != 0 && a != axis + 1).collect(), shape: split }
    }

    /// Every element by itself: what has one number for each channel, such as a bias.
    pub fn elements(shape: &[usize]) -> Groups {
        Groups { shape: shape.to_vec(), within: vec![] }
    }

    /// p_g: elements in one group.
    pub fn size(&self) -> usize {
        self.within.iter().map(|&a| self.shape[a]).product()
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        (0..self.shape.len()).filter(|a| !self.within.contains(a)).map(|a| self.shape[a]).product()
    }

    /// For each element of the parameter, in its order, the number of its group.
    pub fn of_elements(&self) -> Vec<usize> {
        let total: usize = self.shape.iter().product();
        let group = |mut index: usize| {
            let (mut number, mut factor) = (0, 1);
            for axis in (0..self.shape.len()).rev() {
                let at = index % self.shape[axis];
                index /= self.shape[axis];
                if !self.within.contains(&axis) {
                    number += at * factor;
                    factor *= self.shape[axis];
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
    fn view(&self, b: &mut Builder, v: ValueId) -> Rule<ValueId> {
        b.reshape(v, &self.shape.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>())
    }

    /// A number for each group, with the axes within it of length 1: `Σ_{j∈g} d_j·e_j`. On ONNX Runtime's CPU provider twice as
    /// fast as ReduceSumSquare over some axes.
    fn products(&self, b: &mut Builder, d: ValueId, e: ValueId) -> Rule<ValueId> {
        let product = b.mul(d, e)?;
        b.sum(product, &self.within, true)
    }

    /// `t·Σ_g √q_g` for a scalar `t` and a number for each group.
    fn total(&self, b: &mut Builder, square: ValueId, strength: ValueId) -> Rule<ValueId> {
        let norm = b.op("Sqrt", &[square], Default::default())?;
        let all: Vec<usize> = (0..self.shape.len()).collect();
        let norms = b.sum(norm, &all, false)?;
        let strength = b.reshape(strength, &[])?;
        b.mul(norms, strength)
    }

    /// `strength·s_g`, with as many axes as the view has.
    fn weighted(&self, b: &mut Builder, strength: ValueId) -> Rule<ValueId> {
        let strength = b.reshape(strength, &vec![Dim::Known(1); self.shape.len()])?;
        let weight = b.number(self.weight(), strength);
        b.mul(strength, weight)
    }
}

/// `α·Σ_g s_g·√q_g` with `q_g = Σ_{j∈g} d_j·e_j`, and its gradient `α·s_g·e / √(q_g + 1e-16)`, inside a function's body.
/// `d` is `w − w⁰`, and `e` the same or `F̂⊙d`; both have the parameter's shape.
pub(super) fn lasso(b: &mut Builder, groups: &Groups, d: ValueId, e: ValueId, strength: ValueId) -> Rule<Vec<ValueId>> {
    let shape = b.shape(d).to_vec();
    let (d, e) = if d == e {
        let d = groups.view(b, d)?;
        (d, d)
    } else {
        (groups.view(b, d)?, groups.view(b, e)?)
    };
    let square = groups.products(b, d, e)?;
    let strength = groups.weighted(b, strength)?;
    let value = groups.total(b, square, strength)?;
    let inside = b.number(INSIDE_ROOT, square);
    let above = b.add(square, inside)?;
    let root = b.op("Sqrt", &[above], Default::default())?;
    let factor = b.div(strength, root)?;
    let gradient = b.mul(e, factor)?;
    Ok(vec![value, b.reshape(gradient, &shape)?])
}

/// `α·Σ_g s_g·‖d_g‖`, inside a function's body.
pub(super) fn norms(b: &mut Builder, groups: &Groups, d: ValueId, strength: ValueId) -> Rule<ValueId> {
    let d = groups.view(b, d)?;
    let square = groups.products(b, d, d)?;
    let strength = groups.weighted(b, strength)?;
    groups.total(b, square, strength)
}

/// The group soft-threshold `w⁰ + d·max(0, 1 − t·s_g/‖d_g‖)` for `d = w − w⁰` and a threshold `t`, inside a function's body. Where
/// `‖d_g‖ ≤ t·s_g` that is `w⁰ + 0`, and so exactly `w⁰`. (`Where` would cost more than all of this together.)
pub(super) fn shrink(b: &mut Builder, groups: &Groups, w: ValueId, start: ValueId, threshold: ValueId) -> Rule<ValueId> {
    let shape = b.shape(w).to_vec();
    let moved = b.sub(w, start)?;
    let d = groups.view(b, moved)?;
    let square = groups.products(b, d, d)?;
    let norm = b.op("Sqrt", &[square], Default::default())?;
    // A group at its start stays there: its quotient must be a number.
    let tiny = b.number(1e-30, norm);
    let norm = b.op("Max", &[norm, tiny], Default::default())?;
    let threshold = groups.weighted(b, threshold)?;
    let lost = b.div(threshold, norm)?;
    let one = b.number(1.0, lost);
    let kept = b.sub(one, lost)?;
    let kept = b.op("Relu", &[kept], Default::default())?;
    let d = b.mul(d, kept)?;
    let d = b.reshape(d, &shape)?;
    b.add(start, d)
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
