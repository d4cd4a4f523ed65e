//! What ONNX Runtime's CUDA provider can compute: a table of its kernels, as the provider itself lists them, and what it refuses beside.
//!
//! A node without a kernel is computed on the processor, with copies around it and nothing but a line in a log: a training step must have none.

use crate::ir::{DType, Domain, Graph, Node};
use crate::onnx::schema::{Formal, Found, find};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Made by `tests/generate/cuda_kernels.py`, which explains its lines.
const TABLE: &str = include_str!("cuda_kernels.txt");

/// The release of ONNX Runtime that the table is of.
pub const CUDA_VERSION: &str = "1.31.1";

struct Kernel {
    first: i64,
    /// `None`: no other version of the operator than the one that `first` brought.
    last: Option<i64>,
    types: Vec<(&'static str, Vec<DType>)>,
}

/// What is refused or left to the processor although a kernel is there; seen of the release's provider by `tests/cuda/placement.py`.
struct Exception {
    operator: &'static str,
    concerns: fn(&Node, i64) -> bool,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        operator: "BatchNormalization",
        concerns: |node, opset| opset >= 14 && node.int("training_mode", 0) != 0,
        why: "the CUDA provider refuses training_mode from opset 14 on",
    },
    Exception {
        operator: "ConvTranspose",
        concerns: |node, _| {
            let pads = node.ints("pads");
            let (begin, end) = pads.split_at(pads.len() / 2);
            begin != end || node.string("auto_pad").starts_with("SAME")
        },
        why: "the CUDA provider leaves other pads at the end than at the beginning to the processor",
    },
    Exception { operator: "ArgMax", concerns: |node, _| node.int("select_last_index", 0) != 0, why: LAST_INDEX },
    Exception { operator: "ArgMin", concerns: |node, _| node.int("select_last_index", 0) != 0, why: LAST_INDEX },
];

const LAST_INDEX: &str = "the CUDA provider leaves the last of equal ones to the processor";

/// Operators that run on the device and that no recorded graph of CUDA's may hold: those that choose or repeat, and those that draw numbers, which would be the
/// same each time.
const NOT_RECORDED: [&str; 9] =
    ["If", "Loop", "Scan", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"];

fn parse(line: &'static str) -> Option<(&'static str, Kernel)> {
    let mut words = line.split(' ');
    let (name, first, last) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let last = if last == "-" { None } else { Some(last.parse().ok()?) };
    let types = words
        .map(|word| {
            let (variable, list) = word.split_once('=')?;
            Some((variable, list.split(',').map(DType::from_short_name).collect::<Option<_>>()?))
        })
        .collect::<Option<_>>()?;
    Some((name, Kernel { first, last, types }))
}

static KERNELS: LazyLock<HashMap<&str, Vec<Kernel>>> = LazyLock::new(|| {
    let mut kernels: HashMap<&str, Vec<Kernel>> = HashMap::new();
    for (name, kernel) in TABLE.lines().filter(|l| !l.starts_with('#')).filter_map(parse) {
        kernels.entry(name).or_default().push(kernel);
    }
    kernels
});

/// The formal that stands for the port of that number.
fn formal(formals: &[Formal], at: usize) -> Option<&Formal> {
    formals.get(at).or_else(|| formals.last())
}

impl Kernel {
    /// As ONNX Runtime matches kernels: one that is open at its end serves the very version of the operator that it begins with.
    fn serves(&self, since: i64) -> bool {
        self.first == since || self.last.is_some_and(|last| self.first <= since && since <= last)
    }

    fn takes(&self, formals: &[Formal], types: &[Option<DType>]) -> bool {
        types.iter().enumerate().all(|(at, ty)| {
            let (Some(ty), Some(formal)) = (ty, formal(formals, at)) else { return true };
            let mut asked = self.types.iter().filter(|(name, _)| Some(*name) == formal.variable || *name == formal.name);
            asked.all(|(_, list)| list.contains(ty))
        })
    }
}

/// Whether the CUDA provider has a kernel for the operator in that opset, with inputs and outputs of these types; `None` for one that is left out, or of
/// whatever type.
pub fn has_kernel(domain: Domain, operator: &str, opset: i64, inputs: &[Option<DType>], outputs: &[Option<DType>]) -> bool {
    let Found::Here(schema) = find(operator, opset) else { return false };
    domain == Domain::Onnx
        && KERNELS.get(operator).is_some_and(|kernels| {
            kernels.iter().any(|k| k.serves(schema.since) && k.takes(&schema.inputs, inputs) && k.takes(&schema.outputs, outputs))
        })
}

/// Which of the operators the provider has no kernel for in that opset, where everything that may be of the type is; an operator that the opset lacks is none of them.
pub fn without_kernel<'a>(operators: impl Iterator<Item = &'a str>, opset: i64, ty: DType) -> Vec<&'a str> {
    let lacks = |operator: &&str| {
        let Found::Here(schema) = find(operator, opset) else { return false };
        let may = |f: &Formal| f.types.as_ref().is_none_or(|list| list.contains(&ty)).then_some(ty);
        let of = |formals: &[Formal]| formals.iter().map(may).collect::<Vec<_>>();
        !has_kernel(Domain::Onnx, operator, opset, &of(&schema.inputs), &of(&schema.outputs))
    };
    operators.filter(lacks).collect()
}

