//! Native kernels: operators of our own, registered with ONNX Runtime, in the place of those nodes and functions of a graph that
//! they cover. Images are `[N, H, W, C]` between them. A graph never needs them, and its inputs and outputs stay as they are.
//!
//! [`ops`] has one file for each operator, passes put them into a graph and let them do what follows them, [`compute`] is their
//! arithmetic.

// The one purpose of this folder is arithmetic on raw buffers; each unsafe block says why it is sound.
// What passes checked before is computed here, in loops whose bounds kernels state.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, unsafe_code)]
mod compute;
#[allow(unsafe_code)]
mod library;
mod ops;

use self::compute::Pairs;
pub use self::compute::{Isa, Operation};
pub use self::library::register;
pub use self::ops::{INSTRUCTIONS, Window, is_plain, pads, pools, product, spreads_pixel};

use crate::error::{Error, Result};
use crate::ir::{DType, Domain, Graph};
use crate::pass::{
    self, ChannelsLast, FLOAT_IMAGES, FuseExpressions, FuseKernels, HalfImages, Inline, Kernel, Pass, RestoreOperators, UpdateInPlace,
    has_halves, shared_buffers,
};
use ort::operator::OperatorDomain;

/// Chooses which instructions the kernels use.
const ISA_VARIABLE: &str = "SPGRAPH_ISA";

/// The instructions that the kernels use: the best of this processor, or those that the environment variable `SPGRAPH_ISA` names.
///
/// Fails where it names none that this processor has.
pub fn instructions() -> Result<Isa> {
    match std::env::var_os(ISA_VARIABLE).filter(|name| !name.is_empty()) {
        None => Ok(Isa::best()),
        Some(name) => named(&name.to_string_lossy()),
    }
}

fn named(name: &str) -> Result<Isa> {
    let all = Isa::available();
    all.iter().copied().find(|isa| isa.keyword() == name).ok_or_else(|| {
        let possible: Vec<&str> = all.iter().map(|isa| isa.keyword()).collect();
        let missing = Isa::missing(name).map_or(String::new(), |what| format!(" (there is no {what})"));
        Error::usage(format!(
            "the environment variable {ISA_VARIABLE} is `{name}`, which names no instructions that the native kernels can use on this \
             processor{missing}: it can be {}, or be left out",
            possible.join(", ")
        ))
    })
}

/// What the kernels compute with, for people: `AVX-512`.
pub fn description(isa: Isa, half: bool) -> String {
    match (half, isa.pairs()) {
        (true, Some(Pairs { matrices: Some(_), .. })) => format!("{}, bf16 by AMX", isa.name()),
        (true, Some(Pairs { matrices: None, .. })) => format!("{}, bf16 by AVX512_BF16", isa.name()),
        (true, None) => format!("{}, bf16 multiplied in float32", isa.name()),
        (false, Some(Pairs { matrices: Some(_), .. })) => format!("{}, float32 in three products by AMX", isa.name()),
        (false, _) => isa.name().to_string(),
    }
}

/// Whether the kernels are taken by themselves with these instructions: measured faster than ONNX Runtime's with AVX-512 and AVX2, expected to be with NEON.
pub fn suits(isa: Isa) -> bool {
    isa != Isa::Portable
}

/// All native operators, for a session with that many threads.
pub fn domain(threads: usize, isa: Isa) -> ort::Result<OperatorDomain> {
    ops::domain(ops::TABLE, threads, isa)
}

/// A graph with native operators.
pub struct Prepared {
    pub graph: Graph,
    /// Pairs of a graph input and an output that may share a buffer: a parameter and its next value.
    pub in_place: Vec<(String, String)>,
}

/// The graph with native operators, on images of bfloat16 where `half` says so; `None` where they cover no image of it. With `inlined`, the functions that are left are written out.
pub fn prepare(mut graph: Graph, half: bool, inlined: bool) -> Result<Option<Prepared>> {
    // Graphs of mixed precision are for the runtime's own kernels.
    if has_halves(&graph) {
        return Ok(None);
    }
    let kernels = ops::kernels();
    let of_floats: Vec<(DType, &Kernel)> = kernels.iter().map(|&kernel| (DType::F32, kernel)).collect();
    let placing: [&dyn Pass; 2] = [
        // Alternatives are chosen for ONNX Runtime's own kernels.
        &RestoreOperators,
        // Kernels in the place of what they cover.
        &ChannelsLast { kernels: &of_floats, images: &[FLOAT_IMAGES] },
    ];
    let finishing: [&dyn Pass; 3] = [
        // What follows a kernel goes into it.
        &FuseKernels { kernels: &kernels },
        // What is left and works on single elements.
        &FuseExpressions { elements: &ops::ELEMENTS, kernels: &kernels },
        // After all fusions, which change who reads a parameter.
        &UpdateInPlace { kernels: &kernels },
    ];
    pass::apply(&mut graph, &placing)?;
    if !graph.nodes.iter().any(|n| n.domain == Domain::Native && kernels.iter().any(|k| k.name == n.op_type && k.has_images())) {
        return Ok(None);
    }
    pass::apply(&mut graph, &finishing)?;
    // Updates work on no images, and keep the names by which buffers are shared.
    let in_place = shared_buffers(&graph, &kernels);
    let name = |v| graph.name_of(v).to_string();
    let in_place = in_place.into_iter().map(|(now, next)| (name(now), name(next))).collect();
    if half {
        let has_form = |kernel: &Kernel| ops::TABLE.iter().any(|native| native.kernel.name == kernel.name && native.half.is_some());
        pass::apply(&mut graph, &[&HalfImages { kernels: &kernels, half: &has_form }])?;
    }
    if inlined {
        pass::apply(&mut graph, &[&Inline])?;
    }
    Ok(Some(Prepared { graph, in_place }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_are_not_there_are_refused_with_those_that_are() {
        assert_eq!(named("portable").unwrap(), Isa::Portable);
        let refusal = named("avx5").unwrap_err();
        assert!(matches!(refusal, Error::Usage(_)));
        let text = refusal.to_string();
        assert!(text.contains("SPGRAPH_ISA is `avx5`") && text.contains("it can be portable"), "{text}");
        for (keyword, names) in [("amx", ["AMX", "permission"]), ("neon", ["NEON"; 2]), ("avx2", ["AVX2", "FMA"])] {
            let there = Isa::available().iter().any(|isa| isa.keyword() == keyword);
            match named(keyword) {
                Ok(isa) => assert!(there && isa.keyword() == keyword),
                Err(refusal) => {
                    let text = refusal.to_string();
                    assert!(!there && text.contains("there is no") && names.iter().any(|name| text.contains(name)), "{text}");
                }
            }
        }
    }
}
