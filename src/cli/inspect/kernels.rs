//! `spgraph inspect BUNDLE --kernels`: whose kernels compute a training step.

use crate::cli::output;
use spgraph::report::{Align, KernelPlan, Table};

/// Operators that are listed one by one; the rest moves little.
const LISTED: usize = 15;

pub fn text(plan: &KernelPlan, bundle: &str) -> String {
    let total = plan.standard.iter().fold(plan.native_bytes, |sum, s| sum.saturating_add(s.bytes));
    let share = |bytes: u64| format!("{:.1} %", 100.0 * bytes as f64 / total.max(1) as f64);
    let mut table = Table::new([
        ("operator", Align::Left),
        ("nodes", Align::Right),
        ("channels last", Align::Right),
        ("moves", Align::Right),
        ("share", Align::Right),
        ("largest", Align::Left),
    ]);
    for s in plan.standard.iter().take(LISTED) {
        let numbers = [s.nodes.to_string(), s.channels_last.to_string(), output::size(s.bytes), share(s.bytes)];
        table.row(std::iter::once(s.operator.clone()).chain(numbers).chain([s.largest.clone()]).collect::<Vec<_>>());
    }
    let rest = plan.standard.len().saturating_sub(LISTED);
    let more = if rest > 0 { format!("and {rest} more operators that move less\n") } else { String::new() };
    let kept: Vec<String> = plan.float32_images.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let precision = match (plan.conversions, kept.is_empty()) {
        (0, true) => String::new(),
        (conversions, _) => {
            format!("float32     images of {}; {conversions} casts\n", if kept.is_empty() { "no node".into() } else { kept.join(", ") })
        }
    };
    format!(
        "bundle      {bundle}, batch {}\nkernels     {}\nnative      {} nodes, which move {} ({})\nlayouts     {} images laid out anew, {} ({})\n{precision}\n\
         left to ONNX Runtime's own kernels, by the bytes that they read and write:\n{table}{more}",
        plan.batch,
        plan.kernels,
        plan.native,
        output::size(plan.native_bytes),
        share(plan.native_bytes),
        plan.layout_changes,
        output::size(plan.layout_bytes),
        share(plan.layout_bytes),
    )
}
