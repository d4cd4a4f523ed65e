//! Flatbuffers, as far as ONNX Runtime's checkpoints need them: tables of numbers, texts, bytes and tables. A writer from front to back, and a reader that
//! trusts nothing.

/// What a field holds.
pub(super) enum Field<'a> {
    Bool(bool),
    I32(i32),
    I64(i64),
    F32(f32),
    Text(&'a str),
    Bytes(&'a [u8]),
    Numbers(Vec<i64>),
    Table(Table<'a>),
    Tables(Vec<Table<'a>>),
}

/// Fields by their number in the schema.
pub(super) struct Table<'a>(pub Vec<(usize, Field<'a>)>);

impl Field<'_> {
    /// How many bytes it takes in its table: what is no number lies elsewhere.
    fn size(&self) -> usize {
        match self {
            Field::Bool(_) => 1,
            Field::I64(_) => 8,
            _ => 4,
        }
    }
}

/// The buffer with that root and file identifier.
pub(super) fn write(root: &Table, identifier: &[u8; 4]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(identifier);
    let at = table(&mut out, root);
    refer(&mut out, 0, at);
    out
}

/// Zeros up to a place that leaves `rest` when divided by `by`.
fn pad(out: &mut Vec<u8>, by: usize, rest: usize) {
    while out.len().checked_rem(by) != Some(rest) {
        out.push(0);
    }
}

