//! Reductions whose gradient is a formula of operand, result and cotangent.

use super::blocks::{Expr, formula};
use super::extremum::smaller;
use super::mul::product;
use super::reduce::{import, infer, kept, on_list, only, reduced};
use crate::ir::{Attr, TensorType, ValueId};
use crate::operator::checked::at;
use crate::operator::{Builder, Facts, Function, Grad, Import, Known, Meaning, Operator, Rule, View};

/// `(x, y, dy) → dx`; the attribute `of` names the operator.
pub const GRAD: Function = Function::new("ReductionGrad");

/// `x → y`
pub const LOG_SUM_EXP: Function = Function::new("ReduceLogSumExp");

/// Less than any logarithm of interest: `−∞ − (−∞)` is no number.
const LOWEST: f64 = f32::MIN as f64;

/// 1 where `x` is 0, else 0.
fn zeros(x: Expr<'_>) -> Expr<'_> {
    x.equals(0.0).cast_like(x)
}

/// `eˣ⁻ᵗ`, which cannot overflow, and `t`, the largest `x`.
fn terms<'f>(x: Expr<'f>, axes: &[usize]) -> (Expr<'f>, Expr<'f>) {
    let top = x.with(|b, x| b.largest(x, axes)).max(LOWEST);
    ((x - top).exp(), top)
}

/// `log Σ eˣ` without overflow.
fn log_sum_exp(b: &mut Builder, n: &View, x: ValueId) -> Rule<ValueId> {
    let ty = infer(n)?.remove(0);
    let axes = reduced(n)?;
    let [y] = b.formula([x], |[x]| {
        let (terms, top) = terms(x, &axes);
        [(terms.sum(&axes, true).log() + top).reshape(&ty.shape)]
    })?;
    Ok(y)
}

macro_rules! reductions {
    ($($(#[$about:meta])* $name:ident { notes: $notes:expr, gradient: $gradient:expr, $(body: $body:expr,)? $(elements: $elements:expr,)? $(facts: $facts:expr,)? })*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                import(cx)
            }

            fn along(&self, n: &View) -> Option<Vec<usize>> {
                reduced(n).ok()
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                infer(n)
            }

            fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
                let rule: for<'f> fn([Expr<'f>; 3], &[usize]) -> Expr<'f> = $gradient;
                let (x, axes) = (g.input(0)?, reduced(&View { graph: b.graph, node: &g.node })?);
                let (y, dy) = (kept(b, g, g.output(0))?, kept(b, g, g.dy()?)?);
                let mut attributes = g.node.attrs.clone();
                attributes.insert("of".into(), Attr::String(stringify!($name).into()));
                let [dx] = b.call(&GRAD, [x, y, dy], attributes, formula(|all| [rule(all, &axes)]))?;
                Ok(only(g, dx))
            }

            $(
                fn facts(&self) -> Facts {
                    $facts
                }
            )?

            $(
                fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
                    let body: fn(&mut Builder, &View, ValueId) -> Rule<ValueId> = $body;
                    Ok(Some(vec![body(b, n, at(inputs, 0)?)?]))
                }
            )?

            $(
                fn evaluate(&self, n: &View) -> Option<Known> {
                    on_list(n, $elements)
                }
            )?

            fn notes(&self) -> &'static str {
                $notes
            }
        }
    )*};
}

reductions! {
    /// `Σ |x|`; gradient 0 at 0, as in PyTorch.
    ReduceL1 { notes: "gradient 0 at 0", gradient: |[x, _, dy], _| x.unary("Sign") * dy, }

    /// `√Σ x²`; gradient 0 where all is 0, as in PyTorch.
    ReduceL2 { notes: "gradient 0 where all is 0", gradient: |[x, y, dy], _| x * (dy / (y + zeros(y))), }

    /// `log Σ x`
    ReduceLogSum { notes: "", gradient: |[x, y, dy], _| (dy * (-y).exp()).expand_like(x), }

    /// `log Σ eˣ`
    ReduceLogSumExp {
        notes: "a function",
        gradient: |[x, _, dy], axes| {
            let (terms, _) = terms(x, axes);
            let sum = terms.sum(axes, true);
            terms * (dy / (sum + zeros(sum)))
        },
        body: log_sum_exp,
        facts: Facts { meaning: Meaning::LogTotal, ..Facts::NONE },
    }

    /// The smallest; equal ones share the gradient, as in PyTorch's `amin`.
    ReduceMin {
        notes: "equal smallest elements share the gradient, as in PyTorch's amin",
        gradient: |[x, y, dy], axes| {
            let hit = x.equals(y).cast_like(x);
            hit * (dy / hit.sum(axes, true))
        },
        elements: smaller,
    }

    /// The product. Each element's gradient is the product of the others, with zeros among them too.
    ReduceProd {
        notes: "zeros among the factors too",
        gradient: |[x, _, dy], axes| {
            let zero = zeros(x);
            let factors = x + zero;
            let product = factors.with(|b, v| b.product(v, axes));
            let alone = zeros(zero.sum(axes, true) - zero);
            alone * (product * dy / factors)
        },
        elements: product,
    }
}
