//! Entries along an axis added up at constant places: what the gradient of every operator with constant indices is.

use crate::ir::{Attr, Tensor, ValueId};
use crate::operator::checked::{at, known, whole};
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
        let (begin, end) = (along(first), along((whole(size) - first - len).size()?));
        return b.pad(v, &begin, &end, 0.0).map(Some);
    }
    let rows = Rows::of(places, table_of(&[size])?);
    let width = rows.width();
    // A place that has many more than others would make the table large.
    if width > PIECE && width.saturating_mul(size) > places.len().saturating_add(size).saturating_mul(4) {
        let (pieces, next) = rows.cut();
        let sums = by_table(b, v, axis, &pieces, places.len())?;
        return added_up(b, sums, axis, &next, size);
    }
    by_table(b, v, axis, &rows, places.len()).map(Some)
}

/// The entries of each place, in their order.
struct Rows(Vec<Vec<usize>>);

impl Rows {
    fn of(places: &[usize], size: usize) -> Rows {
        let mut rows = vec![vec![]; size];
        for (i, &p) in places.iter().enumerate() {
            rows.iter_mut().skip(p).take(1).for_each(|row: &mut Vec<usize>| row.push(i));
        }
        Rows(rows)
    }

    fn width(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The same in rows of at most [`PIECE`] entries, and the place of each.
    fn cut(self) -> (Rows, Vec<usize>) {
        let pieces = self.0.iter().enumerate().flat_map(|(p, row)| row.chunks(PIECE).map(move |piece| (piece.to_vec(), p)));
        let (rows, places) = pieces.unzip();
        (Rows(rows), places)
    }
}

/// Where the entries stay together and in order: at which place they begin, and how many they are.
fn block(places: &[usize]) -> Option<(usize, usize)> {
    let first = *places.first()?;
    places.iter().enumerate().all(|(i, &p)| p.checked_sub(first) == Some(i)).then_some((first, places.len()))
}

/// For each row of the table the sum of the entries that it lists, out of `count`.
fn by_table(b: &mut Builder, v: ValueId, axis: usize, table: &Rows, count: usize) -> Rule<ValueId> {
    let width = table.width();
    let (Rows(table), length) = (table, table.0.len());
    let gaps = table.iter().any(|row| row.len() < width);
    let mut list: Vec<i64> = Vec::with_capacity(length.saturating_mul(width));
    list.extend(table.iter().flat_map(|row| (0..width).map(|i| row.get(i).map_or(count, |&e| e) as i64)));
    let mut v = v;
    if gaps {
        let end: Vec<i64> = (0..b.rank(v)).map(|i| (i == axis) as i64).collect();
        v = b.pad(v, &vec![0; end.len()], &end, 0.0)?;
    }
    // One for each place: no axis to sum over.
    let shape: &[usize] = if width == 1 { &[length] } else { &[length, width] };
    let ordered = !gaps && list.iter().enumerate().all(|(i, &e)| i as i64 == e);
    let rows = if ordered {
        let mut apart = b.shape(v).to_vec();
        at(&apart, axis)?;
        apart.splice(axis..=axis, known(shape));
        b.reshape(v, &apart)?
    } else {
        b.gather(v, axis, Tensor::from_i64(shape, &list))?
    };
    if width == 1 { Ok(rows) } else { b.sum(rows, &[axis.saturating_add(1)], false) }
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
        assert_eq!(rows.0, [&[1][..], &[], &[0, 2, 3], &[]]);
        assert_eq!(rows.width(), 3);
        let (pieces, places) = Rows::of(&[1; 10], 2).cut();
        assert_eq!((pieces.0.iter().map(Vec::len).collect::<Vec<_>>(), places), (vec![8, 2], vec![1, 1]));
    }
}
