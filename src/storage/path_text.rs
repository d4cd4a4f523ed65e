//! Paths in files of text. The system's paths need not be text: what is read back keeps such a path as a list of its bytes, and what people and other programs
//! read shows it with signs for what cannot be shown, rather than not at all.

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serializer;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// For `serialize_with`: as it is shown.
pub fn shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The same, where there may be none.
pub fn shown_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_some(&path.to_string_lossy()),
        None => serializer.serialize_none(),
    }
}

/// What [`serialize`] and [`deserialize`] keep: a path, or one where there may be none.
pub trait Kept: Sized {
    /// The path, if any.
    fn path(&self) -> Option<&Path>;
    /// Of what was read; `None` where nothing else can be.
    fn of(path: Option<PathBuf>) -> Option<Self>;
}

impl Kept for PathBuf {
    fn path(&self) -> Option<&Path> {
        Some(self)
    }

    fn of(path: Option<PathBuf>) -> Option<Self> {
        path
    }
}

impl Kept for Option<PathBuf> {
    fn path(&self) -> Option<&Path> {
        self.as_deref()
    }

    fn of(path: Option<PathBuf>) -> Option<Self> {
        Some(path)
    }
}

/// For `with`, beside [`deserialize`]: text, or the bytes of what is none.
pub fn serialize<P: Kept, S: Serializer>(path: &P, serializer: S) -> Result<S::Ok, S::Error> {
    match path.path() {
        None => serializer.serialize_none(),
        Some(path) => match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(path.as_os_str().as_encoded_bytes()),
        },
    }
}

/// What [`serialize`] wrote, or a person.
pub fn deserialize<'de, P: Kept, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    P::of(deserializer.deserialize_any(Any)?).ok_or_else(|| D::Error::custom("a path is missing"))
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Option<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("path string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut bytes = vec![];
        while let Some(byte) = list.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(Some(of_bytes(bytes).into()))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(unix)]
fn of_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// Elsewhere the bytes are those of the system's own text; what is none of it comes from another system.
#[cfg(not(unix))]
fn of_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Places {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super", default)]
        other: Option<PathBuf>,
    }

    #[test]
    fn paths_come_back_to_the_byte() {
        for one in [b"caf\xe9/x".to_vec(), "größe".into(), vec![]].map(of_bytes).map(PathBuf::from) {
            for other in [None, Some(one.clone())] {
                let places = Places { one: one.clone(), other };
                let json = serde_json::to_string(&places).unwrap();
                assert_eq!(serde_json::from_str::<Places>(&json).unwrap(), places, "{json}");
                let toml = toml::to_string(&places).unwrap();
                assert_eq!(toml::from_str::<Places>(&toml).unwrap(), places, "{toml}");
            }
        }
        assert_eq!(serde_json::to_string(&Places { one: "a".into(), other: None }).unwrap(), r#"{"one":"a","other":null}"#);
        assert!(toml::from_str::<Places>("one = 5").unwrap_err().to_string().contains("expected path string"));
    }
}
