//! The one table of operators. Dispatch, docs/operators.md and the whole-table tests all come from it.

use super::{
    abs, activation, add, argmax, attention, average_pool, batch_norm, cast, cast_like, choice, clip, compare, concat, constant, conv,
    depth_space, div, dropout, einsum, erf, exp, expand, extremum, gather, gather_nd, gelu, gemm, global_pool, hard_sigmoid, hard_swish,
    identity, leaky_relu, log, lp, lrn, matmul, max_pool, modulo, mul, neg, normalization, not, pad, pow, prelu, random, reduce,
    reduce_formula, relu, reshape, resize, scatter, select, sequence, shape, sigmoid, slice, softmax, softplus, softsign, split, sqrt,
    steps, sub, sum, tanh, transpose, triangle, trigonometry,
};
use crate::ir::{Attrs, Graph, Node, ValueId};
use crate::operator::{Builder, Facts, Known, Meaning, Operator, Rule, View, fold};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Every operator of ONNX's own domain that spgraph knows, by name.
pub static OPERATORS: &[&dyn Operator] = &[
    // Element-wise
    &abs::Abs,
    &activation::CELU,
    &activation::ELU,
    &activation::MISH,
    &activation::SELU,
    &activation::SHRINK,
    &activation::SWISH,
    &activation::THRESHOLDED_RELU,
    &clip::Clip,
    &erf::Erf,
    &exp::Exp,
    &gelu::Gelu,
    &hard_sigmoid::HardSigmoid,
    &hard_swish::HardSwish,
    &leaky_relu::LeakyRelu,
    &log::Log,
    &neg::Neg,
    &not::Not,
    &prelu::PRelu,
    &relu::Relu,
    &sigmoid::Sigmoid,
    &softplus::Softplus,
    &softsign::Softsign,
    &sqrt::Sqrt,
    &steps::Ceil,
    &steps::Floor,
    &steps::Round,
    &steps::Sign,
    &tanh::Tanh,
    &trigonometry::ACOS,
    &trigonometry::ACOSH,
    &trigonometry::ASIN,
    &trigonometry::ASINH,
    &trigonometry::ATAN,
    &trigonometry::ATANH,
    &trigonometry::COS,
    &trigonometry::COSH,
    &trigonometry::RECIPROCAL,
    &trigonometry::SIN,
    &trigonometry::SINH,
    &trigonometry::TAN,
    &add::Add,
    &div::Div,
    &extremum::Max,
    &extremum::Min,
    &modulo::BitShift,
    &modulo::Mod,
    &mul::Mul,
    &pow::Pow,
    &sub::Sub,
    &sum::Mean,
    &sum::Sum,
    &softmax::Hardmax,
    &softmax::LogSoftmax,
    &softmax::Softmax,
    // Comparisons
    &argmax::ArgMax,
    &argmax::ArgMin,
    &compare::And,
    &compare::Equal,
    &compare::Greater,
    &compare::GreaterOrEqual,
    &compare::Less,
    &compare::LessOrEqual,
    &compare::Or,
    &compare::Xor,
    &steps::IsInf,
    &steps::IsNaN,
    // Linear algebra
    &batch_norm::BatchNormalization,
    &batch_norm::BatchNormTrain,
    &conv::Conv,
    &conv::ConvTranspose,
    &attention::Attention,
    &attention::RotaryEmbedding,
    &einsum::Einsum,
    &gemm::Gemm,
    &matmul::MatMul,
    // Normalizations
    &normalization::GroupNormalization,
    &normalization::InstanceNormalization,
    &normalization::LayerNormalization,
    &lp::LpNormalization,
    &lp::MeanVarianceNormalization,
    &lrn::Lrn,
    &normalization::RMSNormalization,
    // Windows
    &average_pool::AveragePool,
    &lp::LpPool,
    &max_pool::MaxPool,
    // Reductions
    &global_pool::GlobalAveragePool,
    &global_pool::GlobalMaxPool,
    &lp::GlobalLpPool,
    &reduce::ReduceMax,
    &reduce::ReduceMean,
    &reduce::ReduceSum,
    &reduce::ReduceSumSquare,
    &reduce_formula::ReduceL1,
    &reduce_formula::ReduceL2,
    &reduce_formula::ReduceLogSum,
    &reduce_formula::ReduceLogSumExp,
    &reduce_formula::ReduceMin,
    &reduce_formula::ReduceProd,
    // Shape and layout
    &cast::Cast,
    &cast_like::CastLike,
    &choice::Compress,
    &choice::NonZero,
    &choice::OneHot,
    &choice::TopK,
    &concat::Concat,
    &constant::Constant,
    &constant::ConstantOfShape,
    &constant::Range,
    &depth_space::DepthToSpace,
    &depth_space::SpaceToDepth,
    &dropout::Dropout,
    &dropout::DropoutTrain,
    &expand::Expand,
    &expand::Tile,
    &gather::Gather,
    &gather_nd::GatherElements,
    &gather_nd::GatherND,
    &identity::Identity,
    &pad::Pad,
    &random::Bernoulli,
    &random::Multinomial,
    &random::RandomNormal,
    &random::RandomNormalLike,
    &random::RandomUniform,
    &random::RandomUniformLike,
    &reshape::Flatten,
    &reshape::Reshape,
    &reshape::Squeeze,
    &resize::Resize,
    &resize::Upsample,
    &reshape::Unsqueeze,
    &scatter::Scatter,
    &scatter::ScatterElements,
    &scatter::ScatterND,
    &select::Where,
    &sequence::ConcatFromSequence,
    &sequence::SequenceAt,
    &sequence::SequenceConstruct,
    &sequence::SequenceEmpty,
    &sequence::SequenceErase,
    &sequence::SequenceInsert,
    &sequence::SequenceLength,
    &sequence::SplitToSequence,
    &shape::Shape,
    &shape::Size,
    &slice::Slice,
    &split::Split,
    &transpose::Transpose,
    &triangle::CumSum,
    &triangle::EyeLike,
    &triangle::Trilu,
];

