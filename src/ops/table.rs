//! The one table of operators. Dispatch, docs/operators.md and the whole-table tests all come from it.

use super::{
    abs, argmax, average_pool, batch_norm, binary, cast, cast_like, clip, compare, concat, constant, conv, depth_space, exp, expand,
    gather, gemm, hard_sigmoid, hard_swish, identity, leaky_relu, log, matmul, max_pool, neg, not, pad, reduce, relu, reshape, select,
    shape, sigmoid, sign, slice, softmax, split, sqrt, tanh, transpose,
};
use crate::operator::{Operator, View};

/// Every operator of ONNX's own domain that spgraph knows, by name.
pub static OPERATORS: &[&dyn Operator] = &[
    // Element-wise
    &abs::Abs,
    &clip::Clip,
    &exp::Exp,
    &hard_sigmoid::HardSigmoid,
    &hard_swish::HardSwish,
    &leaky_relu::LeakyRelu,
    &log::Log,
    &neg::Neg,
    &not::Not,
    &relu::Relu,
    &sigmoid::Sigmoid,
    &sign::Sign,
    &sqrt::Sqrt,
    &tanh::Tanh,
    &binary::Add,
    &binary::Div,
    &binary::Max,
    &binary::Mul,
    &binary::Pow,
    &binary::Sub,
    &binary::Sum,
    &softmax::LogSoftmax,
    &softmax::Softmax,
    // Comparisons
    &argmax::ArgMax,
    &compare::And,
    &compare::Equal,
    &compare::Greater,
    &compare::GreaterOrEqual,
    &compare::Less,
    &compare::LessOrEqual,
    &compare::Or,
    // Linear algebra
    &batch_norm::BatchNormalization,
    &batch_norm::BatchNormTrain,
    &conv::Conv,
    &conv::ConvTranspose,
    &gemm::Gemm,
    &matmul::MatMul,
    // Windows
    &average_pool::AveragePool,
    &max_pool::MaxPool,
    // Reductions
    &reduce::GlobalAveragePool,
    &reduce::GlobalMaxPool,
    &reduce::ReduceMax,
    &reduce::ReduceMean,
    &reduce::ReduceSum,
    &reduce::ReduceSumSquare,
    // Shape and layout
    &cast::Cast,
    &cast_like::CastLike,
    &concat::Concat,
    &constant::Constant,
    &constant::ConstantOfShape,
    &constant::Range,
    &depth_space::DepthToSpace,
    &depth_space::SpaceToDepth,
    &expand::Expand,
    &expand::Tile,
    &gather::Gather,
    &identity::Dropout,
    &identity::Identity,
    &pad::Pad,
    &reshape::Flatten,
    &reshape::Reshape,
    &reshape::Squeeze,
    &reshape::Unsqueeze,
    &select::Where,
    &shape::Shape,
    &shape::Size,
    &slice::Slice,
    &split::Split,
    &transpose::Transpose,
];

/// The entry for an operator of ONNX's own domain.
pub fn find(op_type: &str) -> Option<&'static dyn Operator> {
    OPERATORS.iter().copied().find(|o| o.op_type() == op_type)
}

impl View<'_> {
    /// The table's entry for the node.
    pub fn operator(&self) -> Option<&'static dyn Operator> {
        find(&self.node.op_type)
    }
}
