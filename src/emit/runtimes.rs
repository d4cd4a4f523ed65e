//! What runtimes want graphs to be like, and which of the operators that spgraph writes they lack or compute wrongly: a table, each row with where that is recorded.

use super::Dialect;
use super::opset::{OPSETS, opset_of};
use crate::error::{Error, Result};
use crate::ir::DType;
use crate::nearest::hint;
use crate::onnx::pb;
use crate::operator::OPSET;
use std::ops::RangeInclusive;

/// A runtime that graphs can be made for.
#[derive(Debug)]
pub struct Runtime {
    /// What it is called.
    pub name: &'static str,
    /// The form of functions that it can read, or that is faster there.
    pub dialect: Dialect,
    /// The opsets that it reads.
    pub opsets: RangeInclusive<i64>,
    /// Operators that it does not have, or not right, with what is wrong. Those with a rule [`plain`](crate::operator::Operator::plain) are written as others, and a
    /// training that needs another of them is refused.
    pub without: &'static [(&'static str, &'static str)],
    /// What it lacks of half precision.
    pub half: HalfSupport,
    /// Whether it may lose one of two equal nodes, so that graphs for it have none.
    pub loses_equal: bool,
    /// Where that is recorded.
    pub source: &'static str,
}

/// Which types of 16 bits a runtime cannot compute with.
#[derive(Debug)]
pub struct HalfSupport {
    /// Those that its graphs can't have at all, not even between two conversions.
    pub no_type: &'static [DType],
    /// Those whose products it has no kernels for.
    pub no_products: &'static [DType],
}

/// Nothing is known that is lacking.
const ANY_HALF: HalfSupport = HalfSupport { no_type: &[], no_products: &[] };

/// ONNX Runtime's CPU provider widens float16 where it has no kernel, and nothing of bfloat16.
const ORT_HALF: HalfSupport = HalfSupport { no_type: &[], no_products: &[DType::BF16] };

/// ONNX Runtime on the processor: CastLike and HardSwish, for which it has no kernel, it makes of the functions that ONNX defines them by.
const KERNELS: &str = "the table of kernels in onnxruntime 1.32.0 (`get_all_opkernel_def`), of opset 17 on the CPU";

/// Every runtime that is known.
pub static RUNTIMES: &[Runtime] = &[
    Runtime { name: "ort", dialect: Dialect::Functions, opsets: 7..=26, without: &[], half: ORT_HALF, loses_equal: false, source: KERNELS },
    Runtime {
        name: "node",
        dialect: Dialect::Functions,
        opsets: 7..=26,
        without: &[],
        half: ORT_HALF,
        loses_equal: false,
        source: KERNELS,
    },
    // Other forms of operators are chosen for the processor's kernels.
    Runtime {
        name: "ort-cuda",
        dialect: Dialect::Inlined,
        opsets: 7..=26,
        without: &[],
        half: ANY_HALF,
        loses_equal: false,
        source: "the CUDA provider's own list of kernels (src/emit/cuda_kernels.txt); what has none there runs on the CPU",
    },
    Runtime { name: "web", dialect: Dialect::Inlined, opsets: 7..=26, without: &[], half: ORT_HALF, loses_equal: false, source: KERNELS },
    Runtime {
        name: "openvino",
        dialect: Dialect::Inlined,
        opsets: 7..=23,
        without: &[("HardSigmoid", "on the CPU it adds 0.5 where `beta` is 0")],
        half: ANY_HALF,
        loses_equal: false,
        source: "what OpenVINO 2026.4.1 reads and computes, by `make test-openvino`",
    },
    Runtime {
        name: "tract",
        dialect: Dialect::Inlined,
        opsets: 7..=23,
        without: &[],
        half: HalfSupport { no_type: &[DType::BF16], no_products: &[DType::F16] },
        // Its pass `PushSplitDown`: running the model ends in "eval() called on a Dummy op".
        loses_equal: true,
        source: "the operators that tract-onnx 0.23.9 registers",
    },
];

/// The runtime of that name.
pub fn find_runtime(name: &str) -> Result<&'static Runtime> {
    let names: Vec<&str> = RUNTIMES.iter().map(|r| r.name).collect();
    let found = RUNTIMES.iter().find(|r| r.name == name);
    found.ok_or_else(|| Error::usage(format!("no runtime `{name}` is known; choose one of {}{}", names.join(", "), hint(name, &names))))
}

impl Runtime {
    /// The opset to write for it: spgraph's own, or the nearest that it reads.
    pub fn opset(&self) -> i64 {
        OPSET.clamp(*self.opsets.start(), *self.opsets.end())
    }

