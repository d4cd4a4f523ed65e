//! What is in a model, as text.

use super::commands::Commands;
use crate::cli::output;
use spgraph::report::{Align, Inspection, Table};
use std::collections::BTreeMap;

/// So many constants that an exporter has named are shown for one reason.
const FEW: usize = 3;

pub fn text(found: &Inspection, next: &Commands) -> String {
    let mut parameters = Table::new([
        ("parameter", Align::Left),
        ("alias", Align::Left),
        ("kind", Align::Left),
        ("shape", Align::Left),
        ("elements", Align::Right),
    ]);
    for p in &found.parameters {
        let alias = if p.alias == p.name { String::new() } else { p.alias.clone() };
        let shape = p.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
        parameters.row([p.name.clone(), alias, p.kind.clone(), shape, p.elements.to_string()]);
    }
    let mut operators = Table::new([("operator", Align::Left), ("nodes", Align::Right), ("gradient", Align::Left)]);
    for o in &found.operators {
        operators.row([o.name.clone(), o.nodes.to_string(), o.gradient.clone()]);
    }
    let input = found.inputs.iter().map(|i| format!("{} {} {}", i.name, i.dtype, i.shape)).collect::<Vec<_>>().join(", ");
    let shares: Vec<String> = found.dropout.iter().map(|d| d.map_or("a share that is computed".into(), |d| d.to_string())).collect();
    let dropout = match shares[..] {
        [] => String::new(),
        _ => format!("dropout     {} in training, with --dropout keep; off without it\n", shares.join(", ")),
    };
    let mut text = format!(
        "model       {} ({}, opset {}, {})\ninput       {input}\nhead        {}\nbatch norm  {}\n{dropout}parameters  {} in {} tensors, {}\n\n{parameters}\n{operators}",
        found.file,
        output::size(found.bytes),
        found.opset.map_or("unknown".to_string(), |v| v.to_string()),
        if found.producer.is_empty() { "unknown producer" } else { &found.producer },
        match &found.head {
            Some(h) => format!("{} `{}`, {} features, {} classes; --classes replaces it", h.operator, h.node, h.features, h.classes),
            None => "no classifier was found".into(),
        },
        found.batch_norm,
        found.elements,
        found.parameters.len(),
        output::size(found.parameter_bytes as u64),
    );
    if !found.constants.is_empty() {
        let mut constants = Table::new([("constant", Align::Left), ("shape", Align::Left), ("not trained, because it is", Align::Left)]);
        // What exporters have named is many and says little.
        let mut generated: BTreeMap<&str, usize> = BTreeMap::new();
        for c in &found.constants {
            let before = generated.entry(&c.why).or_default();
            *before = before.saturating_add(usize::from(c.alias != c.name));
            if c.alias == c.name || *before <= FEW {
                let shape = c.shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("x");
                constants.row([c.alias.clone(), shape, c.why.clone()]);
            }
        }
        for (why, count) in generated.into_iter().filter(|(_, count)| *count > FEW) {
            constants.row([format!("{} more (--json lists them)", count.saturating_sub(FEW)), String::new(), why.to_string()]);
        }
        text.push_str(&format!("\n{constants}"));
    }
    if !found.units.is_empty() {
        let mut units = Table::new([
            ("stage", Align::Right),
            ("unit", Align::Right),
            ("layers", Align::Left),
            ("tensors", Align::Right),
            ("elements", Align::Right),
        ]);
        for u in &found.units {
            units.row([u.stage.to_string(), u.unit.to_string(), u.name.clone(), u.parameters.to_string(), u.elements.to_string()]);
        }
        text.push_str(&format!("\n--freeze-stages and --freeze-units count from the input:\n{units}"));
    }
    if let Some(shape) = &found.assumed_shape {
        let shape = shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("x");
        text.push_str(&format!("\nnote: the model leaves the sizes of its input open; this is for {shape} (--input-shape gives others)\n"));
    }
    if let Some(problem) = found.problem.as_ref().filter(|p| !found.verdict.reasons.contains(p)) {
        text.push_str(&format!("\nnote: {problem}\n"));
    }
    text.push_str(&format!("\n{}", next.text(&found.verdict, "be fine-tuned")));
    text
}
