//! Which constants are parameters, what they are for, and what a person would call them.

use crate::ir::{Graph, ValueId};
use crate::operator::{ParameterKind, View};
use std::collections::HashSet;

/// What frameworks call a parameter within its layer.
fn suffix(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::Kernel { .. } | ParameterKind::Scale => "weight",
        ParameterKind::Bias | ParameterKind::Shift => "bias",
        ParameterKind::Mean => "running_mean",
        ParameterKind::Variance => "running_var",
    }
}

/// A constant of the source model that could be trained.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The parameter in the graph, a constant.
    pub value: ValueId,
    /// The name in the source model.
    pub name: String,
    /// What a person would call it.
    pub alias: String,
    /// What it is to the operator that reads it.
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
        let view = View { graph, node };
        let kinds = view.operator().map(|o| o.parameters(&view)).unwrap_or_default();
        for (kind, input) in kinds.into_iter().zip(&node.inputs) {
            let (Some(kind), Some(value)) = (kind, *input) else { continue };
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
    format!("{}.{}", path(node), suffix(kind))
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
