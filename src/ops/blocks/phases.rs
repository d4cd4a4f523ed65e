//! Undoing sliding windows: what each window hands to the elements it met is brought back to their places and added.
//!
//! With stride `s`, position `p = s·q + r` of an axis belongs to phase `r`, and there has the index `q`. Tap `t` of window `w`
//! meets position `w·s + t·d − pad`: always the same phase, at the index `q = w + m`, where the shift `m` depends on the tap
//! alone. So all work is element-wise on maps of (nearly) the output's size, one per phase, with a few shifts; in the end the
//! phases are interleaved. Nothing is scattered: the result is the same in every run, on every device.

use super::strided::{spread_out, take_apart};
use crate::ir::{Attr, Attrs, Dim, ValueId};
use crate::operator::checked::{at, set, signed, whole};
use crate::operator::window::{Window, WindowAxis};
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
    strides: Vec<usize>,
    axes: Vec<Axis>,
}

/// What there is along one spatial axis.
#[derive(Clone, Copy)]
struct Axis {
    window: WindowAxis,
    /// Sizes of the input, of the output (one element per window) and of each phase.
    input: usize,
    windows: usize,
    size: usize,
}

impl Phases {
    pub fn new(window: &Window, input: &[usize]) -> Rule<Phases> {
        let one = |(i, (axis, &input)): (usize, (WindowAxis, &usize))| {
            Ok(Axis { window: axis, input, windows: window.windows(i, input)?, size: input.div_ceil(axis.stride) })
        };
        let axes = window.axes().zip(input).enumerate().map(one).collect::<Rule<_>>()?;
        Ok(Phases { strides: window.strides.clone(), axes })
    }

    /// For each spatial axis.
    fn each(&self, f: impl Fn(&Axis) -> Rule<i64>) -> Rule<Vec<i64>> {
        self.axes.iter().map(f).collect()
    }

    /// For each spatial axis, with an entry of a list.
    fn each_with(&self, list: &[i64], f: impl Fn(&Axis, i64) -> Rule<i64>) -> Rule<Vec<i64>> {
        self.axes.iter().zip(list).map(|(axis, &entry)| f(axis, entry)).collect()
    }

    fn rank(&self) -> usize {
        self.axes.len()
    }

    /// The taps of one window in row-major order.
    pub fn taps(&self) -> Rule<Vec<Tap>> {
        let mut taps = vec![Tap { phase: vec![], shift: vec![] }];
        for Axis { window, .. } in &self.axes {
            let stride = i64::try_from(window.stride).map_err(|_| "its strides are impossibly large")?;
            let place = |t: usize| {
                let place = (whole(t) * window.dilation - window.begin).int()?;
                let shift = place.checked_div_euclid(stride).ok_or("its strides are 0")?;
                Ok(((whole(place) - whole(shift) * stride).size()?, shift))
            };
            let places = (0..window.kernel).map(place).collect::<Rule<Vec<(usize, i64)>>>()?;
            let with = |tap: &Tap, (phase, shift): (usize, i64)| Tap {
                phase: [tap.phase.as_slice(), &[phase]].concat(),
                shift: [tap.shift.as_slice(), &[shift]].concat(),
            };
            taps = taps.iter().flat_map(|tap| places.iter().map(|&place| with(tap, place))).collect();
        }
        Ok(taps)
    }

    /// All phases in row-major order.
    fn all(&self) -> Vec<Vec<usize>> {
        self.strides
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
        let end = self.each(|a| (whole(a.size) * a.window.stride - a.input).int())?;
        let padded = self.pad_ends(b, x, &vec![0; self.rank()], &end, fill)?;
        take_apart(b, padded, &self.strides, &used)
    }

    /// Puts phases back into one image; those that are not there are zero.
    pub fn join(&self, b: &mut Builder, phases: &BTreeMap<Vec<usize>, ValueId>) -> Rule<ValueId> {
        let strides = &self.strides;
        let Some((first, &some)) = phases.iter().next() else { return Err("its windows meet nothing".into()) };
        let (begin, joined) = if strides.iter().all(|&s| s == 1) {
            (vec![0; self.rank()], some)
        } else if phases.len() == 1 {
            let paces: Vec<(usize, usize)> = (2..).zip(strides.iter().copied()).filter(|p| p.1 > 1).collect();
            (signed(first), spread_out(b, some, &paces)?)
        } else {
            (vec![0; self.rank()], self.interleave(b, phases, some)?)
        };
        let end = self.each_with(&begin, |a, begin| (whole(a.input) - begin - whole(a.size) * a.window.stride).int())?;
        self.pad_ends(b, joined, &begin, &end, 0.0)
    }

    /// Weaves the phases together axis by axis, the last one first. `Concat` on an axis of its own copies lines, where one transposition
    /// (or `DepthToSpace`) would pick single elements on one thread.
    fn interleave(&self, b: &mut Builder, phases: &BTreeMap<Vec<usize>, ValueId>, like: ValueId) -> Rule<ValueId> {
        let count = self.strides.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        if count.is_none_or(|count| count > MOST) {
            return Err(format!("its strides {:?} lie too far apart to go back through its windows", self.strides));
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
        let spatial: Vec<(usize, &Axis)> = (2..).zip(&self.axes).filter(|(_, a)| a.window.stride > 1).collect();
        for (axis, own) in spatial.into_iter().rev() {
            let mut woven = vec![];
            // In row-major order the phases of the last axis that is left are neighbours.
            for group in parts.chunks(own.window.stride) {
                let shape = b.shape(at(group, 0)?).to_vec();
                // The new axis follows the one that is woven.
                let place = axis.saturating_add(1);
                let (before, after) = shape.split_at_checked(place).ok_or("its images have too few axes")?;
                let apart = [before, &[Dim::Known(1)], after].concat();
                let group = group.iter().map(|&v| b.reshape(v, &apart)).collect::<Rule<Vec<_>>>()?;
                let stacked = b.concat(&group, place)?;
                let mut joined = shape.clone();
                set(&mut joined, axis, (whole(own.size) * own.window.stride).dim()?)?;
                woven.push(b.reshape(stacked, &joined)?);
            }
            parts = woven;
        }
        parts.first().copied().ok_or_else(|| "its windows meet nothing".into())
    }

    /// What a tap meets in its phase, one element per window; `fill` where that is outside.
    pub fn to_windows(&self, b: &mut Builder, phase: ValueId, shift: &[i64], fill: f64) -> Rule<ValueId> {
        let begin = self.each_with(shift, |_, shift| (-whole(shift)).int())?;
        let end = self.each_with(shift, |a, shift| (whole(a.windows) + shift - a.size).int())?;
        self.pad_ends(b, phase, &begin, &end, fill)
    }

    /// The way back: one element per window, brought to where a tap meets the phase; zero where no window does.
    pub fn to_phase(&self, b: &mut Builder, v: ValueId, shift: &[i64]) -> Rule<ValueId> {
        let end = self.each_with(shift, |a, shift| (whole(a.size) - shift - a.windows).int())?;
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
