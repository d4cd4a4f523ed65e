//! Passes: each makes a graph another of the same meaning, or of a meaning that it states. One file each; whoever uses some has one
//! ordered list of them.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod alternatives;
mod batch_norm;
mod batch_size;
mod bias;
mod class_weights;
mod dropout;
mod equal;
#[cfg(test)]
mod expression_tests;
mod expressions;
mod fix_values;
mod fusion;
mod half;
#[cfg(test)]
mod half_tests;
mod in_place;
mod inline;
mod joined_products;
mod kernel;
mod layout;
#[cfg(test)]
mod layout_tests;
mod merge;
mod mixed;
#[cfg(test)]
mod native_tests;
mod place;
mod precision;
mod repeat;
mod restore;
mod samples;
mod shuffles;
mod source_branch;
mod sums;
mod types;

pub use alternatives::{Alternatives, NewerOperators, PlainOperators};
pub use batch_norm::train_batch_norm;
pub use batch_size::FixBatch;
pub use bias::ApartBias;
pub use class_weights::ClassWeights;
pub use dropout::{Drops, Masks, drop_elements};
pub use expressions::{CHANNELS, CONSTANT, CONSTANTS, Elements, FuseExpressions, Instruction, RESULTS, STEP, STEPS, spreads_channels};
pub use fix_values::FixValues;
pub use fusion::FuseKernels;
pub use half::{half_nodes, has_halves};
pub use in_place::{UpdateInPlace, shared_buffers};
pub use inline::{Inline, InlineOthers};
pub use joined_products::JoinProducts;
pub use kernel::{
    CEILING, Extras, FLOAT_IMAGES, Images, Kernel, ORDER, Penalties, Port, RANGES, RECTIFIED, Replaces, SHUFFLE_CHANNELS, SIZE,
    TO_CHANNELS_FIRST, TO_CHANNELS_LAST,
};
pub use layout::ChannelsLast;
pub use merge::MergeEqual;
pub use mixed::MixedPrecision;
pub use place::PlaceKernels;
pub use precision::{HalfImages, half_name};
pub use repeat::RepeatCheap;
pub use restore::RestoreOperators;
pub use samples::{Wide, leading_samples};
pub use source_branch::{SourceBranch, start_constant};
pub use sums::{AXES, FuseSums, KEEP, MEAN, SUMS, is_summed, kept_axes};
pub use types::InferTypes;

use crate::error::{Error, Result};
use crate::ir::{Graph, TensorType};

/// One change of a graph, with what it demands and what it promises.
pub trait Pass {
    /// What messages call it.
    fn name(&self) -> &'static str;

    /// What must hold of the graph, beyond what holds of every graph.
    fn requires(&self, _: &Graph) -> Result<(), String> {
        Ok(())
    }

    /// Changes the graph; most by a copy with [`rebuild`](crate::ir::rebuild()).
    fn run(&self, graph: &mut Graph) -> Result<()>;

    /// What holds of the graph afterwards, beyond what holds of every graph.
    fn ensures(&self, _: &Graph) -> Result<(), String> {
        Ok(())
    }

    /// Whether inputs and outputs keep their order, names and types.
    fn keeps_ports(&self) -> bool {
        true
    }
}

/// Runs the passes in order. Builds with debug assertions check the graph after each, as [`apply_verified`] always does.
pub fn apply(graph: &mut Graph, passes: &[&dyn Pass]) -> Result<()> {
    passes.iter().try_for_each(|pass| one(graph, *pass, cfg!(any(test, debug_assertions))))
}

/// Runs the passes in order, and checks after each what holds of every graph, bodies of functions included, and what the pass ensures.
pub fn apply_verified(graph: &mut Graph, passes: &[&dyn Pass]) -> Result<()> {
    passes.iter().try_for_each(|pass| one(graph, *pass, true))
}

fn one(graph: &mut Graph, pass: &dyn Pass, verify: bool) -> Result<()> {
    let broken = |graph: &Graph, when: &str, why: String| {
        Error::internal(format!("the graph `{}` {when} the pass `{}` is not as it must be: {why}", graph.name, pass.name()))
    };
    pass.requires(graph).map_err(|why| broken(graph, "before", why))?;
    let before = (verify && pass.keeps_ports()).then(|| ports(graph));
    pass.run(graph)?;
    if verify {
        graph.verify().and_then(|()| pass.ensures(graph)).map_err(|why| broken(graph, "after", why))?;
        if before.is_some_and(|before| before != ports(graph)) {
            return Err(broken(graph, "after", "its inputs and outputs have changed".into()));
        }
    }
    Ok(())
}

/// For what changes a graph and is no pass: what it leaves holds together, as after a pass. Checked in tests and in builds with debug assertions.
fn verified(graph: &Graph, what: &str) -> Result<()> {
    if cfg!(any(test, debug_assertions)) {
        graph.verify().map_err(|why| Error::internal(format!("the graph `{}` after {what} is not as it must be: {why}", graph.name)))?;
    }
    Ok(())
}

/// Names and types of inputs, then of outputs.
fn ports(graph: &Graph) -> [Vec<(String, TensorType)>; 2] {
    [&graph.inputs, &graph.outputs].map(|list| list.iter().map(|&v| (graph.name_of(v).to_string(), graph.ty(v).clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Node};

    struct Broken(fn(&mut Graph));

    impl Pass for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn run(&self, graph: &mut Graph) -> Result<()> {
            self.0(graph);
            Ok(())
        }

        fn ensures(&self, graph: &Graph) -> Result<(), String> {
            if graph.nodes.len() == 1 { Ok(()) } else { Err("it has lost its node".into()) }
        }
    }

    #[test]
    fn what_a_pass_breaks_is_named() {
        for (change, expected) in [
            (Broken(|g| g.nodes[0].inputs = vec![Some(g.outputs[0])]), "node `n` reads `y` before it is computed"),
            (Broken(|g| g.outputs = g.inputs.clone()), "its inputs and outputs have changed"),
            (
                Broken(|g| {
                    g.nodes.clear();
                    g.outputs.clear();
                }),
                "it has lost its node",
            ),
        ] {
            let ty = TensorType::scalar(DType::F32);
            let mut graph = Graph::new("g");
            let x = graph.input("x", ty.clone());
            graph.outputs = graph.node(Node::new("n", "Neg", vec![Some(x)], Default::default()), vec![("y".into(), ty)]);
            let error = apply(&mut graph, &[&change]).unwrap_err().to_string();
            assert!(error.contains("after the pass `broken`") && error.contains(expected), "{error}");
        }
    }
}
