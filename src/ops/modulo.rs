//! The remainder of a division, and shifted bits.

use super::blocks::broadcasting::{combined, on_elements};
use crate::ir::{Attr, DType, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, Status, View};

/// `a − b·q`: with `fmod` the quotient `q` is rounded towards 0, which is the only form for floats; without it, of integers, downwards.
/// `da = dy`, `db = −dy·q`, as in PyTorch's `fmod`.
pub struct Mod;

impl Operator for Mod {
    fn op_type(&self) -> &'static str {
        "Mod"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let towards_zero = cx.int("fmod", 0)? != 0;
        match cx.ty(0)?.dtype.is_float() && !towards_zero {
            true => Err("of floats ONNX has no remainder with `fmod` 0".into()),
            false => Ok(()),
        }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, divisor, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let dx = if g.needs(0) { Some(b.unbroadcast(dy, &b.ty(x).clone())?) } else { None };
        let other = if g.needs(1) {
            let [part] =
                b.formula([x, divisor, g.output(0), dy], |[x, divisor, y, dy]| [-dy * ((x - y) / divisor + 0.5).unary("Floor")])?;
            Some(b.unbroadcast(part, &b.ty(divisor).clone())?)
        } else {
            None
        };
        Ok(vec![dx, other])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let towards_zero = n.node.int("fmod", 0) != 0;
        on_elements(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => {
                let rest = a.checked_rem(b)?;
                let other_side = !towards_zero && rest != 0 && (rest < 0) != (b < 0);
                Some(Elem::Int(if other_side { rest.checked_add(b)? } else { rest }))
            }
            (Elem::Batch(a), Elem::Int(b)) => usize::try_from(b).ok().filter(|&b| b > 0 && a.is_multiple_of(b)).map(|_| Elem::Int(0)),
            _ => None,
        })
    }

    fn notes(&self) -> &'static str {
        "floats with `fmod`; integers"
    }
}

/// Unsigned integers times or by powers of 2.
pub struct BitShift;

impl Operator for BitShift {
    fn op_type(&self) -> &'static str {
        "BitShift"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let direction = cx.string("direction", "")?;
        if !matches!(direction.as_str(), "LEFT" | "RIGHT") {
            return Err(format!("its `direction` is \"{direction}\", not LEFT or RIGHT"));
        }
        cx.set("direction", Attr::String(direction));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        match n.ty(0)?.dtype {
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => combined(n),
            other => Err(format!("it shifts unsigned integers, not {other}")),
        }
    }

    fn notes(&self) -> &'static str {
        "unsigned integers"
    }
}