/// Puts the distance to `to` at `from`, where room was left for it.
fn refer(out: &mut [u8], from: usize, to: usize) {
    if let Some(place) = out.get_mut(from..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *place = (to.saturating_sub(from) as u32).to_le_bytes();
    }
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Appends a table and everything beneath it; gives its place.
fn table(out: &mut Vec<u8>, table: &Table) -> usize {
    let mut fields: Vec<&(usize, Field)> = table.0.iter().collect();
    // The large ones first: behind the table's own four bytes all are aligned then.
    fields.sort_by_key(|(_, field)| std::cmp::Reverse(field.size()));
    let slots = fields.iter().map(|(slot, _)| slot.saturating_add(1)).max().unwrap_or(0);
    // Behind the table's own four bytes, one field after the other.
    let mut size = 4usize;
    let mut places = vec![];
    for (slot, field) in &fields {
        places.push((*slot, size));
        size = size.saturating_add(field.size());
    }
    let vtable_size = slots.saturating_mul(2).saturating_add(4);
    pad(out, 2, 0);
    // So that the table begins 4 behind a multiple of 8.
    while out.len().saturating_add(vtable_size).checked_rem(8) != Some(4) {
        out.push(0);
    }
    let vtable = out.len();
    let offset = |slot: usize| places.iter().find(|p| p.0 == slot).map_or(0, |p| p.1 as u16);
    for number in [vtable_size as u16, size as u16].into_iter().chain((0..slots).map(offset)) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let at = out.len();
    out.extend_from_slice(&(at.saturating_sub(vtable) as i32).to_le_bytes());
    for (_, field) in &fields {
        match field {
            Field::Bool(v) => out.push(*v as u8),
            Field::I32(v) => out.extend_from_slice(&v.to_le_bytes()),
            Field::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
            Field::F32(v) => out.extend_from_slice(&v.to_le_bytes()),
            _ => out.extend_from_slice(&[0; 4]),
        }
    }
    for ((_, field), (_, offset)) in fields.iter().zip(&places) {
        if let Some(to) = beneath(out, field) {
            refer(out, at.saturating_add(*offset), to);
        }
    }
    at
}

/// Appends what a field refers to.
fn beneath(out: &mut Vec<u8>, field: &Field) -> Option<usize> {
    match field {
        Field::Bool(_) | Field::I32(_) | Field::I64(_) | Field::F32(_) => return None,
        Field::Table(inner) => return Some(table(out, inner)),
        _ => {}
    }
    // Elements are aligned to their size, and tensors to what processors like; before them stands their number, of four bytes.
    let (by, rest) = match field {
        Field::Bytes(_) => (16, 12),
        Field::Numbers(_) => (8, 4),
        _ => (4, 0),
    };
    pad(out, by, rest);
    let at = out.len();
    match field {
        Field::Text(text) => {
            count(out, text.len());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Field::Bytes(bytes) => {
            count(out, bytes.len());
            out.extend_from_slice(bytes);
        }
        Field::Numbers(numbers) => {
            count(out, numbers.len());
            numbers.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
        Field::Tables(tables) => {
            count(out, tables.len());
            let first = out.len();
            tables.iter().for_each(|_| out.extend_from_slice(&[0; 4]));
            for (place, inner) in (first..).step_by(4).zip(tables) {
                let to = table(out, inner);
                refer(out, place, to);
            }
        }
        _ => {}
    }
    Some(at)
}

/// A table of a buffer that may be anything. Fields that are not there are `None`; what does not lie in the buffer is an error.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [u8],
    at: usize,
    vtable: usize,
    vtable_size: usize,
}

type Read<T> = Result<Option<T>, String>;

fn part<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = at.checked_add(N).and_then(|end| data.get(at..end)).and_then(|bytes| bytes.try_into().ok());
    found.ok_or_else(|| "it ends before what it refers to".into())
}

fn u32_at(data: &[u8], at: usize) -> Result<usize, String> {
    Ok(u32::from_le_bytes(part(data, at)?) as usize)
}

/// The place that is referred to at `at`.
fn followed(data: &[u8], at: usize) -> Result<usize, String> {
    let distance = u32_at(data, at)?;
    at.checked_add(distance).filter(|&to| distance > 0 && to < data.len()).ok_or_else(|| "it refers to what is not there".into())
}

impl<'a> View<'a> {
    /// The root of a buffer with that identifier.
    pub fn root(data: &'a [u8], identifier: &[u8; 4]) -> Result<View<'a>, String> {
        if data.get(4..8) != Some(&identifier[..]) {
            return Err(format!("it does not begin as one ({} is missing)", String::from_utf8_lossy(identifier)));
        }
        View::new(data, followed(data, 0)?)
    }

    fn new(data: &'a [u8], at: usize) -> Result<View<'a>, String> {
        let back = i32::from_le_bytes(part(data, at)?) as i64;
        let vtable = (at as i64).checked_sub(back).and_then(|v| usize::try_from(v).ok()).ok_or("it refers to what is not there")?;
        let vtable_size = u16::from_le_bytes(part(data, vtable)?) as usize;
        Ok(View { data, at, vtable, vtable_size })
    }

    /// Where a field lies.
    fn field(&self, slot: usize) -> Read<usize> {
        let entry = slot.saturating_mul(2).saturating_add(4);
        if entry.saturating_add(2) > self.vtable_size {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(part(self.data, self.vtable.saturating_add(entry))?) as usize;
        Ok(self.at.checked_add(offset).filter(|_| offset > 0))
    }

    fn there<T>(&self, slot: usize, read: impl FnOnce(usize) -> Result<T, String>) -> Read<T> {
        self.field(slot)?.map(read).transpose()
    }

    pub fn bool(&self, slot: usize) -> Read<bool> {
        self.there(slot, |at| Ok(part::<1>(self.data, at)? != [0]))
    }

    pub fn i32(&self, slot: usize) -> Read<i32> {
        self.there(slot, |at| Ok(i32::from_le_bytes(part(self.data, at)?)))
    }

    pub fn i64(&self, slot: usize) -> Read<i64> {
        self.there(slot, |at| Ok(i64::from_le_bytes(part(self.data, at)?)))
    }

    pub fn bytes(&self, slot: usize) -> Read<&'a [u8]> {
        self.there(slot, |at| self.vector(at, 1))
    }

    pub fn text(&self, slot: usize) -> Read<&'a str> {
        self.bytes(slot)?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| "it has a name that is no text".to_string())).transpose()
    }

    pub fn numbers(&self, slot: usize) -> Read<Vec<i64>> {
        let bytes = self.there(slot, |at| self.vector(at, 8))?;
        Ok(bytes.map(|b| b.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap_or_default())).collect()))
    }

    pub fn table(&self, slot: usize) -> Read<View<'a>> {
        self.there(slot, |at| View::new(self.data, followed(self.data, at)?))
    }

    pub fn tables(&self, slot: usize) -> Read<Vec<View<'a>>> {
        self.there(slot, |at| {
            let first = followed(self.data, at)?.saturating_add(4);
            let places = (first..).step_by(4).zip(self.vector(at, 4)?.chunks_exact(4));
            places.map(|(place, _)| View::new(self.data, followed(self.data, place)?)).collect()
        })
    }

    /// The elements, of `size` bytes each, of the vector that is referred to at `at`.
    fn vector(&self, at: usize, size: usize) -> Result<&'a [u8], String> {
        let start = followed(self.data, at)?;
        let length = u32_at(self.data, start)?.checked_mul(size);
        let found = start.checked_add(4).zip(length).and_then(|(first, n)| self.data.get(first..first.checked_add(n)?));
        found.ok_or_else(|| "it ends before what it refers to".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let inner = |name| {
            Table(vec![(0, Field::Text(name)), (2, Field::Numbers(vec![1, -2])), (4, Field::Bytes(&[1, 2, 3])), (5, Field::Bool(true))])
        };
        write(
            &Table(vec![
                (0, Field::I32(2)),
                (1, Field::Table(inner("a"))),
                (3, Field::Tables(vec![inner("b"), inner("ü")])),
                (4, Field::I64(-7)),
            ]),
            b"TEST",
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let data = sample();
        let root = View::root(&data, b"TEST").unwrap();
        assert_eq!(
            (root.i32(0).unwrap(), root.i64(4).unwrap(), root.text(2).unwrap(), root.text(9).unwrap()),
            (Some(2), Some(-7), None, None)
        );
        let tables = root.tables(3).unwrap().unwrap();
        let names: Vec<_> = [root.table(1).unwrap().unwrap()].iter().chain(&tables).map(|t| t.text(0).unwrap().unwrap()).collect();
        assert_eq!(names, ["a", "b", "ü"]);
        assert_eq!(tables[1].numbers(2).unwrap().unwrap(), [1, -2]);
        assert_eq!((tables[1].bytes(4).unwrap(), tables[1].bool(5).unwrap()), (Some(&[1, 2, 3][..]), Some(true)));
    }

    /// Whatever is cut off or flipped: an error or other values, never a panic.
    #[test]
    fn no_buffer_makes_it_crash() {
        fn walk(view: View, depth: usize) {
            if depth > 3 {
                return;
            }
            for slot in 0..7 {
                let _ = (view.bool(slot), view.i32(slot), view.i64(slot), view.text(slot), view.numbers(slot));
                view.table(slot).ok().flatten().into_iter().for_each(|t| walk(t, depth + 1));
                view.tables(slot).ok().flatten().into_iter().flatten().take(3).for_each(|t| walk(t, depth + 1));
            }
        }
        let data = sample();
        for length in 0..data.len() {
            let _ = View::root(&data[..length], b"TEST").map(|v| walk(v, 0));
        }
        for at in 0..data.len() {
            for bits in [1, 0x80, 0xff] {
                let mut damaged = data.clone();
                damaged[at] ^= bits;
                let _ = View::root(&damaged, b"TEST").map(|v| walk(v, 0));
            }
        }
    }
}
