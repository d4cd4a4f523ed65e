//! The scalar inputs of a training step, by what they mean.

use crate::bundle::Setting;
use crate::bundle::manifest::Manifest;
use crate::error::{Error, Result};

/// A value for each scalar input of a bundle's step.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalars(Vec<(Setting, f64)>);

impl Scalars {
    /// The bundle's own values.
    pub fn defaults(manifest: &Manifest) -> Scalars {
        Scalars(manifest.scalars.iter().map(|s| (s.meaning.clone(), s.default)).collect())
    }

    /// The value of a scalar; `None` where the step has no such input.
    pub fn get(&self, setting: &Setting) -> Option<f64> {
        self.0.iter().find(|s| s.0 == *setting).map(|s| s.1)
    }

    /// The full learning rate. Fails where the step has none.
    pub fn learning_rate(&self) -> Result<f64> {
        let found = self.get(&Setting::LearningRate);
        found.ok_or_else(|| Error::model("the bundle's step has no learning rate: run `spgraph rewrite` again"))
    }

    /// Changes a value. Fails where the step has no such input.
    pub fn set(&mut self, setting: &Setting, value: f64) -> Result<()> {
        let found = self.0.iter_mut().find(|s| s.0 == *setting);
        let found = found.ok_or_else(|| Error::usage(format!("the bundle's step has no `{setting}`, so it cannot be {value}")))?;
        found.1 = value;
        Ok(())
    }

    /// The same with another value. Fails where the step has no such input.
    pub fn with(mut self, setting: &Setting, value: f64) -> Result<Scalars> {
        self.set(setting, value)?;
        Ok(self)
    }
}
