//! Normalizations of each image by itself: over its last axes, its maps or groups of them. The same in training and inference.
//!
//! All come from one form. In a shape in which a group of elements is whole axes, with means over those axes and `x̂ = (x − mean)·inverse`,
//! `inverse = 1 / √(mean((x − mean)²) + ε)`: `y = x̂·scale + shift`. What the backward pass needs of the statistics are further outputs.

use super::blocks::{Expr, formula};
use crate::ir::{Attr, Attrs, DType, Dim, TensorType, ValueId};
use crate::operator::checked::{image, known};
use crate::operator::{
    Builder, Facts, Function, Grad, Half, Import, Normalization, Operator, ParameterKind, PerSample, Rule, Samples, View, attrs, axis,
    broadcast, floating,
};

/// `(dy, x, scale, inverse, mean) → dx, dscale, dshift`, of which the last may be left out; no mean where nothing is centred.
pub const GRAD: Function = Function::new("NormalizationGrad");

/// `(x, scale, shift) → y, mean, inverse`.
pub const GROUP: Function = Function::new("GroupNormalization");

/// `(x, scale, shift) → y, mean, inverse`.
pub const INSTANCE: Function = Function::new("InstanceNormalization");

/// `(x, scale) → y, inverse`.
pub const RMS: Function = Function::new("RMSNormalization");

/// How one node normalizes.
struct Form {
    /// The shape of the data in which a group is whole axes.
    split: Vec<Dim>,
    /// Those axes.
    axes: Vec<usize>,
    /// The shapes, of the same rank, in which scale and shift meet the data.
    affine: [Vec<Dim>; 2],
    /// Their own shapes.
    own: [Vec<Dim>; 2],
    centred: bool,
    epsilon: f64,
}

impl Form {
    /// Over the axes from `axis` on.
    fn trailing(n: &View, centred: bool) -> Rule<Form> {
        let (x, scale) = (n.ty(0)?, n.ty(1)?);
        let first = axis(n.node.int("axis", -1), x.rank())?;
        let normalized = x.shape.get(first..).unwrap_or_default();
        for i in 1..n.node.inputs.len() {
            if n.input(i).is_some() && broadcast(normalized, &n.ty(i)?.shape)? != normalized {
                return Err(format!("its input {i} is {}, which does not fit the normalized axes of {x}", n.ty(i)?));
            }
        }
        let own = [scale, n.input(2).map_or(scale, |v| n.graph.ty(v))].map(|t| t.shape.clone());
        let affine = own.clone().map(|shape| [vec![Dim::Known(1); x.rank().saturating_sub(shape.len())], shape].concat());
        let epsilon = n.node.float("epsilon", 1e-5) as f64;
        Ok(Form { split: x.shape.clone(), axes: (first..x.rank()).collect(), affine, own, centred, epsilon })
    }

    /// Over groups of channels and all pixels; `None` for maps by themselves.
    fn channels(n: &View, groups: Option<i64>) -> Rule<Form> {
        let x = n.ty(0)?;
        let (Some(Dim::Known(channels)), true) = (x.shape.get(1), x.rank() > 2 || groups.is_some()) else {
            return Err(format!("it needs images [N, C, …], not {x}"));
        };
        let groups = groups.map_or(Ok(*channels), usize::try_from).map_err(|_| "`num_groups` is negative")?;
        let each = channels.checked_div(groups).filter(|_| channels.is_multiple_of(groups));
        let each = each.ok_or_else(|| format!("{channels} channels do not fall into {groups} groups"))?;
        let (batch, _, pixels) = image(x)?;
        let of = n.ty(1)?;
        let per_channel = of.shape == [Dim::Known(*channels)];
        if n.ty(2)? != of || !(per_channel || of.shape == [Dim::Known(groups)]) {
            return Err(format!("its scale {of} and shift {} are not one number per channel or group of {x}", n.ty(2)?));
        }
        let split = [&[batch], known(&[groups, each]).as_slice(), pixels].concat();
        let affine = known(&[&[1, groups, if per_channel { each } else { 1 }], vec![1; pixels.len()].as_slice()].concat());
        let epsilon = n.node.float("epsilon", 1e-5) as f64;
        Ok(Form {
            axes: (2..split.len()).collect(),
            affine: [affine.clone(), affine],
            own: [of.shape.clone(), of.shape.clone()],
            split,
            centred: true,
            epsilon,
        })
    }

    /// Over which axes of the data: of maps and groups, all behind the images'.
    fn along(&self, n: &View) -> Option<Vec<usize>> {
        let x = &n.ty(0).ok()?.shape;
        Some(if self.split == *x { self.axes.clone() } else { (1..x.len()).collect() })
    }

