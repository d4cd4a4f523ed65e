//! What an estimate says about the layers.

use super::estimate::Estimate;
use super::graph::layers;
use serde::Serialize;

/// One layer's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerShare {
    /// Its name, such as `layer1.0.conv1`.
    pub layer: String,
    /// Elements of its parameters.
    pub elements: usize,
    /// Elements whose Fisher information is exactly 0: no sampled gradient ever reached them.
    pub zeros: usize,
    /// The sum of the layer's diagonal.
    pub mass: f64,
    /// Of the whole network's mass.
    pub share: f64,
    /// Of `mass`, over the samples; `None` with a single one.
    pub standard_error: Option<f64>,
}

/// All layers, in the order of use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// In the order of use.
    pub layers: Vec<LayerShare>,
    /// Of all layers.
    pub elements: usize,
    /// Of all layers.
    pub zeros: usize,
    /// Of all layers: the trace of the Fisher matrix.
    pub mass: f64,
}

impl Summary {
    /// Adds the estimate up by layer.
    pub fn of(estimate: &Estimate) -> Summary {
        let (layer, _) = layers(&estimate.parameters);
        let total: f64 = estimate.layers.iter().map(|l| l.1).sum();
        let mut found: Vec<LayerShare> = estimate
            .layers
            .iter()
            .map(|(name, mass, error)| LayerShare {
                layer: name.clone(),
                elements: 0,
                zeros: 0,
                mass: *mass,
                share: if total > 0.0 { mass / total } else { 0.0 },
                standard_error: error.is_finite().then_some(*error),
            })
            .collect();
        for (values, &at) in estimate.values.iter().zip(&layer) {
            let Some(share) = found.get_mut(at) else { continue };
            share.elements = share.elements.saturating_add(values.len());
            share.zeros = share.zeros.saturating_add(values.iter().filter(|v| **v == 0.0).count());
        }
        let sum = |f: fn(&LayerShare) -> usize| found.iter().map(f).sum();
        Summary { elements: sum(|l| l.elements), zeros: sum(|l| l.zeros), mass: total, layers: found }
    }
}
