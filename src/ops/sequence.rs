//! Sequences of tensors. Import knows which tensors each of them holds, so that nothing of them is left in the graph: PyTorch's exporter writes
//! `torch.split` and `chunk` so before it optimises.

use crate::ir::{Attr, Attrs, Elem, Tensor, TensorType, ValueId};
use crate::operator::checked::at as entry;
use crate::operator::{Import, Operator, Rule, Status, View, attrs, axis, imported_as};

/// The sequence that enters at `i`.
fn sequence(cx: &Import, i: usize) -> Rule<Vec<ValueId>> {
    cx.sequences.get(i).cloned().flatten().ok_or_else(|| format!("its input {i} is no sequence that is known"))
}

/// The single number at input `i`.
fn number(cx: &Import, i: usize, what: &str) -> Rule<i64> {
    match cx.elems(i).as_deref() {
        Some([Elem::Int(n)]) => Ok(*n),
        _ => Err(format!("{what} (input {i}) is computed while the model runs; export it as a constant")),
    }
}

/// A place in a list of `length`, also counted from its end.
fn place(at: i64, length: usize) -> Rule<usize> {
    let counted = if at < 0 { at.checked_add(length as i64) } else { Some(at) };
    counted
        .and_then(|at| usize::try_from(at).ok())
        .filter(|&at| at < length)
        .ok_or_else(|| format!("it asks for element {at} of a sequence of {length}"))
}

fn split(cx: &mut Import) -> Rule<()> {
    let x = cx.ty(0)?.clone();
    let a = axis(cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(0), x.rank())?;
    let keep = cx.source.int("keepdims").map_err(|e| e.to_string())?.unwrap_or(1) != 0;
    let size = x.shape.get(a).and_then(|d| d.known()).ok_or("it splits the batch; rewrite with a fixed batch size")?;
    let sizes: Vec<i64> = if !cx.has(1) {
        vec![1; size]
    } else if cx.ty(1)?.rank() == 0 {
        let chunk = usize::try_from(number(cx, 1, "its size of the parts")?).ok().filter(|&c| c > 0).ok_or("its parts have no size")?;
        (0..size).step_by(chunk).map(|begin| chunk.min(size.saturating_sub(begin)) as i64).collect()
    } else {
        let given = cx.constant(1).and_then(|t| t.to_i64().ok());
        given.ok_or("its sizes of the parts (input 1) are computed while the model runs; export the network with constant shapes")?
    };
    let (input, squeezed) = (cx.input(0)?, !keep && !cx.has(1));
    let mut b = cx.builder();
    let mut parts = if *sizes == [size as i64] {
        vec![input]
    } else {
        let list = b.constant(Tensor::from_i64(&[sizes.len()], &sizes));
        b.nodes("Split", &[Some(input), Some(list)], attrs([("axis", Attr::Int(a as i64))]))?
    };
    if squeezed {
        let shape: Vec<_> = x.shape.iter().enumerate().filter(|(i, _)| *i != a).map(|(_, d)| *d).collect();
        parts = parts.into_iter().map(|p| b.reshape(p, &shape)).collect::<Rule<_>>()?;
    }
    cx.sequence = Some(parts);
    Ok(())
}

fn joined(cx: &mut Import) -> Rule<()> {
    let mut list = sequence(cx, 0)?;
    let first = *list.first().ok_or("it joins a sequence of nothing")?;
    let new = cx.source.int("new_axis").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
    let along = cx.source.int("axis").map_err(|e| e.to_string())?.ok_or("its `axis` is missing")?;
    let mut b = cx.builder();
    let a = axis(along, b.rank(first).saturating_add(usize::from(new)))?;
    if new {
        let axes = b.ints(&[a as i64]);
        list = list.into_iter().map(|v| b.folded("Unsqueeze", &[v, axes], Attrs::new())).collect::<Rule<_>>()?;
    }
    let whole = if let [one] = *list { one } else { b.folded("Concat", &list, attrs([("axis", Attr::Int(a as i64))]))? };
    cx.replaced = Some(vec![whole]);
    Ok(())
}

macro_rules! sequences {
    ($($(#[$about:meta])* $name:ident: $status:expr, $notes:expr, $import:expr;)*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn status(&self) -> Status {
                $status
            }

            fn takes_sequences(&self) -> bool {
                true
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                let import: fn(&mut Import) -> Rule<()> = $import;
                import(cx)
            }

            fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
                imported_as("what its sequence holds")
            }

            fn notes(&self) -> &'static str {
                $notes
            }
        }
    )*};
}

sequences! {
    /// A tensor in parts.
    SplitToSequence: Status::Differentiable, "constant sizes; imported as Split", split;
    /// One of them.
    SequenceAt: Status::Differentiable, "constant position; imported as the tensor there", |cx| {
        let list = sequence(cx, 0)?;
        let at = place(number(cx, 1, "the position")?, list.len())?;
        cx.replaced = Some(vec![entry(&list, at)?]);
        Ok(())
    };
    /// Several tensors together.
    SequenceConstruct: Status::Differentiable, "import knows what it holds", |cx| {
        cx.sequence = Some((0..cx.inputs.len()).map(|i| cx.input(i)).collect::<Rule<_>>()?);
        Ok(())
    };
    /// None yet.
    SequenceEmpty: Status::Differentiable, "import knows what it holds", |cx| {
        cx.source.int("dtype").map_err(|e| e.to_string())?;
        cx.sequence = Some(vec![]);
        Ok(())
    };
    /// One more.
    SequenceInsert: Status::Differentiable, "constant position; import knows what it holds", |cx| {
        let (mut list, tensor) = (sequence(cx, 0)?, cx.input(1)?);
        // Behind the last one is a place, too.
        let at = match cx.has(2).then(|| number(cx, 2, "the position")).transpose()? {
            None => list.len(),
            Some(at) => place(at, list.len().saturating_add(usize::from(at >= 0)))?,
        };
        list.insert(at, tensor);
        cx.sequence = Some(list);
        Ok(())
    };
    /// One less.
    SequenceErase: Status::Differentiable, "constant position; import knows what it holds", |cx| {
        let mut list = sequence(cx, 0)?;
        let at = if cx.has(1) { number(cx, 1, "the position")? } else { -1 };
        list.remove(place(at, list.len())?);
        cx.sequence = Some(list);
        Ok(())
    };
    /// How many there are.
    SequenceLength: Status::ZeroGradient, "becomes a constant", |cx| {
        let count = sequence(cx, 0)?.len() as i64;
        let name = cx.outputs.first().cloned().unwrap_or_default();
        cx.replaced = Some(vec![cx.graph.constant(&name, Tensor::from_i64(&[], &[count]))]);
        Ok(())
    };
    /// All of them in one.
    ConcatFromSequence: Status::Differentiable, "imported as Concat", joined;
}
