//! What runtimes want graphs to be like, and which of the operators that spgraph writes they lack: a table, each row with where that is recorded.

use super::models::Models;
use crate::emit::Dialect;
use crate::error::{Error, Result};
use crate::nearest::hint;
use crate::onnx::pb;
use crate::operator::OPSET;

/// A runtime that graphs can be made for.
#[derive(Debug)]
pub struct Runtime {
    /// What it is called.
    pub name: &'static str,
    /// The form of functions that it can read, or that is faster there.
    pub dialect: Dialect,
    /// Operators of the opset that spgraph writes which it does not have.
    pub lacks: &'static [&'static str],
    /// Where that is recorded.
    pub source: &'static str,
}

/// ONNX Runtime on the processor: CastLike and HardSwish, for which it has no kernel, it makes of the functions that ONNX defines them by.
const KERNELS: &str = "the table of kernels in onnxruntime 1.32.0 (`get_all_opkernel_def`), of opset 17 on the CPU";

/// Every runtime that is known.
pub static RUNTIMES: &[Runtime] = &[
    Runtime { name: "ort", dialect: Dialect::Functions, lacks: &[], source: KERNELS },
    Runtime { name: "node", dialect: Dialect::Functions, lacks: &[], source: KERNELS },
    // Other forms of operators are chosen for the processor's kernels.
    Runtime { name: "ort-cuda", dialect: Dialect::Inlined, lacks: &[], source: "not recorded: what has no kernel there runs on the CPU" },
    Runtime { name: "web", dialect: Dialect::Inlined, lacks: &[], source: KERNELS },
    Runtime {
        name: "openvino",
        dialect: Dialect::Inlined,
        lacks: &["LpPool"],
        source: "src/frontends/onnx/docs/supported_ops.md of OpenVINO at 0ae60f0f",
    },
    Runtime { name: "tract", dialect: Dialect::Inlined, lacks: &["LpPool"], source: "the operators that tract-onnx 0.23.9 registers" },
];

/// The runtime of that name.
pub fn find_runtime(name: &str) -> Result<&'static Runtime> {
    let names: Vec<&str> = RUNTIMES.iter().map(|r| r.name).collect();
    let found = RUNTIMES.iter().find(|r| r.name == name);
    found.ok_or_else(|| Error::usage(format!("no runtime `{name}` is known; choose one of {}{}", names.join(", "), hint(name, &names))))
}

impl Runtime {
    /// Fails with every operator that the runtime lacks and a training needs, and a node that needs it.
    pub(super) fn check(&self, models: &Models) -> Result<()> {
        let halves = models.halves.iter().flatten();
        let missing = self.missing([&models.step, &models.evaluation].into_iter().chain(halves));
        if missing.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = missing.iter().map(|(op, node)| format!("{op} (opset {OPSET}), which node `{node}` needs")).collect();
        Err(Error::model(format!("{} has no operator {} (by {}): take another runtime", self.name, list.join(", nor "), self.source)))
    }

    fn missing<'a>(&self, models: impl Iterator<Item = &'a pb::ModelProto>) -> Vec<(&'static str, &'a str)> {
        let nodes =
            |model: &'a pb::ModelProto| model.graph.iter().flat_map(|g| &g.node).chain(model.functions.iter().flat_map(|f| &f.node));
        let mut missing: Vec<(&'static str, &str)> = vec![];
        for node in models.flat_map(nodes).filter(|n| n.domain().is_empty()) {
            let lacking = self.lacks.iter().find(|op| **op == node.op_type());
            missing.extend(lacking.filter(|op| !missing.iter().any(|m| m.0 == **op)).map(|op| (*op, node.name())));
        }
        missing
    }
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
        let openvino = find_runtime("openvino").unwrap();
        assert_eq!(openvino.missing([&model, &model].into_iter()), [("LpPool", "/a/LpPool")]);
        assert_eq!(openvino.missing([&plain].into_iter()), []);
    }

    #[test]
    fn what_is_lacking_are_operators_that_spgraph_writes() {
        for runtime in RUNTIMES {
            assert!(runtime.lacks.iter().all(|op| OPERATORS.iter().any(|o| o.op_type() == *op)), "{}", runtime.name);
        }
        assert!(find_runtime("openvno").unwrap_err().to_string().contains("openvino"));
    }
}
