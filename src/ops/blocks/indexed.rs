//! Entries along an axis added up at constant places: what the gradient of every operator with constant indices is.

use crate::ir::{Attr, Tensor, ValueId};
use crate::operator::{Builder, Rule, attrs, table_of};

/// Up to so many entries of one place are summed in a row of a table; more are first summed in pieces of this length.
const PIECE: usize = 8;

/// The tensor with `size` entries along `axis` in which place `p` holds the sum of all entries `i` of `v` with `places[i] == p`; `None` where there is
/// none at all.
///
/// It is made of gathers and sums alone: entry by entry by a table of who comes to each place, in which one more entry, zero, fills the gaps.
/// Runtimes add in the table's order, so that results repeat bit for bit, which parallel scattering does not promise.
pub(in crate::ops) fn added_up(b: &mut Builder, v: ValueId, axis: usize, places: &[usize], size: usize) -> Rule<Option<ValueId>> {
    if let Some(p) = places.iter().find(|&&p| p >= size) {
        return Err(format!("index {p} does not exist in {size}"));
    }
    if places.is_empty() {
        return Ok(None);
    }
    if let Some((first, len)) = block(places) {
        let along = |n: usize| (0..b.rank(v)).map(|i| if i == axis { n as i64 } else { 0 }).collect::<Vec<_>>();
        let (begin, end) = (along(first), along(size - first - len));
        return b.pad(v, &begin, &end, 0.0).map(Some);
    }
    let rows = Rows::of(places, table_of(&[size])?);
    let width = rows.width();
    // A place that has many more than others would make the table large.
    if width > PIECE && width.saturating_mul(size) > 4 * (places.len() + size) {
        let (pieces, next) = rows.cut();
        let sums = by_table(b, v, axis, &pieces, places.len())?;
        return added_up(b, sums, axis, &next, size);
    }
    by_table(b, v, axis, &rows, places.len()).map(Some)
}

/// Entries in the order of their places, and where those of each place begin: one more than there are places.
struct Rows {
    order: Vec<usize>,
    begins: Vec<usize>,
}

impl Rows {
    fn of(places: &[usize], size: usize) -> Rows {
        let mut begins = vec![0usize; size + 1];
        places.iter().for_each(|&p| begins[p + 1] += 1);
        (0..size).for_each(|p| begins[p + 1] += begins[p]);
        let mut order = vec![0usize; places.len()];
        let mut next = begins.clone();
        for (i, &p) in places.iter().enumerate() {
            order[next[p]] = i;
            next[p] += 1;
        }
        Rows { order, begins }
    }

    fn len(&self) -> usize {
        self.begins.len() - 1
    }

    fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.begins.windows(2).map(|ends| &self.order[ends[0]..ends[1]])
    }

    fn width(&self) -> usize {
        self.iter().map(<[usize]>::len).max().unwrap_or(0)
    }

    /// The same in rows of at most [`PIECE`] entries, and the place of each.
    fn cut(self) -> (Rows, Vec<usize>) {
        let (mut begins, mut places) = (vec![], vec![]);
        for (p, ends) in self.begins.windows(2).enumerate() {
            for begin in (ends[0]..ends[1]).step_by(PIECE) {
                begins.push(begin);
                places.push(p);
            }
        }
        begins.push(self.order.len());
        (Rows { order: self.order, begins }, places)
    }
}

/// Where the entries stay together and in order: at which place they begin, and how many they are.
fn block(places: &[usize]) -> Option<(usize, usize)> {
    let first = *places.first()?;
    places.iter().enumerate().all(|(i, &p)| p == first + i).then_some((first, places.len()))
}

/// For each row of the table the sum of the entries that it lists, out of `count`.
fn by_table(b: &mut Builder, v: ValueId, axis: usize, table: &Rows, count: usize) -> Rule<ValueId> {
    let width = table.width();
    let gaps = table.iter().any(|row| row.len() < width);
    let mut list: Vec<i64> = Vec::with_capacity(table.len().saturating_mul(width));
    list.extend(table.iter().flat_map(|row| (0..width).map(|i| row.get(i).map_or(count, |&e| e) as i64)));
    let mut v = v;
    if gaps {
        let end: Vec<i64> = (0..b.rank(v)).map(|i| (i == axis) as i64).collect();
        v = b.pad(v, &vec![0; end.len()], &end, 0.0)?;
    }
    // One for each place: no axis to sum over.
    let shape: &[usize] = if width == 1 { &[table.len()] } else { &[table.len(), width] };
    let ordered = !gaps && list.iter().enumerate().all(|(i, &e)| i as i64 == e);
    let rows = if ordered {
        let own = b.shape(v).to_vec();
        let apart: Vec<_> =
            own[..axis].iter().copied().chain(shape.iter().map(|&n| n.into())).chain(own[axis + 1..].iter().copied()).collect();
        b.reshape(v, &apart)?
    } else {
        b.gather(v, axis, Tensor::from_i64(shape, &list))?
    };
    if width == 1 { Ok(rows) } else { b.sum(rows, &[axis + 1], false) }
}

impl Builder<'_> {
    /// The entries of `v` along `axis` that constant indices, counted from 0, name; the axes of the indices stand in the place of the axis.
    pub(in crate::ops) fn gather(&mut self, v: ValueId, axis: usize, indices: Tensor) -> Rule<ValueId> {
        let indices = self.constant(indices);
        self.op("Gather", &[v, indices], attrs([("axis", Attr::Int(axis as i64))]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_form_a_block() {
        assert_eq!(block(&[3, 4, 5]), Some((3, 3)));
        assert_eq!(block(&[3, 4, 4]), None);
        assert_eq!(block(&[]), None);
    }

    #[test]
    fn entries_are_listed_by_place_in_their_own_order() {
        let rows = Rows::of(&[2, 0, 2, 2], 4);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [&[1][..], &[], &[0, 2, 3], &[]]);
        assert_eq!((rows.width(), rows.len()), (3, 4));
        let (pieces, places) = Rows::of(&[1; 10], 2).cut();
        assert_eq!((pieces.iter().map(<[usize]>::len).collect::<Vec<_>>(), places), (vec![8, 2], vec![1, 1]));
    }
}
