//! Entries written over, or added to, at constant places. Imported as a Gather from the data and the updates side by side, or as a sum.

use super::blocks::entries::{Entries, RUNTIME, Tuples};
use super::blocks::indexed::added_up;
use crate::ir::{Attr, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{set, whole};
use crate::operator::{Builder, Grad, Import, Operator, Rule, View, attrs, axis, table_of};

/// Whether updates are added to the data instead of taking its place.
fn adds(cx: &mut Import) -> Rule<bool> {
    match cx.string("reduction", "none")?.as_str() {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(format!("its reduction \"{other}\" is not supported, only none and add")),
    }
}

/// The data of input 0 with the updates of input 2 at the entries that tuples name. Of several updates of one entry the last one counts.
fn scattered(cx: &mut Import, tuples: Tuples, add: bool) -> Rule<()> {
    let (data, updates, ty) = (cx.input(0)?, cx.input(2)?, cx.ty(0)?.clone());
    let (entries, tuples) = Entries::new(cx, &ty, tuples)?;
    let numbers = entries.numbers(&tuples)?;
    let (along, count) = (entries.axis(), entries.count());
    let mut b = cx.builder();
    let mut updates = updates;
    // Updates of the one image that the exporter saw are those of every image.
    if !entries.lead.is_empty() && b.shape(updates).first() == Some(&Dim::Known(1)) {
        updates = b.for_each_image(updates, data, 0)?;
    }
    if b.shape(updates) != entries.with(&tuples.shape) || b.dtype(updates) != ty.dtype {
        return Err(format!("its updates {} do not fit its indices", b.ty(updates)));
    }
    let updates = b.view(updates, &entries.with(&[numbers.len()]))?;
    let list = entries.listed(&mut b, data)?;
    let result = if add {
        match added_up(&mut b, updates, along, &numbers, count)? {
            Some(sums) => b.add(list, sums)?,
            None => list,
        }
    } else {
        // The updates stand behind the data.
        let mut from: Vec<i64> = (0..table_of(&[count])? as i64).collect();
        for (i, &place) in numbers.iter().enumerate() {
            set(&mut from, place, (whole(count) + i).int()?)?;
        }
        let both = b.folded("Concat", &[list, updates], attrs([("axis", Attr::Int(along as i64))]))?;
        let from = b.constant(Tensor::from_i64(&[count], &from));
        b.folded("Gather", &[both, from], attrs([("axis", Attr::Int(along as i64))]))?
    };
    let result = b.view(result, &ty.shape)?;
    cx.replaced = Some(vec![result]);
    Ok(())
}

fn data_type(n: &View) -> Rule<Vec<TensorType>> {
    Ok(vec![n.ty(0)?.clone()])
}

/// Along the last axis of the indices lies a tuple for the leading axes of the data.
fn along_last_axis(cx: &Import) -> Rule<Tuples> {
    Tuples::along_last_axis(cx.constant(1).ok_or(RUNTIME)?)
}

/// One index along an axis for each update.
fn of_elements(cx: &Import) -> Rule<Tuples> {
    let along = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(0);
    let rank = cx.ty(0)?.rank();
    let along = axis(along, rank)?;
    let indices = cx.constant(1).ok_or(RUNTIME)?;
    if indices.shape().len() != rank || rank == 0 {
        return Err(format!("its indices of shape {:?} do not fit {}", indices.shape(), cx.ty(0)?));
    }
    Tuples::of_elements(indices, along)
}

macro_rules! scatters {
    ($($(#[$doc:meta])* $name:ident: $tuples:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                let add = adds(cx)?;
                let tuples: Tuples = $tuples(cx)?;
                scattered(cx, tuples, add)
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                data_type(n)
            }

            fn gradient(&self, _: &mut Builder, _: &Grad) -> Rule<Vec<Option<ValueId>>> {
                Err(RUNTIME.into())
            }

            fn notes(&self) -> &'static str {
                "constant indices; reductions none and add; imported as Gather or as a sum"
            }
        }
    )*};
}

scatters! {
    /// Updates of the entries that tuples of leading indices name.
    ScatterND: along_last_axis;
    /// Updates of elements, each with one index along an axis.
    ScatterElements: of_elements;
    /// The name that ScatterElements had up to opset 10.
    Scatter: of_elements;
}
