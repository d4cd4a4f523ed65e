//! Which of ONNX's own operators runtimes have, in which versions: lists that each gave of itself, one file a runtime.

use super::cuda::has_kernel;
use crate::ir::Domain;
use crate::onnx::schema::{Found, find};
use std::collections::HashMap;
use std::sync::LazyLock;

type List = LazyLock<HashMap<&'static str, Vec<i64>>>;

// Made by `tests/generate/runtime_operators.py`, which explains their lines.
static ORT: List = LazyLock::new(|| parse(include_str!("operators_ort.txt")));
static OPENVINO: List = LazyLock::new(|| parse(include_str!("operators_openvino.txt")));
static TRACT: List = LazyLock::new(|| parse(include_str!("operators_tract.txt")));

fn parse(text: &'static str) -> HashMap<&'static str, Vec<i64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &'static str| line.split_once(' ').map(|(name, since)| (name, since.split(' ').flat_map(str::parse).collect()));
    lines.filter_map(entry).collect()
}

fn listed(list: &List, operator: &str, opset: i64) -> bool {
    match find(operator, opset) {
        Found::Here(schema) => list.get(operator).is_some_and(|versions| versions.contains(&schema.since)),
        _ => false,
    }
}

/// ONNX Runtime on the processor, with what it makes of ONNX's own functions.
pub(super) fn ort(operator: &str, opset: i64) -> bool {
    // A value that is there before the graph runs: it has no kernel and needs none.
    operator == "Constant" || listed(&ORT, operator, opset)
}

/// ONNX Runtime with its CUDA provider, which leaves to the processor what it has no kernel for.
pub(super) fn ort_cuda(operator: &str, opset: i64) -> bool {
    ort(operator, opset) || has_kernel(Domain::Onnx, operator, opset, &[], &[])
}

/// OpenVINO.
pub(super) fn openvino(operator: &str, opset: i64) -> bool {
    listed(&OPENVINO, operator, opset)
}

/// tract.
pub(super) fn tract(operator: &str, opset: i64) -> bool {
    listed(&TRACT, operator, opset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::OPSETS;
    use crate::ops::table::OPERATORS;

    #[test]
    fn every_line_is_an_operator_with_versions_that_onnx_has() {
        for text in [include_str!("operators_ort.txt"), include_str!("operators_openvino.txt"), include_str!("operators_tract.txt")] {
            let list = parse(text);
            assert_eq!(list.len(), text.lines().count() - 1);
            for (name, versions) in list {
                assert!(!versions.is_empty(), "{name}");
                let known = |since: i64| matches!(find(name, since.max(13)), Found::Here(schema) if schema.since >= since);
                assert!(versions.iter().all(|since| known(*since)), "{name} {versions:?}");
            }
        }
    }

    /// Of what a graph may have, in any opset that is written; operators that import writes as others are among them.
    #[test]
    fn what_runtimes_lack_of_the_operators_that_are_known() {
        let lacking = |has: fn(&str, i64) -> bool| {
            let names = OPERATORS.iter().map(|o| o.op_type());
            let lacks = |name: &&str| OPSETS.clone().any(|opset| matches!(find(name, opset), Found::Here(_)) && !has(name, opset));
            let mut found: Vec<&str> = names.filter(lacks).filter(|n| !n.contains("Sequence")).collect();
            found.sort_unstable();
            found
        };
        let random = ["Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];
        // GroupNormalization as opset 18 has it was deprecated at once, and is on no list.
        let on_ort: Vec<&str> = [&["GlobalLpPool", "GroupNormalization"], &random[..]].concat();
        assert_eq!(lacking(ort), on_ort);
        assert_eq!(lacking(tract), ["Bernoulli", "GroupNormalization", "LpPool"]);
        assert_eq!(lacking(openvino), ["GroupNormalization"]);
    }
}
