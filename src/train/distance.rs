//! How far the parameters went from their starting point: `‖w − w⁰‖₂`.

use crate::error::Result;
use crate::ir::Tensor;
use crate::manifest::{Role, State};
use serde::{Deserialize, Serialize};

/// Over all parameters that have a starting point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Distance {
    /// ‖w − w⁰‖ over all of them together.
    pub total: f64,
    /// The same, as a share of ‖w⁰‖.
    pub relative: f64,
    pub layers: Vec<LayerDistance>,
}

/// For one parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDistance {
    /// Its alias.
    pub name: String,
    pub distance: f64,
    /// As a share of its own ‖w⁰‖; 0 where that is 0.
    pub relative: f64,
}

impl Distance {
    /// `now` and `start` are in the order of `states`.
    pub fn between(states: &[State], now: &[Tensor], start: &[Tensor]) -> Result<Distance> {
        let mut layers = vec![];
        let (mut moved, mut norm) = (0.0, 0.0);
        for ((state, now), start) in states.iter().zip(now).zip(start).filter(|((s, _), _)| s.role == Role::Shared) {
            let (now, start) = (now.to_f64()?, start.to_f64()?);
            let square = now.iter().zip(&start).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            let own = start.iter().map(|v| v * v).sum::<f64>();
            moved += square;
            norm += own;
            layers.push(LayerDistance { name: state.alias.clone(), distance: square.sqrt(), relative: share(square, own) });
        }
        Ok(Distance { total: moved.sqrt(), relative: share(moved, norm), layers })
    }
}

fn share(square: f64, of: f64) -> f64 {
    if of > 0.0 { (square / of).sqrt() } else { 0.0 }
}
