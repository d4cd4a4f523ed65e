//! Undoing sliding windows: what each window hands to the elements it met is brought back to their places and added.
//!
//! With stride `s`, position `p = s·q + r` of an axis belongs to phase `r`, and there has the index `q`. Tap `t` of window `w`
//! meets position `w·s + t·d − pad`: always the same phase, at the index `q = w + m`, where the shift `m` depends on the tap
//! alone. So all work is element-wise on maps of (nearly) the output's size, one per phase, with a few shifts; in the end the
//! phases are interleaved. Nothing is scattered: the result is the same in every run, on every device.

use super::slice::spread_out;
use super::window::Window;
use super::{Builder, Rule};
use crate::ir::{Attr, Attrs, Dim, Tensor, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Which phase one tap of the window meets, and with which shift, per axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tap {
    pub phase: Vec<usize>,
    pub shift: Vec<i64>,
}

/// One sliding window over images `[N, C, …]`.
pub(super) struct Phases {
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
        if strides.iter().all(|&s| s == 1) {
            return Ok(used.into_iter().map(|p| (p, x)).collect());
        }
        let zeros = vec![0; self.rank()];
        let mut phases = BTreeMap::new();
        for phase in used {
            let part = b.slice(x, &self.axes(), &signed(&phase), &signed(&self.input), &signed(strides))?;
            let have = |i: usize| (self.input[i] - phase[i].min(self.input[i])).div_ceil(strides[i]);
            let end: Vec<i64> = (0..self.rank()).map(|i| (self.sizes[i] - have(i)) as i64).collect();
            let part = self.pad_ends(b, part, &zeros, &end, fill)?;
            phases.insert(phase, part);
        }
        Ok(phases)
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

    /// `v`, which has one element per window, as the phases meet it: for each shift of the taps, the element `q − m` at index `q`,
    /// or `fill` where there is no such window.
    pub fn shifted(&self, b: &mut Builder, v: ValueId, taps: &[Tap], fill: f64) -> Rule<BTreeMap<Vec<i64>, ValueId>> {
        let shifts: BTreeSet<Vec<i64>> = taps.iter().map(|t| t.shift.clone()).collect();
        let most = |f: &dyn Fn(i64, usize) -> i64| -> Vec<i64> {
            (0..self.rank()).map(|i| shifts.iter().map(|m| f(m[i], i)).max().unwrap_or(0).max(0)).collect()
        };
        let begin = most(&|m, _| m);
        let end = most(&|m, i| self.sizes[i] as i64 - m - self.windows[i] as i64);
        let padded = self.pad_ends(b, v, &begin, &end, fill)?;
        let mut all = BTreeMap::new();
        for shift in shifts {
            let starts: Vec<i64> = (0..self.rank()).map(|i| begin[i] - shift[i]).collect();
            let part = self.part(b, padded, &starts, &self.sizes)?;
            all.insert(shift, part);
        }
        Ok(all)
    }

    /// `sizes` elements from `starts` on.
    fn part(&self, b: &mut Builder, v: ValueId, starts: &[i64], sizes: &[usize]) -> Rule<ValueId> {
        let have = |i: usize| b.shape(v)[2 + i] == Dim::Known(sizes[i]) && starts[i] == 0;
        let cut: Vec<usize> = (0..self.rank()).filter(|&i| !have(i)).collect();
        if cut.is_empty() {
            return Ok(v);
        }
        let axes: Vec<usize> = cut.iter().map(|&i| 2 + i).collect();
        let from: Vec<i64> = cut.iter().map(|&i| starts[i]).collect();
        let to: Vec<i64> = cut.iter().map(|&i| starts[i] + sizes[i] as i64).collect();
        b.slice(v, &axes, &from, &to, &vec![1; cut.len()])
    }

    /// A mask over a phase, aligned to the windows: at `w` the element `w + m`, false where there is none.
    pub fn to_windows(&self, b: &mut Builder, mask: ValueId, shift: &[i64]) -> Rule<ValueId> {
        let turned = self.turned(b, mask, shift, &self.windows)?;
        let there = |i: usize, w: usize| (0..self.sizes[i] as i64).contains(&(w as i64 + shift[i]));
        if (0..self.rank()).all(|i| (0..self.windows[i]).all(|w| there(i, w))) {
            return Ok(turned);
        }
        let mut valid = vec![true];
        for (i, &windows) in self.windows.iter().enumerate() {
            valid = valid.iter().flat_map(|v| (0..windows).map(move |w| *v && there(i, w))).collect();
        }
        let valid = b.constant(Tensor::from_bool(&[&[1, 1], self.windows.as_slice()].concat(), &valid));
        b.op("And", &[turned, valid], Attrs::new())
    }

    /// A mask over the windows, aligned to the phase that a tap meets: at `q` the element `q − m`, anything where there is none.
    pub fn to_phase(&self, b: &mut Builder, mask: ValueId, shift: &[i64]) -> Rule<ValueId> {
        let back: Vec<i64> = shift.iter().map(|m| -m).collect();
        self.turned(b, mask, &back, &self.sizes)
    }

    /// The element `i + by` at each index `i` below `sizes`, counted round and round. (Not every runtime can pad booleans.)
    fn turned(&self, b: &mut Builder, mask: ValueId, by: &[i64], sizes: &[usize]) -> Rule<ValueId> {
        let mut turned = mask;
        for i in 0..self.rank() {
            let from = b.shape(turned)[2 + i].known().filter(|&n| n > 0).ok_or("the size of a mask is not known")?;
            let mut start = by[i].rem_euclid(from as i64) as usize;
            let mut missing = sizes[i];
            let mut parts = vec![];
            while missing > 0 {
                let count = missing.min(from - start);
                let whole = count == from;
                let (first, end) = (start as i64, (start + count) as i64);
                parts.push(if whole { turned } else { b.slice(turned, &[2 + i], &[first], &[end], &[1])? });
                (start, missing) = (0, missing - count);
            }
            turned = b.concat(&parts, 2 + i)?;
        }
        Ok(turned)
    }

    /// The canonical attributes of the window.
    pub fn attrs(window: &Window) -> Attrs {
        super::build::attrs([
            ("kernel_shape", Attr::Ints(signed(&window.kernel))),
            ("strides", Attr::Ints(signed(&window.strides))),
            ("dilations", Attr::Ints(signed(&window.dilations))),
            ("pads", Attr::Ints(window.pads())),
            ("ceil_mode", Attr::Int(window.ceil as i64)),
        ])
    }
}
