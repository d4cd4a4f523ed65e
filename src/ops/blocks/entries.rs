//! Tensors whose leading axes are one list of entries: what constant tuples of indices pick from and write to.

use crate::ir::{Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::whole;
use crate::operator::{Builder, Import, Rule, table_of};

/// What is said of indices that are no constants.
pub(in crate::ops) const RUNTIME: &str =
    "its indices are computed while the model runs, and such a choice has no gradient rule; only constant ones are supported";

/// A tensor's axes: the batch, where the indices say nothing of it; those that make up the list; those of an entry.
pub(in crate::ops) struct Entries {
    /// The axis of the batch, or none.
    pub lead: Vec<Dim>,
    listed: Vec<usize>,
    rest: Vec<Dim>,
}

/// Constant tuples of indices.
pub(in crate::ops) struct Tuples {
    /// How they are arranged.
    pub shape: Vec<usize>,
    /// How many indices a tuple has.
    pub width: usize,
    /// One after the other.
    pub list: Vec<i64>,
}

/// The place behind `place` among those of a shape, in row-major order; behind the last one the first.
fn next(place: &mut [usize], shape: &[usize]) {
    for (position, size) in place.iter_mut().zip(shape).rev() {
        *position = position.saturating_add(1);
        if *position < *size {
            break;
        }
        *position = 0;
    }
}

impl Tuples {
    /// Those of GatherND and ScatterND: the last axis of `indices` is a tuple.
    pub fn along_last_axis(indices: &Tensor) -> Rule<Tuples> {
        let (width, shape) = indices.shape().split_last().ok_or("its indices are a scalar")?;
        let list = indices.to_i64().map_err(|e| e.to_string())?;
        Ok(Tuples { shape: shape.to_vec(), width: *width, list })
    }

    /// Those of the operators that have one index for each element, along `axis`: the other indices are the element's own place.
    pub fn of_elements(indices: &Tensor, axis: usize) -> Rule<Tuples> {
        let (own, shape) = (indices.to_i64().map_err(|e| e.to_string())?, indices.shape().to_vec());
        let mut list = vec![];
        let mut at = vec![0; shape.len()];
        for index in own {
            list.extend(at.iter().enumerate().map(|(i, &p)| if i == axis { index } else { p as i64 }));
            next(&mut at, &shape);
        }
        Ok(Tuples { width: shape.len(), shape, list })
    }

    /// Puts the place along the axes of `shape` before each tuple, the leading `count` of which it is arranged by.
    pub fn within(self, count: usize) -> Rule<Tuples> {
        let outer: Vec<usize> = self.shape.iter().take(count).copied().collect();
        let rows: usize =
            self.shape.iter().skip(count).try_fold(1usize, |a, &b| a.checked_mul(b)).ok_or("it has impossibly many indices")?;
        let mut list = vec![];
        let mut place = vec![0usize; outer.len()];
        for block in self.list.chunks(rows.checked_mul(self.width).ok_or("it has impossibly many indices")?.max(1)) {
            for tuple in block.chunks(self.width.max(1)) {
                list.extend(place.iter().map(|&p| p as i64));
                list.extend(tuple);
            }
            next(&mut place, &outer);
        }
        let width = self.width.checked_add(outer.len()).ok_or("it has impossibly many indices")?;
        Ok(Tuples { width, list, ..self })
    }

    /// Without the leading index, where it is 0 in all of them and their first axis has length 1: of one image, whose number the exporter wrote down.
    fn of_one_image(&self) -> Option<Tuples> {
        let one = self.shape.first() == Some(&1) && self.width > 0 && self.list.iter().step_by(self.width).all(|&i| i == 0);
        let list = self.list.chunks(self.width.max(1)).flat_map(|t| t.iter().skip(1).copied()).collect();
        let shape = self.shape.iter().skip(1).copied().collect();
        Some(Tuples { shape, width: self.width.checked_sub(1)?, list }).filter(|_| one)
    }
}

impl Entries {
    /// The entries of `x` that tuples name, and the tuples with what they say of the batch taken away: where the model was exported with one image
    /// and has its number among the indices, every image is treated like that one.
    pub fn new(cx: &mut Import, x: &TensorType, tuples: Tuples) -> Rule<(Entries, Tuples)> {
        if tuples.width > x.rank() {
            return Err(format!("it has {} indices for {x}", tuples.width));
        }
        let symbolic = |d: &&Dim| d.known().is_none();
        let (tuples, lead) = match (x.shape.iter().take(tuples.width).find(symbolic), x.shape.first()) {
            (None, _) => (tuples, vec![]),
            (Some(_), Some(&images @ Dim::Batch(1))) if cx.declared_batch == Some(1) => {
                let freed =
                    tuples.of_one_image().ok_or("its indices choose among the images of a batch; rewrite with a fixed batch size")?;
                cx.freed_batch = true;
                (freed, vec![images])
            }
            _ => return Err("its indices choose among the images of a batch; rewrite with a fixed batch size".into()),
        };
        let behind = || x.shape.iter().skip(lead.len());
        let listed = behind().take(tuples.width).map(|d| d.known()).collect::<Option<Vec<_>>>();
        let listed = listed.ok_or("its indices choose among the images of a batch; rewrite with a fixed batch size")?;
        let rest = behind().skip(tuples.width).copied().collect();
        Ok((Entries { lead, listed, rest }, tuples))
    }

    /// The axis of the list, where the tensor is seen as one.
    pub fn axis(&self) -> usize {
        self.lead.len()
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.listed.iter().product()
    }

    /// With other axes in the place of the list.
    pub fn with(&self, axes: &[usize]) -> Vec<Dim> {
        let axes: Vec<Dim> = axes.iter().map(|&n| Dim::Known(n)).collect();
        [&self.lead[..], &axes, &self.rest].concat()
    }

    /// `v` with the list as one axis.
    pub fn listed(&self, b: &mut Builder, v: ValueId) -> Rule<ValueId> {
        b.view(v, &self.with(&[self.count()]))
    }

    /// For each tuple the number of the entry that it names. An index may count from the end.
    pub fn numbers(&self, tuples: &Tuples) -> Rule<Vec<usize>> {
        let number = |tuple: &[i64]| {
            tuple.iter().zip(&self.listed).try_fold(0usize, |at, (&i, &size)| {
                let from_zero = if i < 0 { i.saturating_add(size as i64) } else { i };
                let i =
                    usize::try_from(from_zero).ok().filter(|&i| i < size).ok_or_else(|| format!("index {i} does not exist in {size}"))?;
                (whole(at) * size + i).size()
            })
        };
        if tuples.width == 0 {
            return Ok(vec![0; table_of(&tuples.shape)?]);
        }
        tuples.list.chunks(tuples.width).map(number).collect()
    }
}

impl Builder<'_> {
    /// `v` under another shape; a constant where `v` is known.
    pub(in crate::ops) fn view(&mut self, v: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        if self.shape(v) == shape {
            return Ok(v);
        }
        let dims = super::super::reshape::spelled(shape)?;
        let dims = self.ints(&dims);
        self.folded(
            "Reshape",
            &[v, dims],
            crate::operator::attrs([("allowzero", crate::ir::Attr::Int(shape.contains(&Dim::Known(0)) as i64))]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_their_own_place() {
        let tuples = Tuples::of_elements(&Tensor::from_i64(&[2, 2], &[1, 0, 2, -1]), 0).unwrap();
        assert_eq!((tuples.width, tuples.list), (2, vec![1, 0, 0, 1, 2, 0, -1, 1]));
    }

    #[test]
    fn tuples_within_a_batch_say_which() {
        let tuples = Tuples::along_last_axis(&Tensor::from_i64(&[2, 2, 1], &[5, 6, 7, 8])).unwrap().within(1).unwrap();
        assert_eq!((tuples.width, tuples.list), (2, vec![0, 5, 0, 6, 1, 7, 1, 8]));
    }
}
