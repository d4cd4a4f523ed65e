//! Which parameters stay as they are, and why.

use super::patterns::{few, is_match, matching, only};
use super::structure::{Block, blocks};
use crate::bundle::Options;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Imported;
use crate::operator::ParameterKind;
use std::collections::HashMap;

/// For each frozen parameter, by name, the reason. BatchNorm's statistics go with its scale. `new` are the names of a new head.
pub(super) fn decide(imported: &Imported, new: &[String], options: &Options) -> Result<HashMap<String, String>> {
    let parameters = &imported.parameters;
    let mut frozen: HashMap<String, String> = HashMap::new();
    let trainable = |option: Field, pattern: &str| -> Result<Vec<bool>> {
        let fixed = || imported.fixed.iter().find(|c| is_match(pattern, &c.parameter));
        if !parameters.iter().any(|p| is_match(pattern, p))
            && let Some(fixed) = fixed()
        {
            let why = format!(" '{pattern}' matches no parameter: `{}` is not trained ({})", fixed.parameter.alias, fixed.why.text());
            return Err(Error::option(option, why));
        }
        let found = matching(option, pattern, parameters.iter())?;
        if only(parameters, &found).all(|p| p.kind.is_buffer()) {
            let names = few(only(parameters, &found).map(|p| p.alias.as_str()));
            return Err(Error::option(
                option,
                format!(" '{pattern}' matches BatchNorm's statistics only ({names}); they go with the layer's scale"),
            ));
        }
        Ok(found)
    };
    if !options.train.is_empty() {
        let mut trained = vec![false; parameters.len()];
        for pattern in &options.train {
            for (trained, found) in trained.iter_mut().zip(trainable(Field::TRAIN, pattern)?) {
                *trained |= found;
            }
        }
        for (p, trained) in parameters.iter().zip(trained) {
            if !trained && !new.contains(&p.name) {
                frozen.insert(p.name.clone(), format!("no pattern of {} matches it", Field::TRAIN));
            }
        }
    }
    if options.freeze_stages > 0 || options.freeze_units > 0 {
        let units = blocks(imported)?;
        let last_stage = units.last().map_or(0, |b| b.stage);
        for (option, asked, behind, what) in [
            (Field::FREEZE_STAGES, options.freeze_stages, last_stage, "stages"),
            (Field::FREEZE_UNITS, options.freeze_units, units.len().saturating_sub(1), "units"),
        ] {
            // Beside the layers before the first unit.
            let available = behind.saturating_add(1);
            if asked > available {
                return Err(Error::option(
                    option,
                    format!(
                        " {asked}: the network has {available} (the layers before the first residual unit, then {behind} {what}); `spgraph inspect` lists them"
                    ),
                ));
            }
        }
        for (number, Block { name, stage, parameters: inside }) in units.into_iter().enumerate() {
            let by_stage = (stage < options.freeze_stages).then(|| format!("{} {} ({name})", Field::FREEZE_STAGES, options.freeze_stages));
            let by_unit = (number < options.freeze_units).then(|| format!("{} {} ({name})", Field::FREEZE_UNITS, options.freeze_units));
            if let Some(why) = by_stage.or(by_unit) {
                frozen.extend(inside.into_iter().filter_map(|i| Some((parameters.get(i)?.name.clone(), why.clone()))));
            }
        }
    }
    for pattern in &options.freeze {
        for p in only(parameters, &trainable(Field::FREEZE, pattern)?) {
            frozen.insert(p.name.clone(), format!("{} '{pattern}'", Field::FREEZE));
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
