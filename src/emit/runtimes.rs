//! What runtimes want graphs to be like, and which of the operators that spgraph writes they lack or compute wrongly: a table, each row with where that is recorded.

use super::Dialect;
use super::operator_lists::{openvino, ort, ort_cuda, tract};
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
    /// Whether it has ONNX's operator of that name as the opset has it, by its own list. A training that needs one that it lacks is refused.
    pub has: fn(&str, i64) -> bool,
    /// Operators that it has and not right, with what is wrong. Those with a rule [`plain`](crate::operator::Operator::plain) are written as others, and a
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

/// The build for the browser has not even conversions of bfloat16, as `make runtimes` saw.
const WEB_HALF: HalfSupport = HalfSupport { no_type: &[DType::BF16], no_products: &[] };

/// ONNX Runtime on the processor, also in Node and, of the same source, in the browser.
const KERNELS: &str = "the table of kernels in onnxruntime 1.32.0 (src/emit/operators_ort.txt)";

/// Every runtime that is known.
pub static RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "ort",
        dialect: Dialect::Functions,
        opsets: 7..=26,
        has: ort,
        without: &[],
        half: ORT_HALF,
        loses_equal: false,
        source: KERNELS,
    },
    Runtime {
        name: "node",
        dialect: Dialect::Functions,
        opsets: 7..=26,
        has: ort,
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
        has: ort_cuda,
        without: &[],
        half: ANY_HALF,
        loses_equal: false,
        source: "the CUDA provider's own list of kernels (src/emit/cuda_kernels.txt) and the processor's (operators_ort.txt), where the rest runs",
    },
    Runtime {
        name: "web",
        dialect: Dialect::Inlined,
        opsets: 7..=26,
        has: ort,
        without: &[],
        half: WEB_HALF,
        loses_equal: false,
        source: KERNELS,
    },
    Runtime {
        name: "openvino",
        dialect: Dialect::Inlined,
        opsets: 7..=23,
        has: openvino,
        without: &[("HardSigmoid", "on the CPU it adds 0.5 where `beta` is 0")],
        half: ANY_HALF,
        loses_equal: false,
        source: "what OpenVINO 2026.4.1 says that it reads (src/emit/operators_openvino.txt), and what `make test-openvino` saw it compute",
    },
    Runtime {
        name: "tract",
        dialect: Dialect::Inlined,
        opsets: 7..=23,
        has: tract,
        without: &[],
        half: HalfSupport { no_type: &[DType::BF16], no_products: &[DType::F16] },
        // Its pass `PushSplitDown`: running the model ends in "eval() called on a Dummy op".
        loses_equal: true,
        source: "the operators that tract-onnx 0.23.9 registers (src/emit/operators_tract.txt)",
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

    /// What was chosen for it, on a line: dialect, opset, and other forms of operators.
    pub fn chosen(&self, dialect: Dialect, opset: i64) -> String {
        let functions = match dialect {
            Dialect::Functions => "model-local functions",
            Dialect::Inlined => "standard operators alone",
        };
        let plain: Vec<&str> = self.without.iter().map(|(op, _)| *op).collect();
        let others = if plain.is_empty() { String::new() } else { format!(", {} in other operators", plain.join(", ")) };
        let merged = if self.loses_equal { ", equal nodes as one" } else { "" };
        format!("{}: {functions}, opset {opset}{others}{merged}", self.name)
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
                let operator = node.op_type();
                let wrong = self.without.iter().find(|(op, _)| *op == operator).map(|(_, why)| *why);
                let why = wrong.or_else(|| (!(self.has)(operator, opset)).then_some("it does not have it"));
                let Some(why) = why.filter(|_| missing.iter().all(|m| m.operator != operator)) else { continue };
                missing.push(Missing { operator, why, opset, node: node.name() });
            }
        }
        missing
    }
}

/// An operator that a runtime lacks.
#[derive(Debug, PartialEq)]
struct Missing<'a> {
    operator: &'a str,
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
            has: |operator, _| operator != "Relu",
            without: &[("LpPool", "it has it wrong")],
            half: ANY_HALF,
            loses_equal: false,
            source: "this test",
        };
        let found = runtime.missing([&model, &model].into_iter());
        let relu = Missing { operator: "Relu", why: "it does not have it", opset: 17, node: "/a/Relu" };
        assert_eq!(found, [relu, Missing { operator: "LpPool", why: "it has it wrong", opset: 17, node: "/a/LpPool" }]);
        assert_eq!(runtime.missing([&plain].into_iter()).len(), 1);
        let refused = runtime.check([&model].into_iter()).unwrap_err().to_string();
        assert!(
            ["LpPool (opset 17)", "/a/LpPool", "it has it wrong", "Relu (opset 17)", "this test"].iter().all(|part| refused.contains(part)),
            "{refused}"
        );
        assert!(runtime.check_opset(18).unwrap_err().to_string().contains("from 13 to 17"));
    }

    /// A network of this repository with one of its operators in another's place.
    #[test]
    fn a_network_is_refused_by_node_and_opset() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/resnet20-source.onnx");
        let mut model = crate::onnx::read(&file).unwrap().proto;
        let names = |m: &pb::ModelProto, r: &str| find_runtime(r).unwrap().check(std::iter::once(m)).map_err(|e| e.to_string());
        for runtime in RUNTIMES.iter().filter(|r| r.without.is_empty()) {
            assert_eq!(names(&model, runtime.name), Ok(()));
        }
        let node = model.graph.as_mut().unwrap().node.iter_mut().find(|n| n.op_type() == "Relu").unwrap();
        node.op_type = Some("LpPool".into());
        let name = node.name().to_string();
        let refused = names(&model, "tract").unwrap_err();
        assert!(["LpPool (opset 17)", &name, "tract-onnx 0.23.9"].iter().all(|part| refused.contains(part)), "{refused}");
        assert_eq!(names(&model, "ort"), Ok(()));
    }

    #[test]
    fn what_is_wrong_are_operators_that_spgraph_writes() {
        for runtime in RUNTIMES {
            assert!(runtime.without.iter().all(|(op, _)| OPERATORS.iter().any(|o| o.op_type() == *op)), "{}", runtime.name);
        }
        assert!(find_runtime("openvno").unwrap_err().to_string().contains("openvino"));
    }
}
