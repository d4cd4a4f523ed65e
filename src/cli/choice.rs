//! Values of the library's enums on the command line, by the names that they have in files.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error};
use spgraph::artifact::{self, ARTIFACTS, Artifact};
use spgraph::emit::{RUNTIMES, Runtime, find_runtime};

/// A parser for those variants of `T` that `names` lists.
pub fn choice<T: DeserializeOwned + Clone + Send + Sync + 'static>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name: String| T::deserialize(IntoDeserializer::<Error>::into_deserializer(name)))
}

/// A parser for the kinds of artifacts.
pub fn artifacts() -> impl TypedValueParser<Value = &'static dyn Artifact> {
    PossibleValuesParser::new(ARTIFACTS.iter().map(|a| a.name())).try_map(|name: String| artifact::find(&name))
}

/// A parser for the runtimes that graphs can be made for.
pub fn runtimes() -> impl TypedValueParser<Value = &'static Runtime> {
    PossibleValuesParser::new(RUNTIMES.iter().map(|r| r.name)).try_map(|name: String| find_runtime(&name))
}
