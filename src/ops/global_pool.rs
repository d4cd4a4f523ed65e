//! Poolings over whole images.

use super::blocks::formula;
use crate::ir::{Attr, Attrs, Dim, Tensor, TensorType, ValueId, product};
use crate::operator::checked::{image, set};
use crate::operator::{Builder, Facts, Function, Grad, Half, Operator, Rule, View, attrs, floating, table_of};

/// `(x, dy) → dx`.
pub const MAX_GRAD: Function = Function::new("GlobalMaxPoolGrad");

/// The mean over all spatial axes; `dx = dy / n`.
pub struct GlobalAveragePool;

/// The spatial axes of `[N, C, …]`.
fn spatial(x: &TensorType) -> Rule<Vec<usize>> {
    floating(x)?;
    if x.rank() < 3 { Err(format!("it needs images [N, C, …], not {x}")) } else { Ok((2..x.rank()).collect()) }
}

fn pooled(n: &View) -> Rule<Vec<TensorType>> {
    let mut ty = n.ty(0)?.clone();
    for a in spatial(&ty)? {
        set(&mut ty.shape, a, Dim::Known(1))?;
    }
    Ok(vec![ty])
}

/// How many pixels an image has.
fn pixels(b: &Builder, x: ValueId) -> Rule<usize> {
    product(image(b.ty(x))?.2).and_then(|p| p.known()).ok_or_else(|| "the spatial sizes of its input are not known".into())
}

impl Operator for GlobalAveragePool {
    fn op_type(&self) -> &'static str {
        "GlobalAveragePool"
    }

    fn facts(&self) -> Facts {
        Facts { keeps_classes: true, by_image: true, keeps_sign: true, half: Half::Within, ..Facts::NONE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        pooled(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, dy) = (g.input(0)?, g.dy()?);
        let pixels = pixels(b, x)? as f64;
        let [share] = b.formula([dy], |[dy]| [dy * (1.0 / pixels)])?;
        Ok(vec![Some(b.expand_like(share, x)?)])
    }
}

/// The largest pixel of each map; the first of equal ones takes the gradient, as in PyTorch's `adaptive_max_pool`.
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    fn op_type(&self) -> &'static str {
        "GlobalMaxPool"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS.keeping_sign()
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        pooled(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let pixels = table_of(&[pixels(b, g.input(0)?)?])?;
        let (batch, channels, _) = image(b.ty(g.input(0)?))?;
        let (shape, places): (_, Vec<i64>) = (b.shape(g.input(0)?).to_vec(), (0..pixels as i64).collect());
        let rule = formula(|[x, dy]| {
            let flat = x.reshape(&[batch, channels, pixels.into()]);
            let first = attrs([("axis", Attr::Int(2)), ("keepdims", Attr::Int(1)), ("select_last_index", Attr::Int(0))]);
            let best = flat.with(|b, flat| b.op("ArgMax", &[flat], first));
            let hit = best.equals(best.constant(Tensor::from_i64(&[1, 1, pixels], &places))).cast_like(dy);
            [(hit * dy.reshape(&[batch, channels, 1.into()])).reshape(&shape)]
        });
        let [dx] = b.call(&MAX_GRAD, [g.input(0)?, g.dy()?], Attrs::new(), rule)?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "the first of equal largest pixels takes the gradient"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::backward;
    use crate::ir::{DType, Graph};

    /// The gradient has a list of all pixels.
    #[test]
    fn images_that_no_memory_holds_are_refused() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::new(DType::F32, [1, 1, 1 << 20, 1 << 20]));
        let y = Builder::new(&mut graph).op("GlobalMaxPool", &[x], Attrs::new()).unwrap();
        let dy = graph.input("dy", graph.ty(y).clone());
        let error = backward(&mut graph, &[(y, dy)], &[x]).unwrap_err().to_string();
        assert!(error.contains("it needs a table of the sizes [1099511627776]"), "{error}");
    }
}
