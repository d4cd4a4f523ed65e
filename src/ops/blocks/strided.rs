//! Tensors taken apart by strides, and spread out again.

use crate::ir::{Attr, Dim, ValueId};
use crate::operator::{Builder, Rule, attrs};
use std::collections::{BTreeMap, BTreeSet};

/// A tensor's spatial axes (2, 3, …) taken apart: for each wanted phase `p` the elements `p + s·q`, with `s` from `strides`.
pub(in crate::ops) fn take_apart(
    b: &mut Builder,
    v: ValueId,
    strides: &[usize],
    wanted: &BTreeSet<Vec<usize>>,
) -> Rule<BTreeMap<Vec<usize>, ValueId>> {
    let on = |i: usize| wanted.iter().map(|p| p[i]).collect::<BTreeSet<_>>();
    let (single, several): (Vec<usize>, Vec<usize>) = (0..strides.len()).filter(|&i| strides[i] > 1).partition(|&i| on(i).len() == 1);
    let list = |f: &dyn Fn(usize) -> i64| single.iter().map(|&i| f(i)).collect::<Vec<_>>();
    let starts = list(&|i| on(i).first().map_or(0, |&p| p as i64));
    let (ends, steps) = (list(&|_| i64::MAX), list(&|i| strides[i] as i64));
    let axes: Vec<usize> = single.iter().map(|i| 2 + i).collect();
    let v = if axes.is_empty() { v } else { b.slice(v, &axes, &starts, &ends, &steps)? };
    let mut phases = vec![(wanted.first().cloned().unwrap_or_default(), v)];
    for &i in several.iter().rev() {
        let mut apart = vec![];
        for (phase, v) in phases {
            for (start, part) in along(b, v, 2 + i, strides[i], &on(i))? {
                let mut phase = phase.clone();
                phase[i] = start;
                apart.push((phase, part));
            }
        }
        phases = apart;
    }
    Ok(phases.into_iter().filter(|(p, _)| wanted.contains(p)).collect())
}

/// Every `pace`-th element along an axis, from each of the wanted places on. Where all are wanted, the parts of a split, which copies
/// in one pass, are cheaper than slices with steps.
fn along(b: &mut Builder, v: ValueId, axis: usize, pace: usize, wanted: &BTreeSet<usize>) -> Rule<Vec<(usize, ValueId)>> {
    let shape = b.shape(v).to_vec();
    let whole = shape[axis].known().filter(|n| n.is_multiple_of(pace) && wanted.len() == pace);
    let Some(size) = whole else {
        return wanted.iter().map(|&start| Ok((start, b.slice(v, &[axis], &[start as i64], &[i64::MAX], &[pace as i64])?))).collect();
    };
    let (before, after) = (&shape[..axis], &shape[axis + 1..]);
    let apart = b.reshape(v, &[before, &[Dim::Known(size / pace), Dim::Known(pace)], after].concat())?;
    let inputs = [Some(apart), Some(b.ints(&vec![1; pace]))];
    let parts = b.nodes("Split", &inputs, attrs([("axis", Attr::Int(axis as i64 + 1))]))?;
    let shape = [before, &[Dim::Known(size / pace)], after].concat();
    parts.into_iter().enumerate().map(|(start, part)| Ok((start, b.reshape(part, &shape)?))).collect()
}

/// Puts `pace − 1` zeros after each element along every listed axis.
pub(in crate::ops) fn spread_out(b: &mut Builder, v: ValueId, paces: &[(usize, usize)]) -> Rule<ValueId> {
    if paces.is_empty() {
        return Ok(v);
    }
    let pace = |a: usize| paces.iter().find(|p| p.0 == a).map_or(1, |p| p.1);
    let shape = b.shape(v).to_vec();
    let (mut apart, mut end, mut together) = (vec![], vec![], vec![]);
    for (a, &d) in shape.iter().enumerate() {
        apart.push(d);
        end.push(0);
        match (pace(a), d) {
            (1, _) => together.push(d),
            (pace, Dim::Known(n)) => {
                apart.push(Dim::Known(1));
                end.push(pace as i64 - 1);
                together.push(Dim::Known(n * pace));
            }
            (_, Dim::Batch(_)) => return Err("it spreads the batch out; rewrite with a fixed batch size".into()),
        }
    }
    let v = b.reshape(v, &apart)?;
    let v = b.pad(v, &vec![0; end.len()], &end, 0.0)?;
    b.reshape(v, &together)
}
