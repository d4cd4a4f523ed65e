//! What a person would call a parameter, and by which name a node is known.

use crate::onnx::pb;
use crate::operator::ParameterKind;
use std::collections::HashSet;

/// What frameworks call a parameter within its layer.
fn suffix(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::Kernel { .. } | ParameterKind::KernelPart | ParameterKind::Scale => "weight",
        ParameterKind::Bias | ParameterKind::Shift => "bias",
        ParameterKind::Mean => "running_mean",
        ParameterKind::Variance => "running_var",
        ParameterKind::Factor | ParameterKind::Addend | ParameterKind::Operand => kind.name(),
    }
}

/// What PyTorch's exporter calls constants after the operations that made them.
const OPERATIONS: [&str; 14] = [
    "_tensor_constant",
    "_to_copy",
    "arange",
    "clone",
    "detach",
    "full",
    "full_like",
    "lift_fresh_copy",
    "new_full",
    "ones",
    "ones_like",
    "scalar_tensor",
    "zeros",
    "zeros_like",
];

/// Whether the name is that of an operation: `scalar_tensor_default_2`, `full_1`, `_tensor_constant0`.
fn is_operation(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = stem.strip_suffix('_').unwrap_or(stem);
    OPERATIONS.contains(&stem.strip_suffix("_default").unwrap_or(stem))
}

/// Whether an exporter made the name up: `onnx::Conv_193`, `193`, `val_12`, `scalar_tensor_default`.
pub(super) fn is_generated(name: &str) -> bool {
    let numbered =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    name.contains("::")
        || numbered("")
        || numbered("val_")
        || numbered("const_")
        || numbered("_v_")
        || numbered("x")
        || numbered("Constant")
        || numbered("Constant_")
        || numbered("Const__")
        || numbered("const_fold_opt__")
        || numbered("tmp_")
        || name.starts_with("p2o.")
        || name.starts_with('/')
        || is_operation(name)
}

/// The name of the node at `index` in the graph; nodes without one are numbered. Where the exporter has noted the modules that the node belongs
/// to beside its name, as PyTorch's newer one does, they come first, as in the names that its older one writes.
pub fn node_name(index: usize, node: &pb::NodeProto) -> String {
    let own = if node.name().is_empty() { format!("{}_{index}", node.op_type()) } else { node.name().to_string() };
    let scopes = node.metadata_props.iter().find(|p| p.key() == SCOPES).map(|p| p.value());
    // A list as Python prints it, from the network itself to the call.
    let list = scopes.and_then(|s| s.strip_prefix("['")?.strip_suffix("']")).filter(|_| !own.contains('/'));
    let modules: Vec<&str> = list.map_or(vec![], |list| list.split("', '").filter(|s| !s.is_empty()).collect());
    match modules.split_last() {
        Some((_, modules)) if !modules.is_empty() => format!("/{}/{own}", modules.join("/")),
        _ => own,
    }
}

/// Where PyTorch's exporter notes them.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

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

/// The name of a parameter after the node that uses it.
pub(super) fn layer(node: &str, kind: ParameterKind) -> String {
    format!("{}.{}", path(node), suffix(kind))
}

/// The name, or with a number behind it where another parameter has it.
pub(super) fn unique(taken: &mut HashSet<String>, base: String) -> String {
    let mut name = base.clone();
    let mut numbers = 2u64..;
    while !taken.insert(name.clone()) {
        name = format!("{base}_{}", numbers.next().unwrap_or_default());
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
        let made = [
            "onnx::Conv_193",
            "193",
            "val_3",
            "/conv1/Constant_output_0",
            "scalar_tensor_default_2",
            "full_1",
            "_tensor_constant0",
            "clone",
            "Constant_12",
            "Constant339",
            "Const__9",
            "const_fold_opt__45",
            "tmp_0",
            "p2o.pd_op.full.0",
        ];
        assert!(made.iter().all(|n| is_generated(n)));
        assert!(
            ["conv1.weight", "fc.bias", "features.0.weight", "scale", "fullness", "ones.weight", "Constant", "tmp_scale"]
                .iter()
                .all(|n| !is_generated(n))
        );
    }

    #[test]
    fn modules_come_before_a_node_s_own_name() {
        let named = |name: &str, scopes: &str| {
            let scopes = pb::StringStringEntryProto { key: Some(SCOPES.into()), value: Some(scopes.into()) };
            let node =
                pb::NodeProto { op_type: Some("Conv".into()), name: Some(name.into()), metadata_props: vec![scopes], ..Default::default() };
            node_name(7, &node)
        };
        assert_eq!(
            named("node_conv2d", "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d']"),
            "/layer1/layer1.0/layer1.0.conv1/node_conv2d"
        );
        assert_eq!(named("", "['', 'fc', 'linear']"), "/fc/Conv_7");
        assert_eq!(named("/fc/Gemm", "['', 'fc', 'linear']"), "/fc/Gemm");
        assert_eq!(named("node_view", "['', 'view']"), "node_view");
        assert_eq!(named("node_view", "damaged"), "node_view");
    }
}
