//! Every n-th entry along an axis, kept where it stands.
//!
//! tract moves its `Downsample` up through the graph. On the way past a slice that does not begin at 0 it gets an offset, and where it then becomes
//! the stride of a convolution that offset is lost (`fuse_downsample_into_conv` in 0.23): the network computes something else, without a word.

use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::StridedSlice;
use tract_onnx::tract_hir::internal::*;

/// `Downsample` under another name, which no simplification knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeptDownsample(Downsample);

impl Op for KeptDownsample {
    fn name(&self) -> StaticName {
        "KeptDownsample".into()
    }

    op_as_typed_op!();
}

impl EvalOp for KeptDownsample {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.0.eval_out_of_plan(inputs)
    }

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl TypedOp for KeptDownsample {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}

/// A slice with steps, which becomes slices and what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeptStridedSlice(StridedSlice);

impl Op for KeptStridedSlice {
    fn name(&self) -> StaticName {
        "KeptStridedSlice".into()
    }

    op_as_typed_op!();
}

impl EvalOp for KeptStridedSlice {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.0.eval_out_of_plan(inputs)
    }

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl TypedOp for KeptStridedSlice {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        let mut patch = self.0.declutter(model, node)?;
        patch.iter_mut().for_each(|patch| keep_strides(&mut patch.model));
        Ok(patch)
    }

    as_op!();
}

/// Keeps every such operator of a model where it stands.
pub(super) fn keep_strides(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(op) = node.op_as::<Downsample>().cloned() {
            node.op = Box::new(KeptDownsample(op));
        } else if let Some(op) = node.op_as::<StridedSlice>().cloned() {
            node.op = Box::new(KeptStridedSlice(op));
        }
    }
}