    /// The result and the statistics.
    fn types(&self, n: &View) -> Rule<Vec<TensorType>> {
        let dtype: DType = floating(n.ty(0)?)?;
        for i in 1..n.node.inputs.len() {
            if n.input(i).is_some() && n.ty(i)?.dtype != dtype {
                return Err(format!("its input {i} is {} beside {}", n.ty(i)?, n.ty(0)?));
            }
        }
        let kept = |(i, d): (usize, &Dim)| if self.axes.contains(&i) { Dim::Known(1) } else { *d };
        let statistic = TensorType { dtype, shape: self.split.iter().enumerate().map(kept).collect() };
        let mut types = vec![n.ty(0)?.clone(), statistic.clone()];
        types.extend(self.centred.then_some(statistic));
        Ok(types)
    }

    /// `[y, mean, inverse]`; the shift and the mean are not there where nothing is centred.
    fn forward<'f>(&self, x: Expr<'f>, scale: Expr<'f>, shift: Option<Expr<'f>>) -> [Expr<'f>; 3] {
        let apart = x.reshape(&self.split);
        let mean = if self.centred { apart.mean(&self.axes, true) } else { apart };
        let centred = if self.centred { apart - mean } else { apart };
        let inverse = 1.0 / (centred.square().mean(&self.axes, true) + self.epsilon).sqrt();
        let mut y = centred * inverse * scale.reshape(&self.affine[0]);
        if let Some(shift) = shift {
            y = y + shift.reshape(&self.affine[1]);
        }
        [y.reshape_like(x), mean, inverse]
    }

    /// With `g = dy·scale` and means over each group: `dx = inverse·(g − mean(g) − x̂·mean(g·x̂))`, `dscale = Σ dy·x̂`, `dshift = Σ dy`.
    fn backward<'f>(&self, [dy, x, scale, inverse]: [Expr<'f>; 4], mean: Option<Expr<'f>>) -> [Expr<'f>; 3] {
        let (split, apart) = (dy.reshape(&self.split), x.reshape(&self.split));
        let normal = mean.map_or(apart, |mean| apart - mean) * inverse;
        let g = split * scale.reshape(&self.affine[0]);
        let level = if self.centred { g - g.mean(&self.axes, true) } else { g };
        let dx = inverse * (level - normal * (g * normal).mean(&self.axes, true));
        let affine = |v: Expr<'f>, meets: &[Dim], own: &[Dim]| {
            let shared: Vec<usize> = meets.iter().enumerate().filter(|(_, d)| **d == Dim::Known(1)).map(|(a, _)| a).collect();
            v.sum(&shared, true).reshape(own)
        };
        let ([scale_meets, shift_meets], [scale_own, shift_own]) = (&self.affine, &self.own);
        [dx.reshape_like(x), affine(split * normal, scale_meets, scale_own), affine(split, shift_meets, shift_own)]
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.dy.iter().skip(1).any(Option::is_some) {
            return Err("a gradient through the statistics themselves is not supported".into());
        }
        let statistics = if self.centred { vec![g.output(2), g.output(1)] } else { vec![g.output(1)] };
        let inputs = [vec![g.dy()?, g.input(0)?, g.input(1)?], statistics].concat();
        let asked = [3, 2].into_iter().find(|&n: &usize| g.needs(n.saturating_sub(1))).unwrap_or(1);
        let found = b.call_list(&GRAD, &inputs, self.attributes(), |b, inputs| {
            let all = match *inputs {
                [dy, x, scale, inverse, mean] => {
                    b.formula([dy, x, scale, inverse, mean], |[dy, x, s, i, mean]| self.backward([dy, x, s, i], Some(mean)))?
                }
                [dy, x, scale, inverse] => b.formula([dy, x, scale, inverse], |all| self.backward(all, None))?,
                _ => return Err("it has other statistics".into()),
            };
            Ok(all.into_iter().take(asked).collect())
        })?;
        Ok(found.into_iter().map(Some).collect())
    }

    /// What tells one gradient from another.
    fn attributes(&self) -> Attrs {
        attrs([("axes", Attr::Ints(self.axes.iter().map(|&a| a as i64).collect()))])
    }

    /// `Σ dyₙ·x̂ₙ` and `Σ dyₙ`, sums over what the sample shares a factor with.
    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let dtype = b.dtype(g.input(0)?);
        let to = self.affine.clone().map(|shape| TensorType { dtype, shape });
        let (x, inverse) = (b.reshape(g.input(0)?, &self.split)?, g.output(if self.centred { 2 } else { 1 }));
        let centred = if self.centred { b.sub(x, g.output(1))? } else { x };
        let normal = b.mul(centred, inverse)?;
        let normal = s.repeated(b, normal)?;
        let shape = b.shape(normal).to_vec();
        let dy = b.reshape(g.dy()?, &shape)?;
        let scale = if g.needs(1) {
            let product = b.mul(dy, normal)?;
            Some(s.unbroadcast(b, product, &to[0])?)
        } else {
            None
        };
        let shift = if g.needs(2) { Some(s.unbroadcast(b, dy, &to[1])?) } else { None };
        Ok(vec![None, scale, shift])
    }
}

