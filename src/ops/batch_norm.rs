//! BatchNormalization, with moving statistics (`frozen`) or batch statistics (`train`).
//!
//! Import leaves the form for inference. The pass `batch_norm` puts a call of `ai.spgraph.BatchNormTrain` in a node's place and learns how the
//! running statistics move on. Its body is plain arithmetic, because CUDA's BatchNormalization has no training mode since opset 14.

use super::blocks::{Expr, formula};
use crate::error::fault;
use crate::ir::{Attr, Dim, Graph, Node, TensorType, ValueId, product};
use crate::onnx::pb;
use crate::operator::attrs;
use crate::operator::checked::{at, image, times};
use crate::operator::{
    Builder, Facts, Function, Grad, Half, Import, Normalization, Operator, ParameterKind, PerSample, Rule, Samples, View, fixed, floating,
};

/// The operator with moving statistics, as import leaves it.
pub const INFERENCE: &str = "BatchNormalization";

/// `(dy, scale, variance) → dx`.
pub const FROZEN_INPUT_GRAD: Function = Function::new("BatchNormFrozenInputGrad");

/// `(dy, x, mean, variance) → dscale, dshift`.
pub const FROZEN_AFFINE_GRAD: Function = Function::new("BatchNormFrozenAffineGrad");

/// `(dy, x, mean, variance) → dscale, dshift of each sample`.
pub const FROZEN_SAMPLE_GRAD: Function = Function::new("BatchNormFrozenSampleGrad");

/// `(dy, x, scale, mean, variance) → dx, dscale, dshift`.
pub const TRAIN_GRAD: Function = Function::new("BatchNormTrainGrad");

/// With batch statistics: `(x, scale, shift) → y, mean, biased variance`, the latter two `[C]`.
pub const TRAIN: Function = Function::new("BatchNormTrain");

/// All axes but the channels'.
fn reduced(rank: usize) -> Vec<usize> {
    (0..rank).filter(|&a| a != 1).collect()
}

/// The shape of a `[C]` vector that meets a tensor of the given rank along its channels: `[C, 1, …]`.
fn along_channels(channels: Dim, rank: usize) -> Vec<Dim> {
    std::iter::once(channels).chain((2..rank).map(|_| Dim::Known(1))).collect()
}

