//! Trigonometric and hyperbolic functions, their inverses, and the reciprocal.

use super::blocks::{Expr, Pointwise};
use crate::operator::Meaning;

/// `1 / √x`
fn inverse_root(x: Expr<'_>) -> Expr<'_> {
    1.0 / x.sqrt()
}

pub static SIN: Pointwise = Pointwise::new("Sin", |x, _| x.unary("Cos"));
pub static COS: Pointwise = Pointwise::new("Cos", |x, _| -x.unary("Sin"));
pub static TAN: Pointwise = Pointwise::new("Tan", |x, _| x.unary("Tan").square() + 1.0);
pub static ASIN: Pointwise = Pointwise::new("Asin", |x, _| inverse_root(1.0 - x.square()));
pub static ACOS: Pointwise = Pointwise::new("Acos", |x, _| -inverse_root(1.0 - x.square()));
pub static ATAN: Pointwise = Pointwise::new("Atan", |x, _| 1.0 / (x.square() + 1.0));
pub static SINH: Pointwise = Pointwise::new("Sinh", |x, _| x.unary("Cosh"));
pub static COSH: Pointwise = Pointwise::new("Cosh", |x, _| x.unary("Sinh"));
pub static ASINH: Pointwise = Pointwise::new("Asinh", |x, _| inverse_root(x.square() + 1.0));
pub static ACOSH: Pointwise = Pointwise::new("Acosh", |x, _| inverse_root(x.square() - 1.0));
pub static ATANH: Pointwise = Pointwise::new("Atanh", |x, _| 1.0 / (1.0 - x.square()));
pub static RECIPROCAL: Pointwise = Pointwise { meaning: Meaning::Reciprocal, ..Pointwise::new("Reciprocal", |x, _| -(1.0 / x).square()) };