const FACTS: Facts = Facts { normalization: Some(Normalization::Sample), half: Half::Within, ..Facts::NONE };

fn affine() -> Vec<Option<ParameterKind>> {
    vec![None, Some(ParameterKind::Scale), Some(ParameterKind::Shift)]
}

/// Reads what says in which precision the statistics are computed: here always in that of the data, where that is at least float32.
fn precision(cx: &mut Import) -> Rule<()> {
    cx.source.int("stash_type").map(drop).map_err(|e| e.to_string())
}

macro_rules! normalizations {
    ($($(#[$about:meta])* $name:ident { notes: $notes:expr, import: $import:expr, form: $form:expr, $(body: $body:expr,)? })*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn facts(&self) -> Facts {
                FACTS
            }

            fn along(&self, n: &View) -> Option<Vec<usize>> {
                let form: fn(&View) -> Rule<Form> = $form;
                form(n).ok()?.along(n)
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                let import: fn(&mut Import) -> Rule<()> = $import;
                import(cx)
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                let form: fn(&View) -> Rule<Form> = $form;
                form(n)?.types(n)
            }

            fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
                let form: fn(&View) -> Rule<Form> = $form;
                form(&View { graph: b.graph, node: &g.node })?.gradient(b, g)
            }

            fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
                let form: fn(&View) -> Rule<Form> = $form;
                form(&View { graph: b.graph, node: &s.grad.node })?.per_sample(b, s)
            }

            fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
                affine()
            }

            fn notes(&self) -> &'static str {
                $notes
            }

            $(
                fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
                    let form: fn(&View) -> Rule<Form> = $form;
                    let body: fn(&mut Builder, &Form, &[ValueId]) -> Rule<Vec<ValueId>> = $body;
                    body(b, &form(n)?, inputs).map(Some)
                }
            )?
        }
    )*};
}

/// `y`, mean and inverse of data, scale and shift.
fn centred(b: &mut Builder, form: &Form, inputs: &[ValueId]) -> Rule<Vec<ValueId>> {
    let &[x, scale, shift] = inputs else { return Err("it needs data, scale and shift".into()) };
    Ok(formula(|[x, scale, shift]| form.forward(x, scale, Some(shift)))(b, [x, scale, shift])?.to_vec())
}

/// `y` and inverse of data and scale.
fn uncentred(b: &mut Builder, form: &Form, inputs: &[ValueId]) -> Rule<Vec<ValueId>> {
    let &[x, scale] = inputs else { return Err("it needs data and scale".into()) };
    let [y, _, inverse] = b.formula([x, scale], |[x, scale]| form.forward(x, scale, None))?;
    Ok(vec![y, inverse])
}

normalizations! {
    /// Over the axes from `axis` on.
    LayerNormalization {
        notes: "",
        import: |cx| {
            precision(cx)?;
            cx.int("axis", -1)?;
            cx.float("epsilon", 1e-5)?;
            // tract computes the statistics in the type that is named here.
            let dtype = cx.ty(0)?.dtype.onnx();
            cx.set("stash_type", Attr::Int(dtype as i64));
            Ok(())
        },
        form: |n| Form::trailing(n, true),
    }

    /// Over the axes from `axis` on, without a mean.
    RMSNormalization {
        notes: "a function",
        import: |cx| {
            precision(cx)?;
            cx.int("axis", -1)?;
            cx.float("epsilon", 1e-5).map(drop)
        },
        form: |n| Form::trailing(n, false),
        body: uncentred,
    }

    /// Over each map of an image.
    InstanceNormalization {
        notes: "a function",
        import: |cx| cx.float("epsilon", 1e-5).map(drop),
        form: |n| Form::channels(n, None),
        body: centred,
    }

    /// Over the maps of each group of channels.
    GroupNormalization {
        notes: "a function; scale and shift per group (opset 18) or channel (21)",
        import: |cx| {
            precision(cx)?;
            cx.float("epsilon", 1e-5)?;
            let groups = cx.int("num_groups", 0)?;
            let (channels, given) = (cx.ty(0)?.shape.get(1).copied(), cx.ty(1)?.shape.clone());
            let expected = if cx.opset < 21 { usize::try_from(groups).ok().map(Dim::Known) } else { channels };
            match expected == given.first().copied() && given.len() == 1 {
                true => Ok(()),
                false => Err(format!("at opset {} it has one scale per {}", cx.opset, if cx.opset < 21 { "group" } else { "channel" })),
            }
        },
        form: |n| Form::channels(n, Some(n.node.int("num_groups", 0))),
        body: centred,
    }
}
