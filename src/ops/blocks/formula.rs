//! Formulas: expressions with `+ − × ÷`, whose nodes a builder adds in the order in which Rust computes them, operands left to right.
//!
//! ```text
//! let [dx] = b.formula([y, dy], |[y, dy]| [dy * (y * (1.0 - y))])?;
//! ```
//!
//! A number takes the type of the operand that it meets. The first thing that fails is what the whole formula gives back.

use crate::error::fault;
use crate::ir::{Attr, Attrs, DType, Dim, Tensor, ValueId};
use crate::operator::{Builder, Rule, attrs};
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What expressions add their nodes to.
trait Target {
    /// The value that `rule` makes; `None` where it fails, or something failed before.
    fn make(&self, rule: &mut dyn FnMut(&mut Builder) -> Rule<ValueId>) -> Option<ValueId>;
}

struct Formula<'b, 'g> {
    builder: RefCell<&'b mut Builder<'g>>,
    failed: RefCell<Option<String>>,
}

impl Target for Formula<'_, '_> {
    fn make(&self, rule: &mut dyn FnMut(&mut Builder) -> Rule<ValueId>) -> Option<ValueId> {
        if self.failed.borrow().is_some() {
            return None;
        }
        let made = rule(&mut self.builder.borrow_mut());
        made.map_err(|reason| *self.failed.borrow_mut() = Some(reason)).ok()
    }
}

/// A value in a formula.
#[derive(Clone, Copy)]
pub struct Expr<'f> {
    target: &'f dyn Target,
    /// `None` once something failed.
    value: Option<ValueId>,
}

/// What an expression can be combined with: another one, or a number.
pub trait Operand<'f> {
    /// The operand as an expression, a number in the type of `like`.
    fn beside(self, like: Expr<'f>) -> Expr<'f>;
}

impl<'f> Operand<'f> for Expr<'f> {
    fn beside(self, _: Expr<'f>) -> Expr<'f> {
        self
    }
}

impl<'f> Operand<'f> for f64 {
    fn beside(self, like: Expr<'f>) -> Expr<'f> {
        like.with(|b, like| Ok(b.number(self, like)))
    }
}

impl<'f> Expr<'f> {
    /// What a rule makes of this value.
    pub fn with(self, rule: impl FnOnce(&mut Builder, ValueId) -> Rule<ValueId>) -> Expr<'f> {
        let mut rule = Some(rule);
        let value = self.value.and_then(|v| {
            self.target.make(&mut |b| match rule.take() {
                Some(rule) => rule(b, v),
                None => Err(fault("a rule is asked once")),
            })
        });
        Expr { value, ..self }
    }

    /// What a rule makes of this value and another one.
    pub fn with_both(self, other: impl Operand<'f>, rule: impl FnOnce(&mut Builder, ValueId, ValueId) -> Rule<ValueId>) -> Expr<'f> {
        let other = other.beside(self);
        self.with_all(&[other], |b, v, others| match *others {
            [other] => rule(b, v, other),
            _ => Err(fault("a formula has lost an operand")),
        })
    }

    /// What a rule makes of this value and others.
    pub fn with_all(self, others: &[Expr<'f>], rule: impl FnOnce(&mut Builder, ValueId, &[ValueId]) -> Rule<ValueId>) -> Expr<'f> {
        match others.iter().map(|e| e.value).collect::<Option<Vec<_>>>() {
            Some(others) => self.with(|b, v| rule(b, v, &others)),
            None => Expr { value: None, ..self },
        }
    }

    /// A function of single elements, by the operator's name.
    pub fn unary(self, op: &str) -> Expr<'f> {
        self.with(|b, v| b.op(op, &[v], Attrs::new()))
    }

    /// A function of the elements of two values.
    fn binary(self, op: &str, other: impl Operand<'f>) -> Expr<'f> {
        self.with_both(other, |b, v, other| b.op(op, &[v, other], Attrs::new()))
    }

    /// A number in this value's type.
    pub fn number(self, value: f64) -> Expr<'f> {
        value.beside(self)
    }

    /// A constant.
    pub fn constant(self, tensor: Tensor) -> Expr<'f> {
        self.with(|b, _| Ok(b.constant(tensor)))
    }

    /// `√x`.
    pub fn sqrt(self) -> Expr<'f> {
        self.unary("Sqrt")
    }

