//! Tensors taken apart by strides, and spread out again.

use crate::ir::{Attr, Dim, ValueId};
use crate::operator::checked::{at, set, whole};
use crate::operator::{Builder, Rule, attrs};
use std::collections::{BTreeMap, BTreeSet};

/// A tensor's spatial axes (2, 3, …) taken apart: for each wanted phase `p` the elements `p + s·q`, with `s` from `strides`.
pub(in crate::ops) fn take_apart(
    b: &mut Builder,
    v: ValueId,
    strides: &[usize],
    wanted: &BTreeSet<Vec<usize>>,
) -> Rule<BTreeMap<Vec<usize>, ValueId>> {
    // Of each axis with a stride: its place among the spatial ones, the stride, and the phases along it.
    let paced = strides.iter().copied().enumerate().filter(|(_, stride)| *stride > 1);
    let on = |i: usize| wanted.iter().filter_map(|p| p.get(i).copied()).collect::<BTreeSet<_>>();
    let (single, several): (Vec<_>, Vec<_>) = paced.map(|(i, stride)| (i, stride, on(i))).partition(|(_, _, on)| on.len() == 1);
    let axis = |i: usize| i.saturating_add(2);
    let (mut axes, mut starts, mut steps) = (vec![], vec![], vec![]);
    for (i, stride, on) in &single {
        axes.push(axis(*i));
        starts.push(on.first().map_or(0, |&p| p as i64));
        steps.push(*stride as i64);
    }
    let v = if axes.is_empty() { v } else { b.slice(v, &axes, &starts, &vec![i64::MAX; axes.len()], &steps)? };
    let mut phases = vec![(wanted.first().cloned().unwrap_or_default(), v)];
    for (i, stride, on) in several.iter().rev() {
        let mut apart = vec![];
        for (phase, v) in phases {
            for (start, part) in along(b, v, axis(*i), *stride, on)? {
                let mut phase = phase.clone();
                set(&mut phase, *i, start)?;
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
    let all = at(&shape, axis)?.known().filter(|_| wanted.len() == pace);
    let Some(rows) = all.filter(|n| n.is_multiple_of(pace)).and_then(|n| n.checked_div(pace)) else {
        return wanted.iter().map(|&start| Ok((start, b.slice(v, &[axis], &[start as i64], &[i64::MAX], &[pace as i64])?))).collect();
    };
    let next = axis.saturating_add(1);
    let mut shorter = shape;
    set(&mut shorter, axis, Dim::Known(rows))?;
    let mut with_phases = shorter.clone();
    with_phases.insert(next, Dim::Known(pace));
    let apart = b.reshape(v, &with_phases)?;
    let inputs = [Some(apart), Some(b.ints(&vec![1; pace]))];
    let parts = b.nodes("Split", &inputs, attrs([("axis", Attr::Int(next as i64))]))?;
    parts.into_iter().enumerate().map(|(start, part)| Ok((start, b.reshape(part, &shorter)?))).collect()
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
                end.push((whole(pace) - 1usize).int()?);
                together.push((whole(n) * pace).dim()?);
            }
            (_, Dim::Batch(_)) => return Err("it spreads the batch out; rewrite with a fixed batch size".into()),
        }
    }
    let v = b.reshape(v, &apart)?;
    let v = b.pad(v, &vec![0; end.len()], &end, 0.0)?;
    b.reshape(v, &together)
}
