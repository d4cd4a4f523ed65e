//! Norms: of what lies along an axis, of windows and of whole maps, and by its own norm what lies along an axis. Import writes them as
//! other operators. Where a norm is 0, nothing is divided by it and the gradient is 0.

use super::average_pool::{AveragePool, average_attrs, dilated_sum, explicit_pads};
use super::blocks::Expr;
use super::max_pool::{pooled, source_kernel};
use crate::ir::{Dim, TensorType, ValueId};
use crate::operator::checked::times;
use crate::operator::window::Window;
use crate::operator::{Import, Operator, Rule, View, axis, floating, unchanged};

/// 1 where `v` is 0, else 0.
fn zeros(v: Expr<'_>) -> Expr<'_> {
    v.equals(0.0).cast_like(v)
}

/// `|x|ᵖ`
fn power(x: Expr<'_>, p: i64) -> Expr<'_> {
    match p {
        1 => x.abs(),
        2 => x.square(),
        p => x.abs().pow(p as f64),
    }
}

/// The `p`-th root of what is not negative; the root of 0 has the slope 0.
fn root(v: Expr<'_>, p: i64) -> Expr<'_> {
    let zero = zeros(v);
    match p {
        1 => v,
        2 => (v + zero).sqrt() - zero,
        p => (v + zero).pow(1.0 / p as f64) - zero,
    }
}

/// The order of the norm.
fn order(cx: &mut Import) -> Rule<i64> {
    match cx.source.int("p").map_err(|e| e.to_string())?.unwrap_or(2) {
        p @ 1.. => Ok(p),
        p => Err(format!("a norm of order {p} is not supported; `p` must be 1 or more")),
    }
}

macro_rules! norms {
    ($($(#[$about:meta])* $name:ident { notes: $notes:expr, import: $import:expr, infer: $infer:expr, })*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                let value = $import(cx)?;
                cx.becomes(value);
                Ok(())
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                $infer(n)
            }

            fn notes(&self) -> &'static str {
                $notes
            }
        }
    )*};
}

fn normalized(cx: &mut Import) -> Rule<ValueId> {
    let (p, x) = (order(cx)?, cx.input(0)?);
    if p > 2 {
        return Err(format!("ONNX has it with the norms of order 1 and 2, not {p}"));
    }
    let along = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(-1);
    let axes = [axis(along, cx.ty(0)?.rank())?];
    let [y] = cx.builder().formula([x], |[x]| {
        let norm = root(power(x, p).sum(&axes, true), p);
        [x / (norm + zeros(norm))]
    })?;
    Ok(y)
}

fn centred(cx: &mut Import) -> Rule<ValueId> {
    let axes = cx.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = crate::operator::axes(&axes, cx.ty(0)?.rank())?;
    let x = cx.input(0)?;
    let [y] = cx.builder().formula([x], |[x]| {
        let centred = x - x.mean(&axes, true);
        [centred / (root(centred.square().mean(&axes, true), 2) + 1e-9)]
    })?;
    Ok(y)
}

fn of_maps(cx: &mut Import) -> Rule<ValueId> {
    let (p, x) = (order(cx)?, cx.input(0)?);
    let axes: Vec<usize> = (2..cx.ty(0)?.rank()).collect();
    let [y] = cx.builder().formula([x], |[x]| [root(power(x, p).sum(&axes, true), p)])?;
    Ok(y)
}

fn of_windows(cx: &mut Import) -> Rule<ValueId> {
    let (p, x, kernel) = (order(cx)?, cx.input(0)?, source_kernel(cx)?);
    let spatial = cx.ty(0)?.shape.get(2..).unwrap_or_default().to_vec();
    let mut window = Window::import(cx, kernel, &spatial)?;
    let taps = times(&window.kernel)? as f64;
    window.ceil = cx.source.int("ceil_mode").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
    if window.dilations.iter().any(|&d| d != 1) {
        explicit_pads(cx)?;
        let [y] = cx.builder().formula([x], |[x]| [root(power(x, p).with(|b, v| Ok(dilated_sum(b, v, &window)?.0)), p)])?;
        return Ok(y);
    }
    window.close(&spatial)?;
    if window.ceil {
        return Err("its windows reach too far over the end".into());
    }
    let [y] = cx.builder().formula([x], |[x]| {
        let means = power(x, p).with(|b, v| b.apply(&AveragePool, &[v], average_attrs(&window, true)));
        [root(means, p) * taps.powf(1.0 / p as f64)]
    })?;
    Ok(y)
}

norms! {
    /// What lies along an axis, divided by its norm.
    LpNormalization { notes: "imported as other operators; 0 where the norm is 0", import: normalized, infer: unchanged, }

    /// Less the mean, divided by the deviation, over axes that may hold the batch.
    MeanVarianceNormalization { notes: "imported as other operators", import: centred, infer: unchanged, }

    /// The norm of each map.
    GlobalLpPool { notes: "imported as other operators; gradient 0 where the norm is 0", import: of_maps, infer: maps, }

    /// The norm of each window.
    LpPool {
        notes: "imported as other operators; gradient 0 where the norm is 0",
        import: of_windows,
        infer: |n: &View| Ok(vec![pooled(n)?]),
    }
}

fn maps(n: &View) -> Rule<Vec<TensorType>> {
    let mut ty = n.ty(0)?.clone();
    floating(&ty)?;
    ty.shape.iter_mut().skip(2).for_each(|d| *d = Dim::Known(1));
    Ok(vec![ty])
}
