//! Operators that tract reads only in part: BatchNormalization whose parameters are no constants (they are state here)
//! or that trains, and some that tract computes in float32 alone.

use std::borrow::Cow;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::{math, nn};
use tract_onnx::tract_hir::internal::*;

/// Puts this module's operators into tract's table, in place of its own.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert("BatchNormalization", batch_normalization);
    operators.insert("Gemm", gemm);
    operators.insert("Sigmoid", |_, _| Ok((expand(Unary(Function::Sigmoid)), vec![])));
    operators.insert("Softplus", |_, _| Ok((expand(Softplus), vec![])));
    operators.insert("Erf", |_, _| Ok((expand(Unary(Function::Erf)), vec![])));
    operators.insert("HardSwish", |_, _| Ok((expand(Unary(Function::HardSwish)), vec![])));
    operators.insert("LeakyRelu", |_, node| Ok((expand(Unary(Function::LeakyRelu(node.get_attr_opt("alpha")?.unwrap_or(0.01)))), vec![])));
}

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

fn batch_normalization(_: &ParsingContext, node: &NodeProto) -> Built {
    if node.get_attr_opt("spatial")?.unwrap_or(1) != 1 {
        bail!("BatchNormalization with spatial=0 (ONNX operators before version 9) is not supported")
    }
    let training = node.get_attr_opt("training_mode")?.unwrap_or(0) != 0;
    let outputs = node.output.iter().filter(|o| !o.is_empty()).count();
    if node.output.iter().take(outputs).any(|o| o.is_empty()) || outputs > if training { 3 } else { 1 } {
        bail!("BatchNormalization with {outputs} outputs and training_mode={} is not supported", training as u8)
    }
    Ok((
        expand(BatchNormalization {
            epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5),
            momentum: node.get_attr_opt("momentum")?.unwrap_or(0.9),
            training,
            outputs,
        }),
        vec![],
    ))
}

/// Inputs: x [N, C, …], scale [C], bias [C], mean [C], variance [C]. Outputs: y, and in training the next moving mean
/// and variance.
#[derive(Debug, Clone)]
struct BatchNormalization {
    epsilon: f32,
    momentum: f32,
    training: bool,
    outputs: usize,
}

impl Expansion for BatchNormalization {
    fn name(&self) -> StaticName {
        "BatchNormalization".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, 5)?;
        check_output_arity(outputs, self.outputs)?;
        let ([x, scale, others @ ..], [y, statistics @ ..]) = (inputs, outputs) else { bail!("BatchNormalization without operands") };
        s.equals(&x.shape, &y.shape)?;
        for parameter in others.iter().chain([scale]) {
            s.equals(&x.datum_type, &parameter.datum_type)?;
            s.equals(&parameter.rank, 1)?;
            s.equals(&x.shape[1], &parameter.shape[0])?;
        }
        s.equals(&x.datum_type, &y.datum_type)?;
        for output in statistics {
            s.equals(&x.datum_type, &output.datum_type)?;
            s.equals(&scale.shape, &output.shape)?;
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let &[x, scale, bias, mean, variance] = inputs else {
            bail!("BatchNormalization takes five inputs, and this one has {}", inputs.len())
        };
        let fact = model.outlet_fact(x)?;
        let mut wirer = Wirer { prefix, dtype: fact.datum_type, rank: fact.rank(), shape: fact.shape.to_tvec(), model };
        let mut results = tvec!();
        if self.training {
            let axes: TVec<usize> = (0..wirer.rank).filter(|&axis| axis != 1).collect();
            let count: TDim = axes.iter().filter_map(|&axis| wirer.shape.get(axis).cloned()).product();
            let share = 1.0 / count.to_usize()? as f64;
            let batch_mean = wirer.mean("mean", x, &axes, share)?;
            let difference = wirer.node("difference", math::sub(), &[x, batch_mean])?;
            let square = wirer.node("square", math::square(), &[difference])?;
            let batch_variance = wirer.mean("variance", square, &axes, share)?;
            let scale = wirer.channels("scale", scale)?;
            let slope = self.slope(&mut wirer, scale, batch_variance)?;
            let bias = wirer.channels("bias", bias)?;
            let scaled = wirer.node("scaled", math::mul(), &[difference, slope])?;
            results.push(wirer.node("", math::add(), &[scaled, bias])?);
            for (name, moving, batch) in [("moving_mean", mean, batch_mean), ("moving_variance", variance, batch_variance)] {
                if results.len() < self.outputs {
                    let kept = wirer.times(&format!("{name}.kept"), moving, self.momentum as f64)?;
                    let batch = wirer.flat(name, batch)?;
                    let batch = wirer.times(&format!("{name}.batch"), batch, 1.0 - self.momentum as f64)?;
                    results.push(wirer.node(name, math::add(), &[kept, batch])?);
                }
            }
        } else {
            // y = x·slope + (bias − mean·slope), the slope and the rest once for each channel.
            let slope = self.slope(&mut wirer, scale, variance)?;
            let shift = wirer.node("shift", math::mul(), &[mean, slope])?;
            let rest = wirer.node("rest", math::sub(), &[bias, shift])?;
            let slope = wirer.channels("slope", slope)?;
            let rest = wirer.channels("rest", rest)?;
            let scaled = wirer.node("scaled", math::mul(), &[x, slope])?;
            results.push(wirer.node("", math::add(), &[scaled, rest])?);
        }
        Ok(results)
    }
}

