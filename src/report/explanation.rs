//! What a rewrite does with each parameter, and why.

use super::table::{Align, Table};
use crate::bundle::Setting;
use crate::bundle::manifest::{BatchNormMode, Manifest, Role};
use crate::field::Field;
use crate::rewrite::{Plan, Planned};

/// A row for each parameter, statistics included.
pub fn explanation(plan: &Plan, manifest: &Manifest) -> Table {
    let mut table = Table::new([
        ("parameter", Align::Left),
        ("role", Align::Left),
        ("training", Align::Left),
        ("penalty", Align::Left),
        ("strength", Align::Left),
        ("why", Align::Left),
    ]);
    for p in &plan.parameters {
        let role = match p.role {
            Role::Shared => "shared",
            Role::New => "new",
            Role::Buffer => "statistic",
            Role::Optimizer | Role::Ema => "optimizer",
        };
        let (penalty, strength) = penalty(p, manifest);
        let why = match (p.frozen, p.role, p.why_penalized.is_empty()) {
            (true, ..) => p.why_frozen.clone(),
            (_, Role::Buffer, _) => String::new(),
            (_, _, true) => format!("{} none", Field::PENALTY),
            _ => p.why_penalized.clone(),
        };
        table.row([p.parameter.alias.clone(), role.into(), training(p, manifest).into(), penalty, strength, why]);
    }
    for f in &plan.fixed {
        let why = f.why.text().to_string();
        table.row([f.parameter.alias.clone(), "constant".into(), "none".into(), "none".into(), String::new(), why]);
    }
    table
}

fn training(p: &Planned, manifest: &Manifest) -> &'static str {
    match (p.role, p.frozen) {
        (Role::Buffer, false) if manifest.batch_norm == BatchNormMode::Train => "updated",
        (Role::Buffer, _) | (_, true) => "frozen",
        // A parameter that the loss does not depend on is no state.
        _ if !manifest.state.iter().any(|s| s.name == p.parameter.name) => "unused",
        _ => "trained",
    }
}

/// Kind and strength.
fn penalty(p: &Planned, manifest: &Manifest) -> (String, String) {
    let Some(own) = &p.strength else { return ("none".into(), String::new()) };
    let kind = if p.role == Role::New { "l2".into() } else { manifest.penalty.kind.clone() };
    let Some(scalar) = manifest.scalar(&own.setting) else { return (kind, "unknown".into()) };
    let name = if own.setting == Setting::Beta { "beta" } else { "alpha" };
    // Four digits, without the noise of a power.
    let value = format!("{:.3e}", scalar.default * own.factor).parse::<f64>().unwrap_or(scalar.default);
    (kind, format!("{name} {value}"))
}