/// `1 / √(variance + epsilon)`.
fn inverse_deviation(variance: Expr<'_>, epsilon: f32) -> Expr<'_> {
    1.0 / (variance + epsilon as f64).sqrt()
}

/// The running statistics of one BatchNormalization in training mode, and the batch statistics that update them.
#[derive(Debug, Clone)]
pub struct BatchNormUpdate {
    pub running_mean: ValueId,
    pub running_variance: ValueId,
    /// The next running statistics: `(1 − m)·running + m·batch`, the variance unbiased. In the layout of the constants, which nodes may move.
    pub next_mean: ValueId,
    pub next_variance: ValueId,
}

/// What is no image, normalized by its own statistics.
fn standardized(cx: &mut Import, epsilon: f32) -> Rule<ValueId> {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let (rank, channels) = (cx.ty(0)?.rank(), cx.ty(1)?.shape.first().copied().ok_or("its scale is a single number")?);
    let (axes, all) = (reduced(rank), along_channels(channels, rank));
    let [y] = cx.builder().formula(inputs, |[x, scale, shift]| {
        let centred = x - x.mean(&axes, true);
        let inverse = inverse_deviation(centred.square().mean(&axes, true), epsilon);
        [centred * (inverse * scale.reshape(&all)) + shift.reshape(&all)]
    })?;
    Ok(y)
}

/// `(x, scale, shift, mean, variance) → y` by arithmetic; in the type of the statistics, where that is another than the image's.
fn by_given_statistics(b: &mut Builder, inputs: [ValueId; 5], epsilon: f32) -> Rule<ValueId> {
    let channels = b.shape(inputs[1]).first().copied().ok_or("its scale is a single number")?;
    let all = along_channels(channels, b.rank(inputs[0]));
    let [y] = b.formula(inputs, |[x, scale, shift, mean, variance]| {
        let [scale, shift, mean, variance] = [scale, shift, mean, variance].map(|v| v.reshape(&all));
        [((x.cast_like(scale) - mean) * (inverse_deviation(variance, epsilon) * scale) + shift).cast_like(x)]
    })?;
    Ok(y)
}

/// Whether input `i` is a running statistic: what is made of constants alone, and where weights are normalized a constant that is moved at most.
fn is_running(cx: &Import, i: usize) -> Rule<bool> {
    let (x, statistic) = (cx.input(0)?, cx.input(i)?);
    let varies = |v: ValueId| cx.graph.value(v).varies;
    Ok(!varies(statistic) && (varies(x) || View::moved_constant(cx.graph, statistic).is_some()))
}

/// The constant that nodes have moved to make `value`, and what has its layout of `next`, which has that of `value`.
fn laid_back(b: &mut Builder, mut value: ValueId, mut next: ValueId) -> Rule<(ValueId, ValueId)> {
    while let Some(node) = b.graph.producer(value).cloned() {
        let operator = View { graph: b.graph, node: &node }.operator().filter(|o| o.facts().keeps_elements());
        let operator = operator.ok_or("its running statistics are computed while the model runs")?;
        value = node.input(0).ok_or_else(|| fault("a move of nothing"))?;
        let needs = (0..node.inputs.len()).map(|i| i == 0).collect();
        // Where every element has one place, a gradient goes back where its element came from.
        let back = operator.gradient(b, &Grad { node, dy: vec![Some(next)], needs })?;
        next = back.first().copied().flatten().ok_or_else(|| fault("a move without a way back"))?;
    }
    Ok((value, next))
}

pub struct BatchNormalization;

/// A BatchNormalization `node` in its form with batch statistics: the result, and how the running statistics move on.
pub fn train(b: &mut Builder, node: &Node, momentum: f64) -> Rule<(ValueId, BatchNormUpdate)> {
    let input = |i: usize| node.input(i).ok_or_else(|| fault(format!("input {i} is missing")));
    let [x, scale, shift, running_mean, running_variance] = [input(0)?, input(1)?, input(2)?, input(3)?, input(4)?];
    let epsilon = node.float("epsilon", 1e-5);
    let name = &node.name;
    b.scope(name.rsplit_once('/').map_or(name.as_str(), |(parent, _)| parent));
    let ty = b.ty(x).clone();
    let (batch, _, spatial) = image(&ty)?;
    let per_value = product(&[&[batch], spatial].concat());
    if per_value == Some(Dim::Known(1)) {
        return Err(
            "each channel has a single value per batch, which has no batch statistics; use its moving statistics (frozen BatchNorm) or a larger batch".into()
        );
    }
    let own = at(b.shape(scale), 0)?;
    let (channels, axes, all) = ([own], reduced(ty.rank()), along_channels(own, ty.rank()));
    let rule = formula(|[x, scale, shift]| {
        let mean = x.mean(&axes, true);
        let centred = x - mean;
        let variance = centred.square().mean(&axes, true);
        let inverse = inverse_deviation(variance, epsilon);
        let (scale, shift) = (scale.reshape(&all), shift.reshape(&all));
        [centred * (inverse * scale) + shift, mean.reshape(&channels), variance.reshape(&channels)]
    });
    let [y, mean, variance] = b.call(&TRAIN, [x, scale, shift], attrs([("epsilon", Attr::Float(epsilon))]), rule)?;
    // running ← momentum·running + (1 − momentum)·batch, with the unbiased variance: m / (m − 1) times the biased one.
    b.scope(format!("{name}.statistics"));
    let [unbiased] = match per_value {
        Some(Dim::Known(m)) => b.formula([variance], |[variance]| [variance * (m as f64 / (m as f64 - 1.0))])?,
        _ => {
            let channels = at(&fixed(b.ty(scale))?, 0)? as f64;
            b.formula([x, variance], |[x, variance]| {
                let m = x.with(|b, x| b.op("Size", &[x], Default::default())).cast_like(x) / channels;
                [variance * (m / (m - 1.0))]
            })?
        }
    };
    let mut moved =
        |running: ValueId, batch: ValueId| b.formula([running, batch], |[running, batch]| [running * momentum + batch * (1.0 - momentum)]);
    let ([next_mean], [next_variance]) = (moved(running_mean, mean)?, moved(running_variance, unbiased)?);
    let (running_mean, next_mean) = laid_back(b, running_mean, next_mean)?;
    let (running_variance, next_variance) = laid_back(b, running_variance, next_variance)?;
    Ok((y, BatchNormUpdate { running_mean, running_variance, next_mean, next_variance }))
}

impl Operator for BatchNormalization {
    fn op_type(&self) -> &'static str {
        INFERENCE
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, normalization: Some(Normalization::Batch), half: Half::Within, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let momentum = cx.source.float("momentum").map_err(|e| e.to_string())?.unwrap_or(0.9);
        cx.training.insert("momentum".into(), Attr::Float(momentum));
        for (name, expected) in [("spatial", 1), ("is_test", 1)] {
            let v = cx.source.int(name).map_err(|e| e.to_string())?;
            if v.is_some_and(|v| v != expected) {
                return Err(format!("`{name}` other than {expected} is not supported"));
            }
        }
        let training = cx.source.int("training_mode").map_err(|e| e.to_string())? == Some(1);
        // On images an exporter's training form differs from the inference form in its extra outputs only. On weights it standardizes them,
        // in inference as well.
        cx.outputs.truncate(1);
        let epsilon = cx.float("epsilon", 1e-5)?;
        if training && !cx.graph.value(cx.input(0)?).varies {
            cx.replaced = Some(vec![standardized(cx, epsilon)?]);
        } else if !is_running(cx, 3)? || !is_running(cx, 4)? {
            // Statistics that the network computes are no running ones: exporters standardize weights so, too.
            let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?];
            cx.replaced = Some(vec![by_given_statistics(&mut cx.builder(), inputs, epsilon)?]);
        }
        Ok(())
    }

    /// Without the mode of training, and without the statistics that only that gives out.
    fn inference_form(&self, node: &mut pb::NodeProto) {
        // Attributes that say what is the case anyway stay as they are written.
        node.attribute.retain(|a| a.name() != "training_mode" || a.i() == 0);
        node.output.truncate(1);
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        floating(x)?;
        if x.rank() < 2 {
            return Err(format!("its input {x} has no channels"));
        }
        for i in 1..5 {
            if n.ty(i)?.shape != [image(x)?.1] {
                return Err(format!("its input {i} is {}, not one number per channel of {x}", n.ty(i)?));
            }
        }
        Ok(vec![x.clone()])
    }

    fn plain(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let &[x, scale, shift, mean, variance] = inputs else { return Ok(None) };
        let y = by_given_statistics(b, [x, scale, shift, mean, variance], n.node.float("epsilon", 1e-5))?;
        Ok(Some(vec![y]))
    }

    /// With `s = scale / √(var + ε)`: `dx = s·dy`, `dscale = Σ dy·(x − mean) / √(var + ε)`, `dshift = Σ dy`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.needs(3) || g.needs(4) {
            return Err("its statistics are made of parameters that are trained, which is not supported: freeze these".into());
        }
        let epsilon = g.node.float("epsilon", 1e-5);
        let (x, dy) = (g.input(0)?, g.dy()?);
        let [scale, mean, variance] = [g.input(1)?, g.input(3)?, g.input(4)?];
        let attributes = || attrs([("epsilon", Attr::Float(epsilon))]);
        let all = along_channels(at(b.shape(scale), 0)?, b.rank(x));
        let axes = reduced(b.rank(x));
        let dx = if g.needs(0) {
            let rule = formula(|[dy, scale, variance]| [dy * (scale * inverse_deviation(variance, epsilon)).reshape(&all)]);
            let [dx] = b.call(&FROZEN_INPUT_GRAD, [dy, scale, variance], attributes(), rule)?;
            Some(dx)
        } else {
            None
        };
        if !g.needs(1) && !g.needs(2) {
            return Ok(vec![dx]);
        }
        let rule = formula(|[dy, x, mean, variance]| {
            let inverse = inverse_deviation(variance, epsilon);
            let moment = (dy * (x - mean.reshape(&all))).sum(&axes, false);
            [moment * inverse, dy.sum(&axes, false)]
        });
        let [dscale, dshift] = b.call(&FROZEN_AFFINE_GRAD, [dy, x, mean, variance], attributes(), rule)?;
        Ok(vec![dx, Some(dscale), Some(dshift)])
    }

    /// `Σ dyₙ·(xₙ − mean) / √(var + ε)` and `Σ dyₙ`, sums over the sample's pixels.
    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let epsilon = g.node.float("epsilon", 1e-5);
        let [_, channels, spatial @ ..] = &*fixed(b.ty(g.input(0)?))? else { return Err("its input has no channels".into()) };
        let (rows, copies, samples) = (Dim::Known(s.rows), Dim::Known(s.copies), Dim::Known(s.count()));
        let (channels, pixels, one) = (Dim::Known(*channels), Dim::Known(times(spatial)?), Dim::Known(1));
        let attributes = attrs([("epsilon", Attr::Float(epsilon)), ("copies", Attr::Int(s.copies as i64))]);
        let rule = formula(|[dy, x, mean, variance]| {
            let dy = dy.reshape(&[rows, copies, channels, pixels]);
            let x = x.reshape(&[rows, one, channels, pixels]);
            let product = dy * (x - mean.reshape(&[one, one, channels, one]));
            let inverse = inverse_deviation(variance, epsilon);
            let (scale, shift) = (product.sum(&[3], false) * inverse, dy.sum(&[3], false));
            [scale.reshape(&[samples, channels]), shift.reshape(&[samples, channels])]
        });
        let [scale, shift] = b.call(&FROZEN_SAMPLE_GRAD, [g.dy()?, g.input(0)?, g.input(3)?, g.input(4)?], attributes, rule)?;
        Ok(vec![None, Some(PerSample::dense(b, scale)), Some(PerSample::dense(b, shift))])
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Scale), Some(ParameterKind::Shift), Some(ParameterKind::Mean), Some(ParameterKind::Variance)]
    }

    fn notes(&self) -> &'static str {
        "option `batch_norm`: `frozen` has moving statistics, `train` those of the batch"
    }
}