    /// `eˣ`.
    pub fn exp(self) -> Expr<'f> {
        self.unary("Exp")
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(self) -> Expr<'f> {
        self.unary("Sigmoid")
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Expr<'f> {
        self.unary("Tanh")
    }

    /// `log(1 + eˣ)`.
    pub fn softplus(self) -> Expr<'f> {
        self.unary("Softplus")
    }

    /// The natural logarithm.
    pub fn log(self) -> Expr<'f> {
        self.unary("Log")
    }

    /// The error function.
    pub fn erf(self) -> Expr<'f> {
        self.unary("Erf")
    }

    /// `|x|`.
    pub fn abs(self) -> Expr<'f> {
        self.unary("Abs")
    }

    /// `max(0, x)`.
    pub fn relu(self) -> Expr<'f> {
        self.unary("Relu")
    }

    /// The larger of two, element by element.
    pub fn max(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Max", other)
    }

    /// The smaller of two, element by element.
    pub fn min(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Min", other)
    }

    /// The power.
    pub fn pow(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Pow", other)
    }

    /// Whether it is larger.
    pub fn greater(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Greater", other)
    }

    /// Whether it is smaller.
    pub fn less(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Less", other)
    }

    /// Whether both are equal.
    pub fn equals(self, other: impl Operand<'f>) -> Expr<'f> {
        self.binary("Equal", other)
    }

    /// Whether both are true.
    pub fn and(self, other: Expr<'f>) -> Expr<'f> {
        self.binary("And", other)
    }

    /// Whether it is false.
    pub fn negated(self) -> Expr<'f> {
        self.unary("Not")
    }

    /// `yes` where this is true, else `no`.
    pub fn choose(self, yes: Expr<'f>, no: Expr<'f>) -> Expr<'f> {
        self.with_all(&[yes, no], |b, v, choices| b.op("Where", &[&[v], choices].concat(), Attrs::new()))
    }

    /// `x·x`.
    pub fn square(self) -> Expr<'f> {
        self * self
    }

    /// The sum over `axes`, which stay with length 1 where `keep`.
    pub fn sum(self, axes: &[usize], keep: bool) -> Expr<'f> {
        self.with(|b, v| b.sum(v, axes, keep))
    }

    /// The sum of all elements, a scalar.
    pub fn sum_all(self) -> Expr<'f> {
        self.with(|b, v| b.sum_all(v))
    }

    /// The sum of the squares of all elements, a scalar.
    pub fn sum_square(self) -> Expr<'f> {
        self.with(|b, v| b.sum_square(v))
    }

    /// The mean over `axes`, which stay with length 1 where `keep`.
    pub fn mean(self, axes: &[usize], keep: bool) -> Expr<'f> {
        self.with(|b, v| b.mean(v, axes, keep))
    }

    /// `log softmax` along `axis`.
    pub fn log_softmax(self, axis: usize) -> Expr<'f> {
        self.with(|b, v| b.op("LogSoftmax", &[v], attrs([("axis", Attr::Int(axis as i64))])))
    }

    /// The sum of this and others of its type.
    pub fn plus(self, others: &[Expr<'f>]) -> Expr<'f> {
        self.with_all(others, |b, v, others| b.total(&[&[v], others].concat()))
    }

    /// Under another shape.
    pub fn reshape(self, shape: &[Dim]) -> Expr<'f> {
        self.with(|b, v| b.reshape(v, shape))
    }

    /// Under the shape of another value.
    pub fn reshape_like(self, like: Expr<'f>) -> Expr<'f> {
        self.with_both(like, |b, v, like| {
            let shape = b.shape(like).to_vec();
            b.reshape(v, &shape)
        })
    }

    /// Repeated along the axes where it has length 1 and another value has not.
    pub fn expand_like(self, like: Expr<'f>) -> Expr<'f> {
        self.with_both(like, |b, v, like| b.expand_like(v, like))
    }

    /// With another element type.
    pub fn cast(self, to: DType) -> Expr<'f> {
        self.with(|b, v| b.cast(v, to))
    }

    /// With the element type of another value.
    pub fn cast_like(self, like: Expr<'f>) -> Expr<'f> {
        self.with_both(like, |b, v, like| b.cast(v, b.dtype(like)))
    }

    /// With the axes in another order.
    pub fn transpose(self, order: &[usize]) -> Expr<'f> {
        self.with(|b, v| b.transpose(v, order))
    }

    /// The matrix product.
    pub fn matmul(self, other: Expr<'f>) -> Expr<'f> {
        self.with_both(other, |b, v, other| b.matmul(v, other))
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $operator:expr;)*) => {$(
        impl<'f, O: Operand<'f>> $trait<O> for Expr<'f> {
            type Output = Expr<'f>;
            fn $method(self, other: O) -> Expr<'f> {
                self.binary($operator, other)
            }
        }

        impl<'f> $trait<Expr<'f>> for f64 {
            type Output = Expr<'f>;
            fn $method(self, other: Expr<'f>) -> Expr<'f> {
                self.beside(other).binary($operator, other)
            }
        }
    )*};
}

