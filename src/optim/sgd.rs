//! Stochastic gradient descent with momentum, in PyTorch's convention:
//! `v ← μ·v + g`, then `w ← w − lr·v`, or with Nesterov's variant `w ← w − lr·(g + μ·v)`.

use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, ValueId};
use crate::ops::{Builder, Rule};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// μ; 0 needs no state.
    pub momentum: f64,
    pub nesterov: bool,
}

impl Sgd {
    /// Fails where the settings make no sense.
    pub fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::usage(format!("--momentum {} is not at least 0 and below 1", self.momentum)));
        }
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::usage("--nesterov needs a --momentum above 0"));
        }
        Ok(())
    }

    /// Names of the state tensors per parameter, each of the parameter's shape and zero at the start.
    pub fn state(&self) -> &'static [&'static str] {
        if self.momentum > 0.0 { &["momentum"] } else { &[] }
    }

    /// Next value of the parameter, then those of its state. `lr` has as many axes as `w`, all of length 1.
    pub fn update(&self, b: &mut Builder, w: ValueId, gradient: ValueId, state: &[ValueId], lr: ValueId) -> Rule<Vec<ValueId>> {
        let attributes = Attrs::from([
            ("momentum".to_string(), Attr::Float(self.momentum as f32)),
            ("nesterov".to_string(), Attr::Int(self.nesterov as i64)),
        ]);
        let inputs: Vec<ValueId> = [w, gradient, lr].iter().chain(state).copied().collect();
        b.call("SgdUpdate", &inputs, attributes, |b, i| {
            let (w, g, lr) = (i[0], i[1], i[2]);
            let mut next = vec![];
            let direction = match i.get(3) {
                None => g,
                Some(&v) => {
                    let mu = b.number(self.momentum, v);
                    let kept = b.mul(v, mu)?;
                    let moved = b.add(kept, g)?;
                    next.push(moved);
                    if self.nesterov {
                        let ahead = b.mul(moved, mu)?;
                        b.add(g, ahead)?
                    } else {
                        moved
                    }
                }
            };
            let step = b.mul(direction, lr)?;
            next.insert(0, b.sub(w, step)?);
            Ok(next)
        })
    }
}
