//! Undoing sliding windows: what each window hands to the elements it met is brought back to their places and added.
//!
//! With stride `s`, position `p = s·q + r` of an axis belongs to phase `r`, and there has the index `q`. Tap `t` of window `w`
//! meets position `w·s + t·d − pad`: always the same phase, at the index `q = w + m`, where the shift `m` depends on the tap
//! alone. So all work is element-wise on maps of (nearly) the output's size, one per phase, with a few shifts; in the end the
//! phases are interleaved. Nothing is scattered: the result is the same in every run, on every device.

use super::strided::{spread_out, take_apart};
use crate::ir::{Attr, Attrs, Dim, ValueId};
use crate::operator::window::Window;
use crate::operator::{Builder, Rule, attrs};
use std::collections::{BTreeMap, BTreeSet};

/// So many phases are woven together at most: each is a node, and no network comes near.
const MOST: usize = 1 << 12;

/// Which phase one tap of the window meets, and with which shift, per axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Tap {
    pub phase: Vec<usize>,
    pub shift: Vec<i64>,
}

/// One sliding window over images `[N, C, …]`.
pub(in crate::ops) struct Phases {
    window: Window,
    /// Spatial sizes of the input, of the output (one element per window) and of each phase.
    input: Vec<usize>,
    windows: Vec<usize>,
    sizes: Vec<usize>,
}

fn signed(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&x| x as i64).collect()
}

impl Phases {
    pub fn new(window: Window, input: Vec<usize>) -> Rule<Phases> {
        let windows = (0..input.len()).map(|i| window.windows(i, input[i])).collect::<Rule<_>>()?;
        let sizes = input.iter().zip(&window.strides).map(|(n, s)| n.div_ceil(*s)).collect();
        Ok(Phases { window, input, windows, sizes })
    }

    fn rank(&self) -> usize {
        self.input.len()
    }

    fn axes(&self) -> Vec<usize> {
        (2..2 + self.rank()).collect()
    }

    /// The taps of one window in row-major order.
    pub fn taps(&self) -> Vec<Tap> {
        let w = &self.window;
        let mut taps = vec![Tap { phase: vec![], shift: vec![] }];
        for i in 0..self.rank() {
            let place = |t: usize| (t * w.dilations[i]) as i64 - w.pads_begin[i] as i64;
            let stride = w.strides[i] as i64;
            taps = taps
                .iter()
                .flat_map(|tap| {
                    (0..w.kernel[i]).map(move |t| Tap {
                        phase: [tap.phase.as_slice(), &[place(t).rem_euclid(stride) as usize]].concat(),
                        shift: [tap.shift.as_slice(), &[place(t).div_euclid(stride)]].concat(),
                    })
                })
                .collect();
        }
        taps
    }

    /// All phases in row-major order.
    fn all(&self) -> Vec<Vec<usize>> {
        self.window
            .strides
            .iter()
            .fold(vec![vec![]], |list, &s| list.iter().flat_map(|p| (0..s).map(move |i| [p.as_slice(), &[i]].concat())).collect())
    }

    /// Padding at the spatial ends, negative to crop.
    fn pad_ends(&self, b: &mut Builder, v: ValueId, begin: &[i64], end: &[i64], value: f64) -> Rule<ValueId> {
        b.pad(v, &[&[0, 0], begin].concat(), &[&[0, 0], end].concat(), value)
    }

    /// The phases of `x` that the taps meet; where the last blocks are not whole, `fill` stands for what is missing.
    pub fn split(&self, b: &mut Builder, x: ValueId, taps: &[Tap], fill: f64) -> Rule<BTreeMap<Vec<usize>, ValueId>> {
        let used: BTreeSet<Vec<usize>> = taps.iter().map(|t| t.phase.clone()).collect();
        let strides = &self.window.strides;
        let end: Vec<i64> = (0..self.rank()).map(|i| (self.sizes[i] * strides[i]) as i64 - self.input[i] as i64).collect();
        let whole = self.pad_ends(b, x, &vec![0; self.rank()], &end, fill)?;
        take_apart(b, whole, strides, &used)
    }