/// The types that the provider has kernels of the operator for in that opset, each alone in the operator's first place; none where it has no kernel.
pub fn kernel_types(operator: &str, opset: i64) -> Vec<DType> {
    let Found::Here(schema) = find(operator, opset) else { return vec![] };
    let allowed = |ty: &DType| schema.inputs.first().is_none_or(|f| f.types.as_ref().is_none_or(|list| list.contains(ty)));
    DType::all().filter(|ty| allowed(ty) && has_kernel(Domain::Onnx, operator, opset, &[Some(*ty)], &[])).collect()
}

/// Why the CUDA provider would not compute the node, written in that opset; `None` where it does.
pub fn cuda_refusal(graph: &Graph, node: &Node, opset: i64) -> Option<String> {
    let operator = &node.op_type;
    // A value that is there before the graph runs, wherever it is wanted.
    if node.is("Constant") {
        return None;
    }
    if let Some(exception) = EXCEPTIONS.iter().find(|e| node.is(e.operator) && (e.concerns)(node, opset)) {
        return Some(exception.why.into());
    }
    let inputs: Vec<Option<DType>> = node.inputs.iter().map(|v| v.map(|v| graph.ty(v).dtype)).collect();
    let outputs: Vec<Option<DType>> = node.outputs.iter().map(|&v| Some(graph.ty(v).dtype)).collect();
    if has_kernel(node.domain, operator, opset, &inputs, &outputs) {
        return None;
    }
    let types: Vec<String> = inputs.iter().flatten().map(|ty| ty.to_string()).collect();
    Some(format!("the CUDA provider of ONNX Runtime {CUDA_VERSION} has no kernel for {operator} of {} in opset {opset}", types.join(", ")))
}

/// Whether a recorded graph of CUDA's can hold the node.
pub fn can_be_recorded(node: &Node) -> bool {
    // Dropout draws where it is told that this is a training.
    let draws = node.is("Dropout") && node.inputs.len() > 2;
    node.domain != Domain::Onnx || !(draws || NOT_RECORDED.contains(&node.op_type.as_str()))
}

/// The nodes of a graph without functions that would run on the processor, each with the reason.
pub fn cuda_fallbacks(graph: &Graph, opset: i64) -> Vec<(&Node, String)> {
    graph.live().nodes.into_iter().filter_map(|node| Some((node, cuda_refusal(graph, node, opset)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        let lines = TABLE.lines().filter(|l| !l.starts_with('#'));
        assert!(TABLE.lines().next().unwrap().contains(CUDA_VERSION));
        for line in lines {
            let (name, kernel) = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert!(kernel.types.iter().all(|(_, list)| !list.is_empty()), "{line}");
            // What the provider has kernels for beside ONNX's own operators has no types of ONNX's.
            if let Found::Here(schema) = find(name, kernel.first.max(13)) {
                let formals = || schema.inputs.iter().chain(&schema.outputs);
                for (variable, _) in &kernel.types {
                    let known = formals().any(|f| f.variable == Some(*variable) || f.name == *variable || f.variable.is_none());
                    assert!(known, "{line}: {variable}");
                }
            }
        }
    }

    /// What the provider itself did with models of one node (`tests/cuda/placement.py`).
    #[test]
    fn kernels_serve_as_the_provider_places_nodes() {
        let has = |op: &str, opset: i64, ty: DType| has_kernel(Domain::Onnx, op, opset, &[Some(ty)], &[]);
        assert!(has("MaxPool", 17, DType::F32) && has("MaxPool", 21, DType::F16) && !has("MaxPool", 22, DType::F32));
        assert!(
            has("Conv", 17, DType::F32) && has("Conv", 17, DType::F16) && !has("Conv", 17, DType::BF16) && has("Conv", 22, DType::BF16)
        );
        assert!(!has("Frob", 17, DType::F32) && !has_kernel(Domain::Native, "Conv", 17, &[], &[]));
        assert!(kernel_types("Conv", 22).contains(&DType::BF16) && kernel_types("Frob", 17).is_empty());
        let asked = ["Conv", "ConvTranspose", "Where", "Pad", "Add", "Frob"];
        assert_eq!(without_kernel(asked.into_iter(), 22, DType::BF16), ["ConvTranspose", "Pad"]);
        assert_eq!(without_kernel(asked.into_iter(), 17, DType::F16), Vec::<&str>::new());
    }
}
