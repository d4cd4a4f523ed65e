//! BatchNormalization, with moving statistics (`frozen`) or batch statistics (`train`).
//!
//! Import leaves the form for inference. The pass `batch_norm` puts a call of `ai.spgraph.BatchNormTrain` in a node's place and learns how the
//! running statistics move on. Its body is plain arithmetic, because CUDA's BatchNormalization has no training mode since opset 14.

use crate::ir::{Attr, Dim, Graph, Node, TensorType, ValueId, product};
use crate::operator::attrs;
use crate::operator::{
    Builder, Facts, Function, Grad, Import, Normalization, Operator, ParameterKind, PerSample, Rule, Samples, View, fixed, floating,
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

/// A `[C]` vector as `[C, 1, …]`, which broadcasts along the channels of a tensor of the given rank.
fn per_channel(b: &mut Builder, v: ValueId, rank: usize) -> Rule<ValueId> {
    let shape: Vec<Dim> = std::iter::once(b.shape(v)[0]).chain((2..rank).map(|_| Dim::Known(1))).collect();
    b.reshape(v, &shape)
}

/// `1 / √(variance + epsilon)`.
fn inverse_deviation(b: &mut Builder, variance: ValueId, epsilon: f64) -> Rule<ValueId> {
    let epsilon = b.number(epsilon, variance);
    let shifted = b.add(variance, epsilon)?;
    let deviation = b.op("Sqrt", &[shifted], Default::default())?;
    let one = b.number(1.0, deviation);
    b.div(one, deviation)
}

/// The running statistics of one BatchNormalization in training mode, and the batch statistics that update them.
#[derive(Debug, Clone)]
pub struct BatchNormUpdate {
    pub running_mean: ValueId,
    pub running_variance: ValueId,
    /// The next running statistics: `(1 − m)·running + m·batch`, the variance unbiased.
    pub next_mean: ValueId,
    pub next_variance: ValueId,
}

pub struct BatchNormalization;

/// A BatchNormalization `node` in its form with batch statistics: the result, and how the running statistics move on.
pub fn train(b: &mut Builder, node: &Node, momentum: f64) -> Rule<(ValueId, BatchNormUpdate)> {
    let input = |i: usize| node.inputs.get(i).copied().flatten().ok_or_else(|| format!("input {i} is missing"));
    let [x, scale, shift, running_mean, running_variance] = [input(0)?, input(1)?, input(2)?, input(3)?, input(4)?];
    let epsilon = node.float("epsilon", 1e-5);
    let name = &node.name;
    b.scope(name.rsplit_once('/').map_or(name.as_str(), |(parent, _)| parent));
    let ty = b.ty(x).clone();
    let per_value = product(&[ty.shape[0]].into_iter().chain(ty.shape[2..].iter().copied()).collect::<Vec<_>>());
    if per_value == Some(Dim::Known(1)) {
        return Err(
            "each channel has a single value per batch, which has no batch statistics; use --batch-norm frozen or a larger batch".into()
        );
    }
    let outputs = b.call(&TRAIN, &[x, scale, shift], attrs([("epsilon", Attr::Float(epsilon))]), |b, i| {
        let rank = b.rank(i[0]);
        let mean = b.mean(i[0], &reduced(rank), true)?;
        let centred = b.sub(i[0], mean)?;
        let square = b.mul(centred, centred)?;
        let variance = b.mean(square, &reduced(rank), true)?;
        let inverse = inverse_deviation(b, variance, epsilon as f64)?;
        let scale = per_channel(b, i[1], rank)?;
        let shift = per_channel(b, i[2], rank)?;
        let factor = b.mul(inverse, scale)?;
        let scaled = b.mul(centred, factor)?;
        let y = b.add(scaled, shift)?;
        let channels = [b.shape(i[1])[0]];
        Ok(vec![y, b.reshape(mean, &channels)?, b.reshape(variance, &channels)?])
    })?;
    // running ← momentum·running + (1 − momentum)·batch, with the unbiased variance: m / (m − 1) times the biased one.
    b.scope(format!("{name}.statistics"));
    let unbiased = match per_value {
        Some(Dim::Known(m)) => {
            let factor = b.number(m as f64 / (m as f64 - 1.0), outputs[2]);
            b.mul(outputs[2], factor)?
        }
        _ => {
            let dtype = b.dtype(x);
            let size = b.op("Size", &[x], Default::default())?;
            let size = b.cast(size, dtype)?;
            let channels = fixed(b.ty(scale))?[0] as f64;
            let channels = b.number(channels, size);
            let m = b.div(size, channels)?;
            let one = b.number(1.0, m);
            let less = b.sub(m, one)?;
            let factor = b.div(m, less)?;
            b.mul(outputs[2], factor)?
        }
    };
    let moved = |b: &mut Builder, running: ValueId, batch: ValueId| -> Rule<ValueId> {
        let (keep, take) = (b.number(momentum, running), b.number(1.0 - momentum, batch));
        let kept = b.mul(running, keep)?;
        let taken = b.mul(batch, take)?;
        b.add(kept, taken)
    };
    let next_mean = moved(b, running_mean, outputs[1])?;
    let next_variance = moved(b, running_variance, unbiased)?;
    Ok((outputs[0], BatchNormUpdate { running_mean, running_variance, next_mean, next_variance }))
}

impl Operator for BatchNormalization {
    fn op_type(&self) -> &'static str {
        INFERENCE
    }

    fn facts(&self) -> Facts {
        Facts { normalization: Some(Normalization::Batch), ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("epsilon", 1e-5)?;
        let momentum = cx.source.float("momentum").map_err(|e| e.to_string())?.unwrap_or(0.9);
        cx.training.insert("momentum".into(), Attr::Float(momentum));
        for (name, expected) in [("spatial", 1), ("is_test", 1), ("training_mode", 0)] {
            // An exporter's training form differs from the inference form in its extra outputs only.
            let v = cx.source.int(name).map_err(|e| e.to_string())?;
            if v.is_some_and(|v| v != expected) && name != "training_mode" {
                return Err(format!("`{name}` other than {expected} is not supported"));
            }
        }
        cx.outputs.truncate(1);
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        floating(x)?;
        if x.rank() < 2 {
            return Err(format!("its input {x} has no channels"));
        }
        for i in 1..5 {
            if n.ty(i)?.shape != [x.shape[1]] {
                return Err(format!("its input {i} is {}, not one number per channel of {x}", n.ty(i)?));
            }
        }
        Ok(vec![x.clone()])
    }

    /// With `s = scale / √(var + ε)`: `dx = s·dy`, `dscale = Σ dy·(x − mean) / √(var + ε)`, `dshift = Σ dy`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.needs(3) || g.needs(4) {
            return Err("its statistics are computed from trainable parameters".into());
        }
        let epsilon = g.node.float("epsilon", 1e-5);
        let (x, dy) = (g.input(0)?, g.dy()?);
        let [scale, mean, variance] = [g.input(1)?, g.input(3)?, g.input(4)?];
        let attributes = || attrs([("epsilon", Attr::Float(epsilon))]);
        let dx = if g.needs(0) {
            let out = b.call(&FROZEN_INPUT_GRAD, &[dy, scale, variance], attributes(), |b, i| {
                let inverse = inverse_deviation(b, i[2], epsilon as f64)?;
                let factor = b.mul(i[1], inverse)?;
                let factor = per_channel(b, factor, b.rank(i[0]))?;
                Ok(vec![b.mul(i[0], factor)?])
            })?;
            Some(out[0])
        } else {
            None
        };
        if !g.needs(1) && !g.needs(2) {
            return Ok(vec![dx]);
        }
        let out = b.call(&FROZEN_AFFINE_GRAD, &[dy, x, mean, variance], attributes(), |b, i| {
            let rank = b.rank(i[0]);
            let inverse = inverse_deviation(b, i[3], epsilon as f64)?;
            let mean = per_channel(b, i[2], rank)?;
            let centred = b.sub(i[1], mean)?;
            let product = b.mul(i[0], centred)?;
            let total = b.sum(product, &reduced(rank), false)?;
            Ok(vec![b.mul(total, inverse)?, b.sum(i[0], &reduced(rank), false)?])
        })?;
        Ok(vec![dx, Some(out[0]), Some(out[1])])
    }

    /// `Σ dyₙ·(xₙ − mean) / √(var + ε)` and `Σ dyₙ`, sums over the sample's pixels.
    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let epsilon = g.node.float("epsilon", 1e-5) as f64;
        let inputs = [g.dy()?, g.input(0)?, g.input(3)?, g.input(4)?];
        let attributes = attrs([("epsilon", Attr::Float(epsilon as f32)), ("copies", Attr::Int(s.copies as i64))]);
        let out = b.call(&FROZEN_SAMPLE_GRAD, &inputs, attributes, |b, i| {
            let x = fixed(b.ty(i[1]))?;
            let (channels, pixels) = (Dim::Known(x[1]), Dim::Known(x[2..].iter().product()));
            let dy = b.reshape(i[0], &[s.rows.into(), s.copies.into(), channels, pixels])?;
            let x = b.reshape(i[1], &[s.rows.into(), 1.into(), channels, pixels])?;
            let mean = b.reshape(i[2], &[1.into(), 1.into(), channels, 1.into()])?;
            let centred = b.sub(x, mean)?;
            let product = b.mul(dy, centred)?;
            let inverse = inverse_deviation(b, i[3], epsilon)?;
            let total = b.sum(product, &[3], false)?;
            let scale = b.mul(total, inverse)?;
            let shift = b.sum(dy, &[3], false)?;
            let shape = [s.count().into(), channels];
            Ok(vec![b.reshape(scale, &shape)?, b.reshape(shift, &shape)?])
        })?;
        Ok(vec![None, Some(PerSample::dense(b, out[0])), Some(PerSample::dense(b, out[1]))])
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Scale), Some(ParameterKind::Shift), Some(ParameterKind::Mean), Some(ParameterKind::Variance)]
    }

    fn notes(&self) -> &'static str {
        "`--batch-norm frozen`: moving statistics; `train`: batch statistics"
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
        Facts { normalization: Some(Normalization::Batch), ..Facts::NONE }
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        Err("it is a function, whose body gives the types".into())
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.dy.iter().skip(1).any(Option::is_some) {
            return Err("a gradient through the batch statistics themselves is not supported".into());
        }
        let epsilon = g.node.float("epsilon", 1e-5);
        let inputs = [g.dy()?, g.input(0)?, g.input(1)?, g.output(1), g.output(2)];
        let out = b.call(&TRAIN_GRAD, &inputs, attrs([("epsilon", Attr::Float(epsilon))]), |b, i| {
            let rank = b.rank(i[0]);
            let axes = reduced(rank);
            let mean = per_channel(b, i[3], rank)?;
            let variance = per_channel(b, i[4], rank)?;
            let scale = per_channel(b, i[2], rank)?;
            let inverse = inverse_deviation(b, variance, epsilon as f64)?;
            let centred = b.sub(i[1], mean)?;
            let product = b.mul(i[0], centred)?;
            let channels = [b.shape(i[2])[0]];
            // Σ dy and Σ dy·(x − mean), each [C, 1, …].
            let keep: Vec<Dim> = b.shape(mean).to_vec();
            let total = b.sum(i[0], &axes, false)?;
            let moment = b.sum(product, &axes, false)?;
            let (mean_dy, mean_moment) = match product_of_counts(b.graph, i[0]) {
                Some(count) => {
                    let share = b.number(1.0 / count as f64, total);
                    (b.mul(total, share)?, b.mul(moment, share)?)
                }
                None => (b.mean(i[0], &axes, false)?, b.mean(product, &axes, false)?),
            };
            let mean_dy = b.reshape(mean_dy, &keep)?;
            let mean_moment = b.reshape(mean_moment, &keep)?;
            // dx = f·dy + c·(x − mean) + k with f = scale·inverse, c = −f·inverse²·mean(dy·(x − mean)), k = −f·mean(dy)
            let f = b.mul(scale, inverse)?;
            let square = b.mul(inverse, inverse)?;
            let tilt = b.mul(f, square)?;
            let tilt = b.mul(tilt, mean_moment)?;
            let lift = b.mul(f, mean_dy)?;
            let scaled = b.mul(i[0], f)?;
            let tilted = b.mul(centred, tilt)?;
            let dx = b.sub(scaled, tilted)?;
            let dx = b.sub(dx, lift)?;
            let inverse = b.reshape(inverse, &channels)?;
            Ok(vec![dx, b.mul(moment, inverse)?, total])
        })?;
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
    let dims = graph.ty(x).dims()?;
    Some(dims[0] * dims[2..].iter().product::<usize>())
}