    /// Fails where it does not read the opset.
    pub fn check_opset(&self, opset: i64) -> Result<()> {
        if self.opsets.contains(&opset) {
            return Ok(());
        }
        let (first, last) = (self.opsets.start().max(OPSETS.start()), self.opsets.end().min(OPSETS.end()));
        Err(Error::usage(format!("{} does not read opset {opset}: take one from {first} to {last} (by {})", self.name, self.source)))
    }

    /// Fails where it can't run graphs of that mixed precision; `rounded` ones have nothing but conversions of the type.
    pub fn check_half(&self, half: DType, rounded: bool) -> std::result::Result<(), String> {
        if self.half.no_type.contains(&half) {
            return Err(format!("{} has no {half}", self.name));
        }
        match !rounded && self.half.no_products.contains(&half) {
            true => Err(format!(
                "{} has no products of {half}: take rounded-..., which computes the same numbers on float32 tensors",
                self.name
            )),
            false => Ok(()),
        }
    }

    /// Fails with every operator that the runtime lacks and these models need, its opset, and a node that needs it.
    pub fn check<'a>(&self, models: impl Iterator<Item = &'a pb::ModelProto>) -> Result<()> {
        let missing = self.missing(models);
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<String> =
            missing.iter().map(|m| format!("{} (opset {}), which node `{}` needs: {}", m.operator, m.opset, m.node, m.why)).collect();
        Err(Error::model(format!(
            "{} cannot run this training for want of {} (by {}). Take another runtime",
            self.name,
            list.join("; and of "),
            self.source
        )))
    }

    fn missing<'a>(&self, models: impl Iterator<Item = &'a pb::ModelProto>) -> Vec<Missing<'a>> {
        let mut missing: Vec<Missing> = vec![];
        for model in models {
            let opset = opset_of(model).unwrap_or(OPSET);
            let nodes = model.graph.iter().flat_map(|g| &g.node).chain(model.functions.iter().flat_map(|f| &f.node));
            for node in nodes.filter(|n| n.domain().is_empty()) {
                let lacking = self.without.iter().find(|(op, _)| *op == node.op_type());
                let Some(&(operator, why)) = lacking.filter(|(op, _)| missing.iter().all(|m| m.operator != *op)) else { continue };
                missing.push(Missing { operator, why, opset, node: node.name() });
            }
        }
        missing
    }
}

/// An operator that a runtime lacks.
#[derive(Debug, PartialEq)]
struct Missing<'a> {
    operator: &'static str,
    why: &'static str,
    opset: i64,
    node: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::table::OPERATORS;

    #[test]
    fn each_lacking_operator_is_named_once_wherever_it_is() {
        let node = |op: &str, domain: &str| pb::NodeProto {
            name: Some(format!("/a/{op}")),
            op_type: Some(op.into()),
            domain: Some(domain.into()),
            ..Default::default()
        };
        let inner = pb::FunctionProto { node: vec![node("LpPool", ""), node("Conv", "")], ..Default::default() };
        let graph = pb::GraphProto { node: vec![node("LpPool", "ai.spgraph"), node("Relu", "")], ..Default::default() };
        let plain = pb::ModelProto { graph: Some(graph), ..Default::default() };
        let model = pb::ModelProto { functions: vec![inner], ..plain.clone() };
        let runtime = Runtime {
            name: "any",
            dialect: Dialect::Inlined,
            opsets: 7..=17,
            without: &[("LpPool", "it has none")],
            half: ANY_HALF,
            loses_equal: false,
            source: "this test",
        };
        let found = runtime.missing([&model, &model].into_iter());
        assert_eq!(found, [Missing { operator: "LpPool", why: "it has none", opset: 17, node: "/a/LpPool" }]);
        assert_eq!(runtime.missing([&plain].into_iter()), []);
        let refused = runtime.check([&model].into_iter()).unwrap_err().to_string();
        assert!(["LpPool (opset 17)", "/a/LpPool", "it has none", "this test"].iter().all(|part| refused.contains(part)), "{refused}");
        assert!(runtime.check_opset(18).unwrap_err().to_string().contains("from 13 to 17"));
    }

    #[test]
    fn what_is_lacking_are_operators_that_spgraph_writes() {
        for runtime in RUNTIMES {
            assert!(runtime.without.iter().all(|(op, _)| OPERATORS.iter().any(|o| o.op_type() == *op)), "{}", runtime.name);
        }
        assert!(find_runtime("openvno").unwrap_err().to_string().contains("openvino"));
    }
}
