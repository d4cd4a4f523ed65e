//! `spgraph inspect BUNDLE --device cuda`: where each node of a training step runs.

use spgraph::report::{Align, DevicePlan, Table};

pub fn text(plan: &DevicePlan, bundle: &str) -> String {
    let mut table = Table::new([("node", Align::Left), ("operator", Align::Left), ("provider", Align::Left)]);
    for node in &plan.nodes {
        table.row([node.name.clone(), node.operator.clone(), node.provider.clone()]);
    }
    let images = if plan.batch == 1 { "image" } else { "images" };
    let mut text = format!("{table}\na step of {bundle} with {} {images}, by {}:\n", plan.batch, plan.by);
    match plan.off_device.len() {
        0 => text.push_str(&format!("all {} nodes on the CUDA device, no copies between\n", plan.nodes.len())),
        off => {
            text.push_str(&format!("{} nodes, {off} not on the CUDA device:\n", plan.nodes.len()));
            for node in &plan.off_device {
                text.push_str(&format!("  {} ({}): {}\n", node.node, node.operator, node.why));
            }
        }
    }
    if !plan.not_recorded.is_empty() {
        text.push_str(&format!("cannot be recorded as a CUDA graph for {}\n", plan.not_recorded.join(", ")));
    }
    text
}
