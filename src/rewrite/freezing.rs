//! Which parameters stay as they are, and why.

use super::options::Options;
use super::patterns::{few, matching};
use super::structure::{Block, blocks};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::operator::ParameterKind;
use std::collections::HashMap;

/// For each frozen parameter, by name, the reason. BatchNorm's statistics go with its scale. `new` are the names of a new head.
pub(super) fn decide(imported: &Imported, new: &[String], options: &Options) -> Result<HashMap<String, String>> {
    let parameters = &imported.parameters;
    let mut frozen: HashMap<String, String> = HashMap::new();
    let trainable = |option: &str, pattern: &str| -> Result<Vec<usize>> {
        let found = matching(option, pattern, parameters.iter())?;
        if found.iter().all(|&i| parameters[i].kind.is_buffer()) {
            return Err(Error::usage(format!(
                "{option} '{pattern}' matches BatchNorm's statistics only ({}); they go with the layer's scale",
                few(found.iter().map(|&i| parameters[i].alias.as_str()))
            )));
        }
        Ok(found)
    };
    if !options.train.is_empty() {
        let mut trained = vec![false; parameters.len()];
        for pattern in &options.train {
            for i in trainable("--train", pattern)? {
                trained[i] = true;
            }
        }
        for (p, trained) in parameters.iter().zip(trained) {
            if !trained && !new.contains(&p.name) {
                frozen.insert(p.name.clone(), "no --train pattern matches it".into());
            }
        }
    }
    if options.freeze_stages > 0 || options.freeze_units > 0 {
        let units = blocks(imported)?;
        let last_stage = units.last().map_or(0, |b| b.stage);
        for (option, asked, available, what) in [
            ("--freeze-stages", options.freeze_stages, last_stage + 1, "stages"),
            ("--freeze-units", options.freeze_units, units.len(), "units"),
        ] {
            if asked > available {
                return Err(Error::usage(format!(
                    "{option} {asked}: the network has {available} (the layers before the first residual unit, then {} {what}); `spgraph inspect` lists them",
                    available - 1
                )));
            }
        }
        for (number, Block { name, stage, parameters: inside }) in units.into_iter().enumerate() {
            let by_stage = (stage < options.freeze_stages).then(|| format!("--freeze-stages {} ({name})", options.freeze_stages));
            let by_unit = (number < options.freeze_units).then(|| format!("--freeze-units {} ({name})", options.freeze_units));
            if let Some(why) = by_stage.or(by_unit) {
                frozen.extend(inside.into_iter().map(|i| (parameters[i].name.clone(), why.clone())));
            }
        }
    }
    for pattern in &options.freeze {
        for i in trainable("--freeze", pattern)? {
            frozen.insert(parameters[i].name.clone(), format!("--freeze '{pattern}'"));
        }
    }
    let scales: Vec<_> = parameters.iter().filter(|p| p.kind == ParameterKind::Scale).collect();
    for p in parameters.iter().filter(|p| p.kind.is_buffer()) {
        let scale = scales.iter().find(|s| s.node == p.node);
        match scale.and_then(|s| frozen.get(&s.name).cloned()) {
            Some(why) => frozen.insert(p.name.clone(), why),
            None => frozen.remove(&p.name),
        };
    }
    Ok(frozen)
}