/// The entry for an operator of ONNX's own domain.
pub fn find(op_type: &str) -> Option<&'static dyn Operator> {
    static BY_NAME: LazyLock<HashMap<&str, &dyn Operator>> = LazyLock::new(|| OPERATORS.iter().map(|o| (o.op_type(), *o)).collect());
    BY_NAME.get(op_type).copied()
}

impl View<'_> {
    /// The table's entry for the node.
    pub fn operator(&self) -> Option<&'static dyn Operator> {
        find(&self.node.op_type)
    }

    /// What is always true of the node's operator.
    pub fn facts(&self) -> Facts {
        self.operator().map_or(Facts::NONE, |o| o.facts())
    }

    /// What the node hands on, where it only puts numbers that depend on an image into another shape, order or floating type.
    pub fn handed_on(&self) -> Option<ValueId> {
        let x = self.input(0).filter(|&x| self.graph.value(x).varies)?;
        let facts = self.facts();
        let float = |v: ValueId| self.graph.ty(v).dtype.is_float();
        let converts = facts.meaning == Meaning::Conversion && float(x) && self.node.outputs.first().is_some_and(|&y| float(y));
        (facts.keeps_elements() || converts).then_some(x)
    }

    /// The constant of which nodes have made `value` by giving its elements other places at most: each is there once.
    pub fn moved_constant(graph: &Graph, mut value: ValueId) -> Option<ValueId> {
        while let Some(node) = graph.producer(value) {
            let view = View { graph, node };
            value = view.input(0).filter(|_| view.facts().keeps_elements())?;
        }
        graph.value(value).constant.as_ref().map(|_| value)
    }
}

impl Builder<'_> {
    /// Adds a node of the operator of that name, with any number of outputs.
    pub fn nodes(&mut self, op: &str, inputs: &[Option<ValueId>], attrs: Attrs) -> Rule<Vec<ValueId>> {
        self.apply_to(named(op)?, inputs, attrs)
    }

    /// Adds a node of the operator of that name, with one output.
    pub fn op(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Rule<ValueId> {
        self.apply(named(op)?, inputs, attrs)
    }
}

impl Builder<'_> {
    /// The node's one output, or what is known of it without running it: what import makes of such a node.
    pub fn folded(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Rule<ValueId> {
        let operator = named(op)?;
        let node = Node::new(op, op, inputs.iter().copied().map(Some).collect(), attrs);
        let view = View { graph: self.graph, node: &node };
        let types = operator.infer(&view)?;
        match fold::evaluate(operator, &view, &types) {
            Some(Known::Tensor(tensor)) => Ok(self.constant(tensor)),
            known => {
                let made = self.apply(operator, inputs, node.attrs)?;
                if let Some(Known::Elems(elems)) = known {
                    self.graph.value_mut(made).elems = Some(elems);
                }
                Ok(made)
            }
        }
    }
}

fn named(op: &str) -> Rule<&'static dyn Operator> {
    find(op).ok_or_else(|| format!("{op} is not in the operator table"))
}