    /// Puts phases back into one image; those that are not there are zero.
    pub fn join(&self, b: &mut Builder, phases: &BTreeMap<Vec<usize>, ValueId>) -> Rule<ValueId> {
        let strides = &self.window.strides;
        let Some((first, &some)) = phases.iter().next() else { return Err("its windows meet nothing".into()) };
        let (begin, joined) = if strides.iter().all(|&s| s == 1) {
            (vec![0; self.rank()], some)
        } else if phases.len() == 1 {
            let paces: Vec<(usize, usize)> = self.axes().into_iter().zip(strides.iter().copied()).filter(|p| p.1 > 1).collect();
            (first.clone(), spread_out(b, some, &paces)?)
        } else {
            (vec![0; self.rank()], self.interleave(b, phases, some)?)
        };
        let end: Vec<i64> = (0..self.rank()).map(|i| self.input[i] as i64 - (begin[i] + self.sizes[i] * strides[i]) as i64).collect();
        self.pad_ends(b, joined, &signed(&begin), &end, 0.0)
    }

    /// Weaves the phases together axis by axis, the last one first. `Concat` on an axis of its own copies lines, where one transposition
    /// (or `DepthToSpace`) would pick single elements on one thread.
    fn interleave(&self, b: &mut Builder, phases: &BTreeMap<Vec<usize>, ValueId>, like: ValueId) -> Rule<ValueId> {
        let count = self.window.strides.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        if count.is_none_or(|count| count > MOST) {
            return Err(format!("its strides {:?} lie too far apart to go back through its windows", self.window.strides));
        }
        let mut parts = vec![];
        for phase in self.all() {
            parts.push(match phases.get(&phase) {
                Some(&v) => v,
                None => {
                    let zero = b.number(0.0, like);
                    b.expand_like(zero, like)?
                }
            });
        }
        for (i, &stride) in self.window.strides.iter().enumerate().rev().filter(|(_, s)| **s > 1) {
            let mut woven = vec![];
            // In row-major order the phases of the last axis that is left are neighbours.
            for group in parts.chunks(stride) {
                let shape = b.shape(group[0]).to_vec();
                let (before, after) = shape.split_at(3 + i);
                let apart = [before, &[Dim::Known(1)], after].concat();
                let group = group.iter().map(|&v| b.reshape(v, &apart)).collect::<Rule<Vec<_>>>()?;
                let stacked = b.concat(&group, 3 + i)?;
                let whole = [&before[..2 + i], &[Dim::Known(self.sizes[i] * stride)], after].concat();
                woven.push(b.reshape(stacked, &whole)?);
            }
            parts = woven;
        }
        parts.first().copied().ok_or_else(|| "its windows meet nothing".into())
    }

    /// What a tap meets in its phase, one element per window; `fill` where that is outside.
    pub fn to_windows(&self, b: &mut Builder, phase: ValueId, shift: &[i64], fill: f64) -> Rule<ValueId> {
        let begin: Vec<i64> = shift.iter().map(|m| -m).collect();
        let end: Vec<i64> = (0..self.rank()).map(|i| self.windows[i] as i64 + shift[i] - self.sizes[i] as i64).collect();
        self.pad_ends(b, phase, &begin, &end, fill)
    }

    /// The way back: one element per window, brought to where a tap meets the phase; zero where no window does.
    pub fn to_phase(&self, b: &mut Builder, v: ValueId, shift: &[i64]) -> Rule<ValueId> {
        let end: Vec<i64> = (0..self.rank()).map(|i| self.sizes[i] as i64 - shift[i] - self.windows[i] as i64).collect();
        self.pad_ends(b, v, shift, &end, 0.0)
    }

    /// The canonical attributes of the window.
    pub fn attrs(window: &Window) -> Attrs {
        attrs([
            ("kernel_shape", Attr::Ints(signed(&window.kernel))),
            ("strides", Attr::Ints(signed(&window.strides))),
            ("dilations", Attr::Ints(signed(&window.dilations))),
            ("pads", Attr::Ints(window.pads())),
            ("ceil_mode", Attr::Int(window.ceil as i64)),
        ])
    }
}
