//! What the table says of each operation, for people.

use super::operation::Slot;
use super::policies::POLICIES;
use super::table::{OPERATIONS, Operation};
use super::text::value;

/// A parameter of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Its usual value.
    pub usual: String,
    /// Which values it may have.
    pub values: String,
    /// What it is.
    pub meaning: &'static str,
}

impl Operation {
    /// Its parameters, in the order in which a recipe may give them without their names, with this operation's own values as the usual ones.
    pub fn parameters(&self) -> Vec<Described> {
        let mut own = *self;
        let describe = |p: &super::operation::Parameter| Described {
            name: p.name,
            usual: value(&p.slot),
            values: match &p.slot {
                Slot::Number(_, [least, most]) => format!("{least} to {most}"),
                Slot::Whole(_, [least, most]) => format!("{least} to {most}, whole"),
                Slot::Choice(choice) => choice.names().join(", "),
            },
            meaning: p.meaning,
        };
        own.operate().parameters().iter().map(describe).collect()
    }
}

/// All policies and operations with their parameters, a line each.
pub fn list() -> String {
    let policies = POLICIES.iter().map(|p| format!("{:<16}{}: {}", p.name, p.recipe, p.meaning));
    let operations = OPERATIONS.iter().map(|usual| {
        let usual = usual();
        let parameters: Vec<String> = usual.parameters().iter().map(|p| format!("{}={}", p.name, p.usual)).collect();
        let parameters = if parameters.is_empty() { String::new() } else { format!(" ({})", parameters.join(", ")) };
        format!("{:<16}{}{parameters}", usual.name(), usual.meaning())
    });
    policies.chain(operations).collect::<Vec<_>>().join("\n")
}
