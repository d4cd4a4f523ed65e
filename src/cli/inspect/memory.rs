//! `spgraph inspect BUNDLE --memory`: the predicted peak of a training step and what it consists of.

use crate::cli::output;
use spgraph::report::{Align, MemoryPlan, Table};

pub fn text(plan: &MemoryPlan, bundle: &str) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut categories = Table::new([("category", Align::Left), ("size", Align::Right), ("share", Align::Right)]);
    for c in &plan.categories {
        categories.row([c.name.to_string(), output::size(c.bytes), percent(c.share)]);
    }
    let mut largest = Table::new([
        ("value", Align::Left),
        ("layer", Align::Left),
        ("category", Align::Left),
        ("shape", Align::Left),
        ("size", Align::Right),
    ]);
    for v in &plan.largest {
        let shape = v.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
        largest.row([v.value.clone(), v.layer.clone(), v.category.to_string(), shape, output::size(v.bytes)]);
    }
    format!(
        "bundle      {bundle}, batch {}\nkernels     {}\npeak        {} predicted, without the runtime itself\nreached at  node {} of {}, `{}` ({}), of {}\n\n{categories}\n\
         largest values at the peak, besides state and constants:\n{largest}",
        plan.batch,
        plan.kernels,
        output::size(plan.peak_bytes),
        plan.position,
        plan.nodes,
        plan.node,
        plan.operator,
        plan.layer,
    )
}
