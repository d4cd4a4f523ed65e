//! `(β/2)·‖w_S̄‖²` on new parameters and nothing on those that have a starting point: beside the losses on what the network computes (DELTA,
//! BSS, LwF), which take the place of a penalty on shared parameters.

use super::{Penalty, Pretrained, Term};
use crate::operator::{Builder, Rule};

pub struct OnlyNew;

impl Penalty for OnlyNew {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn uses_start(&self) -> bool {
        false
    }

    /// β of DELTA's authors.
    fn defaults(&self) -> (f64, f64) {
        (0.0, 0.01)
    }

    fn shared(&self, _: &mut Builder, _: &Pretrained) -> Rule<Term> {
        Err("it acts on new parameters only".into())
    }

    fn without_prox(&self) -> Option<&'static str> {
        Some("it acts on new parameters only")
    }
}