impl BatchNormalization {
    /// scale / √(variance + ε)
    fn slope(&self, wirer: &mut Wirer<'_>, scale: OutletId, variance: OutletId) -> TractResult<OutletId> {
        let epsilon = wirer.scalar("epsilon", variance, self.epsilon as f64)?;
        let shifted = wirer.node("variance_epsilon", math::add(), &[variance, epsilon])?;
        let deviation = wirer.node("deviation", math::sqrt(), &[shifted])?;
        wirer.node("slope", math::div(), &[scale, deviation])
    }
}

fn gemm(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((
        expand(Gemm {
            alpha: node.get_attr_opt("alpha")?.unwrap_or(1.0),
            beta: node.get_attr_opt("beta")?.unwrap_or(1.0),
            transpose_a: node.get_attr_opt("transA")?.unwrap_or(false),
            transpose_b: node.get_attr_opt("transB")?.unwrap_or(false),
        }),
        vec![],
    ))
}

/// α·A·B + β·C. tract's own reading has its α and β in float32 whatever the type of the matrices.
#[derive(Debug, Clone)]
struct Gemm {
    alpha: f32,
    beta: f32,
    transpose_a: bool,
    transpose_b: bool,
}

impl Expansion for Gemm {
    fn name(&self) -> StaticName {
        "Gemm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        if !(2..=3).contains(&inputs.len()) {
            bail!("Gemm takes two or three inputs, and this one has {}", inputs.len());
        }
        check_output_arity(outputs, 1)?;
        let ([a, b, ..], [product]) = (inputs, outputs) else { bail!("Gemm without operands") };
        for input in inputs {
            s.equals(&input.datum_type, &product.datum_type)?;
        }
        for matrix in [a, b, product] {
            s.equals(&matrix.rank, 2)?;
        }
        let (rows, inner_a) = if self.transpose_a { (1, 0) } else { (0, 1) };
        let (inner_b, columns) = if self.transpose_b { (1, 0) } else { (0, 1) };
        s.equals(&a.shape[rows], &product.shape[0])?;
        s.equals(&a.shape[inner_a], &b.shape[inner_b])?;
        s.equals(&b.shape[columns], &product.shape[1])?;
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let &[a, b, ref rest @ ..] = inputs else { bail!("Gemm takes two or three inputs, and this one has {}", inputs.len()) };
        let dtype = model.outlet_fact(a)?.datum_type;
        let axes = AxesMapping::for_numpy_matmul(2, self.transpose_a, self.transpose_b, false)?;
        let mut wirer = Wirer { prefix, dtype, rank: 2, shape: tvec!(), model };
        let mut product = wirer.node("product", EinSum::new(axes, dtype), &[a, b])?;
        if self.alpha != 1.0 {
            product = wirer.times("alpha", product, self.alpha as f64)?;
        }
        match rest.first() {
            Some(&c) if self.beta != 0.0 => {
                let mut c = c;
                for axis in wirer.model.outlet_fact(c)?.rank()..2 {
                    c = wirer.node(&format!("c.axis{axis}"), AxisOp::Add(0), &[c])?;
                }
                if self.beta != 1.0 {
                    c = wirer.times("beta", c, self.beta as f64)?;
                }
                product = wirer.node("", math::add(), &[product, c])?;
            }
            _ => {}
        }
        Ok(tvec!(product))
    }
}

/// Adds nodes named after the node that they stand for.
struct Wirer<'a> {
    prefix: &'a str,
    dtype: DatumType,
    rank: usize,
    shape: TVec<TDim>,
    model: &'a mut TypedModel,
}

