//! Options that only some kinds of a regularizer or an optimizer have: what a kind has is what its settings in a file are called.

use super::flags::flag;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spgraph::Field;
use spgraph::error::{Error, Result};
use std::fmt::Debug;

/// An option with its value, where it was given.
pub type Given = (Field, Option<Value>);

/// What the option is called among the settings of a kind.
fn key(field: Field) -> &'static str {
    field.name().rsplit_once('.').map_or(field.name(), |(_, own)| own)
}

fn value<T: Serialize>(setting: &T) -> Result<Value> {
    serde_json::to_value(setting).map_err(|e| Error::usage(format!("an option cannot be kept in a file: {e}")))
}

/// An option for [`set`]. Fails for what no file can hold: a path that is no text, and what is no number.
pub fn given<T: Serialize + Debug>(field: Field, setting: Option<&T>) -> Result<Given> {
    let kept = setting.map(value).transpose()?;
    match (setting, &kept) {
        (Some(setting), Some(Value::Null)) => Err(Error::usage(format!("{} {setting:?} makes no sense: it must be a number", flag(field)))),
        _ => Ok((field, kept)),
    }
}

/// Whether `choice` has a setting of that name.
pub fn has<T: Serialize>(choice: &T, field: Field) -> bool {
    value(choice).is_ok_and(|settings| settings.get(key(field)).is_some())
}

/// `choice` with what is given for it.
pub fn set<T: Serialize + DeserializeOwned>(choice: &T, options: &[Given]) -> Result<T> {
    let mut settings = value(choice)?;
    for (field, given) in options {
        if let (Some(own), Some(given)) = (settings.get_mut(key(*field)), given) {
            *own = given.clone();
        }
    }
    serde_json::from_value(settings).map_err(|e| Error::usage(e.to_string()))
}

/// The first option that is given and that none of `choices` has.
pub fn homeless<T: Serialize>(choices: &[T], options: &[Given]) -> Option<Field> {
    options.iter().filter(|(_, given)| given.is_some()).map(|(field, _)| *field).find(|field| !choices.iter().any(|c| has(c, *field)))
}

/// `OPTION KIND` for those of `kinds` that have the setting, as in "--optimizer sgd and --optimizer lars".
pub fn homes<T: Serialize>(option: Field, field: Field, kinds: impl Iterator<Item = (&'static str, T)>) -> String {
    let those: Vec<String> = kinds.filter(|(_, c)| has(c, field)).map(|(kind, _)| format!("{} {kind}", flag(option))).collect();
    those.join(" and ")
}
