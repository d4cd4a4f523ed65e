//! Which constants are parameters, what they are for, and what a person would call them.

use crate::ir::{Graph, ValueId};
use crate::operator::{Slot, View};
use crate::ops::table;
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// The weight of a convolution or matrix product; the output channels lie along `axis`.
    Kernel {
        axis: usize,
    },
    Bias,
    /// BatchNorm's scale and shift.
    Scale,
    Shift,
    /// BatchNorm's running statistics: written by the forward pass, not by the optimizer.
    Mean,
    Variance,
}

impl ParameterKind {
    /// What frameworks call it within its layer.
    fn suffix(self) -> &'static str {
        match self {
            ParameterKind::Kernel { .. } | ParameterKind::Scale => "weight",
            ParameterKind::Bias | ParameterKind::Shift => "bias",
            ParameterKind::Mean => "running_mean",
            ParameterKind::Variance => "running_var",
        }
    }

    /// Whether it is a statistic and no trainable parameter.
    pub fn is_buffer(self) -> bool {
        matches!(self, ParameterKind::Mean | ParameterKind::Variance)
    }

    pub(super) fn of(slot: Slot) -> Option<ParameterKind> {
        Some(match slot {
            Slot::Data => return None,
            Slot::Kernel { axis } => ParameterKind::Kernel { axis },
            Slot::Bias => ParameterKind::Bias,
            Slot::Scale => ParameterKind::Scale,
            Slot::Shift => ParameterKind::Shift,
            Slot::Mean => ParameterKind::Mean,
            Slot::Variance => ParameterKind::Variance,
        })
    }
}

/// A constant of the source model that could be trained.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub value: ValueId,
    /// The name in the source model.
    pub name: String,
    /// What a person would call it.
    pub alias: String,
    pub kind: ParameterKind,
    /// The first node that reads it.
    pub node: usize,
}

/// Finds the parameters in the order of use.
pub(super) fn find(graph: &Graph) -> Vec<Parameter> {
    let mut found: Vec<Parameter> = vec![];
    let mut seen = HashSet::new();
    let mut aliases = HashSet::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let slots = table::find(&node.op_type).map(|o| o.slots(&View { graph, node })).unwrap_or_default();
        for (slot, input) in slots.into_iter().zip(&node.inputs) {
            let (Some(kind), Some(value)) = (ParameterKind::of(slot), *input) else { continue };
            if !graph.value(value).constant.as_ref().is_some_and(|t| t.dtype().is_float()) || !seen.insert(value) {
                continue;
            }
            let name = graph.name_of(value).to_string();
            let alias = if generated(&name) { layer(&node.name, kind) } else { name.clone() };
            let alias = unique(&mut aliases, alias);
            found.push(Parameter { value, name, alias, kind, node: index });
        }
    }
    found
}

/// Whether an exporter made the name up: `onnx::Conv_193`, `193`, `val_12`.
fn generated(name: &str) -> bool {
    let numbered =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    name.contains("::")
        || numbered("")
        || numbered("val_")
        || numbered("const_")
        || numbered("_v_")
        || numbered("x")
        || name.starts_with('/')
}

/// The layer's path in the network, from the name of a node: `/layer1/layer1.0/conv1/Conv` → `layer1.0.conv1`.
fn path(node: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    let components: Vec<&str> = node.split('/').filter(|c| !c.is_empty()).collect();
    let Some((_, scopes)) = components.split_last().filter(|(_, scopes)| !scopes.is_empty()) else { return node.to_string() };
    for scope in scopes {
        // A scope repeats the name of the list it is in: `layer1`, then `layer1.0`.
        if parts.last().is_some_and(|last| scope.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'))) {
            parts.pop();
        }
        parts.push(scope);
    }
    parts.join(".")
}

pub(super) fn layer(node: &str, kind: ParameterKind) -> String {
    format!("{}.{}", path(node), kind.suffix())
}

fn unique(taken: &mut HashSet<String>, base: String) -> String {
    let mut name = base.clone();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{base}_{count}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_framework() {
        assert_eq!(path("/layer1/layer1.0/conv1/Conv"), "layer1.0.conv1");
        assert_eq!(path("/layer4/layer4.2/downsample/downsample.0/Conv"), "layer4.2.downsample.0");
        assert_eq!(path("/fc/Gemm"), "fc");
        assert_eq!(path("Conv_12"), "Conv_12");
    }

    #[test]
    fn exporters_names_are_told_from_peoples() {
        assert!(["onnx::Conv_193", "193", "val_3", "/conv1/Constant_output_0"].iter().all(|n| generated(n)));
        assert!(["conv1.weight", "fc.bias", "features.0.weight"].iter().all(|n| !generated(n)));
    }
}