impl Wirer<'_> {
    fn title(&self, name: &str) -> String {
        if name.is_empty() { self.prefix.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    fn node(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        let made = self.model.wire_node(self.title(name), op, inputs)?;
        made.first().copied().with_context(|| format!("{name} has no output"))
    }

    /// A constant of the rank of `like`.
    fn scalar(&mut self, name: &str, like: OutletId, value: f64) -> TractResult<OutletId> {
        let rank = self.model.outlet_fact(like)?.rank();
        let value = tensor0(value).cast_to_dt(self.dtype)?.into_owned().broadcast_into_rank(rank)?;
        self.model.add_const(self.title(name), value)
    }

    fn times(&mut self, name: &str, value: OutletId, factor: f64) -> TractResult<OutletId> {
        let factor = self.scalar(&format!("{name}.factor"), value, factor)?;
        self.node(name, math::mul(), &[value, factor])
    }

    /// [N, C, …] → [1, C, 1, …]; `share` is one over the count of elements behind each mean.
    fn mean(&mut self, name: &str, value: OutletId, axes: &TVec<usize>, share: f64) -> TractResult<OutletId> {
        let sum = self.node(&format!("{name}.sum"), Reduce::new(axes.clone(), Reducer::Sum), &[value])?;
        self.times(name, sum, share)
    }

    /// [C] → [1, C, 1, …]
    fn channels(&mut self, name: &str, mut value: OutletId) -> TractResult<OutletId> {
        for axis in (0..self.rank).filter(|&axis| axis != 1) {
            value = self.node(&format!("{name}.axis{axis}"), AxisOp::Add(axis), &[value])?;
        }
        Ok(value)
    }

    /// [1, C, 1, …] → [C]
    fn flat(&mut self, name: &str, mut value: OutletId) -> TractResult<OutletId> {
        for axis in (0..self.rank).rev().filter(|&axis| axis != 1) {
            value = self.node(&format!("{name}.flat{axis}"), AxisOp::Rm(axis), &[value])?;
        }
        Ok(value)
    }
}

/// `log(1 + eˣ)` as `max(x, 0) + log(1 + e^(−|x|))`: tract's own reading is infinite from 89 on.
#[derive(Debug, Clone)]
struct Softplus;

impl Expansion for Softplus {
    fn name(&self) -> StaticName {
        "Softplus".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        same(s, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let x = one(inputs)?;
        let fact = model.outlet_fact(x)?;
        let mut wirer = Wirer { prefix, dtype: fact.datum_type, rank: fact.rank(), shape: tvec!(), model };
        let [zero, one] = [("zero", 0.0), ("one", 1.0)].map(|(name, value)| wirer.scalar(name, x, value));
        let size = wirer.node("size", math::abs(), &[x])?;
        let falling = wirer.node("falling", math::neg(), &[size])?;
        let power = wirer.node("power", math::exp(), &[falling])?;
        let sum = wirer.node("sum", math::add(), &[power, one?])?;
        let rest = wirer.node("rest", math::ln(), &[sum])?;
        let above = wirer.node("above", math::max(), &[x, zero?])?;
        Ok(tvec!(wirer.node("", math::add(), &[above, rest])?))
    }
}

/// One input and one output of one type and shape.
fn same<'r, 'p: 'r>(s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
    check_input_arity(inputs, 1)?;
    check_output_arity(outputs, 1)?;
    let ([x], [y]) = (inputs, outputs) else { bail!("a function without operand") };
    s.equals(&x.datum_type, &y.datum_type)?;
    s.equals(&x.shape, &y.shape)
}

/// The only input.
fn one(inputs: &[OutletId]) -> TractResult<OutletId> {
    match inputs {
        [x] => Ok(*x),
        _ => bail!("a function of one value has {} inputs", inputs.len()),
    }
}

/// A function of one number that tract knows in float32 only.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Sigmoid,
    Erf,
    HardSwish,
    LeakyRelu(f32),
}

// The slope of LeakyRelu comes from a file and is a number.
impl Eq for Function {}

impl Function {
    fn at(self, x: f64) -> f64 {
        match self {
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Erf => libm::erf(x),
            Function::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Function::LeakyRelu(slope) => {
                if x < 0.0 {
                    x * slope as f64
                } else {
                    x
                }
            }
        }
    }

    fn of_tract(self) -> Box<dyn TypedOp> {
        match self {
            Function::Sigmoid => nn::sigmoid().into(),
            Function::Erf => math::erf().into(),
            Function::HardSwish => nn::hard_swish().into(),
            Function::LeakyRelu(slope) => nn::leaky_relu(slope).into(),
        }
    }
}

#[derive(Debug, Clone)]
struct Unary(Function);

impl Expansion for Unary {
    fn name(&self) -> StaticName {
        Cow::Owned(format!("{:?}", self.0))
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        same(s, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let op = match model.outlet_fact(one(inputs)?)?.datum_type {
            DatumType::F64 => ElementWiseOp(Box::new(Double(self.0)), None).into(),
            _ => self.0.of_tract(),
        };
        model.wire_node(prefix, op, inputs)
    }
}

/// The function in float64.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Double(Function);

impl ElementWiseMiniOp for Double {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        for x in tensor.try_as_plain_ram_mut()?.as_slice_mut::<f64>()? {
            *x = self.0.at(*x);
        }
        Ok(())
    }
}
