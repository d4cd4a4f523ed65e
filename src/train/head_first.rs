//! Linear probing, then fine-tuning (LP-FT; Kumar, Raghunathan, Jones, Ma and Liang, ICLR 2022, arXiv 2202.10054): a first phase trains
//! the new head alone, so that its random start does not pull the features away; a second one trains everything.
//!
//! The first phase runs a graph of its own, in which all other parameters are constants: they keep their bits, and no gradient is
//! computed below the head. BatchNorm in training mode goes on to use, and to follow, the statistics of the batches. The second
//! phase starts as a new run from the probed head would: the optimizer's state is zero, averages are the weights, and the schedule
//! of the learning rate counts from there; only dropout's masks go on as new ones. In the first phase the rate is constant.

use super::averages::averages;
use super::made_step::load_made;
use super::step::{TrainingStep, state_ports};
use crate::bundle::manifest::{Role, State};
use crate::bundle::{Bundle, StateMeaning};
use crate::engine::{Engine, StepParts, Stepper};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::rewrite::head_step;

/// Loads the step of the first phase, with `state` in the manifest's order and weights of the classes, where there are some.
pub(super) fn load(engine: &dyn Engine, bundle: &Bundle, weights: Option<&[f64]>, state: Vec<Tensor>) -> Result<TrainingStep> {
    let (model, live) = head_step(bundle, weights, &state)?;
    let states = &bundle.manifest.state;
    let ports = state_ports(states.iter().zip(&live).filter(|(_, live)| **live).map(|(s, _)| s));
    let moving = state.iter().zip(&live).filter(|(_, live)| **live).map(|(t, _)| t.clone()).collect();
    let inner = load_made(engine, model, &ports, moving)?;
    TrainingStep::of(Box::new(HeadStepper { inner, live, state }), bundle)
}

/// The state with which the second phase starts, from that with which the first one ended.
pub(super) fn restart(states: &[State], state: &mut [Tensor]) -> Result<()> {
    let of_optimizer = |s: &State| s.role == Role::Optimizer && s.meaning != Some(StateMeaning::Random);
    for (s, value) in states.iter().zip(state.iter_mut()).filter(|(s, _)| of_optimizer(s)) {
        *value = Tensor::zeros(s.dtype, &s.shape);
    }
    for (average, parameter) in averages(states)? {
        if let Some(value) = state.get(parameter).cloned() {
            state.get_mut(average).into_iter().for_each(|to| to.clone_from(&value));
        }
    }
    Ok(())
}

/// Shows the whole state, of which a part stays as it is.
struct HeadStepper {
    inner: Box<dyn Stepper>,
    live: Vec<bool>,
    state: Vec<Tensor>,
}

impl Stepper for HeadStepper {
    fn step(&mut self, feeds: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>> {
        self.inner.step(feeds)
    }

    fn parts(&mut self) -> Option<&mut dyn StepParts> {
        self.inner.parts()
    }

    fn state(&mut self) -> Result<Vec<Tensor>> {
        let mut moving = self.inner.state()?.into_iter();
        let whole = self.state.iter().zip(&self.live).map(|(kept, live)| if *live { moving.next() } else { Some(kept.clone()) });
        whole.collect::<Option<_>>().ok_or_else(|| Error::engine("the step of the head lost a part of its state"))
    }
}
