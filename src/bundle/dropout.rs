//! What is asked for about Dropout.

use crate::error::{Error, Result};
use crate::field::Field;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What becomes of Dropout in training. In a file: `"off"`, `"keep"`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum DropoutMode {
    /// That of the network does nothing, as in inference.
    #[default]
    Off,
    /// That of the network drops what masks say that follow from a seed and the number of the step.
    Keep,
    /// Of what enters the classifier that share is dropped by such masks; what Dropout the network has itself does nothing.
    Classifier(f64),
}

impl DropoutMode {
    /// Whether it is the usual one.
    pub fn is_off(&self) -> bool {
        *self == DropoutMode::Off
    }

    /// Fails for a share that makes no sense.
    pub fn check(&self) -> Result<()> {
        match self {
            DropoutMode::Classifier(share) if !(0.0..1.0).contains(share) => {
                Err(Error::option(Field::DROPOUT, format!(" {share} is no share that could be dropped: give a number from 0 to below 1")))
            }
            _ => Ok(()),
        }
    }
}

/// What can be given.
const FORMS: &str = "off, keep, or the share that is dropped of what enters the classifier";

impl FromStr for DropoutMode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "off" => Ok(DropoutMode::Off),
            "keep" => Ok(DropoutMode::Keep),
            number => {
                let share = number.parse().map_err(|_| format!("it must be {FORMS}"))?;
                let mode = DropoutMode::Classifier(share);
                mode.check().map(|()| mode).map_err(|_| "a share must be a number from 0 to below 1".into())
            }
        }
    }
}

impl Serialize for DropoutMode {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            DropoutMode::Off => to.serialize_str("off"),
            DropoutMode::Keep => to.serialize_str("keep"),
            DropoutMode::Classifier(share) => to.serialize_f64(*share),
        }
    }
}

impl<'de> Deserialize<'de> for DropoutMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Forms;

        impl Visitor<'_> for Forms {
            type Value = DropoutMode;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(FORMS)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<DropoutMode, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_f64<E: de::Error>(self, share: f64) -> std::result::Result<DropoutMode, E> {
                Ok(DropoutMode::Classifier(share))
            }

            fn visit_i64<E: de::Error>(self, share: i64) -> std::result::Result<DropoutMode, E> {
                Ok(DropoutMode::Classifier(share as f64))
            }

            fn visit_u64<E: de::Error>(self, share: u64) -> std::result::Result<DropoutMode, E> {
                Ok(DropoutMode::Classifier(share as f64))
            }
        }

        from.deserialize_any(Forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for mode in [DropoutMode::Off, DropoutMode::Keep, DropoutMode::Classifier(0.25)] {
            let text = serde_json::to_string(&mode).unwrap();
            assert_eq!(serde_json::from_str::<DropoutMode>(&text).unwrap(), mode);
            assert_eq!(text.trim_matches('"').parse::<DropoutMode>().unwrap(), mode);
        }
        assert_eq!(serde_json::from_str::<DropoutMode>("0").unwrap(), DropoutMode::Classifier(0.0));
        for wrong in ["\"on\"", "true", "[0.5]", "\"1.5\""] {
            let why = serde_json::from_str::<DropoutMode>(wrong).unwrap_err().to_string();
            assert!(why.contains(FORMS), "{why}");
        }
        for wrong in ["1", "-0.1", "nan", "kept"] {
            assert!(wrong.parse::<DropoutMode>().is_err());
        }
        assert!(DropoutMode::Classifier(1.0).check().unwrap_err().to_string().contains("dropout` 1"));
    }
}