arithmetic! {
    Add add "Add";
    Sub sub "Sub";
    Mul mul "Mul";
    Div div "Div";
}

impl<'f> Neg for Expr<'f> {
    type Output = Expr<'f>;
    fn neg(self) -> Expr<'f> {
        self.unary("Neg")
    }
}

impl Builder<'_> {
    /// The values of a formula of `inputs`.
    pub fn formula<const I: usize, const O: usize>(
        &mut self,
        inputs: [ValueId; I],
        formula: impl for<'f> FnOnce([Expr<'f>; I]) -> [Expr<'f>; O],
    ) -> Rule<[ValueId; O]> {
        let target = Formula { builder: RefCell::new(self), failed: RefCell::new(None) };
        let values = formula(inputs.map(|v| Expr { target: &target, value: Some(v) })).map(|e| e.value);
        if let Some(reason) = target.failed.take() {
            return Err(reason);
        }
        let values: Option<Vec<ValueId>> = values.into_iter().collect();
        values.and_then(|v| v.try_into().ok()).ok_or_else(|| fault("a formula has no value"))
    }
}

/// A function's body from a formula, for [`Builder::call`].
pub fn formula<const I: usize, const O: usize>(
    formula: impl for<'f> FnOnce([Expr<'f>; I]) -> [Expr<'f>; O],
) -> impl FnOnce(&mut Builder, [ValueId; I]) -> Rule<[ValueId; O]> {
    |b, inputs| b.formula(inputs, formula)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Graph, TensorType};

    fn graph() -> (Graph, [ValueId; 2]) {
        let mut graph = Graph::new("g");
        let ty = |n: usize| TensorType::new(DType::F32, [n, 2]);
        let inputs = [graph.input("a", ty(3)), graph.input("b", ty(3))];
        (graph, inputs)
    }

    #[test]
    fn operands_are_computed_left_to_right() {
        let (mut graph, inputs) = graph();
        let [y] = Builder::new(&mut graph).formula(inputs, |[a, b]| [(a.exp() - b) / (1.0 - b.square()) + 2.0 * -a]).unwrap();
        let ops: Vec<&str> = graph.nodes.iter().map(|n| n.op_type.as_str()).collect();
        assert_eq!(ops, ["Exp", "Sub", "Mul", "Sub", "Div", "Neg", "Mul", "Add"]);
        assert_eq!(graph.ty(y), graph.ty(inputs[0]));
    }

    #[test]
    fn the_first_failure_is_what_comes_back() {
        let (mut graph, inputs) = graph();
        let wrong = Builder::new(&mut graph).formula(inputs, |[a, b]| [a.reshape(&[7.into()]) + b.reshape(&[9.into()])]);
        assert!(wrong.unwrap_err().contains('7'));
        assert!(graph.nodes.is_empty());
    }
}
