//! Nodes that cannot be imported, all of them with their reasons.

use super::left_out::Unknown;
use super::place::Place;
use crate::error::Refusal;
use crate::onnx::{self, pb};
use crate::operator::Status;
use crate::operator::checked::OUT_OF_RANGE;
use crate::operator::fold::TOO_MANY;
use crate::operator::window::REACH;
use crate::ops::table;
use std::collections::HashSet;

/// The refused nodes so far.
#[derive(Default)]
pub(super) struct Refusals {
    pub list: Vec<Refusal>,
    /// Those of them whose operators nobody here knows: nothing else is wrong with the model.
    pub unknown: Vec<Unknown>,
    /// The place in the file of the node that is looked at.
    pub at: Place,
    /// The place of the first refused node whose operator is known.
    pub first: Option<Place>,
    /// Results of refused nodes: what depends on them is not judged.
    skipped: HashSet<String>,
}

/// A node that is refused for that reason.
pub(super) fn refusal(node: &pb::NodeProto, reason: impl Into<String>) -> Refusal {
    let name = if node.name().is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name().to_string() };
    Refusal { node: name, op: onnx::qualified_op(node), reason: reason.into() }
}

impl Refusals {
    pub fn refuse(&mut self, node: &pb::NodeProto, reason: impl Into<String>) {
        self.list.push(refusal(node, reason));
        self.skipped.extend(node.output.iter().cloned());
        self.first = self.first.or(Some(self.at));
    }

    /// Refuses the node at `index` of the file for what it is.
    pub fn refuse_unknown(&mut self, index: usize, node: &pb::NodeProto, reason: impl Into<String>) {
        let first = self.first;
        self.refuse(node, reason);
        self.first = first;
        self.unknown.extend(self.list.last().map(|refusal| Unknown { index, refusal: refusal.clone() }));
    }

    /// Says more of the first refused node.
    pub fn explain(&mut self, more: &str) {
        self.list.iter_mut().take(1).for_each(|refusal| refusal.reason.push_str(more));
    }

    /// Whether the value depends on a refused node.
    pub fn skips(&self, name: &str) -> bool {
        self.skipped.contains(name)
    }

    /// Takes note that `other` is the value `name`.
    pub fn skip_with(&mut self, name: &str, other: &str) {
        if self.skips(name) {
            self.skipped.insert(other.to_string());
        }
    }

    /// Whether the node depends on a refused one; then what depends on it does, too.
    pub fn concern(&mut self, node: &pb::NodeProto) -> bool {
        let concerned = node.input.iter().any(|i| self.skipped.contains(i));
        if concerned {
            self.skipped.extend(node.output.iter().cloned());
        }
        concerned
    }
}

/// What is said of constants that grow.
pub(super) const FROM_CONSTANTS: &str = "follows from constants alone and is too large to be computed ahead";

/// Whether a node is refused for what it would take or for numbers that nothing has, which is the same in any runtime.
pub fn is_excessive(refusal: &Refusal) -> bool {
    [FROM_CONSTANTS, REACH, TOO_MANY, OUT_OF_RANGE].iter().any(|said| refusal.reason.contains(said))
}

/// Whether a node is refused though its operator is supported: what is wrong with it, its rules say.
pub fn is_judged(refusal: &Refusal) -> bool {
    table::find(&refusal.op).is_some_and(|operator| !matches!(operator.status(), Status::Refused(_)))
}

/// What to do with what is random.
pub(super) const IN_EVALUATION_MODE: &str = "export the network in evaluation mode (`model.eval()`)";

/// What to do with a graph that a runtime has changed for itself.
const OPTIMISED: &str = "ONNX Runtime writes such operators when it saves a graph that it has optimised for one machine; start from the original model, \
                         as it was exported";

/// Why an operator of another domain is refused.
pub(super) fn foreign(node: &pb::NodeProto) -> &'static str {
    match (node.domain(), unknown(node.op_type())) {
        // Quantized operators live there, too.
        (_, reason) if reason == QUANTIZED => reason,
        (domain, _) if domain.starts_with("com.microsoft") || domain.starts_with("com.ms.") => OPTIMISED,
        _ => "only operators of ONNX's own domain are supported",
    }
}

const QUANTIZED: &str = "the model is quantized to integers, which have no gradient; start from the float model it was made of";

/// Why an operator outside the table is refused.
pub(super) fn unknown(op: &str) -> &'static str {
    match op {
        "If" | "Loop" | "Scan" => "sub-graphs cannot be differentiated; export the network without control flow",
        "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" => QUANTIZED,
        op if op.starts_with("QLinear") || op.starts_with("QAttention") || op.starts_with("QGemm") || op.ends_with("IntegerToFloat") => {
            QUANTIZED
        }
        op if op.starts_with("Fused") => OPTIMISED,
        _ => "spgraph does not know this operator",
    }
}
