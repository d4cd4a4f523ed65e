//! DELTA (Li, Xiong, Wang, Rao, Liu, Chen and Huan, *DELTA: DEep Learning Transfer using Feature Map with Attention for Convolutional
//! Networks*, ICLR 2019, arXiv 1901.09229): feature maps stay near the source network's, instead of weights. For a layer with `C`
//! channels of `h·w` pixels,
//!
//! ```text
//! Ω = strength · (1/n)·Σ_images ½·Σ_j a_j·‖FM_j(w) − FM_j(w⁰)‖² / (h·w)
//! ∂Ω/∂FM_j = strength · (1/n)·a_j·(FM_j(w) − FM_j(w⁰)) / (h·w)
//! ```
//!
//! `a_j` is 1 by default, which the paper calls behavioural regularization without attention; with attention it is `C` times the share of
//! channel `j` in the layer, so that the mean is 1 in either case. Attention, division by `h·w` and the strength are those of the
//! Transfer-Learning-Library, which adds up over the images of a batch where this takes the mean: its 0.01 at a batch of 48 is 0.48 here.

use super::{Reads, Regularize, Seen, Term, column};
use crate::error::Result;
use crate::ir::{Attrs, Dim};
use crate::operator::{Builder, Function, Rule};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `(tuned, source, shares, strength, attention where there is one) → value, dtuned`.
pub const PENALTY: Function = Function::float32("DeltaPenalty");

/// DELTA with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delta {
    /// The factor on the term.
    pub strength: f64,
    /// Patterns on the weights of the layers whose output is compared; with none given the last convolution of each residual stage.
    pub layers: Vec<String>,
    /// The file of `spgraph attention` with weights of the channels; without it they are all alike.
    #[serde(with = "crate::storage::path_text")]
    pub attention: Option<PathBuf>,
}

impl Default for Delta {
    /// The strength of the Transfer-Learning-Library, which does not divide by the number of images.
    fn default() -> Self {
        Delta { strength: 0.01, layers: vec![], attention: None }
    }
}

impl Regularize for Delta {
    fn strength(&self) -> f64 {
        self.strength
    }

    fn set_strength(&mut self, strength: f64) {
        self.strength = strength;
    }

    fn reads(&self) -> Reads<'_> {
        Reads::FeatureMaps { layers: &self.layers, attention: self.attention.as_deref() }
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn summary(&self, layers: &[String]) -> String {
        format!("{}on {}", if self.attention.is_some() { "with attention, " } else { "" }, layers.join(", "))
    }

    fn term(&self, b: &mut Builder, seen: &Seen) -> Rule<Term> {
        let inputs = [&[seen.tuned, seen.source()?, seen.shares, seen.strength][..], seen.attention.as_slice()].concat();
        // All axes but the batch and the channels.
        let axes = b.shape(seen.tuned).iter().enumerate().filter(|(a, _)| *a != 0 && *a != seen.axis);
        let places: Option<usize> = axes.map(|(_, d)| d.known()).product();
        let places = places.ok_or("the size of the feature map depends on the batch; rewrite with a fixed batch size")?;
        let outputs = b.call_list(&PENALTY, &inputs, Attrs::new(), |b, i| {
            let (&[tuned, source, shares, strength], attention) = (i.first_chunk().ok_or("it needs four inputs")?, i.get(4));
            let terms = b.formula([tuned, source, shares, strength], |[tuned, source, shares, strength]| {
                let moved = tuned - source;
                let mut weight = column(shares, moved) * column(strength, moved) * (1.0 / places as f64);
                if let Some(&attention) = attention {
                    weight = weight.with(|b, weight| {
                        let channels = *b.shape(attention).first().ok_or("the attention has no channels")?;
                        let shape: Vec<Dim> = (0..b.rank(weight)).map(|a| if a == seen.axis { channels } else { Dim::Known(1) }).collect();
                        let attention = b.reshape(attention, &shape)?;
                        b.mul(weight, attention)
                    });
                }
                let gradient = moved * weight;
                [(moved * gradient).sum_all() * 0.5, gradient]
            })?;
            Ok(terms.to_vec())
        })?;
        let &[value, gradient] = &outputs[..] else { return Err("DELTA has a value and a gradient".into()) };
        Ok(Term { value, gradient })
    }
}
