//! How far the parameters went from their starting point: `‖w − w⁰‖₂`.

use crate::bundle::manifest::{Role, State};
use crate::error::Result;
use crate::ir::Tensor;
use ndarray::{ArrayViewD, Axis, IxDyn};
use serde::{Deserialize, Serialize};

/// Over all parameters that have a starting point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distance {
    /// ‖w − w⁰‖ over all of them together.
    pub total: f64,
    /// The same, as a share of ‖w⁰‖.
    pub relative: f64,
    /// What is exactly where it started.
    #[serde(default)]
    pub unmoved: Unmoved,
    /// Each parameter by itself.
    pub layers: Vec<LayerDistance>,
}

/// For one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDistance {
    /// Its alias.
    pub name: String,
    /// ‖w − w⁰‖.
    pub distance: f64,
    /// As a share of its own ‖w⁰‖; 0 where that is 0.
    pub relative: f64,
    /// What of it is exactly where it started.
    #[serde(default)]
    pub unmoved: Unmoved,
}

/// How much is equal to its starting point, bit for bit but for the sign of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unmoved {
    /// Elements that did not move.
    pub elements: usize,
    /// Of so many.
    pub of_elements: usize,
    /// Output channels of weights of which no element moved.
    pub channels: usize,
    /// Of so many.
    pub of_channels: usize,
}

impl Unmoved {
    /// `axis` is that of the output channels, for a weight.
    fn count(now: ArrayViewD<f64>, start: ArrayViewD<f64>, axis: Option<usize>) -> Unmoved {
        let elements = now.iter().zip(&start).filter(|(a, b)| a == b).count();
        let (channels, of_channels) = match axis.map(Axis) {
            Some(axis) if axis.index() < now.ndim().min(start.ndim()) => {
                let same = now.axis_iter(axis).zip(start.axis_iter(axis)).filter(|(a, b)| a == b);
                (same.count(), now.len_of(axis))
            }
            _ => (0, 0),
        };
        Unmoved { elements, of_elements: now.len(), channels, of_channels }
    }

    fn add(&mut self, other: Unmoved) {
        let add = |sum: &mut usize, more: usize| *sum = sum.saturating_add(more);
        add(&mut self.elements, other.elements);
        add(&mut self.of_elements, other.of_elements);
        add(&mut self.channels, other.channels);
        add(&mut self.of_channels, other.of_channels);
    }
}

impl Distance {
    /// `now` and `start` are in the order of `states`.
    pub fn between(states: &[State], now: &[Tensor], start: &[Tensor]) -> Result<Distance> {
        let mut layers = vec![];
        let (mut moved, mut norm) = (0.0, 0.0);
        let mut unmoved = Unmoved::default();
        for ((state, now), start) in states.iter().zip(now).zip(start).filter(|((s, _), _)| s.role == Role::Shared) {
            let (now, start) = (now.floats::<IxDyn>()?, start.floats::<IxDyn>()?);
            let square = now.iter().zip(&start).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            let own = start.iter().map(|v| v * v).sum::<f64>();
            moved += square;
            norm += own;
            let here = Unmoved::count(now.view(), start.view(), state.channel_axis);
            unmoved.add(here);
            layers.push(LayerDistance { name: state.alias.clone(), distance: square.sqrt(), relative: share(square, own), unmoved: here });
        }
        Ok(Distance { total: moved.sqrt(), relative: share(moved, norm), unmoved, layers })
    }
}

fn share(square: f64, of: f64) -> f64 {
    if of > 0.0 { (square / of).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_channel_is_unmoved_where_no_element_of_it_moved() {
        let start = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].into_dyn();
        let now = array![[1.0, 2.0], [3.0, 4.0], [5.5, 6.0]].into_dyn();
        let rows = Unmoved::count(now.view(), start.view(), Some(0));
        assert_eq!(rows, Unmoved { elements: 5, of_elements: 6, channels: 2, of_channels: 3 });
        let columns = Unmoved::count(now.view(), start.view(), Some(1));
        assert_eq!((columns.channels, columns.of_channels), (1, 2));
        let bias = Unmoved::count(now.flatten().into_dyn().view(), start.flatten().into_dyn().view(), None);
        assert_eq!((bias.elements, bias.channels, bias.of_channels), (5, 0, 0));
    }
}
