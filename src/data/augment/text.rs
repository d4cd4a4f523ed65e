//! Recipes as people write them: `flip-crop:4+color:0.25+erase:0.1,fill=random`.

use super::operation::{Action, Parameter, Slot};
use super::policies;
use super::table::{OPERATIONS, Operation};
use crate::error::{Error, Result};
use std::fmt::Write;

/// What a recipe says; the operations in the order in which they are done, each once.
pub(super) fn parse(text: &str) -> Result<Vec<Operation>> {
    let bad = |why: String| {
        Error::usage(format!(
            "cannot augment by `{text}`: {why}. A recipe is none, or operations joined by +, such as flip-crop:4+color:0.2+erase:0.1"
        ))
    };
    let mut found: Vec<Operation> = vec![];
    for part in text.split('+').map(str::trim) {
        if part == "none" {
            continue;
        }
        let new = match policies::recipe(part) {
            Some(recipe) => parse(recipe)?,
            None => vec![operation(part).map_err(bad)?],
        };
        for operation in new {
            let crop = |o: &Operation| matches!(o.action(), Action::Crop(_));
            if found.iter().any(|o| o.name() == operation.name()) {
                return Err(bad(format!("`{}` is there twice", operation.name())));
            }
            if let Some(other) = found.iter().find(|o| crop(o) && crop(&operation)) {
                return Err(bad(format!(
                    "`{}` and `{}` both choose the part of the image that is taken: give one",
                    other.name(),
                    operation.name()
                )));
            }
            found.push(operation);
        }
    }
    found.sort_by_key(Operation::place);
    Ok(found)
}

/// One operation: `name[:value,…,parameter=value,…]`.
fn operation(text: &str) -> std::result::Result<Operation, String> {
    let (name, values) = match text.split_once(':') {
        Some((name, values)) => (name, Some(values)),
        None => (text, None),
    };
    let mut operation = match OPERATIONS.iter().map(|usual| usual()).find(|o| o.name() == name) {
        Some(operation) => operation,
        None if name.is_empty() => return Err("an operation is missing".into()),
        None if known().contains(&name) => return Err(format!("`{name}` has no parameters, so that `{text}` is none")),
        None => return Err(unknown(name)),
    };
    let mut given: Vec<&'static str> = vec![];
    let mut named = false;
    for (at, value) in values.map(|v| v.split(',')).into_iter().flatten().enumerate() {
        let mut parameters = operation.operate().parameters();
        let names: Vec<&str> = parameters.iter().map(|p| p.name).collect();
        let (parameter, value) = match (value.split_once('='), parameters.get_mut(at)) {
            (Some((key, value)), _) => {
                named = true;
                let key = key.trim();
                (parameters.iter_mut().find(|p| p.name == key).ok_or_else(|| no_parameter(name, key, &names))?, value)
            }
            (None, _) if named => {
                return Err(format!("`{value}` stands behind values with names, and so needs one itself: {}", names.join(", ")));
            }
            (None, Some(parameter)) => (parameter, value),
            (None, None) => return Err(format!("{name} has {} parameters: {}", names.len(), names.join(", "))),
        };
        if given.contains(&parameter.name) {
            return Err(format!("{name} is given {} twice", parameter.name));
        }
        given.push(parameter.name);
        set(parameter, value.trim()).map_err(|why| format!("{name}: {why}"))?;
    }
    match operation.conflict() {
        Some(why) => Err(format!("{name}: {why}")),
        None => Ok(operation),
    }
}

/// Names of operations and policies.
pub(super) fn known() -> Vec<&'static str> {
    let operations = OPERATIONS.iter().map(|usual| usual().name());
    ["none"].into_iter().chain(policies::POLICIES.iter().map(|p| p.name)).chain(operations).collect()
}

/// The name that is spelled most nearly so, if one is near.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = |known: &&&str| strsim::damerau_levenshtein(name, known) <= 1 + known.len() / 4;
    names.iter().filter(near).min_by_key(|known| strsim::damerau_levenshtein(name, known)).copied()
}

fn unknown(name: &str) -> String {
    let known = known();
    let near = nearest(name, &known).map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default();
    format!("there is no `{name}`{near}, but {}", known.join(", "))
}

fn no_parameter(operation: &str, name: &str, names: &[&str]) -> String {
    let near = nearest(name, names).map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default();
    format!("{operation} has no parameter `{name}`{near}, but {}", names.join(", "))
}

fn set(parameter: &mut Parameter, value: &str) -> std::result::Result<(), String> {
    let name = parameter.name;
    match &mut parameter.slot {
        Slot::Number(slot, [least, most]) => match value.parse::<f32>() {
            Ok(n) if (*least..=*most).contains(&n) => **slot = n,
            _ => return Err(format!("{name} is a number from {least} to {most}, not `{value}`")),
        },
        Slot::Whole(slot, [least, most]) => match value.parse::<u32>() {
            Ok(n) if (*least..=*most).contains(&n) => **slot = n,
            _ => return Err(format!("{name} is a whole number from {least} to {most}, not `{value}`")),
        },
        Slot::Choice(choice) => {
            if !choice.set(value) {
                return Err(format!("{name} is {}, not `{value}`", choice.names().join(", ")));
            }
        }
    }
    Ok(())
}

/// A value as a recipe shows it.
pub(super) fn value(slot: &Slot) -> String {
    match slot {
        Slot::Number(n, _) => n.to_string(),
        Slot::Whole(n, _) => n.to_string(),
        Slot::Choice(choice) => choice.name().to_string(),
    }
}

/// The text that [`parse`] reads as this: every value that differs from the usual one, and those that people expect to see; or with `all` every value.
pub(super) fn show(operations: &[Operation], all: bool) -> String {
    if operations.is_empty() {
        return "none".into();
    }
    let mut text = String::new();
    for operation in operations {
        let joint = if text.is_empty() { "" } else { "+" };
        // Writing into a string does not fail.
        let _ = write!(text, "{joint}{}", operation.name());
        let usual = OPERATIONS.get(operation.place()).map(|usual| usual());
        let (mut own, mut usual) = (*operation, usual.unwrap_or(*operation));
        let (own, usual) = (own.operate().parameters(), usual.operate().parameters());
        let (mut first, mut in_order) = (true, true);
        for (parameter, usual) in own.iter().zip(&usual) {
            let shown = value(&parameter.slot);
            if !all && !parameter.shown && shown == value(&usual.slot) {
                in_order = false;
                continue;
            }
            let joint = if first { ':' } else { ',' };
            // The first few may go without their names, but only numbers do.
            let bare = in_order && !matches!(parameter.slot, Slot::Choice(_)) && (first || parameter.shown);
            let _ = if bare { write!(text, "{joint}{shown}") } else { write!(text, "{joint}{}={shown}", parameter.name) };
            in_order &= bare;
            first = false;
        }
    }
    text
}
