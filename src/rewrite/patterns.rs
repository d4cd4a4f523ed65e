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

/// For each of `parameters`, whether the pattern matches it by name or alias. No match is an error that names `option`.
pub fn matching<'a>(option: Field, pattern: &str, parameters: impl Iterator<Item = &'a Parameter> + Clone) -> Result<Vec<bool>> {
    let found: Vec<bool> = parameters.clone().map(|p| is_match(pattern, p)).collect();
    if !found.contains(&true) {
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

/// Those of a list for which `chosen`, of the list's length, says yes.
pub fn only<T>(all: impl IntoIterator<Item = T>, chosen: &[bool]) -> impl Iterator<Item = T> {
    all.into_iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(one, _)| one)
}

/// The first few names, for messages.
pub fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    match &*all {
        [a, b, c, _, more @ ..] if !more.is_empty() => format!("{a}, {b}, {c} and {} more", more.len().saturating_add(1)),
        _ => all.join(", "),
    }
}
