//! Patterns on parameters: globs (`*` and `?`) on names and aliases.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Parameter;
use wildmatch::WildMatch;

/// Whether the pattern matches the parameter's name or alias.
pub fn is_match(pattern: &str, parameter: &Parameter) -> bool {
    let glob = WildMatch::new(pattern);
    glob.matches(&parameter.name) || glob.matches(&parameter.alias)
}

/// Which of `parameters` the pattern matches, by name or alias, as indices. No match is an error that names `option`.
pub fn matching<'a>(option: Field, pattern: &str, parameters: impl Iterator<Item = &'a Parameter> + Clone) -> Result<Vec<usize>> {
    let found: Vec<usize> = parameters.clone().enumerate().filter(|(_, p)| is_match(pattern, p)).map(|(i, _)| i).collect();
    if found.is_empty() {
        let known: Vec<&str> = parameters.map(|p| p.alias.as_str()).take(6).collect();
        return Err(Error::option(
            option,
            format!(
                " '{pattern}' matches no parameter. Patterns are globs (* and ?) on names such as {}; `spgraph inspect` lists all",
                known.join(", ")
            ),
        ));
    }
    Ok(found)
}

/// The first few names, for messages.
pub fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    match all.len() {
        0..=4 => all.join(", "),
        n => format!("{} and {} more", all[..3].join(", "), n - 3),
    }
}
