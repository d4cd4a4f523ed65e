//! Local response normalization: over the same pixel of neighbouring channels.

use super::blocks::{Expr, formula};
use crate::ir::{Attr, Attrs, Dim, TensorType, ValueId, product};
use crate::operator::checked::{at, image};
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Normalization, Operator, Rule, View, attrs, floating};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::new("LRNGrad");

/// `y = x·s^−beta`, `s = bias + alpha·mean(x²)`, the mean over `size` channels around each, those outside being 0;
/// `dx = dy·s^−beta − 2·alpha·beta·x·mean′(dy·x·s^(−beta − 1))`, with the windows turned around.
///
/// A function: ONNX Runtime takes images and odd sizes only.
pub struct Lrn;

/// `x → y`
pub const FORWARD: Function = Function::new("LRN");

struct Settings {
    size: i64,
    /// Neighbours in front of each channel, and behind it.
    before: i64,
    after: i64,
    alpha: f64,
    beta: f64,
    bias: f64,
    /// The shape of the data.
    whole: Vec<Dim>,
    /// `[N, 1, C, pixels]`
    flat: [Dim; 4],
}

impl Settings {
    fn of(n: &View) -> Rule<Settings> {
        let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)].map(|(name, usual)| n.node.float(name, usual) as f64);
        let whole = n.ty(0)?.shape.clone();
        let (batch, channels, spatial) = image(n.ty(0)?)?;
        let pixels = product(spatial).ok_or("its images are impossibly large")?;
        let flat = [batch, Dim::Known(1), channels, pixels];
        let size = n.node.int("size", 1);
        let around = size.checked_sub(1).filter(|n| *n >= 0).ok_or("its `size` must be at least 1")?;
        let before = around / 2;
        Ok(Settings { size, before, after: around.saturating_sub(before), alpha, beta, bias, whole, flat })
    }

    /// `s` of flat data.
    fn level<'f>(&self, x: Expr<'f>) -> Expr<'f> {
        mean(x.square(), self.size, [self.before, self.after]) * self.alpha + self.bias
    }
}

/// The mean over `size` neighbours along the channels of `[N, 1, C, pixels]`, so many of them in front and behind.
fn mean(v: Expr<'_>, size: i64, [before, after]: [i64; 2]) -> Expr<'_> {
    let list = |v: &[i64]| Attr::Ints(v.to_vec());
    let window: Attrs = attrs([
        ("kernel_shape", list(&[size, 1])),
        ("strides", list(&[1, 1])),
        ("pads", list(&[before, 0, after, 0])),
        ("ceil_mode", Attr::Int(0)),
        ("count_include_pad", Attr::Int(1)),
    ]);
    v.with(|b, v| b.op("AveragePool", &[v], window))
}

impl Operator for Lrn {
    fn op_type(&self) -> &'static str {
        "LRN"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, normalization: Some(Normalization::Sample), half: Half::Within, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 1e-4)?;
        cx.float("beta", 0.75)?;
        cx.float("bias", 1.0)?;
        match cx.int("size", 0)? {
            1.. => Ok(()),
            size => Err(format!("its `size` is {size}; it must say over how many channels it goes")),
        }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        floating(x)?;
        if x.rank() < 3 { Err(format!("it needs images [N, C, …], not {x}")) } else { Ok(vec![x.clone()]) }
    }

    fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let own = Settings::of(n)?;
        let [y] = b.formula([at(inputs, 0)?], |[x]| {
            let x = x.reshape(&own.flat);
            [(x * own.level(x).pow(-own.beta)).reshape(&own.whole)]
        })?;
        Ok(Some(vec![y]))
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let own = Settings::of(&View { graph: b.graph, node: &g.node })?;
        let rule = formula(|[x, dy]| {
            let (x, dy) = (x.reshape(&own.flat), dy.reshape(&own.flat));
            let s = own.level(x);
            let direct = dy * s.pow(-own.beta);
            let others = mean(direct * x / s, own.size, [own.after, own.before]);
            [(direct - x * others * (2.0 * own.alpha * own.beta)).reshape(&own.whole)]
        });
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], g.node.attrs.clone(), rule)?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "a function"
    }
}