/// The function with batch statistics, as the gradient engine meets it.
///
/// With `x̂ = (x − mean) / √(var + ε)` and means over all values of a channel:
/// `dx = scale / √(var + ε) · (dy − mean(dy) − x̂·mean(dy·x̂))`, `dscale = Σ dy·x̂`, `dshift = Σ dy`.
pub struct BatchNormTrain;

impl Operator for BatchNormTrain {
    fn op_type(&self) -> &'static str {
        TRAIN.name
    }

    fn facts(&self) -> Facts {
        Facts { normalization: Some(Normalization::Batch), half: Half::Within, ..Facts::NONE }
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        Err("it is a function, whose body gives the types".into())
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.dy.iter().skip(1).any(Option::is_some) {
            return Err("a gradient through the batch statistics themselves is not supported".into());
        }
        let epsilon = g.node.float("epsilon", 1e-5);
        let (x, scale) = (g.input(0)?, g.input(1)?);
        let count = product_of_counts(b.graph, x);
        let own = at(b.shape(scale), 0)?;
        let (channels, axes, all) = ([own], reduced(b.rank(x)), along_channels(own, b.rank(x)));
        let rule = formula(|[dy, x, scale, mean, variance]| {
            let (mean, variance, scale) = (mean.reshape(&all), variance.reshape(&all), scale.reshape(&all));
            let inverse = inverse_deviation(variance, epsilon);
            let centred = x - mean;
            let product = dy * centred;
            let (total, moment) = (dy.sum(&axes, false), product.sum(&axes, false));
            let (mean_dy, mean_moment) = match count {
                Some(count) => (total * (1.0 / count as f64), moment * (1.0 / count as f64)),
                None => (dy.mean(&axes, false), product.mean(&axes, false)),
            };
            let (mean_dy, mean_moment) = (mean_dy.reshape(&all), mean_moment.reshape(&all));
            // dx = f·dy − t·(x − mean) − k with f = scale·inverse, t = f·inverse²·mean(dy·(x − mean)), k = f·mean(dy)
            let f = scale * inverse;
            let tilt = f * inverse.square() * mean_moment;
            let lift = f * mean_dy;
            [dy * f - centred * tilt - lift, moment * inverse.reshape(&channels), total]
        });
        let inputs = [g.dy()?, x, scale, g.output(1), g.output(2)];
        let out: [ValueId; 3] = b.call(&TRAIN_GRAD, inputs, attrs([("epsilon", Attr::Float(epsilon))]), rule)?;
        Ok(out.into_iter().map(Some).collect())
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Scale), Some(ParameterKind::Shift)]
    }

    fn notes(&self) -> &'static str {
        "the function that stands for BatchNormalization with batch statistics"
    }
}

/// How many values each channel has, where the batch size is known.
fn product_of_counts(graph: &Graph, x: ValueId) -> Option<usize> {
    let [batch, _, spatial @ ..] = &*graph.ty(x).dims()? else { return None };
    times(&[&[*batch], spatial].concat()).ok()
}
